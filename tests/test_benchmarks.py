import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import floors, machine, payload
from benchmarks.gateway import checkout
from benchmarks.load import Load
from benchmarks.rows import ROWS
from benchmarks.table import aligned, spread
from tests.conftest import ROOT

# Two at a time would share the core of the clients, and that of the servers.
pytestmark = pytest.mark.xdist_group("benchmarks")
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@pytest.mark.parametrize(
    "form", [{}, {"camel": True}, {"numeric": True}, {"with_id": False}], ids=str
)
def test_a_moesif_event_has_the_documented_size(form):
    assert payload.EVENT_BYTES == len(payload.moesif(**form).encode())


def test_a_generated_id_has_a_fixed_length_and_is_unique():
    assert len(payload.MARK) == len(payload.new_id())
    assert payload.new_id() != payload.new_id()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_template_is_json_with_one_placeholder_for_an_id(row):
    load = row.load()

    assert (0 if load.gzipped else 1) == load.template.count(payload.MARK)
    assert json.loads(load.template)


def test_a_request_has_its_length_and_the_batch():
    load = Load("/v1/events/batch", {"X-Any": "1"}, payload.moesif(), 8, batch=3)

    head, _, body = load.request().partition(b"\r\n\r\n")

    assert 3 == len(json.loads(body))
    assert head.startswith(b"POST /v1/events/batch HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_a_camel_case_event_has_no_snake_case_name():
    event = json.loads(payload.moesif(camel=True))

    assert not [name for name in [*event, *event["request"]] if "_" in name]


def test_a_table_is_aligned_and_shows_the_spread_of_rounds():
    table = aligned(
        ("", "rate"),
        [("one", spread([3.0, 1.0, 2.0])), ("two", spread([4.0])), ("six", spread([]))],
    )

    assert ["     rate", "---  -------", "one  2 (1-3)", "two  4", "six  -"] == table.splitlines()


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "FOLDER", tmp_path)
    with pytest.raises(machine.Unfit, match="to spare"):
        machine.check(1 << 60)


def test_an_environment_of_another_checkout_is_reported(tmp_path):
    with pytest.raises(machine.Unfit, match=re.escape(f"is not in {tmp_path}")):
        checkout(tmp_path, Path(sys.executable))


@pytest.mark.slow
def test_the_floor_of_storage_is_measured(tmp_path):
    assert floors.disk(tmp_path, 0.1) > 0


def run(*options):
    command = [sys.executable, "-m", "benchmarks", "--seconds", "2", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@needs_wrk
@pytest.mark.parametrize("row", ["single-1", "large-1", "gzip-8", "duplicates-8", "users-8"])
def test_a_row_is_measured_and_the_store_holds_what_was_acknowledged(row):
    done = run("--only", row)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert re.search(rf"^{row} .* yes ", done.stdout, re.MULTILINE)


@pytest.mark.slow
@needs_wrk
@pytest.mark.parametrize("beside", [("--against", str(ROOT)), ("--stored", "1000")])
def test_two_sides_are_measured_in_turns(beside):
    done = run(*beside, "--only", "batch-8", "--rounds", "2")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert re.search(r"^batch-8 .* yes ", done.stdout, re.MULTILINE)


@pytest.mark.slow
@needs_wrk
def test_the_lives_of_a_restarted_gateway_are_compared():
    command = [sys.executable, "-m", "benchmarks.restarts", "--lives", "3", "--seconds", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert 3 == len(re.findall(r"^ +\d .* yes$", done.stdout, re.MULTILINE))
    assert re.search(r"^CPU us an event +[\d.]+ +[\d.]+ +[\d.]+$", done.stdout, re.MULTILINE)


@pytest.mark.slow
@needs_wrk
def test_a_benchmark_that_is_ended_leaves_no_process_behind():
    options = ["--against", str(ROOT), "--only", "single-1", "--seconds", "30"]
    command = [sys.executable, "-m", "benchmarks", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while len(started := children(process.pid)) < 2:  # the gateway and wrk
            time.sleep(0.05)
            assert process.poll() is None
        process.terminate()
        process.wait(timeout=30)

    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
