//! Round trips: how often a client waits for the server until it can talk.
//!
//! The client of the facade connects through a proxy that passes everything on a certain time
//! later, each way. What that takes, divided by twice the time, is the number of round trips; TCP's
//! own, which the proxy does not delay, would come on top.

use std::io;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use switchback::{Client, Connection, Event};
use switchback_chaos::{Action, Cut, Faults, Flow, Proxy, Rule};
use tokio::time::timeout;

use super::swarm::PATIENCE;
use super::{Common, Outcome};
use crate::wire::Fault;

#[derive(Args, Clone, Debug)]
pub(super) struct RoundTripsArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// What happens
    #[arg(long, value_enum, default_value = "connect")]
    how: How,
    /// Milliseconds from one end to the other
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=1000))]
    delay: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// A WebSocket opens
    Connect,
    /// A proxy refuses WebSockets; an event stream opens
    Refused,
    /// The connection is cut, and resumed on a WebSocket
    Resume,
}

pub(super) fn run(args: &RoundTripsArgs) -> Result<Outcome, Fault> {
    let delay = Duration::from_millis(args.delay);
    let (open, echo) = crate::serve::runtime(0)?.block_on(measure(args, delay))?;
    let trips = |time: Duration| time.as_secs_f64() / (2.0 * delay.as_secs_f64());
    let how = args.how.to_possible_value();
    Ok(Outcome {
        server: args.common.label.clone(),
        scenario: "round-trips".into(),
        kind: how.map(|how| how.get_name().to_owned()).unwrap_or_default(),
        connections: 1,
        seconds: (open + echo).as_secs_f64(),
        count: 1,
        round_trips: Some((trips(open), trips(echo))),
        ..Outcome::default()
    })
}

async fn measure(args: &RoundTripsArgs, delay: Duration) -> Result<(Duration, Duration), Fault> {
    let proxy = Proxy::start(args.common.url.addr).await?;
    let flow = || Flow::new().delay(delay);
    let mut faults = Faults::new().up(flow()).down(flow());
    if args.how == How::Refused {
        faults = faults.rule(Rule::websocket(Action::Answer(502)));
    }
    proxy.set(faults).await;
    let url = format!("http://{}{}", proxy.local_addr(), args.common.url.path);

    let mut begin = Instant::now();
    let client = Client::new(&url).map_err(|error| Fault::System(error.to_string()))?;
    let mut connection = patient("a connection", client.connect()).await?;
    if args.how == How::Resume {
        patient("an echo", echo(&mut connection)).await?;
        proxy.cut(Cut::Reset);
        patient(
            "the cut",
            until(&mut connection, |event| *event == Event::Reconnecting),
        )
        .await?;
        connection.network_changed();
        // What the client waits before it tries is no round trip.
        let accepted = proxy.counters().accepted;
        timeout(
            PATIENCE,
            proxy.until(|counters| counters.accepted > accepted),
        )
        .await
        .map_err(|_| Fault::Silent("the client does not come back".into()))?;
        begin = Instant::now();
        let resumed = |event: &Event| matches!(event, Event::Resumed { .. });
        patient("the resumption", until(&mut connection, resumed)).await?;
    }
    let open = begin.elapsed();
    patient("an echo", echo(&mut connection)).await?;
    Ok((open, begin.elapsed()))
}

async fn echo(connection: &mut Connection) -> io::Result<()> {
    connection.send("hello").await.map_err(io::Error::other)?;
    match connection.recv().await.map_err(io::Error::other)? {
        Some(message) if message.as_text() == Some("hello") => Ok(()),
        other => Err(io::Error::other(format!("{other:?} is no echo"))),
    }
}

async fn until(connection: &mut Connection, happened: impl Fn(&Event) -> bool) -> io::Result<()> {
    while let Some(event) = connection.next_event().await.map_err(io::Error::other)? {
        if happened(&event) {
            return Ok(());
        }
    }
    Err(io::Error::other("the connection was closed"))
}

async fn patient<T, E: std::fmt::Display>(
    what: &str,
    wait: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match timeout(PATIENCE, wait).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Fault::Ended(format!("{what}: {error}"))),
        Err(_) => Err(Fault::Silent(what.into())),
    }
}
