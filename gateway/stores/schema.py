"""The schema of an SQLite store."""

from importlib import resources


def migrations() -> list[str]:
    """The numbered scripts that make the schema, oldest first."""
    folder = resources.files("gateway.stores") / "migrations"
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in scripts]
