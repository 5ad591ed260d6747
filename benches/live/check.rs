//! Every recording is listed, played back, and compared with what was sent.

use std::collections::HashMap;
use std::io::Result;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use tokio::time::sleep;

use super::audio::audio;
use super::load::Sent;
use super::server::Server;
use super::wire::Wire;

/// Recordings played at once.
const LISTENERS: usize = 4;
/// A server that was killed may still be busy with what it found.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);

/// What the server has of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub len: u64,
    /// The listing calls it complete.
    pub is_complete: bool,
    /// Every byte that is played is the byte that was sent at its place.
    pub is_identical: bool,
}

/// Of each stream, in their order.
pub async fn kept(server: &Server, sent: &[Sent]) -> Result<Vec<Kept>> {
    let listed = list(server).await?;
    let played = join_all((0..LISTENERS).map(async |listener| {
        let mut wire = Wire::connect(server.address).await?;
        let mut kept = Vec::new();
        for (index, sent) in sent.iter().enumerate().skip(listener).step_by(LISTENERS) {
            let Some((id, is_complete)) = listed.get(&sent.key) else {
                kept.push((index, Kept::default()));
                continue;
            };
            let (len, is_identical) = play(server, &mut wire, index, id).await?;
            kept.push((index, Kept { len, is_complete: *is_complete, is_identical }));
        }
        Ok::<_, std::io::Error>(kept)
    }));
    let mut all = vec![Kept::default(); sent.len()];
    for played in played.await {
        for (index, kept) in played? {
            all[index] = kept;
        }
    }
    Ok(all)
}

async fn play(server: &Server, wire: &mut Wire, index: usize, id: &str) -> Result<(u64, bool)> {
    let answer = wire.ask(get(server, &format!("/v1/recordings/{id}/audio")).as_bytes()).await?;
    if answer.status != 200 {
        eprintln!("stream {index}: status {} {}", answer.status, wire.text(&answer).await);
        *wire = Wire::connect(server.address).await?;
        return Ok((0, false));
    }
    let (mut position, mut is_identical, mut expected) = (0, true, Vec::new());
    let len = wire.body(&answer, |piece| {
        expected.resize(piece.len(), 0);
        audio(index, position, &mut expected);
        is_identical &= expected == piece;
        position += piece.len() as u64;
    });
    Ok((len.await?, is_identical))
}

/// Id and completeness of every recording, by its name and by its id.
async fn list(server: &Server) -> Result<HashMap<String, (String, bool)>> {
    let started = Instant::now();
    let mut wire = Wire::connect(server.address).await?;
    'settled: loop {
        let mut listed = HashMap::new();
        let mut cursor = String::new();
        loop {
            let answer = wire.ask(get(server, &format!("/v1/recordings?limit=1000{cursor}")).as_bytes()).await?;
            let page: Value = serde_json::from_str(&wire.text(&answer).await)?;
            for recording in page["recordings"].as_array().into_iter().flatten() {
                if recording["state"] == "receiving" && started.elapsed() < SETTLE_TIME_MAX {
                    sleep(Duration::from_secs(1)).await;
                    continue 'settled;
                }
                let id = recording["id"].as_str().unwrap_or_default().to_owned();
                let is_complete = recording["complete"] == true;
                listed.insert(id.clone(), (id.clone(), is_complete));
                if let Some(name) = recording["name"].as_str() {
                    listed.insert(name.to_owned(), (id, is_complete));
                }
            }
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(listed),
            }
        }
    }
}

fn get(server: &Server, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\r\n", server.token)
}
