//! Listings: by time, by number, by call id, by name, by state; every one of them from an index.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::errors::not_done;
use super::recordings::{HEAD, Head, find, head, whole};
use super::rows::{all, int, millis, millis_up, take};
use crate::catalog::{Listing, Recording, Result};
use crate::model::{Class, RecordingId, ReplicaName, State, TenantNumber};

pub(super) fn list(db: &Connection, listing: &Listing) -> Result<Vec<Recording>> {
    let query = query(listing);
    let heads = || -> rusqlite::Result<Vec<Head>> {
        db.prepare(&query.sql)?.query_map(params_from_iter(query.values), head)?.collect()
    };
    heads().map_err(not_done)?.into_iter().map(|head| whole(db, head)).collect()
}

/// A statement under construction: text with a `?` for each value, in order.
pub(super) struct Query {
    pub sql: String,
    pub values: Vec<Value>,
}

impl Query {
    fn push(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    /// `<sql> (?, ?, ...)`.
    fn push_in(&mut self, sql: &str, tokens: &[[u8; 16]]) {
        self.sql.push_str(sql);
        self.sql.push_str(" (");
        for (index, token) in tokens.iter().enumerate() {
            self.sql.push_str(if index == 0 { "?" } else { ", ?" });
            self.values.push(Value::Blob(token.to_vec()));
        }
        self.sql.push(')');
    }
}

pub(super) fn query(listing: &Listing) -> Query {
    let mut query = Query { sql: format!("SELECT {HEAD} FROM "), values: Vec::new() };
    push_source(&mut query, listing);
    let is_gone = listing.state.is_some_and(State::is_gone);
    query.push(" WHERE r.gone = ?", [Value::from(is_gone)]);
    if let Some(tenant) = listing.tenant {
        query.push(" AND r.tenant = ?", [tenant.0.into()]);
    }
    if let Some(state) = listing.state {
        query.push(" AND r.state = ?", [(state as u8).into()]);
    }
    if let Some(from) = listing.from {
        query.push(" AND r.received_at >= ?", [millis_up(from).into()]);
    }
    if let Some(to) = listing.to {
        query.push(" AND r.received_at < ?", [millis_up(to).into()]);
    }
    if let Some((received_at, id)) = listing.after {
        let end = [millis(received_at).into(), Value::Blob(id.as_bytes().to_vec())];
        query.push(" AND (r.received_at, r.id) < (?, ?)", end);
    }
    if let (Some(tokens), Some(_)) = (&listing.call_ids, &listing.numbers) {
        query.push_in(" AND r.call_token IN", tokens);
    }
    push_wrap(&mut query, listing);
    query.push(" ORDER BY r.received_at DESC, r.id DESC LIMIT ?", [listing.limit.into()]);
    query
}

/// Tokens are rarer than any span of time: with tokens, the recordings that have one are found first. `CROSS JOIN` keeps
/// SQLite from turning the order around.
fn push_source(query: &mut Query, listing: &Listing) {
    if let Some(tokens) = &listing.numbers {
        query.push_in("(SELECT id FROM recording WHERE a_token IN", tokens);
        query.push_in(" UNION SELECT id FROM recording WHERE b_token IN", tokens);
        query.push(") AS hit CROSS JOIN recording r ON r.id = hit.id", []);
    } else if let Some(tokens) = &listing.call_ids {
        query.push_in("(SELECT id FROM recording WHERE call_token IN", tokens);
        query.push(") AS hit CROSS JOIN recording r ON r.id = hit.id", []);
    } else if listing.tenant.is_some() {
        query.push("recording r INDEXED BY recording_by_time", []);
    } else {
        query.push("recording r INDEXED BY recording_by_age", []);
    }
}

/// One and the same wrap has the class and is alive.
fn push_wrap(query: &mut Query, listing: &Listing) {
    if listing.class.is_none() && listing.alive_at.is_none() {
        return;
    }
    let subject = match listing.class {
        Some(Class::Cdr | Class::Finance) => "r.call",
        Some(Class::Customer | Class::Training) | None => "r.id",
    };
    query.push(" AND EXISTS (SELECT 1 FROM wrap w WHERE w.subject = ", []);
    query.push(subject, []);
    if let Some(class) = listing.class {
        query.push(" AND w.class = ?", [(class as u8).into()]);
    }
    if let Some(alive_at) = listing.alive_at {
        // Whole seconds: later than the instant exactly if later than the second that it is in.
        let second = alive_at.as_nanosecond().div_euclid(1_000_000_000) as i64;
        query.push(" AND w.expires_at > ?", [second.into()]);
    }
    query.push(")", []);
}

/// Of several, the one that came last: the others' tokens are of earlier days.
pub(super) fn by_name(db: &Connection, tenant: TenantNumber, tokens: &[[u8; 16]]) -> Result<Option<Recording>> {
    if tokens.is_empty() {
        return Ok(None);
    }
    let query = name_query(tenant, tokens);
    let ids = all(db, &query.sql, params_from_iter(query.values), |row| take::<RecordingId>(row, 0))?;
    match ids.first() {
        Some(id) => find(db, Some(tenant), *id),
        None => Ok(None),
    }
}

pub(super) fn name_query(tenant: TenantNumber, tokens: &[[u8; 16]]) -> Query {
    let mut query = Query { sql: "SELECT id FROM recording INDEXED BY recording_by_name".into(), values: Vec::new() };
    query.push(" WHERE tenant = ?", [tenant.0.into()]);
    query.push_in(" AND name_token IN", tokens);
    query.push(" ORDER BY received_at DESC, id DESC LIMIT 1", []);
    query
}

pub(super) fn in_state(
    db: &Connection,
    state: State,
    holder: Option<&ReplicaName>,
    after: Option<RecordingId>,
    limit: u32,
) -> Result<Vec<Recording>> {
    let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    // The states that the index holds are few at any time; of the others, most rows are in the one that is asked for.
    let indexed = match state {
        _ if holder.is_some() => "AND r.holder = ?4",
        State::Receiving | State::Spooled | State::Held => "AND r.state IN (0, 1, 3)",
        _ => "",
    };
    let sql =
        format!("SELECT {HEAD} FROM recording r WHERE r.state = ?1 {indexed} AND r.id > ?2 ORDER BY r.id LIMIT ?3");
    let heads = match holder {
        Some(holder) => all(db, &sql, params![state as u8, after, int(limit.into()), holder.as_str()], head)?,
        None => all(db, &sql, params![state as u8, after, int(limit.into())], head)?,
    };
    heads.into_iter().map(|head| whole(db, head)).collect()
}
