//! Those who listen, list and erase; every byte that is played is compared with what was sent.

use std::time::{Duration, Instant};

use super::audio::audio;
use super::ledger::{Entry, Kind, Life, Seen};
use super::wire::{LastByte, PATIENCE, World, refused};

const RANGE_LEN_MAX: u64 = 256 << 10;
/// A listener tries so often.
const TRIES: u32 = 3;
/// What was acknowledged a moment ago is erased by nobody.
const ERASED_AFTER: Duration = Duration::from_secs(3);

/// What a playback gave.
pub enum Played {
    /// All of it, identical.
    Whole(u64),
    Different(u64),
    Gone,
    Failed(Seen),
}

fn is_alive(entry: &Entry) -> bool {
    entry.acknowledged.is_some() && entry.life == Life::Lives
}

/// Also what will end, up to a while before.
fn is_playable(entry: &Entry) -> bool {
    let ends_later = matches!(entry.life, Life::Ends(at) if at > Instant::now() + Duration::from_secs(5));
    is_alive(entry) || (entry.acknowledged.is_some() && ends_later)
}

fn is_dead(entry: &Entry) -> bool {
    match entry.life {
        Life::Erased => true,
        Life::Ends(at) => at + Duration::from_secs(2) < Instant::now(),
        Life::Lives | Life::GivenUp | Life::Dying => false,
    }
}

impl World {
    /// A range of a recording, or all of it.
    pub async fn listen(&self) {
        let Some(index) = self.ledger.take(self.random(), None, is_playable) else { return };
        let entry = self.ledger.entry(index);
        let first = self.random() % entry.len;
        let len = (entry.len - first).min(self.between(1, RANGE_LEN_MAX));
        let range = (!self.random().is_multiple_of(10)).then_some((first, first + len));
        for tries in 0..TRIES {
            let turn = self.random() as usize % self.addresses.len();
            let (played, waited) = self.play(index, self.addresses[turn], range).await;
            let seen = match played {
                Played::Whole(len) if len == range.map_or(entry.len, |(from, to)| to - from) => Seen::Served,
                Played::Whole(len) | Played::Different(len) => {
                    self.ledger.fault(format!("{} of {} bytes: {len} played, range {range:?}", entry.name, entry.len));
                    Seen::Served
                }
                Played::Gone => {
                    self.ledger.fault(format!("{} was acknowledged and is not there", entry.name));
                    Seen::Refused(410, String::new())
                }
                Played::Failed(seen) => seen,
            };
            let is_served = seen == Seen::Served;
            self.ledger.sample(Kind::Play, seen, waited);
            if is_served {
                break;
            }
            self.pause(tries, None).await;
        }
        self.ledger.release(index);
    }

    /// Plays from one server, and compares; how long it took to the first byte.
    pub async fn play(
        &self,
        index: usize,
        address: std::net::SocketAddr,
        range: Option<(u64, u64)>,
    ) -> (Played, Option<Duration>) {
        let entry = self.ledger.entry(index);
        let id = entry.acknowledged.expect("only what has an id is played").id;
        self.play_id(index, &id, address, range).await
    }

    pub async fn play_id(
        &self,
        index: usize,
        id: &str,
        address: std::net::SocketAddr,
        range: Option<(u64, u64)>,
    ) -> (Played, Option<Duration>) {
        let began = Instant::now();
        let mut request = self.ask_at(address, "GET", &format!("/v1/recordings/{id}/audio"));
        if let Some((from, to)) = range {
            request = request.header("range", format!("bytes={from}-{}", to - 1));
        }
        let request = request.timeout(Duration::from_secs(60));
        let Ok(mut response) = request.send().await else { return (Played::Failed(Seen::Broken), None) };
        match response.status().as_u16() {
            200 | 206 => {}
            404 | 410 => return (Played::Gone, None),
            _ => return (Played::Failed(refused(&response)), None),
        }
        let (mut position, mut is_identical, mut expected) = (range.map_or(0, |(from, _)| from), true, Vec::new());
        let (start, mut waited) = (position, None);
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    waited.get_or_insert_with(|| began.elapsed());
                    expected.resize(piece.len(), 0);
                    audio(index, position, &mut expected);
                    is_identical &= expected == piece;
                    position += piece.len() as u64;
                }
                Ok(None) if is_identical => return (Played::Whole(position - start), waited),
                Ok(None) => return (Played::Different(position - start), waited),
                // What came before the break must be right as well.
                Err(_) if is_identical => return (Played::Failed(Seen::Broken), None),
                Err(_) => return (Played::Different(position - start), None),
            }
        }
    }

    /// A page of the listing, or one recording.
    pub async fn list(&self) {
        let taken =
            if self.random().is_multiple_of(2) { self.ledger.take(self.random(), None, is_alive) } else { None };
        let Some(index) = taken else {
            match self.answer(self.ask("GET", "/v1/recordings?limit=100"), &LastByte::new()).await {
                Ok(answer) if answer.status == 200 && answer.json["recordings"].is_array() => {
                    self.ledger.sample(Kind::List, Seen::Served, None);
                }
                Ok(answer) => self.count(Kind::List, &answer),
                Err(seen) => self.ledger.sample(Kind::List, seen, None),
            }
            return;
        };
        let entry = self.ledger.entry(index);
        let id = entry.acknowledged.expect("it is alive").id;
        match self.answer(self.ask("GET", &format!("/v1/recordings/{id}")), &LastByte::new()).await {
            Ok(answer) if answer.status == 200 => {
                self.ledger.sample(Kind::List, Seen::Served, None);
                if answer.json["bytes"] != entry.len || answer.json["complete"] != true {
                    self.ledger.fault(format!("{} of {} bytes is listed as {}", entry.name, entry.len, answer.json));
                }
            }
            Ok(answer) => {
                self.count(Kind::List, &answer);
                if answer.status < 500 {
                    self.ledger.fault(format!("{} is shown as {} {}", entry.name, answer.status, answer.json));
                }
            }
            Err(seen) => self.ledger.sample(Kind::List, seen, None),
        }
        self.ledger.release(index);
    }

    /// Erases one for which nobody asks just now, until that is confirmed.
    pub async fn erase(&self) {
        let fits = |entry: &Entry| {
            let is_settled = entry.acknowledged.as_ref().is_some_and(|known| known.at.elapsed() > ERASED_AFTER);
            is_alive(entry) && is_settled && entry.uses == 0
        };
        let Some(index) = self.ledger.take(self.random(), Some(Life::Dying), fits) else { return };
        let entry = self.ledger.entry(index);
        let id = entry.acknowledged.expect("it fits").id;
        let (began, mut tries) = (Instant::now(), 0);
        while began.elapsed() < PATIENCE {
            let answer =
                self.answer(self.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")), &LastByte::new()).await;
            match &answer {
                // 410: an answer before this one was lost.
                Ok(answer) if answer.status == 202 || (answer.status == 410 && tries > 0) => {
                    self.ledger.sample(Kind::Erase, Seen::Served, None);
                    self.ledger.set(index, Life::Erased);
                    return self.ledger.release(index);
                }
                Ok(answer) => self.count(Kind::Erase, answer),
                Err(seen) => self.ledger.sample(Kind::Erase, seen.clone(), None),
            }
            self.pause(tries, answer.as_ref().ok()).await;
            tries += 1;
        }
        self.ledger.fault(format!("{} could not be erased", entry.name));
        self.ledger.release(index);
    }

    /// Asks for what is dead.
    pub async fn disturb_the_dead(&self) {
        let Some(index) = self.ledger.take(self.random(), None, is_dead) else { return };
        let turn = self.random() as usize % self.addresses.len();
        let seen = match self.play(index, self.addresses[turn], None).await.0 {
            Played::Gone => Seen::Served,
            Played::Failed(seen) => seen,
            Played::Whole(len) | Played::Different(len) => {
                let entry = self.ledger.entry(index);
                self.ledger.fault(format!("{} is dead ({:?}), and {len} bytes of it played", entry.name, entry.life));
                Seen::Served
            }
        };
        self.ledger.sample(Kind::Dead, seen, None);
        self.ledger.release(index);
    }
}
