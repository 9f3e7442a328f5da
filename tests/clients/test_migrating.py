"""The migration pages: their programs and configurations are run as printed."""

import re
import subprocess
import sys
import textwrap

from tests.clients.agent import Agent
from tests.clients.logspace_events import event
from tests.conftest import APPLICATION_ID, ROOT, Process

PAGES = ROOT / "docs" / "migrating"
EXAMPLE_ID = "example-0123456789abcdef0123456789abcdef0123456789abcdef01234567"
LISTEN = '[server]\nlisten = "127.0.0.1:0"\n[ops]\nlisten = "127.0.0.1:0"\n'


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page that are written in *language*."""
    text = (PAGES / page).read_text()
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(indent + body[len(indent) :]) for indent, body in found]


def test_the_first_event_of_the_moesif_page_arrives(process: Process, python_sdks: str):
    process.start()
    (program,) = blocks("moesif.md", "python")
    program = program.replace("http://127.0.0.1:8080", process.url)
    program = program.replace(EXAMPLE_ID, APPLICATION_ID)
    subprocess.run([python_sdks, "-c", program], check=True, timeout=60)

    assert ["api_call", "user"] == [record["kind"] for record in process.export()]


def test_the_configuration_of_the_moesif_page_is_valid(process: Process):
    (config,) = blocks("moesif.md", "toml")
    for name, body in zip(("config", "rules"), blocks("moesif.md", "json"), strict=True):
        (process.folder / f"moesif-{name}.json").write_text(body)
    process.config.write_text(LISTEN + re.sub("# (config|rules)_file", r"\1_file", config))

    environment = {"MOESIF_APPLICATION_ID": "x" * 60, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway", "check", "--config", str(process.config)]
    done = subprocess.run(
        command, cwd=process.folder, env=environment, capture_output=True, check=False
    )
    assert 0 == done.returncode, done.stderr


def test_an_agent_works_with_the_configuration_of_the_logspace_page(process: Process):
    tables = blocks("logspace.md", "toml")
    options = "".join(one.removeprefix("[logspace]\n") for one in tables if "[[" not in one)
    spaces = "".join(one for one in tables if "[[" in one)
    process.config.write_text(f"{LISTEN}[logspace]\n{options}{spaces}")
    (tokens,) = blocks("logspace.md", "text")
    (orders,) = (one for one in blocks("logspace.md", "json") if "agent-orders" in one)
    for path, text in (("spaces/production.space", tokens), ("orders/monitor.json", orders)):
        (process.folder / path).parent.mkdir()
        (process.folder / path).write_text(text)
    process.start()

    tokens_told = [line for line in tokens.splitlines() if line and not line.startswith("#")]
    for token in tokens_told:
        agent = Agent(process.url, token)
        assert 200 == agent.poll()
        assert ("SCHEDULER", "0/10 * * * * ? *") == agent.triggers["os/cpu"]
        agent.send(event(), event(timestamp="yesterday"))
        assert agent.commit()
        agent.send(event(timestamp="never"))
        assert agent.commit()
        agent.close()
    stored = [(record["tenant"], record["kind"]) for record in process.export("--kind", "event")]
    assert [("production", "event")] * len(tokens_told) == stored
    assert 2 * len(tokens_told) == len(process.export("--kind", "rejected"))
