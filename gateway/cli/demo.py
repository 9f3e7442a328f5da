"""The demo: what ``gateway serve`` starts in a folder without a configuration.

It is an ordinary configuration in a folder of its own, with the store beside it. Its
credentials are in plain text there, so a demo serves nobody but this machine.
"""

import secrets
import shlex
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

from gateway.adapters import ADAPTERS
from gateway.cli.console import DEMO, DEMO_CONFIG
from gateway.config import Settings
from gateway.files import create, sync
from schemas.addresses import is_loopback, split_address
from schemas.times import rfc3339

_HOST = "127.0.0.1"
_PUBLIC_PORT = 8080
_OPS_PORT = 8081


def prepare() -> None:
    """Make the folder of a demo with a new configuration in it, unless there is one.

    Raises:
        OSError: the folder or a file in it cannot be written.
    """
    if DEMO_CONFIG.exists():
        return
    DEMO.mkdir(mode=0o700, exist_ok=True)
    # Credentials are not for a repository.
    (DEMO / ".gitignore").write_text("*\n")
    text = _CONFIG.format(
        folder=DEMO,
        listen=f"{_HOST}:{_free_port(_PUBLIC_PORT)}",
        ops=f"{_HOST}:{_free_port(_OPS_PORT)}",
        application=secrets.token_hex(32),
        space=secrets.token_hex(32),
        device=secrets.token_hex(32),
    )
    # A start that is interrupted here leaves no half of a configuration.
    unfinished = DEMO_CONFIG.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    create(unfinished)
    unfinished.write_text(text)
    sync(unfinished)
    unfinished.replace(DEMO_CONFIG)


def open_to_others(settings: Settings) -> str | None:
    """The address on which *settings* let other machines connect, if there is one."""
    addresses = (settings.server.listen, settings.ops.listen)
    return next((one for one in addresses if not is_loopback(one)), None)


def welcome(settings: Settings, address: tuple[str, int]) -> str:
    """What to tell somebody whose demo listens on *address*."""
    host, port = address
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    examples = "\n\n".join(_examples(settings, url))
    program = _program()
    return f"""
This is a demo: there is no configuration here. Its credentials and events are in
{DEMO}/, and the next start uses them again. It listens on {url}.
Paste any of these into another terminal:

{examples}

Then see, in this folder, what came in:

{program} events      # the newest events
{program} tail        # each new one
{program} stats       # how many, by tenant
{program} status      # how the gateway does
"""


def _free_port(wanted: int) -> int:
    """The port *wanted*, or another one if that is taken."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted))
        except OSError:
            probe.bind((_HOST, 0))
        return split_address(":".join(map(str, probe.getsockname())))[1]


def _program() -> str:
    """How to run this program again."""
    return "gateway" if shutil.which("gateway") else shlex.quote(sys.argv[0])


def _examples(settings: Settings, url: str) -> Iterator[str]:
    """A curl command for each dialect of which a credential is known."""
    now = time.time_ns() // 1000
    for adapter in ADAPTERS:
        for credential in adapter(settings.dialects[adapter.dialect]).credentials():
            if credential.secret.startswith("sha256:"):
                continue
            yield _EXAMPLES[adapter.dialect].format(
                url=url,
                secret=credential.secret,
                tenant=next(iter(credential.tenants)),
                id=uuid.uuid4(),
                time=rfc3339(now),
                millis=now // 1000,
                nanos=now * 1000,
            )
            break


_CONFIG = """\
# A demo of the event gateway, made by `gateway serve`. The paths in it start at the folder
# in which that was run. To make it your own, copy it to config.toml beside {folder}/.
# config.example.toml in the repository has all options.

[server]
listen = "{listen}"

[ops]
listen = "{ops}"

[store]
url = "sqlite:///{folder}/events.db"

[[moesif.applications]]
tenant = "acme"
ids = ["{application}"]

[[otlp.applications]]
tenant = "acme"
ids = ["{application}"]

[[logspace.spaces]]
tenant = "acme"
tokens = ["{space}"]

[[device.tenants]]
tenant = "acme"
provisioning = "open"

[[device.keys]]
key = "{device}"
tenants = ["acme"]
"""

_EXAMPLES = {
    "moesif": """\
# Moesif: an API call
curl -sS -w '%{{http_code}}\\n' {url}/v1/events -H 'Content-Type: application/json' \\
  -H 'X-Moesif-Application-Id: {secret}' \\
  -d '{{"request": {{"time": "{time}", "verb": "GET", "uri": "https://api.example.com/items/7"}},
       "response": {{"time": "{time}", "status": 200}},
       "user_id": "u-1", "transaction_id": "{id}"}}'""",
    "logspace": """\
# Logspace: a measurement by an agent
curl -sS -w '%{{http_code}}\\n' -X PUT {url}/events -H 'Content-Type: application/json' \\
  -H 'logspace.space-token: {secret}' \\
  -d '[{{"id": "{id}", "type": "os/cpu", "system": "web-1",
        "agent-id": "web-1/cpu", "timestamp": "{time}",
        "double-properties": {{"system_cpu_load": 0.44}}}}]'""",
    "device": """\
# Device: an event of the device D1
curl -sS -w ' %{{http_code}}\\n' -H 'Content-Type: application/json' \\
  {url}/rest/v1/api/tenants/{tenant}/devices/D1/events \\
  -H 'X-Moki-TenantAPIToken: {secret}' \\
  -d '{{"typeId": "0045", "description": "door opened", "appId": "kiosk", "severity": 3,
       "data": {{"source": "Software", "version": 2.5}}, "timestamp": {millis}}}'""",
    "otlp": """\
# OpenTelemetry: a log record
curl -sS -w ' %{{http_code}}\\n' {url}/v1/logs -H 'Content-Type: application/json' \\
  -H 'X-Moesif-Application-Id: {secret}' \\
  -d '{{"resourceLogs": [{{"resource": {{"attributes": [
        {{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
       "scopeLogs": [{{"logRecords": [{{"timeUnixNano": "{nanos}", "severityText": "INFO",
        "body": {{"stringValue": "The basket is full."}}}}]}}]}}]}}'""",
}
