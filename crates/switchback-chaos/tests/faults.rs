//! Every fault, on real sockets. Nothing here waits for a time, except where time is the fault;
//! every wait has a timeout.

#![expect(clippy::unwrap_used, reason = "a panic is how these tests fail")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use switchback_chaos::{Cut, Faults, Flow, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future)
        .await
        .expect("it should not take that long")
}

/// A server that sends back what it gets, and ends its side when the client does.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    addr
}

async fn start() -> Proxy {
    Proxy::start(echo().await).await.unwrap()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    soon(TcpStream::connect(proxy.local_addr())).await.unwrap()
}

/// Connects, and makes sure that the connection reaches the server.
async fn connected(proxy: &Proxy) -> TcpStream {
    let mut stream = connect(proxy).await;
    round_trip(&mut stream, b"hello").await;
    stream
}

async fn round_trip(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, bytes);
}

/// Reads to the end of file.
async fn rest(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await?;
    Ok(bytes)
}

fn payload(length: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(length).collect()
}

#[tokio::test]
async fn passes_everything_both_ways_and_counts_it() {
    let proxy = start().await;
    let mut stream = connect(&proxy).await;
    let bytes = payload(3_000_000);
    let (mut from, mut to) = stream.split();
    let send = async {
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let ((), read) = soon(async { tokio::join!(send, from.read_to_end(&mut back)) }).await;
    read.unwrap();
    assert!(back == bytes);
    let counters = soon(proxy.until(|counters| counters.open == 0)).await;
    assert_eq!((counters.accepted, counters.cut), (1, 0));
    assert_eq!(counters.bytes_up, 3_000_000);
    assert_eq!(counters.bytes_down, 3_000_000);
}

#[tokio::test]
async fn half_a_close_is_passed_on() {
    let proxy = start().await;
    let mut stream = connected(&proxy).await;
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), b"last words");
}

#[tokio::test]
async fn cut_by_reset() {
    let proxy = start().await;
    let mut first = connected(&proxy).await;
    let mut second = connected(&proxy).await;
    proxy.cut(Cut::Reset);
    for stream in [&mut first, &mut second] {
        let error = rest(stream).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let counters = soon(proxy.until(|counters| counters.open == 0)).await;
    assert_eq!(counters.cut, 2);
    connected(&proxy).await;
}

#[tokio::test]
async fn cut_by_end_of_file() {
    let proxy = start().await;
    let mut stream = connected(&proxy).await;
    proxy.cut(Cut::Fin);
    assert_eq!(rest(&mut stream).await.unwrap(), b"");
    drop(stream);
    soon(proxy.until(|counters| counters.open == 0)).await;
    connected(&proxy).await;
}

/// The server sees the cut too.
#[tokio::test]
async fn a_cut_reaches_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    for cut in [Cut::Reset, Cut::Fin] {
        let mut client = connect(&proxy).await;
        let (mut server, _) = soon(listener.accept()).await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert_eq!(soon(server.read_u8()).await.unwrap(), b'x');
        proxy.cut(cut);
        let end = rest(&mut server).await.map_err(|error| error.kind());
        match cut {
            Cut::Reset => assert_eq!(end, Err(ErrorKind::ConnectionReset)),
            Cut::Fin => assert_eq!(end, Ok(Vec::new())),
        }
    }
}

#[tokio::test]
async fn refuses_and_accepts_again_on_the_same_port() {
    let proxy = start().await;
    let mut open = connected(&proxy).await;
    for _ in 0..3 {
        proxy.set(Faults::new().refuse(true)).await;
        let error = TcpStream::connect(proxy.local_addr()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // Open connections go on.
        round_trip(&mut open, b"still there").await;
        proxy.set(Faults::new()).await;
        connected(&proxy).await;
    }
}

#[tokio::test]
async fn a_black_hole_accepts_and_never_answers() {
    let proxy = start().await;
    let mut old = connected(&proxy).await;
    let before = proxy.counters();
    proxy.set(Faults::new().black_hole(true)).await;
    let mut new = connect(&proxy).await;
    new.write_all(b"12345").await.unwrap();
    old.write_all(b"123").await.unwrap();
    soon(proxy.until(|counters| counters.swallowed == 8)).await;
    let counters = proxy.counters();
    assert_eq!(counters.bytes_up, before.bytes_up);
    assert_eq!(counters.bytes_down, before.bytes_down);
    // What was swallowed stays so.
    proxy.set(Faults::new()).await;
    round_trip(&mut old, b"next").await;
    proxy.cut(Cut::Reset);
    assert!(rest(&mut new).await.is_err());
}

#[tokio::test]
async fn a_black_hole_in_one_direction() {
    let proxy = start().await;
    let mut stream = connected(&proxy).await;
    let before = proxy.counters();
    proxy
        .set(Faults::new().down(Flow::new().black_hole(true)))
        .await;
    stream.write_all(b"up").await.unwrap();
    let counters = soon(proxy.until(|counters| counters.swallowed == 2)).await;
    assert_eq!(counters.bytes_up, before.bytes_up + 2);
    assert_eq!(counters.bytes_down, before.bytes_down);
}

#[tokio::test]
async fn delays_one_direction() {
    for faults in [
        Faults::new().up(Flow::new().delay(SHORT)),
        Faults::new().down(Flow::new().delay(SHORT)),
    ] {
        let proxy = start().await;
        let mut stream = connected(&proxy).await;
        proxy.set(faults).await;
        let begin = Instant::now();
        round_trip(&mut stream, b"late").await;
        assert!(begin.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn truncates_and_cuts() {
    for cut in [Cut::Fin, Cut::Reset] {
        let proxy = start().await;
        let flow = Flow::new().truncate(1000);
        proxy.set(Faults::new().down(flow).cut_with(cut)).await;
        let mut stream = connect(&proxy).await;
        stream.write_all(&payload(900)).await.unwrap();
        let mut back = vec![0; 900];
        soon(stream.read_exact(&mut back)).await.unwrap();
        stream.write_all(&payload(900)).await.unwrap();
        let end = rest(&mut stream).await;
        match cut {
            Cut::Fin => assert_eq!(end.unwrap(), payload(100)),
            Cut::Reset => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        let counters = soon(proxy.until(|counters| counters.cut == 1)).await;
        assert_eq!(counters.bytes_down, 1000);
    }
}

#[tokio::test]
async fn buffers_until_the_end_of_the_stream() {
    let proxy = start().await;
    let mut stream = connected(&proxy).await;
    let before = proxy.counters();
    let flow = Flow::new().buffer(Duration::MAX);
    proxy.set(Faults::new().down(flow)).await;
    stream.write_all(b"held back").await.unwrap();
    let counters = soon(proxy.until(|c| c.bytes_up == before.bytes_up + 9)).await;
    assert_eq!(counters.bytes_down, before.bytes_down);
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), b"held back");
}

#[tokio::test]
async fn buffers_for_a_while() {
    let proxy = start().await;
    let mut stream = connected(&proxy).await;
    proxy
        .set(Faults::new().down(Flow::new().buffer(SHORT)))
        .await;
    let begin = Instant::now();
    stream.write_all(b"a").await.unwrap();
    stream.write_all(b"b").await.unwrap();
    let mut back = [0; 2];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert!(begin.elapsed() >= SHORT);
    assert_eq!(&back, b"ab");
}

/// A fault that is lifted lets go of what it held back.
#[tokio::test]
async fn lifting_a_fault_releases_what_it_held() {
    let proxy = start().await;
    let mut stream = connected(&proxy).await;
    let flow = Flow::new().buffer(Duration::MAX);
    proxy.set(Faults::new().up(flow)).await;
    stream.write_all(b"held").await.unwrap();
    proxy.set(Faults::new()).await;
    let mut back = [0; 4];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"held");
}

#[tokio::test]
async fn kills_each_connection_at_an_age() {
    let proxy = start().await;
    let old = connected(&proxy).await;
    proxy.set(Faults::new().kill_after(SHORT)).await;
    let begin = Instant::now();
    let mut young = connected(&proxy).await;
    for mut stream in [old, connect(&proxy).await] {
        rest(&mut stream).await.unwrap_err();
    }
    rest(&mut young).await.unwrap_err();
    assert!(begin.elapsed() >= SHORT);
    let counters = soon(proxy.until(|counters| counters.open == 0)).await;
    assert_eq!(counters.cut, 3);
}

#[tokio::test]
async fn throttles() {
    let proxy = start().await;
    let mut stream = connected(&proxy).await;
    proxy
        .set(Faults::new().down(Flow::new().throttle(20_000)))
        .await;
    let begin = Instant::now();
    round_trip(&mut stream, &payload(10_000)).await;
    assert!(begin.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn cuts_again_and_again() {
    let proxy = start().await;
    let every = Duration::from_millis(5)..=Duration::from_millis(20);
    proxy.set(Faults::new().cut_every(every, 42)).await;
    let (mut resets, mut ends) = (0, 0);
    while resets == 0 || ends < 3 {
        let mut stream = connect(&proxy).await;
        match rest(&mut stream).await {
            Ok(_) => ends += 1,
            Err(_) => resets += 1,
        }
    }
    // Lifted, connections live.
    proxy.set(Faults::new()).await;
    connected(&proxy).await;
}

#[tokio::test]
async fn the_server_can_move() {
    let proxy = start().await;
    let old = connected(&proxy).await;
    proxy.set_upstream(echo().await);
    connected(&proxy).await;
    drop(old);
}

#[tokio::test]
async fn a_server_that_is_down_resets_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(addr).await.unwrap();
    let mut stream = connect(&proxy).await;
    let error = rest(&mut stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dropped_proxy_ends_everything() {
    let proxy = start().await;
    let addr = proxy.local_addr();
    let mut stream = connected(&proxy).await;
    drop(proxy);
    let _ = rest(&mut stream).await;
    // The listener goes with the task, which ends when the runtime gets to it.
    let refused = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
}
