"""Scratch folders: on the disk of the checkout, because in memory an fsync costs nothing."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import FOLDER


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder under .bench/, gone afterwards."""
    FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
