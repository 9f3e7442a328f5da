"""The types: what mypy must find, and where it is told to look away."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

MISTAKES = """
from gateway.config import Settings
from schemas import device
from schemas.options import Choice, Count
from schemas.table import Table, option


def use(settings: Settings) -> None:
    settings.server.listne  # attr-defined
    settings.sever  # attr-defined
    settings.server.listen = "x"  # misc
    settings.server.body_timeout.upper()  # attr-defined
    settings.spool.path.upper()  # union-attr
    settings.ingest.on_invalid == "qarantine"  # comparison-overlap
    options = settings.dialect("device", device.Options)
    options.max_boby  # attr-defined
    options.conflict == "evnet"  # comparison-overlap
    options.tenants[0].sreials  # attr-defined
    options.keys[0].key
    settings.redact.keys[0].upper()


class Wrong(Table):
    number: str = option(Count(1), "A number.", default=1)  # assignment
    maybe: int = option(Count(1), "Perhaps a number.", default=None)  # assignment
    default: int = option(Count(1), "A number.", default="1")  # misc
"""


@pytest.mark.slow
def test_a_misspelt_option_is_an_error_of_mypy(tmp_path: Path):
    module = tmp_path / "mistakes.py"
    module.write_text(MISTAKES)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    expected = [
        (at, line.rpartition("# ")[2])
        for at, line in enumerate(MISTAKES.splitlines(), 1)
        if "  # " in line
    ]
    found = [
        (int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]"))
        for line in done.stdout.splitlines()
        if ": error: " in line
    ]

    assert expected == found, done.stdout
