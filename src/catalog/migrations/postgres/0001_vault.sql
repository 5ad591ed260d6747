-- The vault on PostgreSQL. Times are milliseconds since 1970 (UTC) unless a column says seconds. Ids are uuids.
-- Nothing in here opens a recording after its term, and nothing in here is a number or a name of a caller.
-- What has an end lies in partitions by epoch, four weeks each (catalog/postgres.rs tells the story); a partition is made from
-- its parent with LIKE ... INCLUDING ALL, so that an index that is added to a parent belongs into every one.

CREATE TABLE tenant (
    number          bigint   PRIMARY KEY,              -- place in the tenant tree; never given twice
    slug            text     NOT NULL CONSTRAINT tenant_slug UNIQUE,
    name            text     NOT NULL,                 -- the customer's name; in the clear
    recording       boolean  NOT NULL,                 -- customer recording is switched on
    customer_term   text     NOT NULL,                 -- '90d', '6mo'
    training_term   text     NOT NULL,
    cdr_term        text     NOT NULL,
    created_at      bigint   NOT NULL,
    offboarded_at   bigint                             -- its key is punctured by the next run
);

CREATE TABLE token (
    id              uuid     PRIMARY KEY,
    tenant          bigint   NOT NULL REFERENCES tenant (number),
    name            text     NOT NULL,                 -- what the token is for; in the clear
    scopes          text     NOT NULL,                 -- names with one space between
    hash            bytea    NOT NULL UNIQUE,          -- SHA-256 of the token; its text is stored nowhere
    networks        text     NOT NULL,                 -- CIDRs with one space between; empty: from anywhere
    created_at      bigint   NOT NULL,
    expires_at      bigint,
    revoked_at      bigint
);

-- What stays of a recording until long after its end: reads answer 410 from it.
CREATE TABLE recording (
    id              uuid     NOT NULL,
    tenant          bigint   NOT NULL,
    state           smallint NOT NULL,                 -- model::State; a row that the mark has passed is shredded, whatever stands here
    gone            boolean  NOT NULL,
    completeness    smallint NOT NULL,                 -- 0 receiving, 1 complete, 2 partial; bound into the wraps
    received_at     bigint   NOT NULL,
    changed_at      bigint   NOT NULL,
    plain_len       bigint,                            -- bytes of audio; bound into the wraps; NULL while receiving
    object          uuid     NOT NULL,                 -- the object's random name; bound into the wraps
    sealed_len      bigint,                            -- bytes of the object
    digest          bytea,                             -- SHA-256 over the object's header and tags; goes into the receipt
    call            uuid,
    call_ends       integer,                           -- the call's partition
    resume_until    bigint,                            -- until when an upload may be continued; NULL: not resumable
    declared_len    bigint,                            -- bytes of the whole; NULL: not told yet
    holder          text,                              -- the replica that receives or spools it; NULL: nobody
    customer_until  bigint,                            -- seconds; NULL: not of this class. They outlive the wraps.
    customer_epoch  integer,
    training_until  bigint,
    training_epoch  integer,
    ends            integer  NOT NULL,                 -- path of the last audio wrap that lives: epoch, tree, tag
    ends_tree       integer  NOT NULL,
    ends_tag        bigint   NOT NULL,
    PRIMARY KEY (id, ends),
    CHECK (gone = (state > 3))
) PARTITION BY RANGE (ends);

CREATE INDEX recording_by_time    ON recording (tenant, gone, received_at, id);
CREATE INDEX recording_by_age     ON recording (gone, received_at, id);
CREATE INDEX recording_unfinished ON recording (state, id) INCLUDE (changed_at) WHERE state IN (0, 1, 3);
CREATE INDEX recording_by_call    ON recording (call) WHERE call IS NOT NULL;
CREATE INDEX recording_by_holder  ON recording (holder, state, id) WHERE holder IS NOT NULL;
CREATE TABLE recording_rest PARTITION OF recording DEFAULT;

-- What goes with the last key of a recording.
CREATE TABLE content (
    id              uuid     NOT NULL,                 -- recording.id, in the same partition
    ends            integer  NOT NULL,
    tenant          bigint   NOT NULL,
    name_token      uuid,                              -- HMAC of the sender's name for it; NULL: nameless, or gone
    a_token         uuid,                              -- HMACs for the search by number and by call id, under keys that die
    b_token         uuid,                              -- on the day on which the recording ends; NULL once it is gone
    call_token      uuid,
    label           bytea,                             -- name and media type, sealed; NULL once it is gone
    PRIMARY KEY (id, ends)
) PARTITION BY RANGE (ends);

CREATE INDEX content_by_a       ON content (a_token) WHERE a_token IS NOT NULL;
CREATE INDEX content_by_b       ON content (b_token) WHERE b_token IS NOT NULL;
CREATE INDEX content_by_call_id ON content (call_token) WHERE call_token IS NOT NULL;
CREATE TABLE content_rest PARTITION OF content DEFAULT;
-- Unique in every other partition; in the rest, living and dead may lie side by side. See catalog/postgres/partitions.rs.
CREATE INDEX content_rest_name ON content_rest (tenant, name_token) WHERE name_token IS NOT NULL;

CREATE TABLE call (
    id              uuid     NOT NULL,                 -- subject of the wraps of classes cdr and finance
    tenant          bigint   NOT NULL,
    blob            bytea,                             -- the call's data, sealed; NULL after its end
    text_len        bigint   NOT NULL,                 -- length of the text in the blob, bound into its wraps
    cdr_until       bigint,
    cdr_epoch       integer,
    finance_until   bigint,
    finance_epoch   integer,
    ends            integer  NOT NULL,
    ends_tree       integer  NOT NULL,
    ends_tag        bigint   NOT NULL,
    PRIMARY KEY (id, ends)
) PARTITION BY RANGE (ends);

CREATE TABLE call_rest PARTITION OF call DEFAULT;

CREATE TABLE wrap (
    subject         uuid     NOT NULL,                 -- recording.id or call.id
    class           smallint NOT NULL,                 -- model::Class
    tenant          bigint   NOT NULL,
    tree            integer  NOT NULL,                 -- the path in the ring: tree, epoch, tag
    epoch           integer  NOT NULL,
    tag             bigint   NOT NULL,
    expires_at      bigint   NOT NULL,                 -- seconds; bound into the wrap
    received_at     bigint   NOT NULL,                 -- of the youngest recording that it belongs to; what a guard looks at
    sealed          bytea,                             -- 72 bytes; NULL once deleted, erased or punctured
    run             bigint,                            -- the run that punctured it before the mark passed it
    PRIMARY KEY (epoch, tree, tag)
) PARTITION BY RANGE (epoch);

CREATE INDEX wrap_by_subject ON wrap (subject, class);
CREATE INDEX wrap_by_tenant  ON wrap (tenant) WHERE run IS NULL;
CREATE TABLE wrap_rest PARTITION OF wrap DEFAULT;

-- Everything whose path is below this place is dead; it moves on while a run shreds.
CREATE TABLE shredded (
    one             boolean  PRIMARY KEY DEFAULT true CHECK (one),
    epoch           integer  NOT NULL,
    tree            integer  NOT NULL,
    tag             bigint   NOT NULL
);

INSERT INTO shredded (epoch, tree, tag) VALUES (0, 0, 0);

-- Recordings and their plaintext bytes by state, as a sum of changes: writers never wait for each other here.
CREATE TABLE tally (
    period          integer  NOT NULL,                 -- recording.ends / 672
    state           smallint NOT NULL,
    recordings      bigint   NOT NULL,
    bytes           bigint   NOT NULL
);

CREATE FUNCTION tally_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO tally VALUES (OLD.ends / 672, OLD.state, -1, -coalesce(OLD.plain_len, 0));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO tally VALUES (NEW.ends / 672, NEW.state, 1, coalesce(NEW.plain_len, 0));
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tally_rows AFTER INSERT OR DELETE ON recording FOR EACH ROW EXECUTE FUNCTION tally_change();
CREATE TRIGGER tally_changes AFTER UPDATE OF state, plain_len, ends ON recording
    FOR EACH ROW EXECUTE FUNCTION tally_change();

CREATE TABLE puncture (
    id              bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of requests
    tenant          bigint   NOT NULL,
    subject         uuid,                              -- NULL: the tenant's own key
    class           smallint,
    tree            integer,
    epoch           integer,
    tag             bigint,
    run             bigint                             -- the run whose rows it was shredded with; NULL: queued
);

CREATE INDEX puncture_by_run ON puncture (run, id);
CREATE INDEX puncture_queued ON puncture (id) WHERE run IS NULL;
CREATE UNIQUE INDEX puncture_by_path ON puncture (tree, epoch, tag) WHERE run IS NULL AND tree IS NOT NULL;

CREATE TABLE ring_mark (
    one             boolean  PRIMARY KEY DEFAULT true CHECK (one),
    generation      bigint   NOT NULL,                 -- no ring below it is loaded; 0: there was never one
    floor           integer  NOT NULL                  -- everything below this epoch is destroyed
);

INSERT INTO ring_mark (generation, floor) VALUES (0, 0);

CREATE TABLE run (
    id              bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at      bigint   NOT NULL,
    from_generation bigint   NOT NULL,
    floor_before    integer  NOT NULL,
    floor           integer  NOT NULL,                 -- announced: everything below it is refused from here on
    last_puncture   bigint   NOT NULL,                 -- punctures up to this one belong to the run
    ring_before     bytea    NOT NULL,                 -- SHA-256 of the ring file before
    to_generation   bigint,                            -- the watermark was set; NULL: announced only
    ring_after      bytea,
    finished        boolean  NOT NULL DEFAULT false,   -- rows are shredded and receipts written
    shredded_at     bigint,                            -- when the mark was moved, and how far
    to_epoch        integer,
    to_tree         integer,
    to_tag          bigint
);

CREATE UNIQUE INDEX run_open ON run (finished) WHERE NOT finished; -- one run at a time
CREATE INDEX run_by_reach ON run (to_epoch, to_tree, to_tag) WHERE to_epoch IS NOT NULL;

-- What died in a run, as its receipts tell it.
CREATE TABLE run_class (
    run             bigint   NOT NULL,
    tenant          bigint   NOT NULL,
    class           smallint NOT NULL,
    count           bigint   NOT NULL,
    first_epoch     integer  NOT NULL,
    last_epoch      integer  NOT NULL,
    PRIMARY KEY (run, tenant, class)
);

-- Recordings whose last key died in the last run; emptied when the next is announced.
CREATE TABLE died (
    run             bigint   NOT NULL,
    tenant          bigint   NOT NULL,
    id              uuid     NOT NULL,
    digest          bytea,
    PRIMARY KEY (run, tenant, id)
);

CREATE TABLE receipt (
    tenant          bigint   NOT NULL REFERENCES tenant (number),
    number          bigint   NOT NULL,                 -- from 1, without gaps
    run             bigint   NOT NULL,
    jws             text     NOT NULL,                 -- RFC 7515, compact
    PRIMARY KEY (tenant, number)
);

CREATE UNIQUE INDEX receipt_by_run ON receipt (run, tenant);

CREATE TABLE sweep (
    object          uuid     PRIMARY KEY               -- an object that no recording needs any more
);

CREATE TABLE replica (
    id              text     PRIMARY KEY,
    slot            integer  GENERATED BY DEFAULT AS IDENTITY UNIQUE, -- the key of its lock, which tells whether it lives
    generation      bigint   NOT NULL,                 -- the ring it has in memory
    url             text,                              -- where other replicas reach it; NULL: nowhere
    seen_at         bigint                             -- its last sign of life
);

-- The last verb that was committed in each place where one may be under way: what is asked when a commit's answer was lost.
CREATE TABLE verb_mark (
    slot            uuid     PRIMARY KEY,
    mark            bigint   NOT NULL,
    at              timestamptz NOT NULL DEFAULT now()
);
