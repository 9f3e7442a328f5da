"""The simulator finds faults that the gateway once had: each is put back, and must be found."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.intake import drain
from gateway.intake.commit import GroupCommitter
from gateway.record import EventRecord, Outcome
from gateway.store import Count
from gateway.stores import keys, spool
from gateway.stores.sqlite import SqliteStore
from tests.simulator.model import Broken
from tests.simulator.test_simulation import simulate, small

__all__ = ["small"]

# A process that dies leaves coroutines behind, which nobody ends in order.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]

Patch = Callable[[pytest.MonkeyPatch], None]


def keys_are_never_sealed(patch: pytest.MonkeyPatch) -> None:
    """Keys that a start finds unsealed stay in memory, and their number grows without bound."""
    patch.setattr(keys.KeyIndex, "_seal_now", lambda self, db: False)
    patch.setattr(keys, "_PACE", 0)


def nothing_is_reconciled(patch: pytest.MonkeyPatch) -> None:
    """An exception after the COMMIT stores events again."""

    async def reconcile(self: SqliteStore, ids: object) -> None:
        return None

    patch.setattr(SqliteStore, "reconcile", reconcile)


def a_kept_attempt_is_a_duplicate(patch: pytest.MonkeyPatch) -> None:
    """An event that was kept without our knowing is refused as a duplicate of itself."""
    keep = spool._append

    def append(db: sqlite3.Connection, records: Sequence[EventRecord]) -> list[Outcome]:
        known = {key for (key,) in db.execute("SELECT key FROM spooled")}
        outcomes = keep(db, records)
        return [
            Outcome.DUPLICATE if record.identity in known else outcome
            for record, outcome in zip(records, outcomes, strict=True)
        ]

    patch.setattr(spool, "_append", append)


def nobody_gives_up(patch: pytest.MonkeyPatch) -> None:
    """A store that hangs, hangs every client."""
    patch.setattr(GroupCommitter, "_give_up", lambda self, group: None)


def pieces_have_any_size(patch: pytest.MonkeyPatch) -> None:
    """The drain takes 500 records whatever their size."""
    patch.setattr(drain, "MAX_RECORDS", 500)
    patch.setattr(drain, "MAX_BYTES", 1 << 30)


def counts_that_may_be_kept_are_added_again(patch: pytest.MonkeyPatch) -> None:
    """A transaction of counts whose outcome is unknown is repeated."""
    add = SqliteStore.add_counts

    async def add_counts(self: SqliteStore, counts: Sequence[Count]) -> None:
        try:
            await add(self, counts)
        except StoreError as error:
            raise StoreError(str(error), nothing_kept=True) from error

    patch.setattr(SqliteStore, "add_counts", add_counts)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (keys_are_never_sealed, "keys are in no run"),
        (nothing_is_reconciled, "stored twice"),
        (a_kept_attempt_is_a_duplicate, "duplicate of itself"),
        (nobody_gives_up, "waited"),
        (counts_that_may_be_kept_are_added_again, "counted"),
        # Keys of a large piece are one run.
        (pieces_have_any_size, "a transaction of|a run of"),
    ],
)
def test_a_fault_that_is_put_back_is_found(
    fault: Patch, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)

    with pytest.raises(Broken, match=message):
        for seed in range(500):
            folder = tmp_path / f"{seed}"
            folder.mkdir()
            simulate(seed, folder)
