//! The parts of a cluster: two servers with a spool each, PostgreSQL, S3; each a process of its own that can be lost.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bucket::Bucket;
use super::postgres::Cluster;

const START_TIME_MAX: Duration = Duration::from_secs(90);
const SCOPES: &str = "ingest,read,play:customer,manage,rights";

pub struct Parts {
    pub dir: PathBuf,
    pub postgres: Cluster,
    pub catalog: String,
    pub bucket: Bucket,
    pub replicas: Vec<Replica>,
    pub token: String,
}

pub struct Replica {
    pub name: String,
    pub address: SocketAddr,
    pub spool: PathBuf,
    pub log: PathBuf,
    child: Option<Child>,
}

impl Parts {
    /// A vault that was made at this clock (`-31d`), and nothing that serves it yet.
    pub fn new(dir: &Path, at: Option<&str>) -> Parts {
        let postgres = Cluster::durable();
        let catalog = postgres.empty();
        let replica = |number: usize| Replica {
            name: format!("vault-{number}"),
            address: free_address(),
            spool: dir.join(format!("spool-{number}")),
            log: dir.join(format!("vault-{number}.log")),
            child: None,
        };
        let mut parts = Parts {
            dir: dir.to_owned(),
            postgres,
            catalog,
            bucket: Bucket::start(dir),
            replicas: (0..2).map(replica).collect(),
            token: String::new(),
        };
        parts.ok(&["init"], at);
        let terms = ["--customer-term", "30d"];
        parts.ok(&[&["tenant", "create", "bench", "--name", "Bench", "--recording", "on"][..], &terms].concat(), at);
        let made = parts.ok(&["token", "create", "--tenant", "bench", "--name", "b", "--scope", SCOPES], at);
        parts.token = made["token"].as_str().expect("a token").to_owned();
        parts
    }

    /// What every process of this vault is told.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = self.bucket.variables();
        let data_dir = self.dir.join("data").to_string_lossy().into_owned();
        for (name, value) in
            [("CALLVAULT_CATALOG", &*self.catalog), ("CALLVAULT_DATA_DIR", &data_dir), ("CALLVAULT_LOG", "warn")]
        {
            variables.push((name.to_owned(), value.to_owned()));
        }
        variables
    }

    pub fn command(&self, args: &[&str], at: Option<&str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callvault"));
        if let Some(at) = at {
            let library = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
            let library = library.expect("this bench needs faketime");
            command.env("LD_PRELOAD", String::from_utf8_lossy(&library.stdout).trim());
            command.env("FAKETIME", at).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.args(args).arg("--json").envs(self.variables());
        command
    }

    /// A command that must succeed; its JSON.
    pub fn ok(&self, args: &[&str], at: Option<&str>) -> Value {
        self.tried(args, at).unwrap_or_else(|text| panic!("{args:?}: {text}"))
    }

    pub fn tried(&self, args: &[&str], at: Option<&str>) -> Result<Value, String> {
        let output = self.command(args, at).output().expect("the binary runs");
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
        }
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts a server, at the time of a clock; returns when it answers.
    pub async fn start(&mut self, number: usize, at: Option<&str>) {
        let Replica { name, address, spool, log, .. } = &self.replicas[number];
        let (listen, url, spool) = (address.to_string(), format!("http://{address}"), spool.to_string_lossy());
        let settings = ["--listen", &listen, "--replica-name", name, "--replica-url", &url, "--spool-dir", &spool];
        let rest = ["--metrics-listen", "127.0.0.1:0", "--expire-every", "never"];
        let mut command = self.command(&[&["serve", "--rate-requests-per-s", "0"][..], &settings, &rest].concat(), at);
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
        command.stdout(Stdio::null()).stderr(log);
        self.replicas[number].child = Some(command.spawn().expect("the binary runs"));
        self.replicas[number].listening().await;
    }

    /// Waits until no server holds anything that the object store has not; how long that took, or what is left.
    pub async fn forwarded(&self, time_max: Duration) -> Result<Duration, u64> {
        let started = Instant::now();
        loop {
            let listed = self.ok(&["replica", "list"], None);
            let replicas = listed["replicas"].as_array().expect("a list");
            let held: u64 = replicas.iter().filter_map(|replica| replica["held"].as_u64()).sum();
            if held == 0 {
                return Ok(started.elapsed());
            }
            if started.elapsed() > time_max {
                return Err(held);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Sealed bytes that lie in the spools.
    pub fn spooled_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs: Vec<_> = self.replicas.iter().map(|replica| replica.spool.clone()).collect();
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { dirs.push(path) } else { files.push(path) }
            }
        }
        files
    }
}

impl Replica {
    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// SIGTERM.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
            child.wait().expect("it ends");
        }
    }

    async fn listening(&mut self) {
        let deadline = Instant::now() + START_TIME_MAX;
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "{} ended: {}", self.name, log());
            assert!(Instant::now() < deadline, "{} does not listen: {}", self.name, log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Below the ports that outgoing connections get, so that none of them takes it while its owner is down.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at different places.
    let start = 20_000 + (std::process::id() % 10_000) as u16;
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], start + NEXT.fetch_add(1, Relaxed)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
