//! A PostgreSQL of the tests' own, and a database for each test. Unit tests of the backend include this file too.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use tokio_postgres::NoTls;

/// What `tests/postgres` keeps running: until this is dropped, or the process dies.
pub struct Cluster {
    /// `postgres://user:password@host:port`, without a database.
    pub server: String,
    script: Child,
    orders: Mutex<Option<(ChildStdin, Lines<BufReader<ChildStdout>>)>>,
    count: AtomicU64,
}

impl Cluster {
    /// For all tests of a process that care nothing for power cuts. Nobody drops it: the end of the process closes its pipe.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start(&["fsync=off", "full_page_writes=off"]))
    }

    /// One that a test may stop, with every sync in its place.
    pub fn durable() -> Cluster {
        Cluster::start(&[])
    }

    pub fn start(settings: &[&str]) -> Cluster {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres");
        let mut command = Command::new(program);
        command.args(settings).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().expect("tests/postgres runs");
        let (stdin, stdout) = (script.stdin.take().expect("piped"), script.stdout.take().expect("piped"));
        let mut lines = BufReader::new(stdout).lines();
        let url = lines.next().expect("tests/postgres prints a URL; see what it says on stderr").expect("a line");
        let server = url.strip_suffix("/postgres").expect("a database at its end").to_owned();
        Cluster { server, script, orders: Mutex::new(Some((stdin, lines))), count: AtomicU64::new(0) }
    }

    /// A new database; the URL that leads to it.
    pub fn empty(&self) -> String {
        self.database("template0")
    }

    /// A new database with what `template` has, to which nobody is connected.
    pub fn database(&self, template: &str) -> String {
        let name = format!("vault_{}", self.count.fetch_add(1, Relaxed));
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"));
        format!("{}/{name}", self.server)
    }

    /// Statements of the superuser.
    pub fn admin(&self, sql: &str) {
        run(&format!("{}/postgres", self.server), sql);
    }

    /// `restart` and `stop` are as a crash; `start` waits until it answers.
    pub fn order(&self, order: &str) {
        let mut orders = self.orders.lock().expect("no test panicked with it");
        let (stdin, lines) = orders.as_mut().expect("it is taken by drop alone");
        writeln!(stdin, "{order}").expect("the script lives");
        let answer = lines.next().expect("the script lives").expect("a line");
        assert_eq!(answer, "done");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.orders.lock().ok().and_then(|mut orders| orders.take()));
        self.script.wait().ok();
    }
}

/// Statements on a database, from wherever.
pub fn run(url: &str, sql: &str) {
    query(url, sql, |_| ());
}

/// The first column of what a statement answers, as text.
pub fn column(url: &str, sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    query(url, sql, |text| found.push(text.to_owned()));
    found
}

/// On a thread and a runtime of its own: a test may be on one already.
fn query(url: &str, sql: &str, mut each: impl FnMut(&str) + Send) {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
                let connection = tokio::spawn(connection);
                for message in client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")) {
                    if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                        each(row.get(0).unwrap_or_default());
                    }
                }
                drop(client);
                connection.await.expect("it ends").expect("it ends well");
            });
        });
        asked.join().expect("the statement was carried out");
    });
}
