//! The restore drill of OPERATIONS.md, step by step and by the commands that stand there, on each kind of catalog: what lives
//! plays again, what is dead stays dead, and no copy of the keys brings it back.

use std::fs;
use std::path::Path;
use std::process::Command;

use callvault::model::Timestamp;
use jiff::SignedDuration;
use serde_json::json;

use crate::postgres::move_clock;
use crate::support::held::now;
use crate::support::postgres::{Cluster, column};
use crate::support::wire::audio;
use crate::support::{Server, Vault, copy_dir, noise};

/// What holds the catalog, and is lost whole.
enum Holder {
    /// A file of the data directory.
    Sqlite,
    /// A role `callvault` and its database.
    Postgres(Cluster),
}

const PASSWORD: &str = "of-the-drill";
const DATABASE: &str = "callvault";

impl Holder {
    fn postgres() -> Holder {
        let cluster = Cluster::start(&["fsync=off", "full_page_writes=off"]);
        cluster.admin(&format!("CREATE ROLE callvault LOGIN PASSWORD '{PASSWORD}'"));
        let holder = Holder::Postgres(cluster);
        holder.make_empty();
        holder
    }

    /// As OPERATIONS.md calls it.
    fn name(&self) -> &'static str {
        match self {
            Holder::Sqlite => "SQLite",
            Holder::Postgres(_) => "PostgreSQL",
        }
    }

    /// What every command of the vault is told of it.
    fn variables(&self, dir: &Path) -> Vec<(String, String)> {
        let Holder::Postgres(cluster) = self else { return Vec::new() };
        let password = dir.join("password");
        fs::write(&password, format!("{PASSWORD}\n")).expect("a file");
        fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
        let url = format!("postgres://callvault@{}/{DATABASE}", address(cluster));
        vec![
            ("CALLVAULT_CATALOG".to_owned(), url),
            ("CALLVAULT_POSTGRES_PASSWORD_FILE".to_owned(), password.to_string_lossy().into_owned()),
        ]
    }

    /// What the programs of PostgreSQL need besides, to be its administrator's.
    fn administrator(&self) -> Vec<(&'static str, String)> {
        let Holder::Postgres(cluster) = self else { return Vec::new() };
        let (host, port) = address(cluster).split_once(':').expect("an address with a port");
        let (user, password) = ("vault".to_owned(), "secret".to_owned());
        vec![("PGHOST", host.to_owned()), ("PGPORT", port.to_owned()), ("PGUSER", user), ("PGPASSWORD", password)]
    }

    fn url(&self) -> Option<String> {
        let Holder::Postgres(cluster) = self else { return None };
        Some(format!("postgres://callvault:{PASSWORD}@{}/{DATABASE}", address(cluster)))
    }

    fn lose(&self, vault: &Vault) {
        match self {
            Holder::Sqlite => {
                for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db.serve-lock"] {
                    fs::remove_file(vault.path().join(name)).ok();
                }
            }
            Holder::Postgres(cluster) => cluster.admin(&format!("DROP DATABASE {DATABASE} WITH (FORCE)")),
        }
    }

    fn make_empty(&self) {
        if let Holder::Postgres(cluster) = self {
            cluster.admin(&format!("CREATE DATABASE {DATABASE} OWNER callvault"));
        }
    }

    /// The database is another witness of the time.
    fn is_at(&self, at: Timestamp) {
        if let Some(url) = self.url() {
            move_clock(&url, u32::try_from(at.as_second() - now().as_second()).expect("later"));
        }
    }
}

fn address(cluster: &Cluster) -> &str {
    cluster.server.rsplit('@').next().expect("an address")
}

/// Runs what a chapter of OPERATIONS.md says for this kind of catalog, where the backup lies.
fn follow(chapter: &str, holder: &Holder, vault: &Vault) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("OPERATIONS.md")).expect("it is there");
    let chapter = text.split("\n## ").find(|part| part.starts_with(chapter)).expect("the chapter is there");
    let mut blocks = chapter.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands =
        blocks.find(|block| block.trim_start().starts_with(&format!("# {}", holder.name()))).expect("its commands");
    let mut shell = Command::new("sh");
    shell.args(["-euc", commands]).current_dir(vault.beside("backup"));
    shell.env("CALLVAULT_DATA_DIR", vault.path()).envs(vault.env.iter().cloned()).envs(holder.administrator());
    let output = shell.output().expect("sh runs");
    assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
}

/// In the order in which OPERATIONS.md says it: the catalog first, so that no row is without its object.
fn back_up(holder: &Holder, vault: &Vault) {
    let backup = vault.beside("backup");
    fs::create_dir(&backup).expect("it is new");
    follow("Backup", holder, vault);
    copy_dir(&vault.path().join("objects"), &backup.join("objects"));
    fs::copy(vault.path().join("master.key"), backup.join("master.key")).expect("the key has its own copy");
}

/// Everything is gone but the key store and the generation store, which are mirrored and in no backup.
fn lose_everything_but_the_mirrors(holder: &Holder, vault: &Vault) {
    holder.lose(vault);
    fs::remove_file(vault.path().join("master.key")).ok();
    for name in ["objects", "spool"] {
        fs::remove_dir_all(vault.path().join(name)).ok();
    }
}

fn restore(holder: &Holder, vault: &Vault) {
    let backup = vault.beside("backup");
    fs::copy(backup.join("master.key"), vault.path().join("master.key")).expect("it is put back");
    follow("Restore drill", holder, vault);
    copy_dir(&backup.join("objects"), &vault.path().join("objects"));
}

fn mirrored(dir: &Path) -> Vec<(String, String)> {
    let mirrors =
        |kind: &str| ["east", "west"].map(|place| format!("file://{}/{place}/{kind}", dir.display())).join(",");
    let variables = [("CALLVAULT_KEY_STORE", mirrors("keys")), ("CALLVAULT_GENERATION_STORE", mirrors("generations"))];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

fn later(days: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(24 * days)).expect("an instant")
}

fn put(server: &Server, name: &str, class: &str, seed: u64) -> String {
    server.put(name, &noise(seed, 30_000)).header("Callvault-Class", class).send().id(201)
}

#[test]
fn a_restore_drill_on_sqlite_brings_back_what_lives_and_nothing_that_is_dead() {
    drill(&Holder::Sqlite);
}

#[test]
fn a_restore_drill_on_postgresql_brings_back_what_lives_and_nothing_that_is_dead() {
    let holder = Holder::postgres();
    drill(&holder);
    // What came after the restore lies in partitions as before, and not in those of the rest.
    let url = holder.url().expect("a database");
    for table in ["recording", "content", "wrap"] {
        assert_eq!(column(&url, &format!("SELECT count(*) FROM {table}_rest")), ["0"], "{table}");
    }
}

fn drill(holder: &Holder) {
    let vault = Vault::with_env(|dir| {
        for place in ["east", "west"] {
            fs::create_dir(dir.join(place)).expect("it is new");
        }
        [mirrored(dir), holder.variables(dir)].concat()
    });
    let archived: Vec<_> =
        vault.key_files().into_iter().map(|path| (path.clone(), fs::read(path).expect("a key"))).collect();
    let kept = Kept::lived(holder, &vault);
    let at = later(31);
    let shift = Vault::shift(at);
    holder.is_at(at);
    let destroyed = vault.expire(at);
    assert_eq!((&destroyed["keys_destroyed"], &destroyed["punctures"]), (&2.into(), &3.into()), "{destroyed}");

    lose_everything_but_the_mirrors(holder, &vault);
    holder.make_empty();
    let (code, told) = vault.exit(&["init"], Some(&shift));
    assert_eq!(code, 2, "an empty catalog beside a ring that has advanced: {told}");
    lose_everything_but_the_mirrors(holder, &vault);
    restore(holder, &vault);
    holder.is_at(at);
    assert_eq!(vault.ok(&["status"])["recordings"], json!({"stored": 4}), "what was backed up is there, once");
    // The catalog is older than the ring: the ring is right.
    vault.ok_at(&["expire"], Some(&shift));
    let status = vault.ok_at(&["status"], Some(&shift));
    assert!(
        status["shred_lag_s"].as_i64().is_some_and(|lag_s| lag_s < 8_100),
        "what is destroyed is no alarm: {status}"
    );
    let verified = vault.exit(&["verify"], Some(&shift));

    assert_eq!(verified.0, 0, "{}", verified.1);
    let mut server = vault.serve_with(&[], Some(&shift));
    kept.assert_served(&server);
    assert_tenants(&vault, &server, &shift);
    server.stop();

    // Somebody did archive the ring, and puts it back: everywhere, and alone.
    for path in vault.key_files() {
        fs::remove_file(path).expect("it is removed");
    }
    for (path, bytes) in &archived {
        fs::write(path, bytes).expect("it is put back");
    }
    let (code, told) = vault.exit(&["serve", "--listen", "127.0.0.1:0"], Some(&shift));
    assert!(code == 1 && told.contains("at or above generation"), "a ring older than the watermark is refused: {told}");
}

/// Recordings around a backup.
struct Kept {
    ended: String,
    lives: String,
    erased: String,
    deleted: String,
    late: String,
    /// Of a tenant that was offboarded after the backup.
    token: String,
}

impl Kept {
    /// They come, are backed up, and what happens afterwards is in no backup.
    fn lived(holder: &Holder, vault: &Vault) -> Kept {
        vault.ok(&["tenant", "set", "acme", "--customer-term", "90d", "--training-term", "30d"]);
        vault.ok(&["tenant", "create", "leaves"]);
        let token = vault.make_token("leaves", "read");
        let mut server = vault.serve();
        let (ended, lives) = (put(&server, "ended", "training", 1), put(&server, "lives", "customer", 2));
        let (erased, deleted) = (put(&server, "erased", "customer", 3), put(&server, "deleted", "customer", 4));
        back_up(holder, vault);
        let late = put(&server, "late", "customer", 5);
        let end = |id: &str, how: &str| server.ask("DELETE", &format!("/v1/recordings/{id}{how}")).send().status;
        assert_eq!((end(&erased, "?erase=1"), end(&deleted, "")), (202, 202));
        for tenant in ["comes", "goes"] {
            vault.ok(&["tenant", "create", tenant]);
        }
        for tenant in ["leaves", "goes"] {
            vault.ok(&["tenant", "offboard", tenant]);
        }
        server.stop();
        Kept { ended, lives, erased, deleted, late, token }
    }

    fn assert_served(&self, server: &Server) {
        assert!(server.play(&self.lives) == noise(2, 30_000), "what lives plays");
        for (what, id) in [("ended", &self.ended), ("erased", &self.erased)] {
            assert_eq!(server.see(&audio(id)).status, 410, "{what} stays dead");
        }
        assert!(
            server.play(&self.deleted) == noise(4, 30_000),
            "a plain deletion is undone by an older catalog, as it was announced"
        );
        assert_eq!(server.see(&audio(&self.late)).status, 404, "what came after the backup is lost");
        let again = put(server, "afterwards", "customer", 6);
        assert!(server.play(&again) == noise(6, 30_000), "it goes on");
        let left = server.ask("GET", "/v1/recordings").token(&self.token).send().status;
        assert_eq!(left, 401, "who was offboarded after the backup stays out");
    }
}

/// Numbers that were given after the backup are not given again: keys of theirs are destroyed.
fn assert_tenants(vault: &Vault, server: &Server, shift: &str) {
    let new = vault.ok_at(&["tenant", "create", "new", "--recording", "on"], Some(shift));
    assert_eq!(new["number"], 5, "{new}");
    let token = vault.make_token("new", "ingest,read,play:customer");
    server.put("first", &noise(7, 30_000)).token(&token).send().id(201);
    let tenants = vault.ok(&["tenant", "list"]);
    let offboarded = |tenant: &&serde_json::Value| !tenant["offboarded_at"].is_null();
    let numbers: Vec<_> = tenants["tenants"].as_array().expect("a list").iter().filter(offboarded).collect();
    let mut numbers: Vec<_> = numbers.iter().map(|tenant| tenant["number"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 4], "whose keys are destroyed: {tenants}");
}
