"""The schemas of an SQLite store and of the spool."""

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


def migrations() -> list[str]:
    """The numbered scripts that make the schema, oldest first."""
    folder = resources.files("gateway.stores") / "migrations"
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in scripts]
