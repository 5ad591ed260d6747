//! Entries as lines of JSON: what is exported, and what `GET /v1/audit` answers.
//!
//! ```text
//! {"tenant":3,"seq":17,"hash":"<hex>","entry":{...}}
//! {"checkpoint":"<JWS>"}
//! ```
//! `entry` stands last and is the text that is hashed, byte for byte.

use serde::Deserialize;

use crate::catalog::TrailRow;
use crate::model::text::{hex, unhex};
use crate::model::{TenantNumber, Timestamp};

const ENTRY: &str = ",\"entry\":";

/// The line of an entry.
pub fn line(row: &TrailRow) -> String {
    let (tenant, seq, hash) = (row.tenant.0, row.seq, hex(&row.hash));
    format!("{{\"tenant\":{tenant},\"seq\":{seq},\"hash\":\"{hash}\"{ENTRY}{}}}", row.text)
}

/// The line of a checkpoint.
pub fn checkpoint_line(jws: &str) -> String {
    format!("{{\"checkpoint\":\"{jws}\"}}")
}

/// What a line says.
pub(super) enum Line {
    Entry(TrailRow),
    Checkpoint(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    tenant: u32,
    seq: u64,
    hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    checkpoint: String,
}

/// Fields of a text that the catalog repeats in columns.
#[derive(Deserialize)]
pub(super) struct Repeated {
    pub at: Timestamp,
    pub action: String,
    pub recording: Option<String>,
}

impl Line {
    pub fn read(text: &str) -> Result<Line, String> {
        let malformed = || "it is no line of an exported trail".to_owned();
        if let Ok(line) = serde_json::from_str::<CheckpointLine>(text) {
            return Ok(Line::Checkpoint(line.checkpoint));
        }
        let (place, entry) = text.split_once(ENTRY).ok_or_else(malformed)?;
        let place: Place = serde_json::from_str(&format!("{place}}}")).map_err(|_| malformed())?;
        let entry = entry.strip_suffix('}').ok_or_else(malformed)?;
        let repeated: Repeated = serde_json::from_str(entry).map_err(|_| malformed())?;
        let row = TrailRow {
            tenant: TenantNumber(place.tenant),
            seq: place.seq,
            at: repeated.at,
            action: repeated.action,
            recording: repeated.recording.map(|id| id.parse()).transpose().map_err(|_| malformed())?,
            hash: unhex(&place.hash).and_then(|bytes| bytes.try_into().ok()).ok_or_else(malformed)?,
            text: entry.to_owned(),
        };
        Ok(Line::Entry(row))
    }
}
