"""What `doctor` says of a machine."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.stores.care.engine import examine_sqlite
from tests.records import make_record


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder on a disk: of one in memory, `doctor` says that it loses everything."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


async def test_each_subject_has_a_verdict_and_a_bad_one_is_told_by_the_exit_status(site):
    site.folder.chmod(0o700)
    await site.store(make_record())
    found = site.run("doctor")
    said = "\n".join(one["message"] for one in found)
    for subject in ("fsync takes", "GB are free", "file system", "files may be open", "mode 700"):
        assert subject in said
    assert {"clock", "SQLite", "limits"} <= {one["subject"] for one in found}
    assert "no gateway runs" in said

    site.folder.chmod(0o777)
    found = site.run("doctor", status=69)
    assert ["others can write here (mode 777)"] == [
        one["message"] for one in found if one["verdict"] == "bad"
    ]


async def test_the_gateway_that_runs_is_asked(site, process):
    process.start()
    found = site.run("doctor")
    assert "the gateway takes events" in [one["message"] for one in found]
    assert 0 == process.stop()


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 34, 1), "bad"),
        ((3, 40, 1), "warning"),
        ((3, 44, 5), "warning"),
        ((3, 44, 6), "ok"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "warning"),
        ((3, 51, 3), "ok"),
        ((3, 52, 0), "warning"),
        ((3, 53, 1), "ok"),
    ],
)
def test_versions_of_sqlite_with_known_faults_are_told(version, verdict):
    assert [verdict] == [one.verdict for one in examine_sqlite(version)]
