"""The simulator finds faults that the gateway once had: each is put back, and must be found."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.intake import drain
from gateway.intake.commit import GroupCommitter
from gateway.store import Count
from gateway.stores import erasing, keyexpiry, keys, removal, spool
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


def runs_of_keys_go_with_the_first_event(patch: pytest.MonkeyPatch) -> None:
    """Keys of events that are still stored are forgotten."""
    patch.setattr(keyexpiry, "_STILL_STORED", f"SELECT * FROM ({keyexpiry._STILL_STORED}) WHERE 0")


def keys_that_no_run_has_go_with_their_events(patch: pytest.MonkeyPatch) -> None:
    """The start after an event has expired does not know its key."""
    patch.setattr(removal, "_LOOSEN", "SELECT 1")


def newer_events_go_before_older_ones(patch: pytest.MonkeyPatch) -> None:
    """A store that is too large does not lose its oldest events."""
    delete = "DELETE FROM event WHERE seq > :after + 3 AND seq <= :to + 3"
    patch.setattr(removal, "_DELETE_ALL", delete)


def the_spool_is_not_erased(patch: pytest.MonkeyPatch) -> None:
    """An event that waits in the spool outlives a prune."""

    async def erase(self: spool.Spool, chosen: object) -> int:
        return 0

    patch.setattr(spool.Spool, "erase", erase)


def pages_are_not_overwritten(patch: pytest.MonkeyPatch) -> None:
    """What a prune has deleted is still in the file."""
    patch.setattr(erasing, "_OVERWRITE", "SELECT 1")
    patch.setattr(erasing, "_ANEW", (f"DELETE FROM event WHERE seq IN {erasing._GONE}",))
    patch.setattr(erasing.Eraser, "overwrite", lambda self, db: False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (keys_are_never_sealed, "keys are in no run"),
        (nothing_is_reconciled, "stored twice|is back"),
        (nobody_gives_up, "waited"),
        (counts_that_may_be_kept_are_added_again, "counted"),
        (runs_of_keys_go_with_the_first_event, "stored twice"),
        (keys_that_no_run_has_go_with_their_events, "before its keys have gone"),
        (newer_events_go_before_older_ones, "nobody may delete"),
        (the_spool_is_not_erased, "a prune has left|erased and is"),
        (pages_are_not_overwritten, "was erased and is in"),
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
