//! Audit trails. Entries are appended by the one writer, in the same commits as everything else: what a verb does and what its
//! entry says are synced together where they wait together.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::Sqlite;
use super::errors::not_done;
use super::rows::{all, execute, first, take, take_optional};
use crate::catalog::stored::{int, millis, millis_up};
use crate::catalog::trail::{CheckpointRow, DISORDER_MS, TrailHead, TrailQuery, TrailRow, Trails, chained};
use crate::catalog::{CatalogError, Result};
use crate::model::trail::Entry;
use crate::model::{TenantNumber, Timestamp};

#[async_trait]
impl Trails for Sqlite {
    async fn append_trail(&self, entries: Vec<(TenantNumber, Entry)>) -> Result<Vec<u64>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |db| append(db, &entries)).await
    }

    async fn trail(&self, query: TrailQuery) -> Result<Vec<TrailRow>> {
        self.read(move |db| {
            let (sql, values) = page(&query);
            all(db, &sql, params_from_iter(values), row)
        })
        .await
    }

    async fn trail_after(&self, tenant: TenantNumber, after: u64, limit: u32) -> Result<Vec<TrailRow>> {
        let sql = format!("SELECT {ROW} FROM trail WHERE tenant = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");
        self.read(move |db| all(db, &sql, params![tenant.0, int(after), limit], row)).await
    }

    async fn trail_head(&self, tenant: TenantNumber) -> Result<Option<TrailHead>> {
        self.look_up(move |db| head(db, tenant)).await
    }

    async fn trail_tenants(&self) -> Result<Vec<TenantNumber>> {
        self.read(|db| all(db, "SELECT tenant FROM trail_head ORDER BY tenant", [], |row| take(row, 0))).await
    }

    async fn trail_old(&self, tenant: TenantNumber, before: Timestamp, limit: u32) -> Result<Option<TrailHead>> {
        self.read(move |db| old(db, tenant, before, limit)).await
    }

    async fn checkpoint_trail(&self, checkpoint: CheckpointRow, replaces: Option<u64>, first: u64) -> Result<()> {
        self.write(move |db| set_checkpoint(db, &checkpoint, replaces, first)).await
    }

    async fn last_checkpoint(&self, tenant: TenantNumber) -> Result<Option<CheckpointRow>> {
        let sql = "SELECT tenant, seq, jws FROM trail_checkpoint WHERE tenant = ?1 ORDER BY seq DESC LIMIT 1";
        self.look_up(move |db| first(db, sql, [tenant.0], checkpoint)).await
    }

    async fn checkpoints(&self, tenant: TenantNumber) -> Result<Vec<CheckpointRow>> {
        let sql = "SELECT tenant, seq, jws FROM trail_checkpoint WHERE tenant = ?1 ORDER BY seq";
        self.read(move |db| all(db, sql, [tenant.0], checkpoint)).await
    }
}

const ROW: &str = "tenant, seq, at, action, recording, hash, text";

fn row(row: &Row) -> rusqlite::Result<TrailRow> {
    Ok(TrailRow {
        tenant: take(row, 0)?,
        seq: take(row, 1)?,
        at: take(row, 2)?,
        action: row.get(3)?,
        recording: take_optional(row, 4)?,
        hash: row.get(5)?,
        text: row.get(6)?,
    })
}

fn checkpoint(row: &Row) -> rusqlite::Result<CheckpointRow> {
    Ok(CheckpointRow { tenant: take(row, 0)?, seq: take(row, 1)?, jws: row.get(2)? })
}

fn append(db: &Connection, entries: &[(TenantNumber, Entry)]) -> Result<Vec<u64>> {
    let mut heads = BTreeMap::new();
    for (tenant, _) in entries {
        if let Some(head) = head(db, *tenant)? {
            heads.insert(*tenant, head);
        }
    }
    let chained = chained(heads, entries);
    let mut insert = db
        .prepare_cached(&format!("INSERT INTO trail ({ROW}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))
        .map_err(not_done)?;
    for row in &chained.rows {
        let recording = row.recording.map(|id| *id.as_bytes());
        let inserted = insert.execute(params![
            row.tenant.0,
            int(row.seq),
            millis(row.at),
            row.action,
            recording,
            row.hash,
            row.text
        ]);
        inserted.map_err(not_done)?;
    }
    for (tenant, head) in &chained.heads {
        let set = "INSERT INTO trail_head (tenant, seq, hash) VALUES (?1, ?2, ?3)
                   ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
        execute(db, set, params![tenant.0, int(head.seq), head.hash])?;
    }
    Ok(chained.numbers)
}

fn head(db: &Connection, tenant: TenantNumber) -> Result<Option<TrailHead>> {
    let sql = "SELECT seq, hash FROM trail_head WHERE tenant = ?1";
    first(db, sql, [tenant.0], |row| Ok(TrailHead { seq: take(row, 0)?, hash: row.get(1)? }))
}

fn page(query: &TrailQuery) -> (String, Vec<Value>) {
    let index = match query {
        TrailQuery { recording: Some(_), .. } => "INDEXED BY trail_by_recording",
        TrailQuery { action: Some(_), .. } => "INDEXED BY trail_by_action",
        _ => "",
    };
    let mut sql = format!("SELECT {ROW} FROM trail {index} WHERE tenant = ?1");
    let mut values: Vec<Value> = vec![query.tenant.0.into()];
    let mut push = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(&condition.replace("{}", &format!("?{}", values.len())));
    };
    if let Some(recording) = query.recording {
        push(" AND recording = {}", Value::Blob(recording.as_bytes().to_vec()));
    }
    if let Some(action) = query.action {
        push(" AND action = {}", Value::Text(action.as_str().to_owned()));
    }
    // The index by time says between which numbers to look; the entry's own time decides.
    if let Some(from) = query.from.map(millis_up) {
        push(
            " AND seq >= (SELECT seq FROM trail INDEXED BY trail_by_time WHERE tenant = ?1 AND at >= {}
                 ORDER BY at, seq LIMIT 1)",
            (from - DISORDER_MS).into(),
        );
        push(" AND at >= {}", from.into());
    }
    if let Some(to) = query.to.map(millis_up) {
        push(
            " AND seq <= (SELECT seq FROM trail INDEXED BY trail_by_time WHERE tenant = ?1 AND at < {}
                 ORDER BY at DESC, seq DESC LIMIT 1)",
            (to + DISORDER_MS).into(),
        );
        push(" AND at < {}", to.into());
    }
    if let Some(below) = query.below {
        push(" AND seq < {}", int(below).into());
    }
    push(" ORDER BY seq DESC LIMIT {}", query.limit.into());
    (sql, values)
}

fn old(db: &Connection, tenant: TenantNumber, before: Timestamp, limit: u32) -> Result<Option<TrailHead>> {
    let sql = "SELECT seq, hash, at FROM trail WHERE tenant = ?1 ORDER BY seq LIMIT ?2";
    let mut statement = db.prepare_cached(sql).map_err(not_done)?;
    let mut rows = statement.query(params![tenant.0, limit]).map_err(not_done)?;
    let mut last = None;
    while let Some(row) = rows.next().map_err(not_done)? {
        if row.get::<_, i64>(2).map_err(not_done)? >= millis_up(before) {
            break;
        }
        let seq = u64::try_from(row.get::<_, i64>(0).map_err(not_done)?);
        let seq = seq.map_err(|_| CatalogError::Damaged("an entry's number is negative".into()))?;
        last = Some(TrailHead { seq, hash: row.get(1).map_err(not_done)? });
    }
    Ok(last)
}

fn set_checkpoint(db: &Connection, row: &CheckpointRow, replaces: Option<u64>, first: u64) -> Result<()> {
    execute(
        db,
        "DELETE FROM trail_checkpoint WHERE tenant = ?1 AND (seq = ?2 OR seq < ?3)",
        params![row.tenant.0, replaces.map(int), int(first)],
    )?;
    execute(
        db,
        "INSERT OR REPLACE INTO trail_checkpoint (tenant, seq, jws) VALUES (?1, ?2, ?3)",
        params![row.tenant.0, int(row.seq), row.jws],
    )?;
    execute(db, "DELETE FROM trail WHERE tenant = ?1 AND seq < ?2", params![row.tenant.0, int(first)])?;
    Ok(())
}
