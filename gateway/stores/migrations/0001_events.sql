-- One row an event, in the order of commits; seq is given by the writer and never twice.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    dialect TEXT NOT NULL,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    time INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    client_address TEXT NOT NULL,
    key BLOB,
    data TEXT NOT NULL
);
CREATE UNIQUE INDEX event_key ON event (key) WHERE key IS NOT NULL;

-- Which rows of event are quarantined, so that the oldest can be found and let go.
CREATE TABLE quarantine (seq INTEGER PRIMARY KEY);

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
