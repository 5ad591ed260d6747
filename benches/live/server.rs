//! The built server as a process of its own, on a fresh directory: started, watched, killed, started again.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::Plan;

pub struct Server {
    child: Child,
    dir: PathBuf,
    streams: u64,
    pub address: SocketAddr,
    pub token: String,
}

impl Server {
    pub fn start(dir: &Path, plan: &Plan) -> Server {
        let run = |args: &[&str]| {
            let output = command(dir, args).output().expect("the binary runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        run(&["init"]);
        run(&["tenant", "create", "bench", "--recording", "on"]);
        let scopes = "ingest,read,play:customer";
        let token = run(&["token", "create", "--tenant", "bench", "--name", "b", "--scope", scopes]).trim().to_owned();
        // Below the ports that outgoing connections get, so that none of them takes it while the server is down.
        let free = (20_000..32_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let address = free.into_iter().find(|address| TcpListener::bind(address).is_ok()).expect("a free port");
        Server { child: serve(dir, address, plan.streams), dir: dir.to_owned(), streams: plan.streams, address, token }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("it ends");
    }

    /// On the same directory and port; returns when it listens.
    pub fn start_again(&mut self) {
        self.child = serve(&self.dir, self.address, self.streams);
    }

    pub fn cpu_s(&self) -> f64 {
        cpu_s(self.child.id())
    }

    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a number of kB")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn serve(dir: &Path, address: SocketAddr, streams: u64) -> Child {
    let (listen, count) = (address.to_string(), (streams + 100).to_string());
    let mut command =
        command(dir, &["serve", "--listen", &listen, "--metrics-listen", "127.0.0.1:0", "--rate-requests-per-s", "0"]);
    // Streams that are open wait for those that are not yet.
    command.args(["--expire-every", "never", "--upload-count-max", &count, "--upload-idle", "5m"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(line.contains(&listen), "the server does not listen: {line:?}");
    child
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callvault"));
    command.args(args).arg("--data-dir").arg(dir.join("data")).env("CALLVAULT_LOG", "warn");
    command
}

/// User and system time of a process so far.
pub fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// How long this thread was ready to run and did not; 0 where the kernel does not count it.
pub fn waited_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().nth(1).and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// How often a second one thread can append a block and sync it.
pub fn fsync_rate(dir: &Path) -> f64 {
    let mut file = std::fs::File::create(dir.join("fsync")).expect("a file");
    let (started, count) = (Instant::now(), 300);
    for _ in 0..count {
        file.write_all(&[7; 4096]).expect("written");
        file.sync_data().expect("synced");
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}
