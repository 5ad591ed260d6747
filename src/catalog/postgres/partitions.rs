//! Partitions: made ahead of time, dropped when everything in them is dead.
//!
//! A period is four weeks of epochs: the longest term and a period more are sixteen partitions of each table, few enough for
//! a statement that must look into all of them, and a dead period leaves at most four weeks after its last epoch.
//!
//! # Promise
//! A row that has no partition of its own lies in the one of the rest and is as good as any other; the next look moves it. No
//! statement here holds a lock that others wait for longer than [`LOCK_MAX`]: it gives up, and is begun anew. What cannot be
//! done while a dump of the database reads every table is left to the next look, and keeps nobody out.

use super::errors::{Outcome, is_locked};
use super::pool::{Pool, Session};
use super::rows::Place;
use super::{Lock, locked};
use crate::catalog::Result;

/// Epochs in a partition. Stored rows depend on it: the tally, and the bounds of every partition.
pub(super) const PERIOD_EPOCHS: i32 = 672;
/// Twelve months are 13.1 periods; the one that runs, one that has begun, one ahead.
pub(super) const AHEAD: i32 = 15;
/// The last period that ends before [`Place::NEVER`].
const PERIOD_MAX: i32 = Place::NEVER.epoch / PERIOD_EPOCHS - 1;
/// How long the statements of others may wait behind one of these.
const LOCK_MAX: &str = "SET LOCAL lock_timeout = '200ms'";

const TABLES: [(&str, &str); 4] = [("recording", "ends"), ("content", "ends"), ("call", "ends"), ("wrap", "epoch")];

/// Makes what is missing: for the time ahead, and for rows that lie in the rest.
pub(super) async fn make(pool: &Pool) -> Result<()> {
    for (table, period) in pool.read(|db| async move { missing(&db).await }).await? {
        let made = pool.write(move |db| {
            let table = table.clone();
            async move { make_one(&db, &table, period).await }
        });
        match made.await {
            Err(error) if is_locked(&error) => {
                tracing::warn!(
                    period,
                    "a partition of the catalog was not made: a dump, or another long transaction, reads it"
                );
                break;
            }
            made => made?,
        }
    }
    Ok(())
}

async fn missing(db: &Session) -> Outcome<Vec<(String, i32)>> {
    let mut sql = String::from(
        "SELECT t.name, p.number FROM unnest(ARRAY['recording', 'content', 'call', 'wrap']) AS t (name),
             (SELECT floor((extract(epoch FROM now()) - 1704067200) / 2419200)::integer AS first) n,
             generate_series(n.first, n.first + $1) AS p (number)
         WHERE to_regclass(t.name || '_p' || p.number) IS NULL",
    );
    for (table, key) in TABLES {
        sql += &format!(
            " UNION SELECT '{table}', {key} / {PERIOD_EPOCHS} FROM {table}_rest WHERE {key} / {PERIOD_EPOCHS} <= $2"
        );
    }
    let rows = db.all(&sql, &[&AHEAD, &PERIOD_MAX]).await?;
    let pair = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get::<_, i32>(1)?));
    let pairs = rows.iter().map(pair).collect::<Outcome<Vec<_>>>()?;
    Ok(pairs.into_iter().filter(|(_, period)| (0..=PERIOD_MAX).contains(period)).collect())
}

/// The table is made beside its parent and then attached, which readers and writers do not wait for.
async fn make_one(db: &Session, table: &str, period: i32) -> Outcome<()> {
    let Some((_, key)) = TABLES.into_iter().find(|(name, _)| *name == table) else { return Ok(()) };
    locked(db, Lock::Partitions).await?;
    let name = format!("{table}_p{period}");
    if is_there(db, &name).await? {
        return Ok(());
    }
    let (from, to) = (period * PERIOD_EPOCHS, (period + 1) * PERIOD_EPOCHS);
    let within = format!("{key} >= {from} AND {key} < {to}");
    // The index of names is not the parent's: alone it would have to hold the epoch, and two of one name could stand in it.
    let index = match table {
        "content" => format!("CREATE UNIQUE INDEX ON {name} (tenant, name_token) WHERE name_token IS NOT NULL;"),
        _ => String::new(),
    };
    db.batch(&format!(
        "{LOCK_MAX};
         CREATE TABLE {name} (LIKE {table} INCLUDING ALL);
         {index}
         CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT * FROM {table}_rest WHERE {within};
         DELETE FROM {table}_rest WHERE {within};
         ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to});
         INSERT INTO {table} SELECT * FROM moved"
    ))
    .await
}

/// From the table of tables itself: in a transaction that has begun, `to_regclass` may not know of what others have made.
async fn is_there(db: &Session, name: &str) -> Outcome<bool> {
    let sql = "SELECT 1 FROM pg_class WHERE relname = $1
               AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'recording'::regclass)";
    Ok(db.first(sql, &[&name]).await?.is_some())
}

/// Drops what is dead: the content of a period that the mark has passed, and its rows `kept` epochs later. Returns how many
/// partitions went.
pub(super) async fn drop_dead(pool: &Pool, kept: i32) -> Result<usize> {
    let dead = pool.read(move |db| async move { dead(&db, kept).await }).await?;
    let mut count = 0;
    for (period, is_forgotten) in dead {
        match pool.write(move |db| async move { drop_one(&db, period, is_forgotten).await }).await {
            Err(error) if is_locked(&error) => {
                tracing::warn!(
                    period,
                    "a dead period of the catalog was kept: a dump, or another long transaction, reads it"
                );
                break;
            }
            dropped => count += dropped?,
        }
    }
    Ok(count)
}

/// Periods, and whether their recordings are forgotten too.
async fn dead(db: &Session, kept: i32) -> Outcome<Vec<(i32, bool)>> {
    let sql = "
        WITH found AS (SELECT substring(c.relname from '_p([0-9]+)$')::integer AS period, i.inhparent
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent IN ('recording'::regclass, 'content'::regclass, 'call'::regclass, 'wrap'::regclass)
                AND c.relname ~ '_p[0-9]+$'),
        mark AS (SELECT epoch FROM shredded)
        SELECT period, bool_or((period + 1) * $1 + $2 <= mark.epoch) FROM found, mark
        WHERE (period + 1) * $1 <= mark.epoch AND NOT EXISTS (SELECT 1 FROM run WHERE NOT finished)
            AND (inhparent <> 'recording'::regclass OR (period + 1) * $1 + $2 <= mark.epoch)
        GROUP BY period ORDER BY period";
    let rows = db.all(sql, &[&PERIOD_EPOCHS, &kept]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Files go after the locks do: what others wait for is a few rows of the system's own tables.
async fn drop_one(db: &Session, period: i32, is_forgotten: bool) -> Outcome<usize> {
    locked(db, Lock::Partitions).await?;
    let (wraps, mut tables) = (format!("wrap_p{period}"), Vec::new());
    for (table, _) in TABLES {
        let name = format!("{table}_p{period}");
        if is_there(db, &name).await? && (table != "recording" || is_forgotten) {
            tables.push(name);
        }
    }
    if tables.contains(&wraps) && is_held(db, &wraps).await? {
        tracing::warn!(period, "a recording under a hold keeps a dead partition of the catalog");
        return Ok(0);
    }
    if tables.is_empty() {
        return Ok(0);
    }
    db.batch(&format!("{LOCK_MAX}; DROP TABLE {}", tables.join(", "))).await?;
    if is_forgotten {
        db.execute("DELETE FROM tally WHERE period = $1", &[&period]).await?;
    }
    tracing::info!(period, partitions = tables.len(), "a dead period of the catalog was dropped");
    Ok(tables.len())
}

async fn is_held(db: &Session, wraps: &str) -> Outcome<bool> {
    let sql = format!(
        "SELECT 1 FROM recording h JOIN {wraps} w ON w.subject IN (h.id, h.call)
         WHERE h.state = 3 AND h.state IN (0, 1, 3) LIMIT 1"
    );
    Ok(!db.all_once(&sql, &[]).await?.is_empty())
}
