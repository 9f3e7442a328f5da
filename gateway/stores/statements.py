"""Transactions and statements that every table uses."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.errors import StoreError

T = TypeVar("T")

SYNC_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
"""Bounds of a histogram of COMMITs."""


def in_transaction(
    connection: sqlite3.Connection,
    work: Callable[[], T],
    observe: Callable[[float], None] | None = None,
) -> T:
    """Run *work* between BEGIN IMMEDIATE and COMMIT; roll back on any error.

    *observe* is told how many seconds the COMMIT took, which writes the log and fsyncs it.

    Raises:
        StoreError: SQLite could not do what comes before the COMMIT; nothing was kept.
        sqlite3.Error: the COMMIT failed; whether anything was kept is unknown.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = work()
    except BaseException as error:
        roll_back(connection)
        if isinstance(error, sqlite3.Error):
            message = f"{type(error).__name__}: {error}"
            raise StoreError(message, nothing_kept=True) from error
        raise
    started = time.perf_counter()
    try:
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    if observe is not None:
        observe(time.perf_counter() - started)
    return result


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that has begun, if it has, without keeping anything."""
    # A full disk may have rolled the transaction back by itself.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def placeholders(values: Sequence[object]) -> str:
    """As many question marks as *values*, for an IN list."""
    return ",".join("?" * len(values))


def insert_statements(table: str, columns: int) -> dict[int, str]:
    """INSERTs of many rows into *table* (with its columns), by their number of rows.

    SQLite lets go of Python's lock once for a statement, not for each row, and the
    event loop does not have to win it back so often. Few sizes, so that all stay
    prepared.
    """
    row = f"({placeholders(range(columns))})"
    return {
        rows: f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"
        for rows in (256, 64, 16, 4, 1)
    }


def insert_many(
    connection: sqlite3.Connection, sizes: dict[int, str], values: Sequence[object], columns: int
) -> None:
    """Insert *values*, row after row, by the fewest of the *sizes* of statements."""
    at = 0
    for rows, sql in sizes.items():
        width = rows * columns
        while len(values) - at >= width:
            connection.execute(sql, values[at : at + width])
            at += width
