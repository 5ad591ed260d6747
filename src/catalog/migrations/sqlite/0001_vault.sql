-- The vault. Times are milliseconds since 1970 (UTC) unless a column says seconds. Ids are 16 raw bytes.
-- Nothing in here opens a recording after its term, and nothing in here is a number or a name of a caller.

CREATE TABLE tenant (
    number          INTEGER PRIMARY KEY AUTOINCREMENT, -- place in the tenant tree; never given twice
    slug            TEXT    NOT NULL UNIQUE,           -- in URLs and commands; in the clear
    name            TEXT    NOT NULL,                  -- the customer's name; in the clear
    recording       INTEGER NOT NULL,                  -- 1: customer recording is switched on
    customer_term   TEXT    NOT NULL,                  -- '90d', '6mo'
    training_term   TEXT    NOT NULL,
    cdr_term        TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    offboarded_at   INTEGER                            -- its key is punctured by the next run
) STRICT;

CREATE TABLE token (
    id              BLOB    NOT NULL PRIMARY KEY,      -- UUIDv7
    tenant          INTEGER NOT NULL REFERENCES tenant (number),
    name            TEXT    NOT NULL,                  -- what the token is for; in the clear
    scopes          TEXT    NOT NULL,                  -- names with one space between
    hash            BLOB    NOT NULL UNIQUE,           -- SHA-256 of the token; its text is stored nowhere
    networks        TEXT    NOT NULL,                  -- CIDRs with one space between; empty: from anywhere
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE call (
    id              BLOB    NOT NULL PRIMARY KEY,      -- UUIDv7; subject of the wraps of classes cdr and finance
    tenant          INTEGER NOT NULL REFERENCES tenant (number),
    blob            BLOB,                              -- the call's data, sealed; NULL after its last term
    text_len        INTEGER NOT NULL                   -- length of the text in the blob, bound into its wraps
) STRICT, WITHOUT ROWID;

CREATE TABLE recording (
    id              BLOB    NOT NULL PRIMARY KEY,      -- UUIDv7
    tenant          INTEGER NOT NULL REFERENCES tenant (number),
    state           INTEGER NOT NULL,                  -- model::State
    gone            INTEGER NOT NULL,                  -- 1: reads answer 410; listings pass it by without touching the row
    completeness    INTEGER NOT NULL,                  -- 0 receiving, 1 complete, 2 partial; bound into the wraps
    received_at     INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL,
    plain_len       INTEGER,                           -- bytes of audio; bound into the wraps; NULL while receiving
    object          BLOB    NOT NULL,                  -- the object's random name; bound into the wraps
    sealed_len      INTEGER,                           -- bytes of the object
    digest          BLOB,                              -- SHA-256 over the object's header and tags; goes into the receipt
    name_token      BLOB,                              -- HMAC of the sender's name for it; NULL: nameless, or gone
    a_token         BLOB,                              -- HMACs for the search by number and by call id, under keys that die
    b_token         BLOB,                              -- on the day on which the recording ends; NULL once it is gone
    call_token      BLOB,
    label           BLOB,                              -- name and media type, sealed; NULL once it is gone
    call            BLOB REFERENCES call (id),
    run             INTEGER,                           -- the run in which its last key died
    CHECK (gone = (state > 3))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX recording_by_name ON recording (tenant, name_token) WHERE name_token IS NOT NULL;
CREATE INDEX recording_by_time    ON recording (tenant, gone, received_at DESC, id DESC);
CREATE INDEX recording_by_age     ON recording (gone, received_at DESC, id DESC);
CREATE INDEX recording_unfinished ON recording (state, id, received_at) WHERE state IN (0, 1, 3);
CREATE INDEX recording_by_a       ON recording (a_token) WHERE a_token IS NOT NULL;
CREATE INDEX recording_by_b       ON recording (b_token) WHERE b_token IS NOT NULL;
CREATE INDEX recording_by_call_id ON recording (call_token) WHERE call_token IS NOT NULL;
CREATE INDEX recording_by_call    ON recording (call) WHERE call IS NOT NULL;
CREATE INDEX recording_by_run     ON recording (run, tenant, id) WHERE run IS NOT NULL;

-- Recordings and their plaintext bytes by state, so that counting does not read the table.
CREATE TABLE tally (
    state           INTEGER NOT NULL PRIMARY KEY,
    recordings      INTEGER NOT NULL,
    bytes           INTEGER NOT NULL
) STRICT;

INSERT INTO tally (state, recordings, bytes)
VALUES (0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (5, 0, 0), (6, 0, 0), (7, 0, 0);

CREATE TRIGGER tally_insert AFTER INSERT ON recording BEGIN
    UPDATE tally SET recordings = recordings + 1, bytes = bytes + coalesce(NEW.plain_len, 0) WHERE state = NEW.state;
END;

CREATE TRIGGER tally_update AFTER UPDATE OF state, plain_len ON recording BEGIN
    UPDATE tally SET recordings = recordings - 1, bytes = bytes - coalesce(OLD.plain_len, 0) WHERE state = OLD.state;
    UPDATE tally SET recordings = recordings + 1, bytes = bytes + coalesce(NEW.plain_len, 0) WHERE state = NEW.state;
END;

CREATE TRIGGER tally_delete AFTER DELETE ON recording BEGIN
    UPDATE tally SET recordings = recordings - 1, bytes = bytes - coalesce(OLD.plain_len, 0) WHERE state = OLD.state;
END;

CREATE TABLE wrap (
    subject         BLOB    NOT NULL,                  -- recording.id or call.id
    class           INTEGER NOT NULL,                  -- model::Class
    tenant          INTEGER NOT NULL,
    tree            INTEGER NOT NULL,                  -- the path in the ring: tree, epoch, tag
    epoch           INTEGER NOT NULL,
    tag             INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,                  -- seconds; bound into the wrap
    sealed          BLOB,                              -- 72 bytes; NULL once deleted, erased or shredded
    run             INTEGER,                           -- the run in which its key died
    PRIMARY KEY (subject, class)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX wrap_by_path ON wrap (tree, epoch, tag);
CREATE INDEX wrap_due       ON wrap (epoch, expires_at) WHERE run IS NULL;
CREATE INDEX wrap_by_tenant ON wrap (tenant) WHERE run IS NULL;
CREATE INDEX wrap_by_run    ON wrap (run, tenant, class, epoch) WHERE run IS NOT NULL;

CREATE TABLE puncture (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of requests
    tenant          INTEGER NOT NULL,
    subject         BLOB,                              -- NULL: the tenant's own key
    class           INTEGER,
    tree            INTEGER,
    epoch           INTEGER,
    tag             INTEGER,
    run             INTEGER                            -- the run whose rows it was shredded with; NULL: queued
) STRICT;

CREATE INDEX puncture_by_run ON puncture (run, id);
CREATE UNIQUE INDEX puncture_by_path ON puncture (tree, epoch, tag) WHERE run IS NULL AND tree IS NOT NULL;

CREATE TABLE ring_mark (
    only            INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    generation      INTEGER NOT NULL,                  -- no ring below it is loaded; 0: there was never one
    floor           INTEGER NOT NULL                   -- everything below this epoch is destroyed
) STRICT;

INSERT INTO ring_mark (only, generation, floor) VALUES (1, 0, 0);

CREATE TABLE run (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at      INTEGER NOT NULL,
    from_generation INTEGER NOT NULL,
    floor_before    INTEGER NOT NULL,
    floor           INTEGER NOT NULL,                  -- announced: everything below it is refused from here on
    last_puncture   INTEGER NOT NULL,                  -- punctures up to this one belong to the run
    ring_before     BLOB    NOT NULL,                  -- SHA-256 of the ring file before
    to_generation   INTEGER,                           -- the watermark was set; NULL: announced only
    ring_after      BLOB,
    finished        INTEGER NOT NULL DEFAULT 0         -- 1: rows are shredded and receipts written
) STRICT;

CREATE UNIQUE INDEX run_open ON run (finished) WHERE finished = 0; -- one run at a time

CREATE TABLE receipt (
    tenant          INTEGER NOT NULL REFERENCES tenant (number),
    number          INTEGER NOT NULL,                  -- from 1, without gaps
    run             INTEGER NOT NULL,
    jws             TEXT    NOT NULL,                  -- RFC 7515, compact
    PRIMARY KEY (tenant, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX receipt_by_run ON receipt (run, tenant);

CREATE TABLE sweep (
    object          BLOB    NOT NULL PRIMARY KEY       -- an object that no recording needs any more
) STRICT, WITHOUT ROWID;

CREATE TABLE replica (
    id              TEXT    NOT NULL PRIMARY KEY,
    generation      INTEGER NOT NULL                   -- the ring it has in memory; whether it lives, its lock tells
) STRICT, WITHOUT ROWID;
