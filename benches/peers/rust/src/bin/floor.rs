//! The floor: TCP on tokio and nothing else. Frames go as they are, without handshake or mask.
//!
//! The first argument is the address of the echo; the room listens on the next port, the
//! publisher on the one after that.

use std::cell::RefCell;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use peers::Room;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    peers::run(async |listener| {
        let addr = listener.local_addr()?;
        let at = |offset: u16| (addr.ip(), addr.port() + offset);
        let room = Room::default();
        tokio::spawn(accept(listener, echo));
        let members = room.clone();
        tokio::spawn(accept(TcpListener::bind(at(1)).await?, move |stream| {
            member(stream, members.clone())
        }));
        accept(TcpListener::bind(at(2)).await?, move |stream| {
            publisher(stream, room.clone())
        })
        .await
    })
}

async fn accept<F>(listener: TcpListener, run: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(run(stream));
    }
}

thread_local! {
    /// Shared by all connections of the thread: nothing is kept in it across a wait.
    static SPACE: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// Bytes, back as they come.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let rest = SPACE.with_borrow_mut(|space| match stream.try_read(space) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => write_now(&stream, &space[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        })?;
        if !rest.is_empty() {
            stream.write_all(&rest).await?;
        }
    }
}

/// Writes what the socket takes, and returns the rest, which is rare.
fn write_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match stream.try_write(bytes) {
        Ok(count) => Ok(bytes[count..].to_vec()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(bytes.to_vec()),
        Err(error) => Err(error),
    }
}

/// Ready frames; all that wait in one write.
async fn member(mut stream: TcpStream, room: Room) -> io::Result<()> {
    let mut queue = room.join();
    let mut frames: Vec<Bytes> = Vec::new();
    loop {
        tokio::select! {
            count = queue.recv_many(&mut frames, 512) => {
                let rest = match count {
                    0 => return Ok(()),
                    1 => write_now(&stream, &frames[0])?,
                    _ => SPACE.with_borrow_mut(|joined| {
                        let mut end = 0;
                        let mut more = Vec::new();
                        for frame in &frames {
                            match joined.get_mut(end..end + frame.len()) {
                                Some(place) if more.is_empty() => {
                                    place.copy_from_slice(frame);
                                    end += frame.len();
                                }
                                _ => more.extend_from_slice(frame),
                            }
                        }
                        let mut rest = write_now(&stream, &joined[..end])?;
                        rest.append(&mut more);
                        Ok::<_, io::Error>(rest)
                    })?,
                };
                if !rest.is_empty() {
                    stream.write_all(&rest).await?;
                }
            }
            readable = stream.readable() => {
                readable?;
                match stream.try_read(&mut [0; 64]) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        frames.clear();
    }
}

/// Cuts what comes into frames, and publishes each.
async fn publisher(mut stream: TcpStream, room: Room) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(64 * 1024);
    while stream.read_buf(&mut bytes).await? > 0 {
        while let Some(length) = frame_len(&bytes)
            && bytes.len() >= length
        {
            room.publish(&bytes.split_to(length).freeze());
        }
        bytes.reserve(16 * 1024);
    }
    Ok(())
}

fn frame_len(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.get(1..)?;
    Some(match rest.first()? {
        126 => {
            rest.advance(1);
            4 + usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?))
        }
        127 => {
            rest.advance(1);
            10 + u64::from_be_bytes(rest.get(..8)?.try_into().ok()?) as usize
        }
        length => 2 + usize::from(*length),
    })
}
