import gzip
import json
import shutil
import subprocess
import sys

import pytest

from benchmarks import floors, machine, payload
from benchmarks.rows import FULL, ROWS
from benchmarks.table import aligned, spread
from tests.conftest import ROOT


def test_an_event_has_the_size_that_the_table_says():
    assert payload.EVENT_BYTES == len(payload.moesif().encode())


def test_an_id_is_as_long_as_its_mark_and_never_the_same():
    assert len(payload.MARK) == len(payload.new_id())
    assert payload.new_id() != payload.new_id()


@pytest.mark.parametrize("row", [*ROWS, *FULL], ids=lambda row: row.name)
def test_every_template_is_json_with_one_place_for_an_id(row):
    template = row.load().template

    assert 1 == template.count(payload.MARK)
    assert json.loads(template)


def test_a_batch_has_as_many_events_as_asked_for_each_with_its_own_id():
    events = json.loads(payload.batch(payload.moesif(), 50))

    assert 50 == len({event["transaction_id"] for event in events})


def test_a_pool_of_bodies_has_no_id_twice(tmp_path):
    lengths = payload.write_pool(tmp_path / "pool", bodies=3, events=10)

    packed = (tmp_path / "pool").read_bytes()
    assert len(packed) == sum(lengths)
    events = json.loads(gzip.decompress(packed[: lengths[0]]))
    events += json.loads(gzip.decompress(packed[lengths[0] : lengths[0] + lengths[1]]))
    assert 20 == len({event["transaction_id"] for event in events})


def test_a_table_is_aligned_and_tells_how_far_rounds_differ():
    table = aligned(("", "rate"), [("one", spread([3.0, 1.0, 2.0])), ("two", spread([]))])

    assert ["     rate", "---  -------", "one  2 (1-3)", "two  -"] == table.splitlines()


@pytest.mark.slow
def test_the_floor_of_storage_is_measured(tmp_path):
    assert floors.disk(tmp_path, 0.1) > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("row", ["single-1", "gzip-8", "memory"])
def test_a_row_is_measured_and_what_the_store_holds_agrees(row, tmp_path):
    told = tmp_path / "measured.json"
    command = [sys.executable, "-m", "benchmarks", "--only", row, "--seconds", "0.5"]

    done = subprocess.run(
        [*command, "--json", str(told)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert row in done.stdout
    document = json.loads(told.read_text())
    for line in document["rows"]:
        [gateway] = line["gateway"]
        assert gateway["acknowledged"] > 0
        assert not gateway["faults"]


def test_a_disk_without_room_is_unfit(tmp_path):
    with pytest.raises(machine.Unfit, match="to spare"):
        machine.need_disk(tmp_path, 1 << 60)
