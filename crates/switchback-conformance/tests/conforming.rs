//! A transport that does all it should passes.

mod memory;

use switchback_conformance::Suite;
use switchback_core::Transport;

#[tokio::test]
async fn a_good_transport_passes() {
    switchback_conformance::run(async || memory::pair()).await;
}

#[tokio::test]
async fn boxed_transports_pass() {
    type Boxed = Box<dyn Transport>;
    let connect = async || {
        let (server, client) = memory::pair();
        (Box::new(server) as Boxed, Box::new(client) as Boxed)
    };
    Suite::new(connect).large(false).run().await;
}

/// Where all buffers hold one message at a time, every path that waits is taken.
#[tokio::test]
async fn a_good_transport_with_the_smallest_buffers_passes() {
    switchback_conformance::run(async || memory::pair_with_bound(0)).await;
}

#[tokio::test]
async fn passes_under_paused_time() {
    tokio::time::pause();
    switchback_conformance::run(async || memory::pair()).await;
}

#[tokio::test]
#[should_panic(expected = "the suite has no case `no such case`")]
async fn an_unknown_case_is_refused() {
    Suite::new(async || memory::pair())
        .skip("no such case")
        .run()
        .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "time ran out while connecting")]
async fn a_connect_that_hangs_is_reported() {
    let connect = async || {
        std::future::pending::<()>().await;
        memory::pair()
    };
    Suite::new(connect).only("info").run().await;
}

/// One connect per pair of a case and role: the suite never reuses a connection.
#[tokio::test]
async fn every_case_gets_fresh_connections() {
    let connected = std::sync::atomic::AtomicUsize::new(0);
    let connect = || {
        connected.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::ready(memory::pair())
    };
    Suite::new(connect)
        .only("info")
        .only("prepared")
        .run()
        .await;
    assert_eq!(connected.into_inner(), 2 + 4);
}
