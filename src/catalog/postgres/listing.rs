//! Listings: by time, by number, by call id, by name, by state; every one of them from an index of the partitions that live.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::errors::Outcome;
use super::pool::Session;
use super::recordings::{COLUMNS, JOINS, recording};
use super::rows::{uuid, uuids};
use super::tenants::number;
use super::{LIVES, REACHED};
use crate::catalog::stored::{millis, millis_up, second};
use crate::catalog::{Listing, Recording};
use crate::model::{Class, RecordingId, ReplicaName, State, TenantNumber};

type Value = Box<dyn ToSql + Sync + Send>;

/// A statement under construction: text with a `$n` for each value, in order.
#[derive(Default)]
pub(super) struct Query {
    pub sql: String,
    pub values: Vec<Value>,
}

impl Query {
    fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Each `?` in the text is the value.
    fn push_with(&mut self, sql: &str, value: impl ToSql + Sync + Send + 'static) {
        self.values.push(Box::new(value));
        self.sql.push_str(&sql.replace('?', &format!("${}", self.values.len())));
    }

    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

pub(super) async fn list(db: &Session, listing: &Listing) -> Outcome<Vec<Recording>> {
    let query = query(listing);
    let rows = db.all(&query.sql, &query.params()).await?;
    rows.iter().map(|row| Ok(recording(row)?.0)).collect()
}

/// The page first, then what belongs to its rows.
pub(super) fn query(listing: &Listing) -> Query {
    let mut query = Query::default();
    query.push(&format!("SELECT {COLUMNS} FROM ("));
    match listing.state {
        // What the mark has passed is in no index as shredded: what a puncture shredded is the other half.
        Some(State::Shredded) => {
            query.push("SELECT * FROM ((");
            push_page(&mut query, listing, "r.gone AND r.state = 5");
            query.push(") UNION ALL (");
            push_page(&mut query, listing, &format!("NOT r.gone AND r.state <> 3 AND {REACHED}"));
            query.push(")) both_halves");
            query.push_with(" ORDER BY received_at DESC, id DESC LIMIT ?", i64::from(listing.limit));
        }
        Some(state) if state.is_gone() => {
            push_page(&mut query, listing, &format!("r.gone AND r.state = {}", state as u8));
        }
        Some(state) => push_page(&mut query, listing, &format!("{LIVES} AND r.state = {}", state as u8)),
        None => push_page(&mut query, listing, LIVES),
    }
    query.push(&format!(") r {JOINS} ORDER BY r.received_at DESC, r.id DESC"));
    query
}

fn push_page(query: &mut Query, listing: &Listing, which: &str) {
    query.push("SELECT r.* FROM ");
    push_source(query, listing);
    query.push(" WHERE ");
    query.push(which);
    if let Some(tenant) = listing.tenant {
        query.push_with(" AND r.tenant = ?", number(tenant));
    }
    if let Some(from) = listing.from {
        query.push_with(" AND r.received_at >= ?", millis_up(from));
    }
    if let Some(to) = listing.to {
        query.push_with(" AND r.received_at < ?", millis_up(to));
    }
    if let Some((received_at, id)) = listing.after {
        query.push_with(" AND (r.received_at, r.id) < (?", millis(received_at));
        query.push_with(", ?)", uuid(*id.as_bytes()));
    }
    push_class(query, listing);
    query.push_with(" ORDER BY r.received_at DESC, r.id DESC LIMIT ?", i64::from(listing.limit));
}

/// Tokens are rarer than any span of time: with tokens, the recordings that have one are found first.
fn push_source(query: &mut Query, listing: &Listing) {
    let (numbers, calls) = (listing.numbers.as_deref().map(uuids), listing.call_ids.as_deref().map(uuids));
    let both = "(SELECT id, ends FROM content WHERE a_token = ANY (?) UNION SELECT id, ends FROM content WHERE b_token = ANY (?))";
    let by_call = "(SELECT id, ends FROM content WHERE call_token = ANY (?))";
    let hits: Vec<(&str, Vec<Uuid>)> =
        numbers.map(|n| (both, n)).into_iter().chain(calls.map(|c| (by_call, c))).collect();
    if hits.is_empty() {
        return query.push("recording r");
    }
    for (index, (sql, tokens)) in hits.into_iter().enumerate() {
        query.push(if index == 0 { "" } else { " JOIN " });
        query.push_with(sql, tokens);
        query.push(if index == 0 { " AS hit" } else { " AS other ON other.id = hit.id" });
    }
    query.push(&format!(" CROSS JOIN LATERAL {} r", row_of("hit")));
}

/// The recording that a row leads to, by its key and by nothing else: `OFFSET 0` keeps the planner from beginning with all
/// recordings in the order of their age, in which the answer is wanted, and looking for those that were hit among them.
fn row_of(found: &str) -> String {
    format!("(SELECT r.* FROM recording r WHERE r.id = {found}.id AND r.ends = {found}.ends OFFSET 0)")
}

/// One and the same wrap has the class and is alive.
fn push_class(query: &mut Query, listing: &Listing) {
    if listing.class.is_none() && listing.alive_at.is_none() {
        return;
    }
    let until = match listing.class {
        Some(Class::Customer) => "r.customer_until",
        Some(Class::Training) => "r.training_until",
        Some(Class::Cdr) => "(SELECT k.cdr_until FROM call k WHERE k.id = r.call AND k.ends = r.call_ends)",
        Some(Class::Finance) => "(SELECT k.finance_until FROM call k WHERE k.id = r.call AND k.ends = r.call_ends)",
        None => "greatest(r.customer_until, r.training_until)",
    };
    match listing.alive_at {
        // Whole seconds: later than the instant exactly if later than the second that it is in.
        Some(alive_at) => query.push_with(&format!(" AND {until} > ?"), second(alive_at)),
        None => query.push(&format!(" AND {until} IS NOT NULL")),
    }
}

/// Of several, the one that came last: the others' tokens are of earlier days.
pub(super) async fn by_name(db: &Session, tenant: TenantNumber, tokens: &[[u8; 16]]) -> Outcome<Option<Recording>> {
    if tokens.is_empty() {
        return Ok(None);
    }
    let row = db.first(&name_sql(), &[&number(tenant), &uuids(tokens)]).await?;
    row.map(|row| Ok(recording(&row)?.0)).transpose()
}

pub(super) fn name_sql() -> String {
    let row = row_of("c");
    format!(
        "SELECT {COLUMNS} FROM (SELECT r.* FROM content c CROSS JOIN LATERAL {row} r
             WHERE c.tenant = $1 AND c.name_token = ANY ($2) AND c.ends >= (SELECT epoch FROM shredded) AND {LIVES}
             ORDER BY r.received_at DESC, r.id DESC LIMIT 1) r {JOINS}"
    )
}

pub(super) async fn in_state(
    db: &Session,
    state: State,
    holder: Option<&ReplicaName>,
    after: Option<RecordingId>,
    limit: u32,
) -> Outcome<Vec<Recording>> {
    let after = after.map_or(Uuid::nil(), |id| uuid(*id.as_bytes()));
    let rows = match holder {
        Some(holder) => {
            db.all(&state_sql(state, "r.holder = $3 AND"), &[&after, &i64::from(limit), &holder.as_str()]).await?
        }
        None => db.all(&state_sql(state, ""), &[&after, &i64::from(limit)]).await?,
    };
    rows.iter().map(|row| Ok(recording(row)?.0)).collect()
}

pub(super) fn state_sql(state: State, held: &str) -> String {
    let number = state as u8;
    let which = match state {
        // The states that the index holds are few at any time; of the others, most rows are in the one that is asked for.
        State::Receiving | State::Spooled | State::Held => {
            format!("r.state IN (0, 1, 3) AND {LIVES} AND r.state = {number}")
        }
        State::Stored | State::Expiring => format!("{LIVES} AND r.state = {number}"),
        State::Shredded => format!("(r.state = 5 OR (NOT r.gone AND r.state <> 3 AND {REACHED}))"),
        State::Erased | State::Deleted => format!("r.gone AND r.state = {number}"),
    };
    format!(
        "SELECT {COLUMNS} FROM (SELECT r.* FROM recording r WHERE {held} {which} AND r.id > $1
             ORDER BY r.id LIMIT $2) r {JOINS}
         ORDER BY r.id"
    )
}
