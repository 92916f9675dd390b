//! A server that loses, doubles or changes a message fails the run: only then can a run that
//! succeeds be trusted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;

/// What the server does to the fifth message.
#[derive(Clone, Copy)]
enum Trick {
    None,
    Lose,
    Double,
    Change,
    HangUp,
}

const SIZE: usize = 64;
/// RFC 6455, 5.2: two bytes before a payload of less than 126.
const FRAME: usize = 2 + SIZE;

/// Starts a server that echoes frames, one connection only, and returns its URL.
fn server(trick: Trick) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // It ends when the load generator does.
        let _ = echo(stream, trick);
    });
    url
}

fn echo(mut stream: TcpStream, trick: Trick) -> std::io::Result<()> {
    // What the load generator begins with, in the place of a handshake: a frame without a payload.
    let mut first = [0; 2];
    stream.read_exact(&mut first)?;
    stream.write_all(&first)?;
    for number in 1_u64.. {
        let mut frame = [0; FRAME];
        stream.read_exact(&mut frame)?;
        match trick {
            Trick::Lose if number == 5 => continue,
            Trick::Double if number == 5 => stream.write_all(&frame)?,
            Trick::Change if number == 5 => frame[FRAME - 1] ^= 1,
            Trick::HangUp if number == 5 => return Ok(()),
            _ => {}
        }
        stream.write_all(&frame)?;
    }
    Ok(())
}

fn load(trick: Trick) -> Output {
    load_with(trick, &[])
}

fn load_with(trick: Trick, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchback-bench"));
    command.args(["load", "echo", &server(trick), "--kind", "tcp", "--json"]);
    command.args(["-c", "1", "--in-flight", "4", "--size", &SIZE.to_string()]);
    command.args(["--warm-up", "0", "--seconds", "0.1"]);
    command.args(args);
    command.output().unwrap()
}

fn assert_fails(trick: Trick, why: &str) {
    let output = load(trick);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "the run succeeded");
    assert!(error.contains(why), "{error}");
}

#[test]
fn an_honest_server_passes() {
    let output = load(Trick::None);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"scenario\":\"echo\""), "{text}");
}

#[test]
fn an_honest_server_passes_at_a_rate() {
    for spin in [&[][..], &["--spin"]] {
        let output = load_with(Trick::None, &[&["--rate", "4000"], spin].concat());
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("\"scenario\":\"echo-rate\""), "{text}");
    }
}

#[test]
fn a_lost_message_fails() {
    assert_fails(Trick::Lose, "a message was lost");
}

#[test]
fn a_doubled_message_fails() {
    assert_fails(Trick::Double, "a message came twice");
}

#[test]
fn a_changed_message_fails() {
    assert_fails(Trick::Change, "a message was changed");
}

#[test]
fn a_connection_that_ends_fails() {
    assert_fails(Trick::HangUp, "a connection ended");
}
