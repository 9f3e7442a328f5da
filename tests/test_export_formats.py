"""What ``gateway export`` writes besides JSON lines, and how it follows what comes in."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from gateway.export import Csv, Row
from gateway.stores.sqlite import open_store
from tests.conftest import PROCESS_CONFIG, ROOT, command
from tests.records import closing, make_record
from tests.test_cli_reading import EVENT, post

MOMENT = 1_767_323_045_678_901  # 2026-01-02T03:04:05.678901Z
COLUMNS = (
    "sequence,id,dialect,tenant,kind,type,subject,time,receivedat,clientaddress,credential,"
    "useragent,data"
)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a good config.toml and a store of three events."""
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    records = [
        make_record(
            time=MOMENT, received_at=MOMENT + 1, data='{"a": "x, \\"y\\"",\n"b": "é\\ud800"}'
        ),
        make_record(subject=None, sender=None, type="=1+1"),
        make_record(dialect="logspace", type="", subject="@SUM(A1)", kind="event"),
    ]
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        await store.append(records)
    return tmp_path


def rows(folder: Path, *options: str) -> list[dict[str, str]]:
    done = command("export", "--format", "csv", *options, cwd=folder)
    assert [0, ""] == [done.exit_code, done.stderr]
    assert COLUMNS == done.stdout.splitlines()[0] == ",".join(Row._fields)
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_csv_has_a_head_and_a_row_an_event_which_a_reader_of_csv_reads_back(folder):
    first, second, third = rows(folder)

    assert {"a": 'x, "y"', "b": "é\ufffd"} == json.loads(first["data"])
    assert ["2026-01-02T03:04:05.678901Z", "2026-01-02T03:04:05.678902Z"] == [
        first["time"],
        first["receivedat"],
    ]
    assert ["1", "acme", "4f2a9c01", "client/1.0"] == [
        first[name] for name in ("sequence", "tenant", "credential", "useragent")
    ]
    assert ["", "", ""] == [second[name] for name in ("subject", "credential", "useragent")]
    assert "logspace.event" == third["type"]
    assert [second] == rows(folder, "--after", "1", "--limit", "1")


@pytest.mark.parametrize(
    "lead", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\x00=", "＝", "\u00a0+"]
)
def test_no_cell_of_csv_is_a_formula(lead):
    out = io.BytesIO()
    written = Csv(out)
    written.write(1, make_record(subject=f"{lead}cmd|' /C calc'!A0", type="GET"))
    written.close()

    [_, row] = csv.reader(io.StringIO(out.getvalue().decode(), newline=""))
    assert f"'{lead}cmd|' /C calc'!A0" == row[Row._fields.index("subject")]
    assert "GET" == row[Row._fields.index("type")]


def test_a_damaged_record_leaves_no_part_of_a_row(folder):
    out = io.BytesIO()
    written = Csv(out)
    for damaged in ({"data": "{"}, {"time": 1 << 62}, {"id": b"x"}):
        with pytest.raises((ValueError, OverflowError, Exception)):
            written.write(1, make_record(**damaged))

    assert f"{COLUMNS}\r\n" == out.getvalue().decode()


def parquet(folder: Path, *options: str) -> Any:
    """What another program reads; the command runs as a process, with a file for stdout."""
    target = folder / "events.parquet"
    with target.open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", "gateway", "export", "--format", "parquet", *options],
            cwd=folder,
            stdout=out,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    return pyarrow.parquet.ParquetFile(target)


def test_parquet_is_read_back_by_its_own_library(folder):
    table = parquet(folder).read()

    assert list(Row._fields) == table.column_names
    first, second, third = table.to_pylist()
    assert datetime(2026, 1, 2, 3, 4, 5, 678901, UTC) == first["time"]
    assert [1, 2, 3] == table.column("sequence").to_pylist()
    assert {"a": 'x, "y"', "b": "é\ufffd"} == json.loads(first["data"])
    # A table of typed columns is no spreadsheet: texts stay as they are.
    assert ["=1+1", "@SUM(A1)"] == [second["type"], third["subject"]]


async def test_parquet_has_groups_of_rows_that_bound_the_memory(folder):
    async with closing(await open_store(f"sqlite:///{folder}/events.db", 10)) as store:
        await store.append([make_record() for _ in range(21_000)])
        await store.append([make_record(data=f'"{"x" * 900_000}"') for _ in range(20)])

    metadata = parquet(folder).metadata

    assert 21_023 == metadata.num_rows
    groups = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    assert 20_000 == groups[0]
    assert 3 == len(groups)


def test_parquet_of_nothing_is_a_table_without_rows(folder):
    assert 0 == parquet(folder, "--after", "3").metadata.num_rows


def test_without_pyarrow_it_is_told_what_to_install(folder):
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from gateway.cli import main; main(['export', '--format', 'parquet'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert [78, ""] == [done.returncode, done.stdout]
    assert "pip install 'event-gateway[parquet]'" in done.stderr


def follow(process: Any, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "export", "-c", str(process.config), "-f", *options],
        cwd=process.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow_goes_on_past_a_rotation_until_a_signal_ends_it_with_a_whole_line(process, number):
    process.start()
    post(process, EVENT)
    following = follow(process)
    try:
        assert "1" == json.loads(following.stdout.readline())["sequence"]
        post(process, EVENT)
        assert "2" == json.loads(following.stdout.readline())["sequence"]
        post(process, EVENT)
        command("rotate", "-c", str(process.config), cwd=process.folder)
        post(process, EVENT)
        assert ["3", "4"] == [json.loads(following.stdout.readline())["sequence"] for _ in "12"]
        following.send_signal(number)
        rest, errors = following.communicate(timeout=20)
        assert [0, "", ""] == [following.returncode, rest, errors]
    finally:
        following.kill()
        following.communicate()


def test_follow_ends_after_as_many_as_were_asked_for(process):
    process.start()
    following = follow(process, "--limit", "2", "--format", "csv")
    try:
        for _ in range(3):
            post(process, EVENT)
        written, errors = following.communicate(timeout=20)
        assert [0, ""] == [following.returncode, errors]
        assert ["sequence", "1", "2"] == [line.split(",")[0] for line in written.splitlines()]
    finally:
        following.kill()
        following.communicate()


@pytest.fixture
async def large(folder: Path) -> Path:
    """The same with many more events."""
    async with closing(await open_store(f"sqlite:///{folder}/events.db", 10)) as store:
        await store.append([make_record() for _ in range(5_000)])
    return folder


def test_on_a_terminal_a_bar_shows_how_far_it_is(large):
    folder = large
    here, there = pty.openpty()
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "export"],
            cwd=folder,
            stdout=out,
            stderr=there,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm"},
        )
    os.close(there)
    shown = b""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            shown += os.read(here, 65536)
        except OSError:
            break
    assert 0 == process.wait(30)
    os.close(here)
    assert b"export" in shown
    assert b"%" in shown
    assert 5_003 == len((folder / "out").read_bytes().splitlines())
