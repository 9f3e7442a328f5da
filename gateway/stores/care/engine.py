"""Which SQLite runs, and the faults of it that matter to a gateway."""

import sqlite3
from collections.abc import Iterator

from gateway.care import Finding

_WAL_RESET_FIXED = (3, 51, 3)
_BACKPORTS: dict[tuple[int, ...], int] = {(3, 44): 6, (3, 50): 7}
_OLDEST = (3, 35, 0)


def examine_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Iterator[Finding]:
    """Findings about the SQLite library of this Python.

    The fault: https://sqlite.org/wal.html#walresetbug
    """
    number = ".".join(map(str, version))
    if version < _OLDEST:
        yield Finding("bad", "SQLite", f"{number} is too old; 3.35 or newer is required")
    elif version == (3, 52, 0):
        yield Finding("warning", "SQLite", f"{number} was withdrawn by its makers")
    elif version < _WAL_RESET_FIXED and version[2] < _BACKPORTS.get(version[:2], 1 << 30):
        yield Finding(
            "warning",
            "SQLite",
            f"{number} can corrupt a WAL that two connections checkpoint at once (fixed in "
            "3.51.3). The gateway has one writer, so never write to its files with another program",
        )
    else:
        yield Finding("ok", "SQLite", number)
