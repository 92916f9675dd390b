//! What is observed of a server is related to what its load generator says.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn observe(script: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchback-bench"));
    // Any process will do as the server.
    command.args([
        "observe",
        "--json",
        "--pid",
        &std::process::id().to_string(),
    ]);
    command.args(["--lines", "2", "--", "sh", "-c", script]);
    command.output().unwrap()
}

#[test]
fn messages_are_the_rate_times_the_time() {
    let output = observe("while :; do echo 'messages/s: 100000'; sleep 0.01; done");
    assert!(output.status.success(), "{output:?}");
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let seconds = line["seconds"].as_f64().unwrap();
    let count = line["count"].as_f64().unwrap();
    assert!(seconds > 0.0, "{line}");
    assert!((count - 100_000.0 * seconds).abs() <= 1.0, "{line}");
}

#[test]
fn a_load_generator_that_ends_fails_the_run() {
    let output = observe("echo 'messages/s: 1'; echo 'messages/s: 1'; exit 3");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "the run succeeded");
    assert!(error.contains("ended early"), "{error}");
}
