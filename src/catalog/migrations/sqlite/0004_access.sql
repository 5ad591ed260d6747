-- Who may do what: tokens of the provider's own and of his people, playback links, and what waits for a second person.

CREATE TABLE person (
    id              BLOB    NOT NULL PRIMARY KEY,      -- UUIDv7
    name            TEXT    NOT NULL,                  -- one of the provider's staff; in the clear
    subject         TEXT    UNIQUE,                    -- '<issuer> <sub>' of the single sign-on
    vog             TEXT,                              -- day on which the certificate of conduct was issued: '2026-11-01'
    nda             TEXT,                              -- day on which the non-disclosure agreement was signed
    created_at      INTEGER NOT NULL,
    disabled_at     INTEGER                            -- nothing of his is taken from here on
) STRICT, WITHOUT ROWID;

-- As before, but a token may belong to no tenant, and knows what it stands for.
CREATE TABLE token_anew (
    id              BLOB    NOT NULL PRIMARY KEY,      -- UUIDv7
    tenant          INTEGER REFERENCES tenant (number), -- NULL: the provider's own
    kind            INTEGER NOT NULL,                  -- model::PrincipalKind
    person          BLOB REFERENCES person (id),
    name            TEXT    NOT NULL,                  -- what the token is for; in the clear
    scopes          TEXT    NOT NULL,                  -- names with one space between
    hash            BLOB    NOT NULL UNIQUE,           -- SHA-256 of the token; its text is stored nowhere
    networks        TEXT    NOT NULL,                  -- CIDRs with one space between; empty: from anywhere
    certificate     BLOB    UNIQUE,                    -- SHA-256 of a client certificate that stands for the text
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    last_used_at    INTEGER,
    CHECK ((kind = 3) = (person IS NOT NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO token_anew (id, tenant, kind, name, scopes, hash, networks, created_at, expires_at, revoked_at)
SELECT id, tenant, CASE scopes WHEN 'ingest' THEN 1 ELSE 2 END, name, scopes, hash, networks, created_at, expires_at, revoked_at
FROM token;

DROP TABLE token;
ALTER TABLE token_anew RENAME TO token;
CREATE INDEX token_by_tenant ON token (tenant, created_at, id);

-- The half of a link that a recording's key makes is stored nowhere.
CREATE TABLE link (
    id              BLOB    NOT NULL PRIMARY KEY,      -- UUIDv7
    tenant          INTEGER NOT NULL REFERENCES tenant (number),
    recording       BLOB    NOT NULL,
    class           INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,                  -- seconds; bound into the link
    address         TEXT,                              -- the only one from which it plays; bound into the link
    uses_max        INTEGER,                           -- sessions; bound into the link; NULL: any number
    uses            INTEGER NOT NULL DEFAULT 0,
    token           BLOB,                              -- who made it
    person          BLOB,
    created_at      INTEGER NOT NULL,
    revoked_at      INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX link_by_end ON link (expires_at);

CREATE TABLE link_session (
    link            BLOB    NOT NULL REFERENCES link (id) ON DELETE CASCADE,
    player          BLOB    NOT NULL,                  -- an address and a program, hashed
    until           INTEGER NOT NULL,
    PRIMARY KEY (link, player)
) STRICT, WITHOUT ROWID;

CREATE TABLE asked (
    tenant          INTEGER NOT NULL REFERENCES tenant (number),
    what            TEXT    NOT NULL,                  -- 'erase <recording>'
    person          BLOB    NOT NULL REFERENCES person (id),
    at              INTEGER NOT NULL,
    until           INTEGER NOT NULL,
    PRIMARY KEY (tenant, what)
) STRICT, WITHOUT ROWID;
