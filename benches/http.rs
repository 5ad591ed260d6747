//! The whole way through real HTTP on loopback, beside a plain hyper server that passes the same bytes to and from a file,
//! in the same run: `cargo bench --bench http`. The ratio is the figure.
//!
//! Both servers are processes of their own; what counts is their CPU time (user and system, from /proc), not the clock on
//! the wall, which other work on the machine moves.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;

const MIB: usize = 1 << 20;
/// Bytes of one upload in the throughput pair.
const BULK_LEN: usize = 512 * MIB;
const ROUNDS: usize = 3;
const RANGED_LEN: usize = 1024 * MIB;
const RANGES: usize = 2_000;
const SMALL_COUNT: usize = 8_000;
const SMALL_CLIENTS: usize = 64;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("pass-through") => pass_through(Path::new(&std::env::args().nth(2).expect("a directory"))),
        _ => compare(),
    }
}

fn compare() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let plain = Server::pass_through(dir.path());
    let sealed = Server::callvault(dir.path());
    let body = vec![0x55; MIB];
    println!("{ROUNDS} rounds of {} MiB each, server CPU seconds per GB:\n", BULK_LEN / MIB);
    let (mut ingest, mut playback) = ([0.0; 2], [0.0; 2]);
    for round in 0..ROUNDS {
        let name = format!("bulk-{round}");
        let mut paths = Vec::new();
        for (index, server) in [&plain, &sealed].into_iter().enumerate() {
            let (path, cpu_s) = server.measure(|| server.put(&name, &body, BULK_LEN));
            ingest[index] += cpu_s;
            paths.push(path);
        }
        for (index, server) in [&plain, &sealed].into_iter().enumerate() {
            let (len, cpu_s) = server.measure(|| server.get(&paths[index], None));
            assert_eq!(len, BULK_LEN);
            playback[index] += cpu_s;
        }
    }
    let gb = (ROUNDS * BULK_LEN) as f64 / 1e9;
    for (what, [plain, sealed], aim) in [("ingest", ingest, 1.8), ("playback", playback, 2.0)] {
        let (plain, sealed) = (plain / gb, sealed / gb);
        println!(
            "{what:<10} plain {plain:.2}   sealed {sealed:.2}   ratio {:.2}   (aim: at most {aim})",
            sealed / plain
        );
    }
    ranges(&sealed, &body);
    small(&sealed, dir.path());
}

/// 64 KiB somewhere in a recording of 1 GiB, as a player asks that seeks.
fn ranges(sealed: &Server, body: &[u8]) {
    let path = sealed.put("ranged", body, RANGED_LEN);
    let ((), cpu_s) = sealed.measure(|| {
        let mut connection = sealed.connect();
        for index in 0..RANGES {
            let first = index.wrapping_mul(7_919_777) % (RANGED_LEN - 65_536);
            let len = sealed.get_on(&mut connection, &path, Some((first, first + 65_535)));
            assert_eq!(len, 65_536);
        }
    });
    println!("\n64 KiB out of 1 GiB: {:.3} ms of server CPU a request (aim: at most 0.3)", cpu_s * 1e3 / RANGES as f64);
}

/// Small recordings, acknowledged when they are durable, beside what the disk can sync.
fn small(sealed: &Server, dir: &Path) {
    let fsyncs = fsync_rate(dir);
    let started = Instant::now();
    let ((), cpu_s) = sealed.measure(|| {
        std::thread::scope(|scope| {
            for client in 0..SMALL_CLIENTS {
                scope.spawn(move || {
                    let mut connection = sealed.connect();
                    for index in 0..SMALL_COUNT / SMALL_CLIENTS {
                        sealed.put_on(&mut connection, &format!("small-{client}-{index}"), &[0x55; 1_600], 1_600);
                    }
                });
            }
        });
    });
    let per_s = SMALL_COUNT as f64 / started.elapsed().as_secs_f64();
    println!(
        "\nsmall recordings (1,600 bytes, {SMALL_CLIENTS} at once): {per_s:.0} acknowledged a second, {:.2} ms of server CPU each; \
         raw fsync rate in the same run: {fsyncs:.0} a second",
        cpu_s * 1e3 / SMALL_COUNT as f64
    );
}

/// How often a second one thread can append a block and sync it.
fn fsync_rate(dir: &Path) -> f64 {
    let mut file = std::fs::File::create(dir.join("fsync")).expect("a file");
    let (started, count) = (Instant::now(), 300);
    for _ in 0..count {
        file.write_all(&[7; 4096]).expect("written");
        file.sync_data().expect("synced");
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// A server process.
struct Server {
    child: Child,
    address: SocketAddr,
    token: String,
}

impl Server {
    fn pass_through(dir: &Path) -> Server {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("pass-through").arg(dir);
        Server::start(command, String::new())
    }

    fn callvault(dir: &Path) -> Server {
        let command = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_callvault"));
            command.args(args).arg("--data-dir").arg(dir.join("data")).env("CALLVAULT_LOG", "error");
            command
        };
        let run = |args: &[&str]| {
            let output = command(args).output().expect("the binary runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        run(&["init"]);
        run(&["tenant", "create", "bench", "--recording", "on"]);
        let token = run(&["token", "create", "--tenant", "bench", "--name", "b", "--scope", "ingest,play:customer"]);
        let listen = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
            "--expire-every",
            "never",
            "--rate-requests-per-s",
            "0",
        ];
        Server::start(command(&listen), token.trim().to_owned())
    }

    fn start(mut command: Command, token: String) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.trim().rsplit('/').next().and_then(|text| text.parse().ok());
        Server { child, address: address.unwrap_or_else(|| panic!("no address in {line:?}")), token }
    }

    /// CPU seconds that the server took while `work` ran.
    fn measure<T>(&self, work: impl FnOnce() -> T) -> (T, f64) {
        let before = self.cpu_s();
        let result = work();
        (result, self.cpu_s() - before)
    }

    fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the server runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
        ticks / rustix::param::clock_ticks_per_second() as f64
    }

    fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(self.address).expect("the server listens");
        connection.set_nodelay(true).expect("an option");
        connection
    }

    /// Uploads `len` bytes; the path at which they are read back.
    fn put(&self, name: &str, piece: &[u8], len: usize) -> String {
        self.put_on(&mut self.connect(), name, piece, len)
    }

    fn put_on(&self, connection: &mut TcpStream, name: &str, piece: &[u8], len: usize) -> String {
        let head = format!(
            "PUT /v1/recordings/{name} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ncontent-length: {len}\r\n\r\n",
            self.token
        );
        connection.write_all(head.as_bytes()).expect("sent");
        let mut left = len;
        while left > 0 {
            let count = left.min(piece.len());
            connection.write_all(&piece[..count]).expect("sent");
            left -= count;
        }
        let (head, _) = answer(connection);
        assert!(head.starts_with("HTTP/1.1 201"), "{head}");
        let location = head.lines().find_map(|line| line.strip_prefix("location: ")).map(str::to_owned);
        location.map_or_else(|| format!("/v1/recordings/{name}"), |location| format!("{location}/audio"))
    }

    fn get(&self, path: &str, range: Option<(usize, usize)>) -> usize {
        self.get_on(&mut self.connect(), path, range)
    }

    fn get_on(&self, connection: &mut TcpStream, path: &str, range: Option<(usize, usize)>) -> usize {
        let range = range.map_or(String::new(), |(first, last)| format!("range: bytes={first}-{last}\r\n"));
        let head = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n{range}\r\n", self.token);
        connection.write_all(head.as_bytes()).expect("sent");
        let (head, len) = answer(connection);
        assert!(head.starts_with("HTTP/1.1 20"), "{head}");
        len
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads one answer; its head, and how many bytes its body had.
fn answer(connection: &mut TcpStream) -> (String, usize) {
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    let end = loop {
        let count = connection.read(&mut buffer[filled..]).expect("an answer");
        assert!(count > 0, "the server hung up");
        filled += count;
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase().replace("http/1.1", "HTTP/1.1");
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut left = len - (filled - end);
    while left > 0 {
        let count = connection.read(&mut buffer).expect("a whole body");
        assert!(count > 0, "the server hung up");
        left -= count;
    }
    (head, len)
}

/// The plain server: bodies to files by aligned writes of 64 KiB, synced before the answer; files to bodies by windows of
/// 256 KiB.
#[tokio::main]
async fn pass_through(dir: &Path) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    let dir = dir.to_owned();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let dir = dir.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(request, dir.clone()));
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn pass(request: Request<Incoming>, dir: PathBuf) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let path = dir.join(request.uri().path().rsplit('/').next().expect("a path"));
    if request.method() == Method::GET {
        let len = std::fs::metadata(&path).expect("the file was put before").len();
        let windows = stream::iter((0..len).step_by(256 << 10)).map(move |start| {
            let path = path.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || {
                    let mut file = std::fs::File::open(path).expect("the file was put before");
                    let mut bytes = vec![0; (len - start).min(256 << 10) as usize];
                    file.seek(SeekFrom::Start(start)).expect("inside");
                    file.read_exact(&mut bytes).expect("inside");
                    Bytes::from(bytes)
                });
                Ok(Frame::data(read.await.expect("it does not panic")))
            }
        });
        let response = Response::builder().header("content-length", len);
        return Ok(response.body(BodyExt::boxed(StreamBody::new(windows.buffered(2)))).expect("well-formed"));
    }
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut body = request.into_body();
    let mut block = Vec::with_capacity(64 << 10);
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(mut data) = frame.into_data() else { continue };
        while !data.is_empty() {
            let count = data.len().min(block.capacity() - block.len());
            block.extend_from_slice(&data.split_to(count));
            if block.len() == block.capacity() {
                file.write_all(&block).expect("written");
                block.clear();
            }
        }
    }
    file.write_all(&block).expect("written");
    tokio::task::spawn_blocking(move || file.sync_data()).await.expect("it does not panic").expect("synced");
    Ok(Response::builder().status(201).body(BodyExt::boxed(Full::new(Bytes::new()))).expect("well-formed"))
}
