//! An S3 server over a directory, as a process of its own: it is killed, and started again on the same files.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

use super::parts::free_address;

const ACCESS_KEY: &str = "AKIABENCH";
const SECRET_KEY: &str = "a-secret-of-the-bench";

pub struct Bucket {
    dir: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Bucket {
    pub fn start(dir: &Path) -> Bucket {
        let dir = dir.join("s3");
        std::fs::create_dir_all(dir.join("bucket")).expect("a bucket");
        let mut bucket = Bucket { dir, address: free_address(), child: None };
        bucket.start_again();
        bucket
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    pub fn start_again(&mut self) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("--s3").arg(&self.dir).arg("--s3-address").arg(self.address.to_string());
        // It ends when this pipe does, whatever becomes of this process.
        self.child = Some(command.stdin(Stdio::piped()).spawn().expect("this program runs"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(std::time::Instant::now() < deadline, "the S3 server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What reaches it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        let variables = [
            ("AWS_ENDPOINT_URL", &*endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("NO_PROXY", "127.0.0.1"),
            ("CALLVAULT_STORE", "s3://bucket/vault"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Its place, for whoever lays objects there.
    pub fn shelf(&self) -> Shelf {
        Shelf(self.dir.join("bucket/vault"))
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        let mut count = 0;
        let mut dirs = vec![self.dir.join("bucket")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    dirs.push(entry.path());
                }
                // An object's name is 128 bits; the server keeps files of its own beside them.
                count += usize::from(entry.file_name().len() == 32);
            }
        }
        count
    }
}

/// Where a vault's objects lie.
pub struct Shelf(PathBuf);

impl Shelf {
    /// An object, past the server.
    pub fn lay(&self, object: &str, bytes: &[u8]) {
        let folder = self.0.join(&object[..2]);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(object), bytes).expect("a file");
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The process itself.
pub async fn serve(dir: &Path, address: SocketAddr) {
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    });
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir).expect("a store"));
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    // The recordings that are due are sent by servers whose clock is behind.
    let mut config = S3Config::default();
    config.presigned_url_max_skew_time_secs = u32::MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    let s3 = builder.build();
    let listener = TcpListener::bind(address).await.expect("the port is free");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(stream), s3.clone()));
    }
}
