-- Who sends events: a credential, by the first 8 hexadecimal digits of its SHA-256 digest, and a
-- User-Agent. A credential has a bounded number of rows.
CREATE TABLE sender (
    id INTEGER PRIMARY KEY,
    credential TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    UNIQUE (credential, user_agent)
);

-- NULL in events that an earlier version stored. ADD COLUMN rewrites no row.
ALTER TABLE event ADD COLUMN sender INTEGER;

-- How often a quarantined record was sent again, and when last; its event has the first time.
ALTER TABLE quarantine ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarantine ADD COLUMN last_seen INTEGER;

-- What is counted: few rows, so that each count names one by a number.
CREATE TABLE count_series (
    id INTEGER PRIMARY KEY,
    dialect TEXT NOT NULL,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    UNIQUE (dialect, tenant, kind, outcome)
);

-- The same counts three times: by the minute, for a month, and for ever by the hour and by the day,
-- so that a year is not added up from its minutes. Numbered since 1970 UTC.
CREATE TABLE minute_count (
    minute INTEGER NOT NULL,
    series INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (minute, series)
) WITHOUT ROWID;
CREATE TABLE hour_count (
    hour INTEGER NOT NULL,
    series INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (hour, series)
) WITHOUT ROWID;
CREATE TABLE day_count (
    day INTEGER NOT NULL,
    series INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (day, series)
) WITHOUT ROWID;

-- For people with a shell: who sent what, how often it was refused, and how much came in.
DROP VIEW record;
CREATE VIEW record AS
SELECT
    seq,
    dialect,
    tenant,
    kind,
    type,
    subject,
    strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000000.0, 'unixepoch') AS time,
    strftime('%Y-%m-%dT%H:%M:%fZ', received_at / 1000000.0, 'unixepoch') AS received_at,
    client_address,
    credential,
    user_agent,
    data
FROM event
JOIN stream ON stream.id = event.stream
LEFT JOIN sender ON sender.id = event.sender;

CREATE VIEW rejection AS
SELECT
    seq,
    dialect,
    tenant,
    type AS reason,
    repeats + 1 AS times,
    strftime('%Y-%m-%dT%H:%M:%fZ', received_at / 1000000.0, 'unixepoch') AS first_seen,
    strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(last_seen, received_at) / 1000000.0, 'unixepoch')
        AS last_seen,
    credential,
    user_agent,
    data
FROM quarantine
JOIN event USING (seq)
JOIN stream ON stream.id = event.stream
LEFT JOIN sender ON sender.id = event.sender;

CREATE VIEW tally AS
SELECT
    strftime('%Y-%m-%dT%H:%MZ', hour * 3600, 'unixepoch') AS hour,
    dialect,
    tenant,
    kind,
    outcome,
    count
FROM hour_count JOIN count_series ON count_series.id = series;

-- Keys of events that were deleted before a run had them; a row goes once a run has its key.
CREATE TABLE loose_key (seq INTEGER PRIMARY KEY, key BLOB NOT NULL);

-- What was deleted, when and why: 'age' and 'size' have a row for each day, a request has its own.
-- Times are in microseconds UTC. Of a subject only a digest is kept. A request that was not
-- finished has no `ended`.
CREATE TABLE prune (
    id INTEGER PRIMARY KEY,
    cause TEXT NOT NULL,
    day INTEGER,
    began INTEGER NOT NULL,
    ended INTEGER,
    events INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    dialect TEXT,
    tenant TEXT,
    kind TEXT,
    subject_digest TEXT,
    before INTEGER,
    UNIQUE (cause, day)
);

-- Takes pages that are free, so that they are overwritten; empty otherwise.
CREATE TABLE blank (id INTEGER PRIMARY KEY, zeros BLOB NOT NULL);
