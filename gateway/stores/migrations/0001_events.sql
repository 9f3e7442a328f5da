-- Whose events, and of what sort: few rows, so that each event names one by a number.
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    dialect TEXT NOT NULL,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    UNIQUE (dialect, tenant, kind)
);

-- One row an event, in the order of commits; seq is given by the writer and never twice.
-- There is no index: the table only grows at its end, so a row costs the same at any size.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    stream INTEGER NOT NULL REFERENCES stream (id),
    key BLOB,
    time INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    client_address TEXT NOT NULL,
    data TEXT NOT NULL
);

-- Keys of events that left memory: runs of equal size, each written once. A row holds the keys
-- of 16 bytes that begin with one byte, one behind the other.
CREATE TABLE key_run (
    run INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (run, bucket)
);

-- The runs that are whole. Run number `run` holds the keys up to event number `last_seq`.
CREATE TABLE sealed_run (run INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL);

-- Which events are quarantined, so that the oldest can be found and let go, its key with it.
CREATE TABLE quarantine (seq INTEGER PRIMARY KEY, key BLOB UNIQUE);

-- The highest sequence that went with its record, so that it is not given again.
CREATE TABLE trimmed (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL);
INSERT INTO trimmed VALUES (1, 0);

CREATE TABLE document (
    dialect TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    modified INTEGER NOT NULL,
    PRIMARY KEY (dialect, tenant, name)
) WITHOUT ROWID;

-- One row that readiness writes, to know that a write would succeed.
CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL);
INSERT INTO probe VALUES (1, 0);

-- For people with a shell: SELECT * FROM record ORDER BY seq DESC LIMIT 10;
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
    data
FROM event JOIN stream ON stream.id = event.stream;
