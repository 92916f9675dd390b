//! Reverse proxies as processes of their own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long one may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of the log of one is shown when a test has failed.
const LAST_LINES: usize = 30;

/// A program that passes requests on, and how it is run.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The arguments before the name of the file with the configuration.
    pub(crate) args: &'static [&'static str],
    /// The signal that makes it take the configuration anew.
    pub(crate) reload: &'static str,
    /// The configuration, for where it listens, the server, a directory of its own and lines of
    /// the test.
    pub(crate) configure: fn(SocketAddr, SocketAddr, &Path, &str) -> String,
}

/// A running one. Ends when it is dropped; shows the end of its log then when the test has failed.
pub(crate) struct Gateway {
    program: &'static Program,
    pub(crate) addr: SocketAddr,
    child: Child,
    directory: PathBuf,
}

impl Gateway {
    /// Starts a program in front of a server, with some lines for its configuration.
    pub(crate) fn start(
        program: &'static Program,
        test: &str,
        server: SocketAddr,
        lines: &str,
    ) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "{}-{}-{}",
            program.name,
            test.replace(' ', "-"),
            std::process::id()
        ));
        fs::create_dir_all(&directory).unwrap();
        let addr = free_addr();
        let file = directory.join("conf");
        fs::write(&file, (program.configure)(addr, server, &directory, lines)).unwrap();
        let log = File::create(directory.join("log")).unwrap();
        let child = Command::new(program.name)
            .args(program.args)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.name));
        let mut gateway = Self {
            program,
            addr,
            child,
            directory,
        };
        gateway.wait_until_it_listens();
        gateway
    }

    fn wait_until_it_listens(&mut self) {
        let begin = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begin.elapsed() < PATIENCE,
                "{} does not listen: {ended:?}",
                self.program.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes it start new workers, and end the old ones with all that they carry.
    pub(crate) fn reload(&self) {
        assert!(
            self.signal(self.program.reload),
            "{} is gone",
            self.program.name
        );
    }

    /// Sends a signal; `false` when there is nobody to send it to.
    fn signal(&self, name: &str) -> bool {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        status.is_ok_and(|status| status.success())
    }

    fn wait_until_it_has_ended(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Its workers end with it, which a kill could not tell them.
        if !self.signal("TERM") || !self.wait_until_it_has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let file = self.directory.join("log");
            let log = fs::read(&file).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("the end of {}:\n{}", file.display(), last.join("\n"));
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// An address that nobody listens on now, and that the system gives to nobody else who asks for any:
/// those are higher.
fn free_addr() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    (0..10_000)
        .map(|_| first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000 + 20_000)
        .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port.try_into().ok()?)).ok())
        .find_map(|listener| listener.local_addr().ok())
        .unwrap()
}
