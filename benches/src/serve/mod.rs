//! The server that is measured.

mod app;
mod echo;
mod member;
mod publish;
mod room;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use switchback::Endpoint;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use self::app::App;
use self::room::Room;

/// Starts the server that is measured
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// The address to listen on; port 0 for any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Worker threads; 0 for one thread that does all
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
}

/// Serves until the process is ended. Prints the address first, alone on its line.
pub(crate) fn run(args: &ServeArgs) -> io::Result<()> {
    runtime(args.workers)?.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        super::say(format_args!("http://{}", listener.local_addr()?));
        serve(listener).await
    })
}

pub(crate) fn runtime(workers: usize) -> io::Result<Runtime> {
    match workers {
        0 => Builder::new_current_thread().enable_all().build(),
        workers => Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build(),
    }
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    let room = Arc::new(Room::default());
    let (echo, incoming) = Endpoint::new(app::endpoint_config());
    tokio::spawn(echo::accept(incoming));
    let (members, incoming) = Endpoint::new(app::endpoint_config());
    tokio::spawn(room::accept(Arc::clone(&room), incoming));
    switchback::serve(listener, App::new(room, echo, members)).await
}
