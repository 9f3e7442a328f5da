-- Whose events, and of what kind: few rows, so that each event names one by a number.
CREATE TABLE stream (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dialect text NOT NULL,
    tenant text NOT NULL,
    kind text NOT NULL,
    UNIQUE (dialect, tenant, kind)
);

-- Who sends events: a credential, by the first digits of its SHA-256 digest, and a User-Agent.
CREATE TABLE sender (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    credential text NOT NULL,
    user_agent text NOT NULL,
    UNIQUE (credential, user_agent)
);

-- CACHE 1: a gateway that took numbers in advance would commit them after higher ones.
CREATE SEQUENCE event_seq CACHE 1;

-- One row an event. `key` is the event's identity: its key, or else its id. The unique index is
-- what makes a verdict exact, whichever gateway asks. `xid` is taken before `seq`, so that a
-- reader can wait for every transaction that may still commit a lower one.
CREATE TABLE event (
    xid xid8 NOT NULL,
    seq bigint PRIMARY KEY,
    id uuid NOT NULL,
    key uuid NOT NULL UNIQUE,
    stream integer NOT NULL,
    sender integer,
    "time" bigint NOT NULL,
    received_at bigint NOT NULL,
    type text NOT NULL,
    subject text,
    client_address text NOT NULL,
    data bytea NOT NULL
);
CREATE INDEX event_stream ON event (stream, seq);
-- Of the hash: an index takes no text above 2.7 KB, and a subject may be longer.
CREATE INDEX event_subject ON event (hashtextextended(subject, 0), seq) WHERE subject IS NOT NULL;
CREATE INDEX event_received ON event USING brin (received_at) WITH (autosummarize = on);

-- The identities of events that were deleted: a late retry of one is still a duplicate. For a
-- quarantined record that was released only its id: its key is free again.
CREATE TABLE expired_key (key uuid PRIMARY KEY, id uuid NOT NULL, expired_at bigint NOT NULL);
CREATE INDEX expired_key_age ON expired_key USING brin (expired_at) WITH (autosummarize = on);

-- How much the events of a stream take in a range of sequences: retention adds each up once.
-- A range without events has one row, of stream 0.
CREATE TABLE segment (
    number bigint NOT NULL,
    stream integer NOT NULL,
    events bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (number, stream)
);

-- Which events are quarantined, the bytes of their text, and how often they were sent again.
CREATE TABLE quarantine (
    seq bigint PRIMARY KEY,
    key uuid NOT NULL UNIQUE,
    stream integer NOT NULL,
    size integer NOT NULL,
    repeats bigint NOT NULL DEFAULT 0,
    last_seen bigint
);

CREATE TABLE document (
    dialect text NOT NULL,
    tenant text NOT NULL,
    name text NOT NULL,
    body bytea NOT NULL,
    modified bigint NOT NULL,
    PRIMARY KEY (dialect, tenant, name)
);

-- What is counted: few rows, so that each count names one by a number.
CREATE TABLE count_series (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dialect text NOT NULL,
    tenant text NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL,
    UNIQUE (dialect, tenant, kind, outcome)
);

-- The same counts three times: by the minute, for a month, and for ever by the hour and by the
-- day. Numbered since 1970 UTC.
CREATE TABLE minute_count (
    minute bigint NOT NULL,
    series integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (minute, series)
);
CREATE TABLE hour_count (
    hour bigint NOT NULL,
    series integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (hour, series)
);
CREATE TABLE day_count (
    day bigint NOT NULL,
    series integer NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (day, series)
);

-- What was deleted, when and why: each cause but 'request' has a row for each day. Times are in
-- microseconds UTC. Of a subject only a digest is kept. What was not finished has no `ended`.
CREATE TABLE prune (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause text NOT NULL,
    day bigint,
    began bigint NOT NULL,
    ended bigint,
    events bigint NOT NULL,
    last_seq bigint NOT NULL,
    dialect text,
    tenant text,
    kind text,
    subject_digest text,
    before bigint,
    UNIQUE (cause, day)
);

-- For people with psql: SELECT * FROM record ORDER BY seq DESC LIMIT 10;
CREATE VIEW record AS
SELECT
    seq,
    dialect,
    tenant,
    kind,
    type,
    subject,
    to_timestamp("time" / 1000000.0) AS "time",
    to_timestamp(received_at / 1000000.0) AS received_at,
    client_address,
    credential,
    user_agent,
    data
FROM event
JOIN stream ON stream.id = event.stream
LEFT JOIN sender ON sender.id = event.sender;
