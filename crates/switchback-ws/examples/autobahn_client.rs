//! An echo client for the Autobahn|Testsuite, `wstest -m fuzzingserver`: runs all cases.
//!
//! `cargo run --release -p switchback-ws --example autobahn_client -- --url ws://127.0.0.1:9002`

use std::error::Error;

use switchback_ws::{ClientConfig, Limits, TransportExt, connect};

const AGENT: &str = "switchback";
/// The suite's largest messages have 16 MiB.
const LARGEST: usize = 64 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some("--url"), Some(url)) = (args.next().as_deref(), args.next()) else {
        return Err("usage: autobahn_client --url URL".into());
    };
    let config = ClientConfig::new().limits(Limits::new().max_message_size(LARGEST));

    let mut count = connect(&format!("{url}/getCaseCount"), &config).await?;
    let cases: u32 = match count.recv().await? {
        Some(message) => message.as_text().unwrap_or_default().parse()?,
        None => return Err("the suite did not say how many cases there are".into()),
    };
    for case in 1..=cases {
        let case = format!("{url}/runCase?case={case}&agent={AGENT}");
        let mut socket = connect(&case, &config).await?;
        // Many cases are meant to end in an error. What is right is for the suite to say.
        while let Ok(Some(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
    let mut reports = connect(&format!("{url}/updateReports?agent={AGENT}"), &config).await?;
    while reports.recv().await?.is_some() {}
    Ok(())
}
