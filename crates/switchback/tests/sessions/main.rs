//! Nothing is lost or doubled, whatever the network does, and the best transport is found.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod continuity;
mod fallback;
mod full;
mod gone;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use switchback::{Client, Connection, Event, Message};
use switchback_chaos::Proxy;

use support::within;

/// A client that loses no time in tests.
fn quick(proxy: &Proxy) -> Client {
    Client::new(&format!("http://{}/rt", proxy.local_addr()))
        .unwrap()
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(20))
        .max_starts(1000, Duration::from_secs(10))
}

async fn message(connection: &mut Connection) -> Message {
    within("a message", connection.recv())
        .await
        .unwrap()
        .expect("open")
}

/// Takes events until one of a kind; messages on the way are a failure.
async fn until(connection: &mut Connection, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = within(what, connection.next_event())
            .await
            .unwrap()
            .expect(what);
        if wanted(&event) {
            return event;
        }
        assert!(
            !matches!(event, Event::Message(_)),
            "{event:?} while waiting for {what}"
        );
    }
}
