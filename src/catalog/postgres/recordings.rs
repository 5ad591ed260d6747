//! A recording's row from the first byte to the object store.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::errors::{Outcome, Trouble};
use super::pool::Session;
use super::rows::{Place, bytes, epoch, parse, take, take_optional, uuid};
use super::tenants::{must_live, number};
use super::{LIVES, Lock, house, locked};
use crate::catalog::rules::{self, Finish};
use crate::catalog::stored::{int, millis};
use crate::catalog::{CallRow, CatalogError, Finished, NewRecording, Recording, Resume, WrapRow};
use crate::model::epoch::{Tag, TreeId};
use crate::model::{
    Class, Completeness, Epoch, ObjectId, RecordingId, ReplicaName, State, SubjectId, TenantNumber, TimePath, Timestamp,
};

/// What [`recording`] reads, from a table `r` and [`JOINS`]. The mark is read with the row: both are of one snapshot.
pub(super) const COLUMNS: &str = "
    r.id, r.tenant, r.state, r.completeness, r.received_at, r.changed_at, r.plain_len, r.object, r.sealed_len, r.digest,
    r.resume_until, r.declared_len, r.ends, r.ends_tree, r.ends_tag,
    (SELECT epoch FROM shredded), (SELECT tree FROM shredded), (SELECT tag FROM shredded),
    CASE WHEN r.ends <= (SELECT epoch FROM shredded) THEN (SELECT x.shredded_at FROM run x
        WHERE (x.to_epoch, x.to_tree, x.to_tag) > (r.ends, r.ends_tree, r.ends_tag)
        ORDER BY x.to_epoch, x.to_tree, x.to_tag LIMIT 1) END,
    c.label,
    r.customer_until, r.customer_epoch, w1.tree, w1.tag, w1.sealed,
    r.training_until, r.training_epoch, w2.tree, w2.tag, w2.sealed,
    k.id, k.blob, k.text_len, k.ends, k.ends_tree, k.ends_tag,
    k.cdr_until, k.cdr_epoch, w3.tree, w3.tag, w3.sealed,
    k.finance_until, k.finance_epoch, w4.tree, w4.tag, w4.sealed,
    CASE WHEN k.id IS NOT NULL AND least(k.cdr_epoch, k.finance_epoch) <= (SELECT epoch FROM shredded)
        THEN EXISTS (SELECT 1 FROM recording h WHERE h.call = k.id AND h.state = 3) ELSE false END,
    r.holder";

/// Each of them is looked for in one partition: the epoch stands in the row before.
pub(super) const JOINS: &str = "
    LEFT JOIN content c ON c.id = r.id AND c.ends = r.ends
    LEFT JOIN wrap w1 ON w1.subject = r.id AND w1.class = 1 AND w1.epoch = r.customer_epoch
    LEFT JOIN wrap w2 ON w2.subject = r.id AND w2.class = 2 AND w2.epoch = r.training_epoch
    LEFT JOIN call k ON k.id = r.call AND k.ends = r.call_ends
    LEFT JOIN wrap w3 ON w3.subject = k.id AND w3.class = 3 AND w3.epoch = k.cdr_epoch
    LEFT JOIN wrap w4 ON w4.subject = k.id AND w4.class = 4 AND w4.epoch = k.finance_epoch";

pub(super) async fn begin(db: &Session, new: &NewRecording) -> Outcome<()> {
    let (name, call) = (new.name_token.map(Uuid::from_bytes), new.call.as_ref().map(|call| uuid(*call.id.as_bytes())));
    // Invariant: whoever begins under a name, or with a call, holds its lock until he has committed; the look after it is a
    // statement of its own, and sees what the one before him wrote.
    locked(db, Lock::TenantShared(new.tenant)).await?;
    if let Some(name) = new.name_token {
        locked(db, Lock::Name(name)).await?;
    }
    if let Some(call) = call {
        locked(db, Lock::Call(call)).await?;
    }
    let looks = format!(
        "SELECT (SELECT offboarded_at IS NULL FROM tenant WHERE number = $1),
             EXISTS (SELECT 1 FROM content c JOIN recording r ON r.id = c.id AND r.ends = c.ends
                 WHERE c.tenant = $1 AND c.name_token = $2 AND c.ends >= (SELECT epoch FROM shredded) AND {LIVES}),
             k.tenant, k.ends
         FROM (VALUES (1)) one LEFT JOIN call k ON k.id = $3"
    );
    let tenant = number(new.tenant);
    let found = db.first(&looks, &[&tenant, &name, &call]).await?;
    let found = found.ok_or_else(|| CatalogError::Damaged("a look has no answer".into()))?;
    must_live(found.try_get(0)?)?;
    if found.try_get(1)? {
        return Err(CatalogError::NameTaken.into());
    }
    let joined = match (take_optional::<TenantNumber>(&found, 2)?, &new.call) {
        (Some(owner), _) if owner != new.tenant => return Err(CatalogError::WrongState.into()),
        (Some(_), _) => Joined { ends: found.try_get(3)?, new: None },
        (None, Some(call)) => Joined { ends: Some(last(&call.wraps).epoch), new: Some(call) },
        (None, None) => Joined { ends: None, new: None },
    };
    if let (Some(call), None) = (call, joined.new) {
        let sql = "UPDATE wrap SET received_at = $2 WHERE subject = $1 AND received_at < $2";
        db.execute(sql, &[&call, &millis(new.received_at)]).await?;
    }
    insert(db, new, &joined).await
}

/// The call of a recording that is begun: one that is there already is joined as it is.
struct Joined<'a> {
    ends: Option<i32>,
    new: Option<&'a CallRow>,
}

/// The path that dies last.
fn last(wraps: &[WrapRow]) -> Place {
    wraps.iter().map(|wrap| Place::of(&wrap.path)).max().unwrap_or(Place::NEVER)
}

/// All at once; the first that fails tells why.
async fn insert(db: &Session, new: &NewRecording, joined: &Joined<'_>) -> Outcome<()> {
    let place = last(&new.wraps);
    let mut wraps = Wraps::default();
    wraps.push(new, new.id.into(), &new.wraps);
    if let Some(call) = joined.new {
        wraps.push(new, call.id.into(), &call.wraps);
    }
    let inserted = tokio::join!(
        insert_recording(db, new, place, joined.ends),
        insert_content(db, new, place),
        wraps.insert(db),
        insert_call(db, new.tenant, joined.new),
    );
    let results = [inserted.0, inserted.1, inserted.2, inserted.3];
    let cause = results.into_iter().filter_map(Result::err).min_by_key(Trouble::is_echo);
    let Some(trouble) = cause else { return Ok(()) };
    Err(match trouble.taken_in() {
        Some(table) if table.starts_with("wrap") => CatalogError::PathTaken.into(),
        Some(table) if table.starts_with("content") => CatalogError::NameTaken.into(),
        Some(_) => CatalogError::WrongState.into(),
        None => trouble,
    })
}

async fn insert_recording(db: &Session, new: &NewRecording, place: Place, call_ends: Option<i32>) -> Outcome<()> {
    let (customer, training) = (of_class(&new.wraps, Class::Customer), of_class(&new.wraps, Class::Training));
    db.execute(
        "INSERT INTO recording (id, tenant, state, gone, completeness, received_at, changed_at, object, call, call_ends,
             resume_until, declared_len, customer_until, customer_epoch, training_until, training_epoch, ends, ends_tree,
             ends_tag, holder)
         VALUES ($1, $2, 0, false, 0, $3, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        &[
            &uuid(*new.id.as_bytes()),
            &number(new.tenant),
            &millis(new.received_at),
            &uuid(new.object.0),
            &new.call.as_ref().map(|call| uuid(*call.id.as_bytes())),
            &call_ends,
            &new.resume.map(|resume| millis(resume.until)),
            &new.resume.and_then(|resume| resume.declared_len).map(int),
            &customer.map(|wrap| wrap.expires_at.as_second()),
            &customer.map(|wrap| epoch(&wrap.path)),
            &training.map(|wrap| wrap.expires_at.as_second()),
            &training.map(|wrap| epoch(&wrap.path)),
            &place.epoch,
            &place.tree,
            &place.tag,
            &new.holder.as_str(),
        ],
    )
    .await?;
    Ok(())
}

async fn insert_content(db: &Session, new: &NewRecording, place: Place) -> Outcome<()> {
    let tokens = [new.name_token, new.tokens.a_number, new.tokens.b_number, new.tokens.call_id];
    let [name, a_number, b_number, call_id] = tokens.map(|token| token.map(Uuid::from_bytes));
    db.execute(
        "INSERT INTO content (id, ends, tenant, name_token, a_token, b_token, call_token, label)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            &uuid(*new.id.as_bytes()),
            &place.epoch,
            &number(new.tenant),
            &name,
            &a_number,
            &b_number,
            &call_id,
            &new.label,
        ],
    )
    .await?;
    Ok(())
}

async fn insert_call(db: &Session, tenant: TenantNumber, call: Option<&CallRow>) -> Outcome<()> {
    let Some(call) = call else { return Ok(()) };
    let (cdr, finance) = (of_class(&call.wraps, Class::Cdr), of_class(&call.wraps, Class::Finance));
    let place = last(&call.wraps);
    db.execute(
        "INSERT INTO call (id, tenant, blob, text_len, cdr_until, cdr_epoch, finance_until, finance_epoch, ends, ends_tree,
             ends_tag)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        &[
            &uuid(*call.id.as_bytes()),
            &number(tenant),
            &call.blob,
            &int(call.text_len),
            &cdr.map(|wrap| wrap.expires_at.as_second()),
            &cdr.map(|wrap| epoch(&wrap.path)),
            &finance.map(|wrap| wrap.expires_at.as_second()),
            &finance.map(|wrap| epoch(&wrap.path)),
            &place.epoch,
            &place.tree,
            &place.tag,
        ],
    )
    .await?;
    Ok(())
}

fn of_class(wraps: &[WrapRow], class: Class) -> Option<&WrapRow> {
    wraps.iter().find(|wrap| wrap.class == class)
}

/// Rows of the table `wrap`, column by column.
#[derive(Default)]
struct Wraps {
    subjects: Vec<Uuid>,
    classes: Vec<i16>,
    tenants: Vec<i64>,
    trees: Vec<i32>,
    epochs: Vec<i32>,
    tags: Vec<i64>,
    ends: Vec<i64>,
    received: Vec<i64>,
    sealed: Vec<Option<Vec<u8>>>,
}

impl Wraps {
    fn push(&mut self, new: &NewRecording, subject: SubjectId, wraps: &[WrapRow]) {
        for wrap in wraps {
            let place = Place::of(&wrap.path);
            self.subjects.push(uuid(subject.0));
            self.classes.push(wrap.class as i16);
            self.tenants.push(number(new.tenant));
            self.trees.push(place.tree);
            self.epochs.push(place.epoch);
            self.tags.push(place.tag);
            self.ends.push(wrap.expires_at.as_second());
            self.received.push(millis(new.received_at));
            self.sealed.push(wrap.sealed.map(|sealed| sealed.to_vec()));
        }
    }

    async fn insert(&self, db: &Session) -> Outcome<()> {
        db.execute(
            "INSERT INTO wrap (subject, class, tenant, tree, epoch, tag, expires_at, received_at, sealed)
             SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::integer[], $5::integer[], $6::bigint[],
                 $7::bigint[], $8::bigint[], $9::bytea[])",
            &[
                &self.subjects,
                &self.classes,
                &self.tenants,
                &self.trees,
                &self.epochs,
                &self.tags,
                &self.ends,
                &self.received,
                &self.sealed,
            ],
        )
        .await?;
        Ok(())
    }
}

/// A recording with its row held until the end of the transaction, and the partition that it is in.
pub(super) async fn held(db: &Session, id: RecordingId) -> Outcome<Option<(Recording, Place)>> {
    let key = uuid(*id.as_bytes());
    let hold = "SELECT r.ends < (SELECT max(floor) FROM run WHERE NOT finished) FROM recording r WHERE r.id = $1 FOR UPDATE OF r";
    let Some(held) = db.first(hold, &[&key]).await? else { return Ok(None) };
    // A statement of its own: it sees what whoever held the row before has committed.
    let found = find(db, None, id).await?;
    if !held.try_get::<_, Option<bool>>(0)?.unwrap_or(false) {
        return Ok(found);
    }
    // A run is about to pass it: either it is through with this transaction in view, or this one sees what it did.
    locked(db, Lock::ShredShared).await?;
    find(db, None, id).await
}

/// The inner error leaves something: the new object, queued for the sweep.
pub(super) async fn finish(db: &Session, finished: &Finished) -> Outcome<crate::catalog::Result<()>> {
    let (before, place) = held(db, finished.id).await?.ok_or(CatalogError::NotFound)?;
    let bound = match rules::finish(&before, finished)? {
        Finish::Bind(bound) => bound,
        Finish::Refuse { is_swept } => {
            if is_swept {
                house::to_sweep(db, finished.object).await?;
            }
            return Ok(Err(CatalogError::WrongState));
        }
    };
    let (mut trees, mut epochs, mut tags, mut sealed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (wrap, bytes) in bound {
        let place = Place::of(&wrap.path);
        trees.push(place.tree);
        epochs.push(place.epoch);
        tags.push(place.tag);
        sealed.push(bytes.as_slice());
    }
    let key = uuid(*finished.id.as_bytes());
    let (state, completeness) = (finished.state as i16, finished.completeness as i16);
    let (plain_len, sealed_len) = (int(finished.plain_len), int(finished.sealed_len));
    let (changed_at, object, digest) =
        (millis(finished.changed_at), uuid(finished.object.0), finished.digest.as_slice());
    let is_done = (finished.state, finished.completeness) == (State::Stored, Completeness::Complete);
    let holder = Some(finished.holder.as_str()).filter(|_| !is_done);
    let row: [&(dyn ToSql + Sync); 10] =
        [&key, &place.epoch, &state, &completeness, &changed_at, &plain_len, &object, &sealed_len, &digest, &holder];
    let wraps: [&(dyn ToSql + Sync); 5] = [&key, &trees, &epochs, &tags, &sealed];
    let (bind, update) = tokio::join!(db.execute(BIND, &wraps), db.execute(FINISH, &row));
    update?;
    bind?;
    if let Some(label) = &finished.label {
        db.execute("UPDATE content SET label = $3 WHERE id = $1 AND ends = $2", &[&key, &place.epoch, label]).await?;
    }
    if before.object != finished.object {
        house::to_sweep(db, before.object).await?;
    }
    Ok(Ok(()))
}

const BIND: &str = "UPDATE wrap w SET sealed = u.sealed
    FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::bytea[]) AS u (tree, epoch, tag, sealed)
    WHERE w.subject = $1 AND w.tree = u.tree AND w.epoch = u.epoch AND w.tag = u.tag";

const FINISH: &str = "UPDATE recording SET state = $3, completeness = $4, changed_at = $5, plain_len = $6, object = $7,
        sealed_len = $8, digest = $9, holder = $10
    WHERE id = $1 AND ends = $2";

/// The inner error leaves something: an object that the recording does not need any more, queued for the sweep.
pub(super) async fn stored(
    db: &Session,
    id: RecordingId,
    object: ObjectId,
    at: Timestamp,
) -> Outcome<crate::catalog::Result<()>> {
    let (before, place) = held(db, id).await?.ok_or(CatalogError::NotFound)?;
    if before.state == State::Spooled && before.object == object {
        let sql = "UPDATE recording SET state = 2, changed_at = $3,
                       holder = CASE completeness WHEN 1 THEN NULL ELSE holder END
                   WHERE id = $1 AND ends = $2";
        db.execute(sql, &[&uuid(*id.as_bytes()), &place.epoch, &millis(at)]).await?;
        return Ok(Ok(()));
    }
    if before.state.is_gone() || before.object != object {
        house::to_sweep(db, object).await?;
    }
    Ok(Err(CatalogError::WrongState))
}

pub(super) async fn set_resume(db: &Session, id: RecordingId, resume: Option<Resume>) -> Outcome<()> {
    let (before, place) = held(db, id).await?.ok_or(CatalogError::NotFound)?;
    if before.state.is_gone() {
        return Err(CatalogError::WrongState.into());
    }
    db.execute(
        "UPDATE recording SET resume_until = $3, declared_len = $4 WHERE id = $1 AND ends = $2",
        &[
            &uuid(*id.as_bytes()),
            &place.epoch,
            &resume.map(|resume| millis(resume.until)),
            &resume.and_then(|resume| resume.declared_len).map(int),
        ],
    )
    .await?;
    Ok(())
}

pub(super) async fn entrust(db: &Session, id: RecordingId, replica: &ReplicaName) -> Outcome<ReplicaName> {
    let (before, place) = held(db, id).await?.ok_or(CatalogError::NotFound)?;
    if let Some(holder) = rules::entrust(&before)? {
        return Ok(holder.clone());
    }
    let sql = "UPDATE recording SET holder = $3 WHERE id = $1 AND ends = $2";
    db.execute(sql, &[&uuid(*id.as_bytes()), &place.epoch, &replica.as_str()]).await?;
    Ok(replica.clone())
}

pub(super) async fn find(
    db: &Session,
    tenant: Option<TenantNumber>,
    id: RecordingId,
) -> Outcome<Option<(Recording, Place)>> {
    let sql = format!("SELECT {COLUMNS} FROM recording r {JOINS} WHERE r.id = $1");
    let found = db.first(&sql, &[&uuid(*id.as_bytes())]).await?.map(|row| recording(&row)).transpose()?;
    Ok(found.filter(|(recording, _)| tenant.is_none_or(|tenant| tenant == recording.tenant)))
}

/// A row of [`COLUMNS`], as the mark makes it: what it has passed is dead, whatever the row says.
pub(super) fn recording(row: &Row) -> Outcome<(Recording, Place)> {
    let missing = |what| CatalogError::Damaged(format!("{what} is missing"));
    let place = Place::take(row, 12)?.ok_or_else(|| missing("a recording's end"))?;
    let mark = Place::take(row, 15)?.ok_or_else(|| missing("the mark of what is shredded"))?;
    let stored: State = take(row, 2)?;
    let is_passed = stored != State::Held && place < mark;
    let is_shredded = is_passed && !stored.is_gone();
    let reach = if stored == State::Held { None } else { Some(mark) };
    let call_reach = if row.try_get(46)? { None } else { Some(mark) };
    let shredded_at = take_optional(row, 18)?;
    let mut recording = Recording {
        id: take(row, 0)?,
        tenant: take(row, 1)?,
        state: if is_shredded { State::Shredded } else { stored },
        completeness: take::<Completeness>(row, 3)?,
        received_at: take(row, 4)?,
        changed_at: shredded_at.filter(|_| is_shredded).map_or_else(|| take(row, 5), Ok)?,
        plain_len: take_optional(row, 6)?,
        object: take(row, 7)?,
        sealed_len: take_optional(row, 8)?,
        digest: bytes(row, 9, "a digest")?,
        label: row.try_get::<_, Option<Vec<u8>>>(19)?.filter(|_| !is_passed),
        wraps: Vec::new(),
        call: call(row, call_reach)?,
        resume: match take_optional(row, 10)? {
            Some(until) => Some(Resume { until, declared_len: take_optional(row, 11)? }),
            None => None,
        },
        holder: match row.try_get::<_, Option<&str>>(47)?.filter(|_| !is_passed) {
            Some(_) => Some(parse(row, 47, "a replica's name")?),
            None => None,
        },
    };
    for (class, column) in [(Class::Customer, 20), (Class::Training, 25)] {
        recording.wraps.extend(wrap(row, column, class, reach)?);
    }
    Ok((recording, place))
}

fn call(row: &Row, reach: Option<Place>) -> Outcome<Option<CallRow>> {
    let Some(id) = take_optional(row, 30)? else { return Ok(None) };
    let is_passed = Place::take(row, 33)?.is_some_and(|place| reach.is_some_and(|reach| place < reach));
    let mut call = CallRow {
        id,
        blob: row.try_get::<_, Option<Vec<u8>>>(31)?.filter(|_| !is_passed),
        text_len: take(row, 32)?,
        wraps: Vec::new(),
    };
    for (class, column) in [(Class::Cdr, 36), (Class::Finance, 41)] {
        call.wraps.extend(wrap(row, column, class, reach)?);
    }
    Ok(Some(call))
}

/// From `until, epoch, tree, tag, sealed`. Of a wrap whose partition was dropped, its end is known still.
fn wrap(row: &Row, column: usize, class: Class, reach: Option<Place>) -> Outcome<Option<WrapRow>> {
    let Some(until) = row.try_get::<_, Option<i64>>(column)? else { return Ok(None) };
    let expires_at = Timestamp::from_second(until).map_err(|_| super::rows::not_stored_by_us(column, "an instant"))?;
    let epoch: Epoch = take(row, column + 1)?;
    let path = match take_optional::<TreeId>(row, column + 2)? {
        Some(tree) => TimePath { tree, epoch, tag: take(row, column + 3)? },
        None => TimePath { tree: TreeId(0), epoch, tag: Tag::INDEX },
    };
    let is_passed = reach.is_some_and(|reach| Place::of(&path) < reach);
    let sealed = bytes(row, column + 4, "a wrap")?.filter(|_| !is_passed);
    Ok(Some(WrapRow { class, path, expires_at, sealed }))
}
