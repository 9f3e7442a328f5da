"""The alerts and the dashboard: every metric in them exists, and every alert fires when it has to.

The slow tests use a real Prometheus and its promtool.
"""

import asyncio
import itertools
import json
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.adapters.test_logspace import reading
from tests.clients.installs import CLIENTS, unavailable, unpacked
from tests.conftest import ROOT, Running
from tests.records import eventually, locked

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
RULE_TESTS = RULES.with_name("rules_test.yml")
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
WINDOW = re.compile(r"\$__rate_interval|\$__range|\$__interval")


SMALL = {"quarantine": {"max_records": 1}}


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", RULES.read_text())


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def queries() -> Iterator[tuple[str, str]]:
    """The title of each panel with each of its queries."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def bound(query: str, window: str = "5m") -> str:
    """A query as Grafana sends it."""
    return re.sub(r"\$\w+", ".*", WINDOW.sub(window, query))


async def samples(gateway: Running) -> dict[str, set[str]]:
    """The names of samples on a real page, with the names of their labels."""
    async with gateway.session.get(gateway.ops_url + "/metrics") as response:
        page = await response.text()
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


LATE = {
    "typeId": "0045",
    "description": "",
    "appId": "a",
    "severity": 1,
    "data": {},
    "timestamp": 1,
}


async def used(gateway: Running) -> None:
    """Have a series of every metric: some are there only once something happened."""
    await gateway.logspace([reading(id="1"), {}])
    await gateway.logspace([reading(id="1", system="other"), *({"n": at} for at in range(3))])
    await gateway.device({})
    await gateway.device(LATE)


def metrics_of(query: str) -> dict[str, set[str]]:
    """The metrics of a query, with the labels by which it selects."""
    return {
        name: set(re.findall(r"(\w+)\s*=", selector or ""))
        for name, selector in re.findall(r"((?:gateway|process)_\w+)(\{[^}]*\})?", query)
    }


async def test_every_metric_of_the_dashboard_and_the_alerts_is_scraped(running):
    exprs = [expr for _, expr in queries()]
    exprs += [one["definition"] for one in dashboard()["templating"]["list"] if "definition" in one]
    expressions = RULES.read_text().split("- alert: ")[1:]
    exprs += [one.partition("labels:")[0] for one in expressions]
    async with running(SMALL) as gateway:
        await used(gateway)
        known = await samples(gateway)
    wanted = {name: labels for expr in exprs for name, labels in metrics_of(expr).items()}

    assert len(wanted) > 30
    assert [] == sorted(wanted.keys() - known.keys())
    for expr in exprs:
        for name, labels in metrics_of(expr).items():
            # Prometheus adds these two.
            assert labels <= known[name] | {"instance", "job"}, expr


def test_the_page_of_alerts_lists_every_alert():
    page = (ROOT / "docs" / "operating.md").read_text()
    section = page.partition("### Alerts")[2].partition("\n## ")[0]

    assert alerts() == re.findall(r"^\| `(Gateway\w+)` \|", section, re.MULTILINE)


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not():
    names = re.findall(r"- name: (.*)", RULE_TESTS.read_text())

    assert sorted(names) == sorted(
        f"{alert} {what}" for alert in alerts() for what in ("fires", "is quiet")
    )


def test_the_dashboard_has_what_grafana_needs():
    board = dashboard()
    panels = board["panels"]
    variables = {one["name"] for one in board["templating"]["list"]}

    assert {"datasource", "instance", "dialect", "tenant"} == variables
    assert {"title", "uid", "schemaVersion", "time", "templating", "panels"} <= board.keys()
    assert board["id"] is None
    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(panels) == len({panel["title"] for panel in panels})
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert {"type": "prometheus", "uid": "${datasource}"} == panel["datasource"]
        targets = panel["targets"]
        assert targets
        assert len(targets) == len({one["refId"] for one in targets})
        for target in targets:
            assert panel["datasource"] == target["datasource"]
            asked = set(re.findall(r"\$(\w+)", WINDOW.sub("", target["expr"])))
            assert asked <= variables, target["expr"]


def test_panels_of_the_dashboard_do_not_overlap():
    places = [panel["gridPos"] for panel in dashboard()["panels"]]

    for place in places:
        assert 0 <= place["x"] <= 24 - place["w"]
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def program(name: str) -> str:
    """A program of Debian's package prometheus, which is unpacked where it is not installed."""
    found = shutil.which(name)
    if found is None and shutil.which("apt-get"):
        found = str(unpacked("prometheus", CLIENTS / "prometheus") / "usr" / "bin" / name)
    return found or unavailable(f"{name} is not installed: apt-get install prometheus")


@pytest.fixture(scope="module")
def promtool() -> str:
    return program("promtool")


def run(*command: object, page: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        list(map(str, command)),
        input=page,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
async def test_promtool_finds_no_fault_in_a_real_scrape(promtool, gateway):
    await used(gateway)
    async with gateway.session.get(gateway.ops_url + "/metrics") as response:
        page = await response.text()
    done = run(promtool, "check", "metrics", page=page)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_every_alert_passes_its_tests(promtool):
    checked = run(promtool, "check", "rules", RULES)
    assert 0 == checked.returncode, checked.stdout + checked.stderr
    done = run(promtool, "test", "rules", RULE_TESTS)

    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_threshold_that_is_wrong_fails_the_tests_of_its_alert(promtool, tmp_path):
    shutil.copy(RULE_TESTS, tmp_path)
    text = RULES.read_text()
    for right, wrong in (("> 3600", "> 36000"), ("< 0\n", "< 25e9\n"), ("> 0.8", "> 0.7")):
        assert right in text
        (tmp_path / "rules.yml").write_text(text.replace(right, wrong))
        assert run(promtool, "test", "rules", tmp_path / RULE_TESTS.name).returncode, wrong


@pytest.mark.slow
def test_every_query_of_the_dashboard_is_promql(promtool, tmp_path):
    rules = [
        {"record": f"query:{number}", "expr": bound(expr)}
        for number, (_, expr) in enumerate(queries())
    ]
    # JSON is YAML too.
    file: Path = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run(promtool, "check", "rules", file)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


class Prometheus:
    """A real Prometheus with our alerts, which scrapes a gateway every half second."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert "success" == answer["status"], (parameters, answer)
        return answer["data"]

    async def found(self, query: str) -> list[Any]:
        return (await self.ask("query", query=bound(query, "10s")))["result"]

    async def firing(self, alert: str) -> list[Any]:
        shown = (await self.ask("alerts"))["alerts"]
        return [one for one in shown if one["labels"]["alertname"] == alert]


@asynccontextmanager
async def scraping(folder: Path, gateway: Running) -> AsyncIterator[Prometheus]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "gateway",
                "static_configs": [{"targets": [gateway.ops_url.removeprefix("http://")]}],
            }
        ],
    }
    # JSON is YAML too.
    (folder / "prometheus.yml").write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    )
    prometheus = Prometheus(gateway.session, f"http://{address}")

    async def scraped() -> bool:
        with suppress(aiohttp.ClientError, AssertionError):
            return len(await prometheus.found("rate(gateway_loop_lag_seconds_count[10s])")) == 1
        return False

    try:
        await eventually(scraped, 60)
        yield prometheus
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.slow
async def test_a_real_prometheus_answers_every_query_of_the_dashboard(running, tmp_path):
    async with running(SMALL) as gateway:
        await used(gateway)
        async with scraping(tmp_path, gateway) as prometheus:
            # A rate has to have something to grow.
            await used(gateway)
            for title, query in queries():

                async def answered(query: str = query) -> list[Any]:
                    return await prometheus.found(query)

                assert await eventually(answered), title
            for variable in dashboard()["templating"]["list"][1:]:
                series, label = re.fullmatch(
                    r"label_values\((.*), (\w+)\)", variable["definition"]
                ).groups()
                values = await prometheus.ask(f"label/{label}/values", **{"match[]": bound(series)})
                assert values, variable["name"]


@pytest.mark.slow
async def test_a_real_prometheus_notices_a_locked_store(running, tmp_path):
    async with running() as gateway, scraping(tmp_path, gateway) as prometheus:
        assert [] == await prometheus.firing("GatewayStoreUnavailable")
        with locked(tmp_path / "events.db"):
            await gateway.device(LATE)
            [alert] = await eventually(lambda: prometheus.firing("GatewayStoreUnavailable"))

        assert "critical" == alert["labels"]["severity"]
        assert "the spool" in alert["annotations"]["summary"]
        await eventually(lambda: cleared(prometheus, "GatewayStoreUnavailable"))


async def cleared(prometheus: Prometheus, alert: str) -> bool:
    return not await prometheus.firing(alert)
