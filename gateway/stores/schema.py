"""The schemas of an SQLite store and of the spool."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from importlib import resources

SPOOL = """
CREATE TABLE spooled (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB,
    record BLOB NOT NULL
);
CREATE UNIQUE INDEX spooled_key ON spooled (key) WHERE key IS NOT NULL;
CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL);
INSERT INTO probe VALUES (1, 0);
"""

_SINCE_2 = """
PRAGMA temp_store=MEMORY;
CREATE TEMP VIEW event AS SELECT *, NULL AS sender FROM main.event;
CREATE TEMP VIEW quarantine AS SELECT *, 0 AS repeats, NULL AS last_seen FROM main.quarantine;
CREATE TEMP TABLE sender (id INTEGER PRIMARY KEY, credential, user_agent);
CREATE TEMP TABLE count_series (id, dialect, tenant, kind, outcome);
CREATE TEMP TABLE minute_count (minute, series, count);
CREATE TEMP TABLE hour_count (hour, series, count);
CREATE TEMP TABLE day_count (day, series, count);
"""

_SINCE_4 = """
PRAGMA temp_store=MEMORY;
CREATE TEMP TABLE block (number INTEGER PRIMARY KEY, first_received, last_received, tokens);
"""


def as_newest(version: int) -> str:
    """What a connection that reads a store of schema *version* runs to see it as a newest one.

    A sealed store, or one in a backup, is never upgraded.
    """
    return (_SINCE_2 if version < 2 else "") + (_SINCE_4 if version < 4 else "")


def migrations() -> list[str]:
    """The numbered scripts that make the schema, oldest first."""
    folder = resources.files("gateway.stores") / "migrations"
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in scripts]


def schema_faults(db: sqlite3.Connection, scripts: Sequence[str]) -> list[str]:
    """What the database lacks, or has otherwise, than a new one of its version."""
    [(version,)] = db.execute("PRAGMA user_version").fetchall()
    if version > len(scripts):
        return [f"schema version {version} is newer than this gateway's {len(scripts)}"]
    found = _schema(db)
    if found and not version:
        return ["the tables are of another program"]
    with closing(sqlite3.connect(":memory:")) as fresh:
        for script in scripts[:version]:
            fresh.executescript(script)
        wanted = _schema(fresh)
    return [
        f"{name}: missing or changed" for name in sorted(wanted) if wanted[name] != found.get(name)
    ]


def _schema(db: sqlite3.Connection) -> dict[str, str | None]:
    return dict(db.execute("SELECT type || ' ' || name, sql FROM sqlite_schema").fetchall())
