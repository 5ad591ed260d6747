//! The program as its users have it: the built binary, its commands, its HTTP port, a directory of its own.

pub mod documented;
pub mod held;
pub mod journal;
pub mod postgres;
pub mod provider;
pub mod s3;
pub mod secrets;
pub mod secured;
pub mod slow;
pub mod wire;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use callvault::config::{Config, RawSettings};
use serde_json::Value;
use tempfile::TempDir;

/// A vault in a temporary directory, with a tenant `acme` that records, and a token that may do everything. When it is
/// dropped, the journals of all its processes are held to the rule that no key seals twice under one nonce, and no file of it
/// holds a token.
pub struct Vault {
    pub dir: TempDir,
    pub token: String,
    /// Variables for every command and server of this vault.
    pub env: Vec<(String, String)>,
}

/// A running `callvault serve`; killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
    /// The vault's token, for requests that say nothing else.
    pub token: String,
    /// Everything that it wrote to stderr so far.
    pub log: PathBuf,
}

pub const ALL_SCOPES: &str = "ingest,read,play:customer,play:training,manage,rights,finance,audit,admin";

impl Vault {
    /// `init`, tenant `acme` (recording on, 30 days), one token.
    pub fn new() -> Vault {
        Vault::in_dir(tempfile::tempdir().expect("a temporary directory"))
    }

    /// [`Vault::new`] with variables that may name places beside its data.
    pub fn with_env(env: impl FnOnce(&Path) -> Vec<(String, String)>) -> Vault {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let env = env(dir.path());
        Vault::made(dir, env)
    }

    pub fn in_dir(dir: TempDir) -> Vault {
        Vault::made(dir, Vec::new())
    }

    fn made(dir: TempDir, env: Vec<(String, String)>) -> Vault {
        let mut vault = Vault { dir, token: String::new(), env };
        std::fs::create_dir(vault.journal()).expect("it is new");
        vault.ok(&["init"]);
        let terms = ["--customer-term", "30d", "--training-term", "30d"];
        vault.ok(&[&["tenant", "create", "acme", "--name", "Acme", "--recording", "on"][..], &terms].concat());
        vault.token = vault.make_token("acme", ALL_SCOPES);
        vault
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Another vault with the same bytes and the same journals so far, in a directory of its own.
    pub fn copied(&self) -> Vault {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for entry in std::fs::read_dir(self.dir.path()).expect("the vault's directory").flatten() {
            copy_dir(&entry.path(), &dir.path().join(entry.file_name()));
        }
        let moved = |value: &String| value.replace(&*self.dir.path().to_string_lossy(), &dir.path().to_string_lossy());
        let env = self.env.iter().map(|(name, value)| (name.clone(), moved(value))).collect();
        Vault { dir, token: self.token.clone(), env }
    }

    /// A path below the vault's directory, beside its data.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where its processes write what they seal.
    fn journal(&self) -> PathBuf {
        self.beside("journal")
    }

    /// How many chunks and frames its processes have sealed.
    ///
    /// # Panics
    /// If two of them were sealed under one key and nonce.
    pub fn sealings(&self) -> usize {
        journal::check(&self.journal()).unwrap_or_else(|twice| panic!("{twice}"))
    }

    /// This vault's settings for use inside this process.
    pub fn config(&self) -> Config {
        let mut raw = RawSettings { data_dir: Some(self.path()), ..RawSettings::default() };
        raw.expire.every = Some("never".into());
        for (name, value) in &self.env {
            let list = || value.split(',').map(str::to_owned).collect();
            match name.as_str() {
                "CALLVAULT_KEY_STORE" => raw.key_store = Some(list()),
                "CALLVAULT_GENERATION_STORE" => raw.generation_store = Some(list()),
                "CALLVAULT_CATALOG" => raw.catalog = Some(value.clone()),
                "CALLVAULT_STORE" => raw.store = Some(value.clone()),
                "CALLVAULT_MASTER_KEY_FILE" => raw.master_key_file = Some(value.into()),
                _ => {}
            }
        }
        Config::check(raw).expect("the settings are sound")
    }

    pub fn make_token(&self, tenant: &str, scopes: &str) -> String {
        let made = self.ok(&["token", "create", "--tenant", tenant, "--name", "test", "--scope", scopes]);
        made["token"].as_str().expect("a token").to_owned()
    }

    /// The binary on this vault, with `--json`; `at` (such as "+31d") shifts its clock by faketime.
    pub fn command(&self, args: &[&str], at: Option<&str>) -> Command {
        let mut command = Command::new(binary());
        if let Some(at) = at {
            // Not through faketime(1): it stays between, and a signal for the binary would hit it.
            command.env("LD_PRELOAD", faketime_library()).env("FAKETIME", at).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.args(args).arg("--json").arg("--data-dir").arg(self.path());
        command.env(journal::VARIABLE, self.journal()).envs(self.env.iter().cloned());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args, None).output().expect("the binary runs")
    }

    /// A command that must succeed; its JSON.
    pub fn ok(&self, args: &[&str]) -> Value {
        self.ok_at(args, None)
    }

    pub fn ok_at(&self, args: &[&str], at: Option<&str>) -> Value {
        let output = self.command(args, at).output().expect("the binary runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?} ended with {}: {stderr}", output.status);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The exit code of a command, and its stderr.
    pub fn exit(&self, args: &[&str], at: Option<&str>) -> (i32, String) {
        let output = self.command(args, at).output().expect("the binary runs");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub fn serve(&self) -> Server {
        self.serve_with(&[], None)
    }

    /// `serve` on a free port, its own expire runs off unless `args` say otherwise.
    pub fn serve_with(&self, args: &[&str], at: Option<&str>) -> Server {
        let mut arguments = vec!["serve"];
        for default in [["--listen", "127.0.0.1:0"], ["--metrics-listen", "127.0.0.1:0"], ["--expire-every", "never"]] {
            if !args.contains(&default[0]) {
                arguments.extend(default);
            }
        }
        arguments.extend(args);
        self.spawn(self.command(&arguments, at))
    }

    /// `serve` in a shell that runs this first, such as a limit.
    pub fn serve_behind(&self, first: &str, args: &[&str]) -> Server {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        arguments.extend(["--expire-every", "never"]);
        arguments.extend(args);
        let command = self.command(&arguments, None);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]).arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.spawn(shell)
    }

    fn spawn(&self, mut command: Command) -> Server {
        let log = self.dir.path().join(format!("serve-{}.log", unique()));
        let stderr = std::fs::File::create(&log).expect("a log file");
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("a line");
        let listening: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("serve did not start: {}", std::fs::read_to_string(&log).unwrap_or_default()));
        let url = listening["url"].as_str().expect("a url").to_owned();
        Server { child, url, token: self.token.clone(), log }
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            println!("{} sealings", self.sealings());
            journal::assert_this_process();
            secrets::assert_no_token(self.dir.path());
        }
    }
}

impl Server {
    pub fn recordings(&self) -> String {
        format!("{}/v1/recordings", self.url)
    }

    pub fn audio(&self, id: &str) -> String {
        format!("{}/v1/recordings/{id}/audio", self.url)
    }

    pub fn address(&self) -> &str {
        self.url.split_once("://").expect("a url").1
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, and wait.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the server runs");
    }

    /// SIGTERM, and wait for a clean end.
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        self.wait();
    }

    /// Waits for a clean end.
    pub fn wait(&mut self) {
        let status = self.child.wait().expect("the server ends");
        assert!(status.success(), "serve ended with {status}: {}", self.log_text());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_callvault")
}

/// What faketime(1) preloads.
fn faketime_library() -> &'static str {
    static LIBRARY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    LIBRARY.get_or_init(|| {
        let output = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
        let output = output.expect("these tests need faketime");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// A client with the vault's token.
pub struct Client {
    pub http: reqwest::Client,
    pub token: String,
}

impl Client {
    pub fn new(token: &str) -> Client {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Client { http, token: token.to_owned() }
    }

    pub fn request(&self, method: &str, url: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, url).header("authorization", format!("Bearer {}", self.token))
    }

    /// An upload that must be stored; its JSON.
    pub async fn upload(&self, server: &Server, name: &str, bytes: Vec<u8>) -> Value {
        let url = format!("{}/{name}", server.recordings());
        let response = self.request("PUT", &url).body(bytes).send().await.expect("an answer");
        let status = response.status().as_u16();
        let answer = json(response).await;
        assert_eq!(status, 201, "{answer}");
        answer
    }

    pub async fn get(&self, url: &str) -> reqwest::Response {
        self.request("GET", url).send().await.expect("an answer")
    }

    /// Status and body.
    pub async fn fetch(&self, url: &str) -> (u16, Vec<u8>) {
        let response = self.get(url).await;
        (response.status().as_u16(), response.bytes().await.expect("a whole body").to_vec())
    }
}

pub async fn json(response: reqwest::Response) -> Value {
    let bytes = response.bytes().await.expect("a whole body");
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&bytes)))
}

pub fn id_of(recording: &Value) -> String {
    recording["id"].as_str().expect("an id").to_owned()
}

/// Bytes that look like nothing and are the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

/// Tries until it holds, for at most 20 s.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every file below a directory.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "{} was not copied", from.display());
}

/// An address that was free a moment ago, for what cannot tell which one it took.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// The system calls by which a run changes a disk, and those by which it looks at one.
pub const DISK_CALLS: [&str; 5] = ["write", "pwrite64", "fsync", "unlink", "openat"];

/// `command` under strace, killed when one of its threads makes `call` for the `step`-th time.
pub fn killed_at(command: &Command, call: &str, step: usize) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=KILL:when={step}")]);
    strace.arg(command.get_program()).args(command.get_args());
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace
}

/// A mount that the test made; taken away when it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// The same directory, read-only: file modes do not stop the superuser, a read-only mount does.
    pub fn read_only(dir: &Path) -> Mount {
        Mount::bound(dir, dir, true)
    }

    /// A directory at another place, read-only or not.
    pub fn bound(dir: &Path, at: &Path, is_read_only: bool) -> Mount {
        run_mount(&["--bind", &dir.to_string_lossy(), &at.to_string_lossy()]);
        let mount = Mount(at.to_owned());
        if is_read_only {
            run_mount(&["-o", "remount,ro,bind", &at.to_string_lossy()]);
        }
        mount
    }

    /// A disk of this size.
    pub fn small_disk(dir: &Path, size: &str) -> Mount {
        std::fs::create_dir_all(dir).expect("a directory");
        run_mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "callvault-test", &dir.to_string_lossy()]);
        Mount(dir.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

fn run_mount(args: &[&str]) {
    let output = Command::new("mount").args(args).output().expect("mount(8) is there");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this test needs to mount a file system, as root: mount {args:?}: {text}");
}
