//! Every recording is listed and played by both servers, and compared with what was sent.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::time::sleep;

use super::ledger::{Entry, Life};
use super::listeners::Played;
use super::parts::Parts;
use super::wire::{LastByte, World};

/// Recordings that are checked at once.
const LISTENERS: usize = 4;
const TRIES: usize = 5;

#[derive(Default)]
pub struct Checked {
    /// Acknowledged and alive.
    pub acknowledged: usize,
    /// Those of them that both servers played whole and identical.
    pub identical: usize,
    pub bytes: u64,
    /// Of senders who gave up: nothing came, a part is kept, all of it came.
    pub given_up: [usize; 3],
    pub dead: usize,
    pub dead_readable: usize,
    pub rows: usize,
    pub objects: usize,
    /// Whose term ended in the run.
    pub ended: usize,
    pub spool_files: Vec<String>,
    pub logged_errors: Vec<String>,
}

/// What is listed of a recording.
struct Row {
    id: String,
    is_complete: bool,
    len: u64,
}

enum Found {
    Identical(u64),
    NotIdentical,
    GivenUp(usize),
    Dead,
    DeadReadable,
    Unsettled,
}

pub async fn run(parts: &Parts, world: &Arc<World>) -> Checked {
    let mut listed = Vec::new();
    for address in &world.addresses {
        listed.push(list(world, *address).await);
    }
    let entries = world.ledger.entries.lock().expect("no holder panics").clone();
    let mut checked = Checked { rows: listed[0].len(), ..Checked::default() };
    let found = stream::iter(entries.iter().enumerate())
        .map(|(index, entry)| check(world, &listed, index, entry))
        .buffer_unordered(LISTENERS);
    for found in found.collect::<Vec<_>>().await {
        match found {
            Found::Identical(len) => {
                checked.acknowledged += 1;
                checked.identical += 1;
                checked.bytes += len;
            }
            Found::NotIdentical => checked.acknowledged += 1,
            Found::GivenUp(how) => checked.given_up[how] += 1,
            Found::Dead => checked.dead += 1,
            Found::DeadReadable => {
                (checked.dead, checked.dead_readable) = (checked.dead + 1, checked.dead_readable + 1)
            }
            Found::Unsettled => {}
        }
    }
    let names: HashSet<_> = entries.iter().map(|entry| &entry.name).collect();
    for name in listed.iter().flat_map(|listed| listed.keys()).filter(|name| !names.contains(name)) {
        world.ledger.fault(format!("'{name}' is listed, and nobody sent it"));
    }
    checked.objects = parts.bucket.count();
    // What ended in the run is destroyed with its hour; until then its objects stay.
    let ended = entries.iter().filter(|entry| matches!(entry.life, Life::Ends(at) if at > world.began)).count();
    if !(checked.rows..=checked.rows + ended).contains(&checked.objects) {
        world
            .ledger
            .fault(format!("{} recordings and {ended} that ended have {} objects", checked.rows, checked.objects));
    }
    checked.ended = ended;
    checked.spool_files = parts.spooled_files().iter().map(|path| path.to_string_lossy().into_owned()).collect();
    // A segment is named after its recording; logs and locks stay while their server runs.
    let is_segment = |path: &&String| path.rsplit('/').next().is_some_and(|name| name.len() > 36 && name.contains('.'));
    let segments = checked.spool_files.iter().filter(is_segment).count();
    if segments > 0 {
        world.ledger.fault(format!("{segments} segments stay in the spools, and no row leads to them"));
    }
    if let Err(text) = parts.tried(&["verify"], None) {
        world.ledger.fault(format!("verify: {text}"));
    }
    for replica in &parts.replicas {
        let log = std::fs::read_to_string(&replica.log).unwrap_or_default();
        checked.logged_errors.extend(log.lines().filter(|line| line.contains("ERROR")).map(str::to_owned));
    }
    checked
}

async fn check(world: &Arc<World>, listed: &[HashMap<String, Row>], index: usize, entry: &Entry) -> Found {
    let fault = |text: String| world.ledger.fault(format!("{}: {text}", entry.name));
    match (entry.life, &entry.acknowledged) {
        (Life::Erased | Life::Ends(_), Some(known)) => {
            let mut found = Found::Dead;
            for (number, address) in world.addresses.iter().enumerate() {
                let shown = world.ask_at(*address, "GET", &format!("/v1/recordings/{}", known.id));
                let status = world.answer(shown, &LastByte::new()).await.map(|answer| answer.status);
                let is_gone = matches!(play(world, index, &known.id, *address).await, Played::Gone);
                if !is_gone || status != Ok(410) || listed[number].contains_key(&entry.name) {
                    fault(format!("dead ({:?}), and server {number} answers {status:?}", entry.life));
                    found = Found::DeadReadable;
                }
            }
            found
        }
        (Life::Lives, Some(known)) => {
            for (number, address) in world.addresses.iter().enumerate() {
                match listed[number].get(&entry.name) {
                    Some(row) if row.is_complete && row.len == entry.len && row.id == known.id => {}
                    Some(row) => {
                        let Row { id, is_complete, len } = row;
                        let told = &known.id;
                        fault(format!(
                            "acknowledged ({}) as {told} with {} bytes; server {number} lists {id}, {len} bytes, complete: \
                             {is_complete}",
                            known.status, entry.len
                        ));
                        return Found::NotIdentical;
                    }
                    None => {
                        fault(format!("acknowledged ({}), and server {number} does not list it", known.status));
                        return Found::NotIdentical;
                    }
                }
                match play(world, index, &known.id, *address).await {
                    Played::Whole(len) if len == entry.len => {}
                    played => {
                        fault(format!("acknowledged ({}), and server {number}: {}", known.status, describe(&played)));
                        return Found::NotIdentical;
                    }
                }
            }
            Found::Identical(entry.len)
        }
        (Life::GivenUp, _) => {
            let Some(row) = listed[0].get(&entry.name) else { return Found::GivenUp(0) };
            let is_told_right = row.is_complete == (row.len == entry.len) && row.len <= entry.len;
            for address in &world.addresses {
                let played = play(world, index, &row.id, *address).await;
                if !is_told_right || !matches!(played, Played::Whole(len) if len == row.len) {
                    fault(format!("cut off; listed with {} bytes, {}", row.len, describe(&played)));
                }
            }
            Found::GivenUp(1 + usize::from(row.is_complete))
        }
        // A fault was written down when it came to be so.
        (Life::Dying, _) | (_, None) => Found::Unsettled,
    }
}

fn describe(played: &Played) -> String {
    match played {
        Played::Whole(len) => format!("{len} bytes played"),
        Played::Different(len) => format!("{len} bytes played, and they are not those that were sent"),
        Played::Gone => "it is not there".to_owned(),
        Played::Failed(seen) => format!("{seen:?}"),
    }
}

async fn play(world: &World, index: usize, id: &str, address: SocketAddr) -> Played {
    for _ in 1..TRIES {
        match world.play_id(index, id, address, None).await.0 {
            Played::Failed(_) => sleep(Duration::from_millis(500)).await,
            played => return played,
        }
    }
    world.play_id(index, id, address, None).await.0
}

/// All recordings, by their names.
async fn list(world: &World, address: SocketAddr) -> HashMap<String, Row> {
    let (mut listed, mut cursor) = (HashMap::new(), String::new());
    loop {
        let path = format!("/v1/recordings?limit=1000{cursor}");
        let answer = world.answer(world.ask_at(address, "GET", &path), &LastByte::new()).await;
        let page = match answer {
            Ok(answer) if answer.status == 200 => answer.json,
            Ok(answer) => panic!("the listing: {} {}", answer.status, answer.json),
            Err(seen) => panic!("the listing: {seen:?}"),
        };
        for row in page["recordings"].as_array().into_iter().flatten() {
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            if row["state"] != "stored" {
                world.ledger.fault(format!("{} is still {}", text("name"), row["state"]));
            }
            let len = row["bytes"].as_u64().unwrap_or_default();
            let kept = Row { id: text("id"), is_complete: row["complete"] == Value::Bool(true), len };
            if listed.insert(text("name"), kept).is_some() {
                world.ledger.fault(format!("'{}' is listed twice", text("name")));
            }
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return listed,
        }
    }
}
