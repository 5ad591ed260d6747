//! Those who send recordings, and send again what was not acknowledged, as real clients do.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::audio::audio;
use super::ledger::{Kind, Life, Seen};
use super::wire::{Answer, LastByte, PATIENCE, World, body};

/// G.711, five pieces a second.
const CALL_PACE: (u64, Duration) = (1_600, Duration::from_millis(200));
const CALL_SECONDS: (u64, u64) = (10, 40);
const BULK_LEN: (u64, u64) = (200_000, 5_000_000);
const RESUMABLE_LEN: (u64, u64) = (100_000, 1_500_000);
/// One of so many calls has a sender that does not come back when its connection breaks.
const GIVES_UP: usize = 4;

impl World {
    /// A call as it goes on. Whoever comes back has it whole by then, and sends it as a file.
    pub async fn send_call(&self) {
        let seconds = self.between(CALL_SECONDS.0, CALL_SECONDS.1).min((self.total.as_secs() / 4).max(3));
        let index = self.ledger.begin(Kind::Live, seconds * 8_000, Life::Lives);
        let gives_up = index.is_multiple_of(GIVES_UP);
        self.send(index, Some(CALL_PACE), gives_up).await;
    }

    /// Small files are more frequent than large ones.
    pub async fn send_bulk(&self) {
        let share = (self.random() % 1_000) as f64 / 1e3;
        let len = BULK_LEN.0 as f64 * (BULK_LEN.1 as f64 / BULK_LEN.0 as f64).powf(share);
        let index = self.ledger.begin(Kind::Bulk, len as u64, Life::Lives);
        self.send(index, None, false).await;
    }

    /// A `PUT` until it is acknowledged.
    pub async fn send(&self, index: usize, mut pace: Option<(u64, Duration)>, gives_up: bool) {
        let entry = self.ledger.entry(index);
        let mut tries = 0;
        loop {
            let last = LastByte::new();
            let request = self.ask("PUT", &format!("/v1/recordings/{}", entry.name));
            let request = match pace {
                Some(_) => request,
                None => request.header("content-length", entry.len),
            };
            let answer = self.answer(request.body(body(index, 0, entry.len, pace, &last)), &last).await;
            if let Ok(answer) = &answer
                && self.is_acknowledged(index, answer, &last)
            {
                return;
            }
            if let Err(seen) = &answer {
                self.ledger.sample(entry.kind, seen.clone(), None);
            }
            if gives_up {
                return self.ledger.set(index, Life::GivenUp);
            }
            if entry.began.elapsed() > PATIENCE + Duration::from_secs(entry.len / 8_000) {
                let seen = answer.map_or(Seen::Broken, |answer| answer.refused());
                return self.ledger.fault(format!("{} was never acknowledged; at last: {seen:?}", entry.name));
            }
            self.pause(tries, answer.as_ref().ok()).await;
            (pace, tries) = (None, tries + 1);
        }
    }

    /// Writes down what the answer to an upload is.
    fn is_acknowledged(&self, index: usize, answer: &Answer, last: &LastByte) -> bool {
        let entry = self.ledger.entry(index);
        let id = answer.json["id"].as_str();
        match (answer.status, id) {
            (200..=202, Some(id)) => {
                self.ledger.sample(entry.kind, Seen::Served, Some(last.waited()));
                self.ledger.acknowledge(index, id, answer.status);
                self.is_told_whole(index, &answer.json);
                true
            }
            (408 | 429 | 500.., _) | (409, _) => {
                self.count(entry.kind, answer);
                if answer.is_problem("conflict") || answer.is_problem("offset-mismatch") {
                    self.ledger.fault(format!("{}: its own bytes were refused: {}", entry.name, answer.json));
                }
                false
            }
            // What a sender hears whose connection broke, if he hears it.
            (400, _) if answer.is_problem("bad-request") => {
                self.count(entry.kind, answer);
                false
            }
            _ => {
                self.count(entry.kind, answer);
                let (status, name) = (answer.status, &entry.name);
                self.ledger.fault(format!("the upload {name} was answered {status} {}", answer.json));
                false
            }
        }
    }

    fn is_told_whole(&self, index: usize, json: &Value) {
        let entry = self.ledger.entry(index);
        if json["complete"] != true || json["bytes"] != entry.len {
            self.ledger.fault(format!("{} of {} bytes was acknowledged as {json}", entry.name, entry.len));
        }
    }

    /// A resumable upload in pieces, each to the other server.
    pub async fn send_in_pieces(&self) {
        let len = self.between(RESUMABLE_LEN.0, RESUMABLE_LEN.1);
        let piece_len = len / self.between(2, 5) + 1;
        let index = self.ledger.begin(Kind::Resumable, len, Life::Lives);
        let began = Instant::now();
        let Some(path) = self.create(index, len, began).await else { return };
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        let (mut offset, mut tries, mut told) = (0, 0, 0);
        while began.elapsed() < PATIENCE {
            let end = len.min(offset + piece_len);
            let last = LastByte::new();
            let request =
                self.tus("PATCH", &path).header("upload-offset", offset).header("content-length", end - offset);
            let request = request.header("content-type", "application/offset+octet-stream");
            match self.answer(request.body(body(index, offset, end, None, &last)), &last).await {
                Ok(Answer { status: 204, offset: Some(at), .. }) if at == end => {
                    self.ledger.sample(Kind::Resumable, Seen::Served, (at == len).then(|| last.waited()));
                    (offset, told, tries) = (at, at, 0);
                }
                Ok(answer) => {
                    self.count(Kind::Resumable, &answer);
                    self.pause(tries, Some(&answer)).await;
                    offset = self.look(&path, told, began).await;
                    tries += 1;
                }
                Err(seen) => {
                    self.ledger.sample(Kind::Resumable, seen, None);
                    self.pause(tries, None).await;
                    offset = self.look(&path, told, began).await;
                    tries += 1;
                }
            }
            if offset == len {
                return self.ledger.acknowledge(index, &id, 204);
            }
        }
        self.ledger.fault(format!("{} was never acknowledged", self.ledger.entry(index).name));
    }

    async fn create(&self, index: usize, len: u64, began: Instant) -> Option<String> {
        let name = self.ledger.entry(index).name;
        let mut tries = 0;
        while began.elapsed() < PATIENCE {
            let request = self.tus("POST", "/v1/uploads").header("upload-length", len);
            let request = request.header("upload-metadata", format!("filename {}", STANDARD.encode(&name)));
            let answer = self.answer(request.body(""), &LastByte::new()).await;
            match &answer {
                Ok(Answer { status: 201, location: Some(location), .. }) => {
                    self.ledger.sample(Kind::Resumable, Seen::Served, None);
                    let start = location.find("/v1/").unwrap_or(0);
                    return Some(location[start..].to_owned());
                }
                Ok(answer) => self.count(Kind::Resumable, answer),
                Err(seen) => self.ledger.sample(Kind::Resumable, seen.clone(), None),
            }
            self.pause(tries, answer.as_ref().ok()).await;
            tries += 1;
        }
        self.ledger.fault(format!("{name} could not be created"));
        None
    }

    /// Where an upload stands, asked until it is told.
    async fn look(&self, path: &str, told: u64, began: Instant) -> u64 {
        let mut tries = 0;
        while began.elapsed() < PATIENCE {
            let answer = self.answer(self.tus("HEAD", path), &LastByte::new()).await;
            match &answer {
                Ok(Answer { status: 200 | 204, offset: Some(offset), .. }) => {
                    self.ledger.sample(Kind::Resumable, Seen::Served, None);
                    if *offset < told {
                        self.ledger.fault(format!("{path} stands at {offset}, after {told} had been acknowledged"));
                    }
                    return *offset;
                }
                Ok(answer) => {
                    self.count(Kind::Resumable, answer);
                    if matches!(answer.status, 404 | 410) {
                        self.ledger.fault(format!("{path} is unknown ({}) after it was created", answer.status));
                    }
                }
                Err(seen) => self.ledger.sample(Kind::Resumable, seen.clone(), None),
            }
            self.pause(tries, answer.as_ref().ok()).await;
            tries += 1;
        }
        told
    }

    fn tus(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.ask(method, path).header("tus-resumable", "1.0.0")
    }

    /// Sends what is known once more: the same bytes, which are known, or others, which must not replace them.
    pub async fn send_again(&self) {
        let fits = |entry: &super::ledger::Entry| {
            entry.kind == Kind::Bulk && entry.acknowledged.is_some() && entry.life == Life::Lives
        };
        let Some(index) = self.ledger.take(self.random(), None, fits) else { return };
        let entry = self.ledger.entry(index);
        let is_same = self.random().is_multiple_of(2);
        let mut bytes = vec![0; entry.len as usize];
        audio(index, 0, &mut bytes);
        if !is_same {
            *bytes.last_mut().expect("none is empty") ^= 1;
        }
        let request = self.ask("PUT", &format!("/v1/recordings/{}", entry.name)).body(bytes);
        match self.answer(request, &LastByte::new()).await {
            Ok(answer) if answer.status < 300 && !is_same => {
                self.ledger.fault(format!("{}: other bytes were acknowledged: {}", entry.name, answer.json));
            }
            Ok(answer) if answer.status < 300 => {
                self.ledger.sample(Kind::Again, Seen::Served, None);
                self.ledger.acknowledge(index, answer.json["id"].as_str().unwrap_or_default(), answer.status);
                self.is_told_whole(index, &answer.json);
            }
            Ok(answer) if answer.is_problem("conflict") && !is_same => {
                self.ledger.sample(Kind::Again, Seen::Served, None);
            }
            Ok(answer) => {
                self.count(Kind::Again, &answer);
                if answer.status < 500 && !answer.is_problem("still-receiving") {
                    self.ledger.fault(format!("{} again: {} {}", entry.name, answer.status, answer.json));
                }
            }
            Err(seen) => self.ledger.sample(Kind::Again, seen, None),
        }
        self.ledger.release(index);
    }
}
