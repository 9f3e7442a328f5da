"""The configuration: the example is complete, and all problems of a file are reported together."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from marshmallow import Schema, ValidationError, fields, missing

from gateway.checks import dialects, find_problems, validate
from gateway.config import read, resolve
from gateway.config.positions import find, positions
from gateway.errors import ConfigError
from schemas import device, load, logspace, moesif
from schemas.config import Server
from schemas.options import Choice, Count
from schemas.settings import schema
from schemas.table import option, schema_of
from tests.conftest import CONFIG, ROOT, merged

EXAMPLE = ROOT / "config.example.toml"


def options(of: Schema, path: str = "") -> Iterator[tuple[str, fields.Field]]:
    """Each option with its path, through tables and lists of tables."""
    for name, field in of.fields.items():
        where = f"{path}.{name}" if path else name
        inner = getattr(getattr(field, "inner", field), "schema", None)
        if inner is None:
            yield where, field
        else:
            yield from options(inner, where)


def example() -> dict[str, Any]:
    """The example with the options in it that are commented out."""
    text = re.sub(r"^# (\w+ = |\[)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    return tomllib.loads(text)


def shown(path: str) -> Any:
    """What the example shows for an option."""
    node: Any = example()
    for name in path.split("."):
        node = node[0] if isinstance(node, list) else node
        if name not in node:
            return missing
        node = node[name]
    return node


OPTIONS = dict(options(schema(dialects())))


@pytest.mark.parametrize("path", OPTIONS)
def test_every_option_is_in_the_example_with_its_default(path):
    value, default = shown(path), OPTIONS[path].load_default
    default = default() if callable(default) else default

    assert value is not missing
    if default not in (missing, None, (), {}):
        assert default == value


@pytest.mark.parametrize("path", OPTIONS)
def test_every_option_says_what_it_means(path):
    assert OPTIONS[path].metadata["help"].endswith((".", ")", "db"))


def test_the_example_is_a_valid_configuration(monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = read(EXAMPLE, dialects())
    validate(settings, str(EXAMPLE))

    assert "127.0.0.1:8080" == settings.server.listen


def test_the_example_identifies_its_application_by_64_characters():
    [identity] = shown("moesif.applications.ids")

    assert 64 == len(identity)


def faults(changes: dict[str, Any]) -> dict[str, str]:
    """What is wrong with the test configuration so changed: messages by path."""
    with pytest.raises(ConfigError) as error:
        validate(resolve(merged(CONFIG, changes), dialects(), "c.toml"), "c.toml")
    assert "c.toml" == error.value.file
    return {problem.path: problem.message for problem in error.value.problems}


@pytest.mark.parametrize(
    ("changes", "path", "nearest"),
    [
        ({"sever": {}}, "sever", "server"),
        ({"server": {"listne": "x"}}, "server.listne", "listen"),
        ({"ingest": {"on_invaild": "refuse"}}, "ingest.on_invaild", "on_invalid"),
        ({"device": {"tenants": [{"tenant": "T", "device": []}]}}, None, "devices"),
        ({"moesif": {"applications": [{"tenant": "a", "id": ["x"]}]}}, None, "ids"),
    ],
)
def test_an_unknown_option_is_reported_with_the_nearest_one(changes, path, nearest):
    found = faults(changes)
    path = path or next(where for where, said in found.items() if "Unknown" in said)

    assert f"Unknown option; did you mean '{nearest}'?" == found[path]


def test_an_unknown_option_unlike_all_others_lists_the_known_ones():
    assert "Unknown option; known options: level." == faults({"log": {"qqq": 1}})["log.qqq"]


def test_the_budget_of_memory_has_room_for_the_largest_body_that_is_read_whole():
    found = faults(
        {
            "device": {"max_body": 40_000_000},
            "logspace": {"max_body": 4_000_000_000},
            "ingest": {"max_event": 40_000_000},
            "limits": {"inflight_bytes": 60_000_000},
        }
    )

    assert found["limits.tenant_inflight_bytes"].startswith("At least 80000000:")
    assert "At least as much as tenant_inflight_bytes." == found["limits.inflight_bytes"]


def test_every_problem_is_reported_at_once():
    found = faults(
        {
            "server": {"listen": "nowhere", "body_timeout": 0, "keepalive_timeout": "long"},
            "ops": {"listen": "::1:80"},
            "spool": {"max_events": 1.5},
            "ingest": {"on_invalid": "ignore"},
            "quarantine": {"max_records": -1},
            "retention": {
                "max_age": 5,
                "max_bytes": 7,
                "rules": [{"max_age": "1 week"}, {"max_age": "0d"}, {"tenant": "a"}, {}],
            },
            "redact": {"keys": "password", "headers": [1]},
            "log": {"level": "loud"},
            "unknown": {},
            "moesif": {"applications": [{"tenant": "a/b", "ids": []}, {"ids": ["", "sha256:x"]}]},
            "logspace": {"spaces": 7},
            "device": {"accept_app_key": "yes", "conflict": "none", "keys": [{"key": "K"}]},
        }
    )

    assert {
        "server.listen",
        "server.body_timeout",
        "server.keepalive_timeout",
        "ops.listen",
        "spool.max_events",
        "ingest.on_invalid",
        "quarantine.max_records",
        "retention.max_age",
        "retention.max_bytes",
        "retention.rules[0].max_age",
        "retention.rules[1].max_age",
        "retention.rules[3]",
        "redact.keys",
        "redact.headers[0]",
        "log.level",
        "unknown",
        "moesif.applications[0].tenant",
        "moesif.applications[0].ids",
        "moesif.applications[1].tenant",
        "moesif.applications[1].ids[0]",
        "moesif.applications[1].ids[1]",
        "logspace.spaces",
        "device.accept_app_key",
        "device.conflict",
        "device.keys[0].tenants",
    } == found.keys()


def test_every_unresolved_reference_is_reported():
    found = faults(
        {
            "device": {
                "tenants": [
                    {"tenant": "T", "devices": ["D"], "serials": {"S1": "no", "S2": "neither"}},
                    {"tenant": "U", "serials": {"S3": "nor this"}},
                ],
                "keys": [
                    {"key": "K1", "tenants": ["gone", "T", "lost"]},
                    {"key": "K2", "tenants": ["missing"]},
                ],
            }
        }
    )

    assert {
        "device.tenants[0].serials.S1",
        "device.tenants[0].serials.S2",
        "device.tenants[1].serials.S3",
    } <= found.keys()
    keys = faults({"device": {"keys": [{"key": "K", "tenants": ["x", "T1", "y"]}]}})
    assert {"device.keys[0].tenants[0]", "device.keys[0].tenants[2]"} == keys.keys()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgres://x", "Unknown scheme 'postgres'; supported: sqlite, postgresql, memory."),
        ("sqlite:///", "Expected sqlite:///FILE"),
        ("sqlite://x", "Expected sqlite:///FILE"),
    ],
)
def test_an_unknown_store_is_a_problem(url, why):
    assert why in faults({"store": {"url": url}})["store.url"]


def test_one_credential_cannot_belong_to_two_tenants():
    two = [{"tenant": "a", "ids": ["same"]}, {"tenant": "b", "ids": ["same"]}]

    assert "to 'a' and to 'b'" in faults({"moesif": {"applications": two}})["moesif"]


def test_one_credential_cannot_belong_to_two_tenants_as_text_and_as_digest():
    digest = "sha256:0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5"
    two = [{"tenant": "a", "ids": ["same"]}, {"tenant": "b", "ids": [digest]}]

    assert "to 'a' and to 'b'" in faults({"moesif": {"applications": two}})["moesif"]


def test_one_key_cannot_be_given_twice_with_different_rights():
    keys = [{"key": "K", "tenants": ["T1"]}, {"key": "K", "tenants": ["T1"], "devices": ["D1"]}]

    assert "to 'T1' and to 'T1'" in faults({"device": {"keys": keys}})["device"]


def test_a_tenant_is_configured_once():
    twice = [{"tenant": "a", "ids": ["1"]}, {"tenant": "a", "ids": ["2"]}]

    assert ["moesif.applications[1].tenant", "moesif.applications[2].tenant"] == list(
        faults({"moesif": {"applications": [*twice, twice[0]]}})
    )


def ids_of(ids: list[str]) -> tuple[str, ...]:
    applications = {"applications": [{"tenant": "acme", "ids": ids}]}
    settings = resolve(merged(CONFIG, {"moesif": applications}), dialects())
    return settings.dialect("moesif", moesif.Options).applications[0].ids


def test_values_may_come_from_environment_files_and_systemd(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    (tmp_path / "token").write_text("from systemd\n")
    monkeypatch.setenv("SECRET", "from the environment")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert ("from the environment", "from a file", "from systemd", "a-from systemd-z") == ids_of(
        ["${env:SECRET}", f"${{file:{tmp_path}/secret}}", "${cred:token}", "a-${cred:token}-z"]
    )
    monkeypatch.setenv("SECRET", "${env:X}")
    assert ("$plain", "${env:X}") == ids_of(["$plain", "${env:SECRET}"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("${ENV:X}", "${ENV:X}"),
        ("a${vault:x}b", "${vault:x}"),
        ("${env:}", "${env:}"),
        ("${}", "${}"),
        ("${env:never closed", "${"),
    ],
)
def test_what_looks_like_a_reference_and_is_none_is_a_problem(value, shown):
    applications = [{"tenant": "acme", "ids": [value]}]

    assert {
        "moesif.applications[0].ids[0]": f"{shown}: not ${{env:NAME}}, ${{file:PATH}} "
        "or ${cred:NAME}"
    } == faults({"moesif": {"applications": applications}})


@pytest.mark.parametrize("secret", [" a", "a ", "a\r", "a\nb", "\u00a0a"])
def test_a_credential_that_no_header_could_match_is_a_problem(secret):
    why = "Must not begin or end with a blank or contain a control character: no header could "

    assert {"device.keys[0].key": f"{why}match it."} == faults(
        {"device": {"keys": [{"key": secret, "tenants": ["T1"]}]}}
    )


def test_a_digest_whose_prefix_is_not_in_lower_case_is_a_problem():
    assert {"device.keys[0].key": "Write sha256: in lower case."} == faults(
        {"device": {"keys": [{"key": "SHA256:" + "a" * 64, "tenants": ["T1"]}]}}
    )


@pytest.mark.parametrize("listen", ["a..b:80", f"{'x' * 300}:80"])
def test_what_cannot_be_a_host_name_is_a_problem(listen):
    problems = find_problems("server", load(schema_of(Server)(), {"listen": listen}))

    assert ["listen"] == [problem.path for problem in problems]
    assert "cannot be resolved: not a host name." in problems[0].message


@pytest.mark.parametrize("device", ["a/b", "a\u0000"])
def test_a_device_id_that_no_address_could_name_is_a_problem(device):
    why = "Must not contain '/' or characters that cannot be printed."

    assert {"device.tenants[0].devices[0]": why} == faults(
        {"device": {"tenants": [{"tenant": "T1", "devices": [device]}], "keys": []}}
    )


def test_an_empty_device_id_is_a_problem():
    tenants = [{"tenant": "T1", "devices": ["D1", ""]}]
    keys = [{"key": "K1", "tenants": ["T1"], "devices": [""]}]

    assert {"device.keys[0].devices[0]", "device.tenants[0].devices[1]"} == set(
        faults({"device": {"tenants": tenants, "keys": keys}})
    )


def test_a_missing_folder_of_orders_is_a_problem(tmp_path):
    folder = str(tmp_path / "orders")

    assert {"logspace.orders_directory": f"{folder}: not a folder"} == faults(
        {"logspace": {"orders_directory": folder}}
    )
    (tmp_path / "orders").mkdir()
    settings = resolve(merged(CONFIG, {"logspace": {"orders_directory": folder}}), dialects())
    assert folder == settings.dialect("logspace", logspace.Options).orders_directory


def test_the_schedule_of_orders_is_one_that_quartz_takes():
    [why] = faults({"logspace": {"default_cron": "0/5 * * * * *"}}).values()

    assert "must be '?'" in why


def every_path(value: object, path: str = "") -> Iterator[str]:
    """The path of each option, element and table of a decoded document."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, one in value.items():
            yield from every_path(one, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from every_path(one, f"{path}[{at}]")


TRICKY = r'''
a.b = 1.5  # [x]
"c" = "]\"" # "
d = """
[x] \""" = 1
""""
e = [ # ]
  [1, "]"], {x = 1, y.z = [{}, 1979-05-27 07:32:00.5]},
  @it's, ]
@,
]
[t."u v".w]
x = +inf
[[t.list]]
[[t.list.inner]]
n = {}
[[t.list]]
[t.list.table]
[[t.list.inner]]
m = true
'''.replace("@", "'" * 3)


@pytest.mark.parametrize("text", [EXAMPLE.read_text(), TRICKY, TRICKY.replace("\n", "\r\n"), "a=1"])
def test_every_option_has_a_position_in_its_file(text):
    known = positions(text)

    assert set(every_path(tomllib.loads(text))) == set(known)


def test_a_position_is_a_line_and_a_column_and_what_is_missing_has_that_of_its_table():
    known = positions(TRICKY)

    assert (2, 1) == find(known, "a.b")
    assert (8, 13) == find(known, "e[1]")
    assert (8, 28) == find(known, "e[1].y.z[0].x")
    assert (8, 32) == find(known, "e[1].y.z[1]")
    assert (20, 1) == find(known, "t.list[1].inner[0].m.deeper[2]")
    assert (14, 1) == find(known, "t.list[0].absent")
    assert find(known, "absent") is None
    assert find(known, "") is None


def test_every_missing_external_value_is_reported(monkeypatch, tmp_path):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("NOWHERE", raising=False)
    (tmp_path / "binary").write_bytes(b"\xff")
    ids = [
        "${env:NOWHERE}",
        f"${{file:{tmp_path}/no}}",
        "${cred:x}",
        f"${{file:{tmp_path}/binary}}",
    ]
    found = faults({"moesif": {"applications": [{"tenant": "acme", "ids": ids}]}})

    assert [f"moesif.applications[0].ids[{at}]" for at in range(4)] == list(found)
    assert "${env:NOWHERE}: the variable is not set" == found["moesif.applications[0].ids[0]"]
    assert "No such file or directory" in found["moesif.applications[0].ids[1]"]
    assert "systemd gave no credentials" in found["moesif.applications[0].ids[2]"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"a = ", "Not TOML"),
        (b"\xff", "Not TOML"),
        (b"a=1\na=2", "Not TOML"),
    ],
)
def test_an_unreadable_file_is_a_problem(tmp_path, content, why):
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=why):
        read(path, dialects())


def test_an_empty_file_gives_the_default_configuration(tmp_path):
    (tmp_path / "c.toml").write_text("")
    settings = read(tmp_path / "c.toml", dialects())

    assert "sqlite:///events.db" == settings.store.url
    assert () == settings.dialect("moesif", moesif.Options).applications


def test_settings_are_frozen_all_the_way_down():
    settings = resolve(CONFIG, dialects())
    tenant = settings.dialect("device", device.Options).tenants[0]

    with pytest.raises(AttributeError):
        settings.server.listen = "x"
    with pytest.raises(AttributeError):
        settings.server = settings.server
    with pytest.raises(TypeError):
        settings.dialects["device"] = settings.server
    with pytest.raises(TypeError):
        tenant.serials["ABCDEFGHIJ12"] = "D3"
    assert ("D1", "D3") == tenant.devices


def test_no_repr_shows_a_secret(tmp_path):
    (tmp_path / "a.space").write_text("hidden token\n")
    secrets = {
        "moesif": {"applications": [{"tenant": "a", "ids": ["hidden id"]}]},
        "logspace": {
            "spaces": [{"tenant": "b", "tokens": ["hidden space token"]}],
            "spaces_directory": str(tmp_path),
        },
        "device": {"keys": [{"key": "hidden key", "tenants": ["T1"]}]},
    }
    settings = resolve(merged(CONFIG, secrets), dialects())
    spaces = settings.dialect("logspace", logspace.Options)
    applications = settings.dialect("moesif", moesif.Options).applications

    assert ("hidden token",) == spaces.spaces_directory[0].tokens
    for shown_object in (settings, dict(settings.dialects), spaces.spaces_directory, applications):
        assert "hidden" not in repr(shown_object)
    assert "ids" in repr(applications)


def test_a_dialect_cannot_have_the_name_of_another_table():
    with pytest.raises(ValueError, match="store"):
        resolve({}, {"store": device.Options})


def test_the_table_of_a_dialect_has_the_type_that_is_asked_for():
    with pytest.raises(TypeError, match="device"):
        resolve(CONFIG, dialects()).dialect("device", moesif.Options)


def test_a_default_that_its_own_field_refuses_cannot_be_declared():
    with pytest.raises(ValidationError, match="greater"):
        option(Count(1), "A number.", default=0)
    with pytest.raises(ValidationError, match="Not one of: closed, open"):
        option(Choice(device.Provisioning), "A word.", default="event")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12 h", 43_200), ("30d", 2_592_000)]
)
def test_a_time_span_has_a_unit(text, seconds):
    read_in = resolve(merged(CONFIG, {"retention": {"max_age": text}}), dialects())

    assert seconds == read_in.retention.max_age


def test_a_duplicate_is_named():
    twice = [{"tenant": "a", "ids": ["1"]}, {"tenant": "a", "ids": ["2"]}]

    assert (
        "Duplicate 'a'."
        == faults({"moesif": {"applications": twice}})["moesif.applications[1].tenant"]
    )


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"store": {"url": "sqlite:///a.db"}, "spool": {"path": "a.db"}}, "spool.path"),
        (
            {"server": {"listen": "127.0.0.1:9"}, "ops": {"listen": "127.0.0.1:9"}},
            "ops.listen",
        ),
        (
            {"retention": {"rules": [{"kind": "user"}, {"dialect": "moesiff"}]}},
            "retention.rules[1].dialect",
        ),
        (
            {"retention": {"rules": [{"kind": "rejected"}, {"kind": "api_calls"}]}},
            "retention.rules[1].kind",
        ),
        (
            {"retention": {"rules": [{"dialect": "device", "kind": "user"}]}},
            "retention.rules[0].kind",
        ),
    ],
)
def test_conflicts_between_two_tables_are_reported(changes, path):
    with pytest.raises(ConfigError) as caught:
        validate(resolve(merged(CONFIG, changes), dialects()), "c.toml")

    assert [path] == [problem.path for problem in caught.value.problems]
