-- Audit trails: one chain of entries for each tenant, and one for the house (tenant 0).

CREATE TABLE trail (
    tenant          bigint   NOT NULL,
    seq             bigint   NOT NULL,                 -- from 1, without gaps
    at              bigint   NOT NULL,                 -- these three repeat what stands in the text
    action          text     NOT NULL,
    recording       uuid,
    hash            bytea    NOT NULL,                 -- SHA-256 over its place, the hash before it, and the text
    text            text     NOT NULL,                 -- JSON; precisely these bytes are hashed
    PRIMARY KEY (tenant, seq)
);

CREATE INDEX trail_by_recording ON trail (tenant, recording, seq) WHERE recording IS NOT NULL;
CREATE INDEX trail_by_action    ON trail (tenant, action, seq);
CREATE INDEX trail_by_time      ON trail (tenant, at, seq);

-- Held by whoever appends; its hash is what the next entry follows.
CREATE TABLE trail_head (
    tenant          bigint   PRIMARY KEY,
    seq             bigint   NOT NULL,
    hash            bytea    NOT NULL
);

CREATE TABLE trail_checkpoint (
    tenant          bigint   NOT NULL,
    seq             bigint   NOT NULL,                 -- the head that it is about
    jws             text     NOT NULL,                 -- RFC 7515, compact
    PRIMARY KEY (tenant, seq)
);
