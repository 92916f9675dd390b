//! The servers that are measured: ours, and the peers that are installed.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::pin::Cores;

/// How a server is started.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum How {
    /// This program.
    Ours,
    /// A program that takes an address, and prints a URL when it listens.
    Program(PathBuf, Vec<String>),
    /// nginx with a configuration of ours, in which `PORT` and `RUN` are filled in.
    Nginx(PathBuf),
}

/// A server that runs until it is dropped.
pub(super) struct Server {
    child: Child,
    port: u16,
    run: Option<PathBuf>,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    pub(super) fn start(how: &How, cores: &Cores) -> io::Result<Self> {
        match how {
            How::Ours => {
                let mut command = cores.server(std::env::current_exe()?);
                command.args(["serve", "--listen", "127.0.0.1:0"]);
                Self::listening(command)
            }
            How::Program(program, args) => {
                let mut command = cores.server(program);
                // The floor listens on two ports more.
                let port = free_port(3)?;
                command.args(args).arg(format!("127.0.0.1:{port}"));
                Self::listening(command)
            }
            How::Nginx(config) => Self::nginx(config, cores),
        }
    }

    /// Waits for the line with the URL.
    fn listening(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let mut server = Self {
            child,
            port: 0,
            run: None,
        };
        server.port = port.ok_or_else(|| io::Error::other("the server does not start"))?;
        Ok(server)
    }

    fn nginx(config: &Path, cores: &Cores) -> io::Result<Self> {
        let port = free_port(1)?;
        let run = std::env::temp_dir().join(format!("switchback-bench-nginx-{port}"));
        fs::create_dir_all(&run)?;
        let text = fs::read_to_string(config)?
            .replace("PORT", &port.to_string())
            .replace("RUN", &run.to_string_lossy());
        let file = run.join("nginx.conf");
        fs::write(&file, text)?;
        let mut command = cores.server("nginx");
        command
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(run.join("error.log"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Self {
            child,
            port,
            run: Some(run),
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("nginx does not start"));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// `taskset` becomes the program that it runs, so this is the server itself.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a path. A path of the form `+1` is another port.
    pub(super) fn url(&self, path: &str) -> String {
        match path
            .strip_prefix('+')
            .and_then(|offset| offset.parse::<u16>().ok())
        {
            Some(offset) => format!("tcp://127.0.0.1:{}", self.port + offset),
            None => format!("http://127.0.0.1:{}{path}", self.port),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(run) = &self.run {
            // nginx has children, which it ends itself when it is asked to end.
            let _ = Command::new("kill").arg(self.pid().to_string()).status();
            let deadline = Instant::now() + PATIENCE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                sleep(Duration::from_millis(10));
            }
            let _ = fs::remove_dir_all(run);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free, and so are those behind it. Not one of those that the system gives to
/// clients: after thousands of connections few of these are free. Somebody may take it before the
/// server does; then that does not start, and says so.
fn free_port(count: u16) -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1000 {
        let first = 20_000 + NEXT.fetch_add(count, Ordering::Relaxed) % 10_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + count).all(free) {
            return Ok(first);
        }
    }
    Err(io::Error::other("no free ports"))
}

/// The peers that are installed.
#[derive(Debug, Default)]
pub(super) struct Peers {
    found: Vec<(&'static str, How)>,
    pub(super) missing: Vec<String>,
}

impl Peers {
    pub(super) fn find(dir: &Path) -> Self {
        let mut peers = Self::default();
        for name in [
            "floor",
            "tungstenite",
            "fastwebsockets",
            "axum",
            "socketioxide",
        ] {
            let program = dir.join("rust/target/release").join(name);
            peers.add(
                name,
                program.exists(),
                How::Program(program.clone(), Vec::new()),
            );
        }
        for (name, module) in [("npm-ws", "ws"), ("socket.io", "socket.io")] {
            let script = dir.join("node").join(format!("{name}.mjs"));
            let there = dir.join("node/node_modules").join(module).exists();
            let args = vec![script.to_string_lossy().into_owned()];
            peers.add(name, there, How::Program("node".into(), args));
        }
        let module = Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so");
        peers.add(
            "nchan",
            module.exists(),
            How::Nginx(dir.join("nginx-nchan.conf")),
        );
        peers
    }

    fn add(&mut self, name: &'static str, there: bool, how: How) {
        if there {
            self.found.push((name, how));
        } else {
            self.missing.push(name.to_owned());
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<How> {
        let mut found = self.found.iter();
        found
            .find(|(found, _)| *found == name)
            .map(|(_, how)| how.clone())
    }
}
