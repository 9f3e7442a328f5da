"""The real intake, committers, spool and store, under a simulated clock, disk and power."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway.intake import counts, drain
from gateway.stores import bloom, keys, pace
from tests.simulator.world import PIECE, World

FIRST = int(os.environ.get("SIMULATE_FIRST", "0"))
SEEDS = int(os.environ.get("SIMULATE_SEEDS", "300"))
QUICK = range(1, 4)

# A process that dies leaves coroutines behind, which nobody ends in order.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sizes at which what takes days in production happens within a history."""
    monkeypatch.setattr(drain, "MAX_RECORDS", 8)
    monkeypatch.setattr(drain, "MAX_BYTES", PIECE)
    monkeypatch.setattr(keys, "RUN_KEYS", 32)
    monkeypatch.setattr(counts, "INTERVAL", 0.02)
    monkeypatch.setattr(bloom, "SLOTS", 1 << 10)
    monkeypatch.setattr(bloom, "_MASK", (1 << 10) - 1)
    monkeypatch.setattr(pace, "_ROWS", (4, 16))
    # How long a step takes does not decide how many rows the next one has.
    monkeypatch.setattr(pace, "_SECONDS", 1e9)
    # Nobody reads a hundred histories' logs, and rendering them takes half of the time.
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def simulate(seed: int, folder: Path) -> World:
    world = World(seed, folder)
    try:
        world.run()
    except AssertionError as error:
        error.add_note(f"seed {seed}: make simulate FIRST={seed} SEEDS=1")
        raise
    return world


@pytest.mark.parametrize("seed", QUICK)
def test_a_history_breaks_no_promise(seed, tmp_path):
    simulate(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_history_breaks_no_promise(seed, tmp_path):
    simulate(seed, tmp_path)
