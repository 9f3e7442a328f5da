"""The command line: in this process, and as a process where that makes a difference."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from gateway.stores.sqlite import open_store
from tests.conftest import PROCESS_CONFIG, ROOT, command
from tests.forking import run
from tests.records import closing, make_record, make_rejected

DAY = 86_400_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good config.toml."""
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    return tmp_path


@pytest.fixture
async def filled(folder: Path) -> Path:
    """A folder with a store of six records, received on the days 0 to 5 of 1970."""
    records = [
        make_record(received_at=0),
        make_record(received_at=1 * DAY, tenant="other"),
        make_record(received_at=2 * DAY, dialect="device", kind="device_event"),
        make_rejected("x", received_at=3 * DAY),
        make_record(received_at=4 * DAY, kind="action"),
        make_record(received_at=5 * DAY, data='{"text":"é\\n🎉"}'),
    ]
    async with closing(await open_store(f"sqlite:///{folder}/events.db", 10)) as store:
        await store.append(records)
    return folder


def test_check_says_ok_and_counts_the_tenants(folder):
    done = command("check", "--config", "config.toml", cwd=folder)

    assert [0, ""] == [done.exit_code, done.stdout]
    assert "config.toml: OK, 5 tenants" == done.stderr.splitlines()[-1]


def test_check_reports_every_problem_with_file_path_and_nearest_name_and_exits_78(folder):
    bad = '[server]\nlistne = "x"\n[spool]\nmax_events = 0\n[device]\n[[device.tenant]]\n'
    (folder / "bad.toml").write_text(bad)
    done = command("check", "-c", "bad.toml", cwd=folder)

    assert [78, ""] == [done.exit_code, done.stdout]
    assert [
        "bad.toml:2:1: server.listne: Unknown option; did you mean 'listen'?",
        "bad.toml:4:1: spool.max_events: Must be greater than or equal to 1.",
        "bad.toml:6:1: device.tenant: Unknown option; did you mean 'tenants'?",
    ] == done.stderr.splitlines()


def test_check_writes_what_it_finds_as_json(folder):
    bad = '[server]\nlistne = "x"\n[spool]\nmax_events = 0\n'
    (folder / "bad.toml").write_text(bad)
    done = command("check", "--json", "-c", "bad.toml", cwd=folder)

    assert [78, ""] == [done.exit_code, done.stderr]
    assert [
        {
            "level": "error",
            "option": "server.listne",
            "file": "bad.toml",
            "line": 2,
            "column": 1,
            "message": "Unknown option; did you mean 'listen'?",
        },
        {
            "level": "error",
            "option": "spool.max_events",
            "file": "bad.toml",
            "line": 4,
            "column": 1,
            "message": "Must be greater than or equal to 1.",
        },
    ] == json.loads(done.stdout)


def test_check_writes_warnings_as_json_and_succeeds(folder):
    text = SPACE.replace("0123456789abcdef", "development")
    (folder / "config.toml").write_text(text)
    done = command("check", "--json", cwd=folder)

    assert 0 == done.exit_code
    [found] = json.loads(done.stdout)
    assert ("warning", 4, 11) == (found["level"], found["line"], found["column"])
    (folder / "config.toml").write_text(SPACE)
    assert "[]\n" == command("check", "--json", cwd=folder).stdout


def test_check_writes_a_finding_without_a_place_if_it_has_none(folder):
    [found] = json.loads(command("check", "--json", "-c", "absent.toml", cwd=folder).stdout)

    assert ("error", None, None, "") == tuple(
        found[name] for name in ("level", "line", "column", "option")
    )


def test_check_shows_no_value_that_is_kept_elsewhere(folder):
    (folder / "secret").write_text("S3cr3t/path\n")
    bad = """
        [store]
        url = "${file:secret}"
        [[moesif.applications]]
        tenant = "${env:TENANT}"
        ids = ["${env:KEY}"]
        [[moesif.applications]]
        tenant = "${env:TENANT}"
        ids = ["other"]
        [[device.keys]]
        key = "k"
        tenants = ["${env:TENANT}"]
    """
    (folder / "bad.toml").write_text(bad)
    values = {"TENANT": "S3cr3t name", "KEY": "sha256:S3cr3t"}
    done = command("check", "-c", "bad.toml", cwd=folder, **values)

    assert 78 == done.exit_code
    assert "S3cr3t" not in done.stdout + done.stderr
    assert "There is no tenant '${env:TENANT}' in [[device.tenants]]." in done.stderr


def test_check_reports_an_unreadable_token_folder(folder):
    (folder / "bad.toml").write_text('[logspace]\nspaces_directory = "spaces"\n')

    assert "bad.toml:2:1: logspace.spaces_directory: spaces: not a folder\n" == (
        command("check", "-c", "bad.toml", cwd=folder).stderr
    )
    (folder / "spaces").mkdir()
    (folder / "spaces" / "old.space").write_bytes(b"\xe9")

    done = command("check", "-c", "bad.toml", cwd=folder)

    why = "bad.toml:2:1: logspace.spaces_directory: spaces: old.space is not UTF-8.\n"
    assert why == done.stderr
    assert 78 == done.exit_code


def checked(folder: Path, text: str) -> list[str]:
    """What ``gateway check`` says of a file."""
    (folder / "c.toml").write_text(text)
    return command("check", "-c", "c.toml", cwd=folder).stderr.splitlines()


SPACE = """
[[logspace.spaces]]
tenant = "a"
tokens = ["0123456789abcdef"]
"""


def test_check_warns_of_what_is_allowed_and_probably_not_meant(folder):
    (folder / "spaces").mkdir()
    (folder / "spaces" / "b.space").write_text("# none\n")
    told = checked(
        folder,
        """
[[logspace.spaces]]
tenant = "a"
tokens = ["0123456789abcde", "0123456789abcdef", "development"]
[logspace]
spaces_directory = "spaces"
[[device.tenants]]
tenant = "T"
devices = ["D"]
[[device.tenants]]
tenant = "open"
provisioning = "open"
[[device.keys]]
key = "0123456789abcdef"
tenants = ["T"]
devices = [
  "D",
  "E",
]
[[device.keys]]
key = "0123456789abcdef0"
tenants = ["T", "open"]
devices = ["E"]
""",
    )

    weak = "A credential of fewer than 16 characters can be guessed."
    example = "A credential of the example; `gateway token` makes another one."
    device = "No tenant of this key has a device 'E' in its devices."
    space = "b.space has no token: nobody can write to the space."
    assert [
        f"warning: c.toml:4:11: logspace.spaces[0].tokens[0]: {weak}",
        f"warning: c.toml:4:50: logspace.spaces[0].tokens[2]: {example}",
        f"warning: c.toml:6:1: logspace.spaces_directory: {space}",
        f"warning: c.toml:18:3: device.keys[0].devices[1]: {device}",
        "c.toml: OK, 4 tenants",
    ] == told


def test_check_tells_where_a_rule_of_retention_names_a_tenant_that_is_not_configured(folder):
    rules = """
[[retention.rules]]
tenant = "development"
[[retention.rules]]
kind = "event"
tenant = "developmet"
[[retention.rules]]
dialect = "device"
tenant = "development"
"""
    told = checked(folder, SPACE.replace('"a"', '"development"') + rules)

    typo = "No tenant 'developmet' is configured anywhere; did you mean 'development'?"
    elsewhere = "No tenant 'development' is configured in [device]."
    assert [
        f"warning: c.toml:10:1: retention.rules[1].tenant: {typo}",
        f"warning: c.toml:13:1: retention.rules[2].tenant: {elsewhere}",
    ] == [line for line in told if "retention" in line]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ('dialect = "logspce"', "1: retention.rules[0].dialect: Not one of: moesif, logspace"),
        ('kind = "evnt"', "1: retention.rules[0].kind: Not one of: action, api_call, company"),
        (
            'kind = "user"\ndialect = "logspace"',
            "1: retention.rules[0].kind: Not one of: event, rejected.",
        ),
    ],
)
def test_a_rule_of_retention_with_an_unknown_dialect_or_kind_is_refused(folder, rule, problem):
    told = checked(folder, f"{SPACE}[[retention.rules]]\n{rule}\n")

    assert any(line.startswith(f"c.toml:6:{problem}") for line in told), told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("sample_rate = 0", "5:1: moesif.applications[0].sample_rate: SDKs send no API calls of"),
        (
            'config_file = "c.json"',
            "5:1: moesif.applications[0].config_file: sample_rate is 0. SDKs",
        ),
        ('config_file = "c.json"\nsample_rate = 1', None),
    ],
)
def test_check_warns_of_sampling_that_lets_nothing_through(folder, options, told):
    (folder / "c.json").write_text('{"sample_rate": 0}')
    text = f'[[moesif.applications]]\ntenant = "a"\nids = ["0123456789abcdef"]\n\n{options}\n'
    *warnings, _ = checked(folder, text)

    expected = [] if told is None else [f"warning: c.toml:{told}"]
    assert len(expected) == len(warnings)
    assert all(map(str.startswith, warnings, expected))


def test_check_tells_of_some_weak_credentials_and_counts_the_others(folder):
    weak = str([f"t{number}" for number in range(30)])
    told = checked(folder, SPACE.replace('["0123456789abcdef"]', weak))

    assert 22 == len(told)
    assert "warning: c.toml: 10 more credentials are as weak." == told[0]


def test_check_refuses_a_file_without_credentials(folder):
    why = ["c.toml: No credential: nobody could send an event."]

    assert why == checked(folder, "")
    assert why == checked(folder, '[[device.tenants]]\ntenant = "T"\n')


@pytest.mark.parametrize(
    ("listen", "ops", "told"),
    [
        ("0.0.0.0:9000", "127.0.0.1:9000", "4:1: ops.listen: The public listener has this addr"),
        ("localhost:9000", "127.0.0.1:9000", "4:1: ops.listen: The public listener has this ad"),
        ("[::1]:9000", "127.0.0.1:9000", " OK, 1 tenants"),
        ("[::]:9000", "0.0.0.0:9000", " OK, 1 tenants"),
        ("0.0.0.0:0", "127.0.0.1:0", " OK, 1 tenants"),
        ("no.invalid:9000", "127.0.0.1:9000", "2:1: server.listen: The host cannot be resolved:"),
        ("127.0.0.1:9000", "no.invalid:9000", "4:1: ops.listen: The host cannot be resolved:"),
    ],
)
def test_check_finds_listeners_that_cannot_both_be_opened(folder, listen, ops, told):
    text = f'[server]\nlisten = "{listen}"\n[ops]\nlisten = "{ops}"\n{SPACE}'
    [line] = checked(folder, text)

    assert line.startswith(f"c.toml:{told}")


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "192.0.2.1:80", ":80", "[::]:80"])
def test_a_credential_of_the_example_is_refused_where_other_machines_can_connect(folder, listen):
    text = f'[server]\nlisten = "{listen}"\n{SPACE}'.replace("0123456789abcdef", "development")

    [line] = checked(folder, text)
    assert "c.toml:6:11: logspace.spaces[0].tokens[0]: This credential of the example is" in line
    assert "warning: c.toml:6:11: " in checked(folder, text.replace(f'"{listen}"', '"[::1]:80"'))[0]


@pytest.mark.parametrize("name", ["check", "serve", "export"])
def test_every_command_reports_a_file_that_is_not_there(folder, name):
    done = command(name, "-c", "absent.toml", cwd=folder)

    assert 78 == done.exit_code
    assert "absent.toml: No such file or directory" == done.stderr.strip()


def test_a_file_that_is_not_toml_is_reported_with_its_line(folder):
    (folder / "bad.toml").write_text("[server]\nlisten = \n")
    done = command("check", "-c", "bad.toml", cwd=folder)

    assert 78 == done.exit_code
    assert "bad.toml: Not TOML:" in done.stderr
    assert "line 2" in done.stderr


def test_the_configuration_path_may_come_from_the_environment(folder):
    (folder / "config.toml").rename(folder / "other.toml")

    assert 0 == command("check", cwd=folder, GATEWAY_CONFIG="other.toml").exit_code
    assert 78 == command("check", cwd=folder).exit_code


def test_token_prints_64_characters_and_their_digest(tmp_path):
    token, digest = command("token", cwd=tmp_path).stdout.splitlines()

    assert 64 == len(token)
    assert token.isalnum()
    assert f"sha256:{hashlib.sha256(token.encode()).hexdigest()}" == digest
    assert token != command("token", cwd=tmp_path).stdout.splitlines()[0]


def test_the_command_line_has_version_and_help(tmp_path):
    assert __version__ in command("--version", cwd=tmp_path).stdout
    told = command("--help", cwd=tmp_path).stdout
    assert all(name in told for name in ("serve", "check", "token", "export"))


def exported(folder: Path, *options: str) -> list[dict[str, Any]]:
    done = command("export", *options, cwd=folder)
    assert [0, ""] == [done.exit_code, done.stderr]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "days"),
    [
        ((), [0, 1, 2, 3, 4, 5]),
        (("--dialect", "device"), [2]),
        (("--tenant", "other"), [1]),
        (("--kind", "rejected"), [3]),
        (("--since", "1970-01-05"), [4, 5]),
        (("--since", "1970-01-05T00:00:00Z", "--until", "1970-01-06T01:00:00+01:00"), [4]),
        (("--until", "1970-01-02T00:00:00.000001Z"), [0, 1]),
        (("--limit", "2"), [0, 1]),
        (("--limit", "0"), []),
        (("--tenant", "acme", "--limit", "3"), [0, 2, 3]),
        (("--dialect", "moesif", "--kind", "action", "--tenant", "acme"), [4]),
        (("--after", "99999999"), []),
    ],
)
def test_export_writes_what_is_selected(filled, options, days):
    assert days == [int(event["receivedat"][8:10]) - 1 for event in exported(filled, *options)]


def test_export_continues_after_a_sequence(filled):
    everything = exported(filled)

    assert everything[3:] == exported(filled, "--after", everything[2]["sequence"])


@pytest.mark.parametrize(
    "options",
    [
        ("--since", "yesterday"),
        ("--since", "1970-13-01"),
        ("--dialect", "other"),
        ("--limit", "-1"),
        ("--limit", "x"),
        ("--after", "x"),
        ("--after", "9" * 30),
    ],
)
def test_export_refuses_invalid_options(filled, options):
    done = command("export", *options, cwd=filled)

    assert [2, ""] == [done.exit_code, done.stdout]
    assert "Traceback" not in done.stderr
    assert options[0] in done.stderr


def test_export_without_a_store_says_so_and_exits_69(folder):
    done = command("export", cwd=folder)

    assert [69, ""] == [done.exit_code, done.stdout]
    assert "events.db" in done.stderr
    assert 1 == len(done.stderr.splitlines())
    assert not (folder / "events.db").exists()


def test_export_of_a_store_in_memory_is_an_error(folder):
    with (folder / "config.toml").open("a") as config:
        config.write('[store]\nurl = "memory:"\n')

    done = command("export", cwd=folder)
    assert 69 == done.exit_code
    assert "memory: can only be read by the gateway that holds it." in done.stderr


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("config.toml", 0, "config.toml: OK, 5 tenants\n"),
        ("absent", 78, "absent: No such file or directory\n"),
    ],
)
def test_a_process_ends_with_the_status_and_the_words_of_its_command(folder, name, status, words):
    done = run(["-m", "gateway", "check", "-c", name], cwd=folder)

    assert (status, "") == (done.returncode, done.stdout)
    assert done.stderr.endswith(words)


@pytest.fixture
async def large(folder: Path) -> Path:
    """A folder with a store that no pipe holds at once."""
    async with closing(await open_store(f"sqlite:///{folder}/events.db", 10)) as store:
        await store.append([make_record(data=f'"{"x" * 500}"') for _ in range(5000)])
    return folder


def test_export_into_a_closed_pipe_is_quiet(large):
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "export"],
        cwd=large,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        first = process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()

    assert "1.0" == json.loads(first)["specversion"]
    assert b"" == complaint
    assert 128 + 13 == process.returncode


def spoiled_store(folder: Path) -> str:
    (folder / "events.db").write_text("notes " * 1000)
    return "not a database"


def spoiled_spool(folder: Path) -> str:
    (folder / "spool.db").mkdir()
    return "spool.db"


def taken_address(folder: Path) -> str:
    text = (folder / "config.toml").read_text()
    for example in ("development", "K1"):
        text = text.replace(f'"{example}"', f'"no example: {example}"')
    (folder / "config.toml").write_text(text.replace("127.0.0.1:0", "192.0.2.1:80", 1))
    return "192.0.2.1"


@pytest.mark.parametrize("spoil", [spoiled_store, spoiled_spool, taken_address])
def test_serve_reports_an_unavailable_resource_in_one_line_and_exits_69(
    folder: Path, spoil: Callable[[Path], str]
):
    why = spoil(folder)
    done = run(["-m", "gateway", "serve"], cwd=folder)

    assert 69 == done.returncode
    assert why in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
