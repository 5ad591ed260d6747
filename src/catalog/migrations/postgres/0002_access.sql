-- Who may do what: tokens of the provider's own and of his people, playback links, and what waits for a second person.

CREATE TABLE person (
    id              uuid     PRIMARY KEY,
    name            text     NOT NULL,                 -- one of the provider's staff; in the clear
    subject         text     UNIQUE,                   -- '<issuer> <sub>' of the single sign-on
    vog             text,                              -- day on which the certificate of conduct was issued: '2026-11-01'
    nda             text,                              -- day on which the non-disclosure agreement was signed
    created_at      bigint   NOT NULL,
    disabled_at     bigint                             -- nothing of his is taken from here on
);

ALTER TABLE token ALTER COLUMN tenant DROP NOT NULL;   -- NULL: the provider's own
ALTER TABLE token ADD COLUMN kind smallint;            -- model::PrincipalKind
ALTER TABLE token ADD COLUMN person uuid REFERENCES person (id);
ALTER TABLE token ADD COLUMN certificate bytea UNIQUE; -- SHA-256 of a client certificate that stands for the text
ALTER TABLE token ADD COLUMN last_used_at bigint;
UPDATE token SET kind = CASE scopes WHEN 'ingest' THEN 1 ELSE 2 END;
ALTER TABLE token ALTER COLUMN kind SET NOT NULL;
ALTER TABLE token ADD CHECK ((kind = 3) = (person IS NOT NULL));
CREATE INDEX token_by_tenant ON token (tenant, created_at, id);

-- The half of a link that a recording's key makes is stored nowhere.
CREATE TABLE link (
    id              uuid     PRIMARY KEY,
    tenant          bigint   NOT NULL REFERENCES tenant (number),
    recording       uuid     NOT NULL,
    class           smallint NOT NULL,
    expires_at      bigint   NOT NULL,                 -- seconds; bound into the link
    address         text,                              -- the only one from which it plays; bound into the link
    uses_max        integer,                           -- sessions; bound into the link; NULL: any number
    uses            integer  NOT NULL DEFAULT 0,
    token           uuid,                              -- who made it
    person          uuid,
    created_at      bigint   NOT NULL,
    revoked_at      bigint
);

CREATE INDEX link_by_end ON link (expires_at);

CREATE TABLE link_session (
    link            uuid     NOT NULL REFERENCES link (id) ON DELETE CASCADE,
    player          uuid     NOT NULL,                 -- an address and a program, hashed
    until           bigint   NOT NULL,
    PRIMARY KEY (link, player)
);

CREATE TABLE asked (
    tenant          bigint   NOT NULL REFERENCES tenant (number),
    what            text     NOT NULL,                 -- 'erase <recording>'
    person          uuid     NOT NULL REFERENCES person (id),
    at              bigint   NOT NULL,
    until           bigint   NOT NULL,
    PRIMARY KEY (tenant, what)
);
