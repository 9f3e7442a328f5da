"""What a client of each dialect sends, and how it is configured: for those who try a gateway out.

Clients have code of their own for this. It is here for ``gateway send`` and
``gateway token``.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from gateway.adapters.device import PATH
from gateway.adapters.logspace import SPACE_TOKEN
from gateway.adapters.moesif import APPLICATION_ID
from gateway.adapters.otlp import JSON, PROTOBUF
from gateway.adapters.otlp_signals import SIGNALS


class Outgoing(NamedTuple):
    """A request. `path` is as it is sent, encoded."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Asked(NamedTuple):
    """What is to be sent, by whom, and of which device where the dialect has some.

    `path` takes the place of the address that follows from the body.
    """

    body: bytes
    secret: str
    tenant: str | None = None
    device: str | None = None
    path: str | None = None


class Client(NamedTuple):
    """A client of one dialect.

    `requests` makes the requests of what is asked, and raises ValueError with a sentence where
    something is missing. `toml` gives the lines that let a credential, by its digest, speak
    for a tenant; both are TOML strings.
    """

    requests: Callable[[Asked], Sequence[Outgoing]]
    toml: Callable[[str, str], str]


def _is_array(body: bytes) -> bool:
    return body.lstrip()[:1] == b"["


def _moesif(asked: Asked) -> Sequence[Outgoing]:
    headers = {APPLICATION_ID: asked.secret, "Content-Type": JSON}
    path = asked.path or ("/v1/events/batch" if _is_array(asked.body) else "/v1/events")
    return [Outgoing("POST", path, headers, asked.body)]


def _logspace(asked: Asked) -> Sequence[Outgoing]:
    headers = {SPACE_TOKEN: asked.secret, "Content-Type": JSON}
    # Agents send nothing but arrays.
    body = b"[%b]" % asked.body if asked.body.lstrip()[:1] == b"{" else asked.body
    return [Outgoing("PUT", asked.path or "/events", headers, body)]


def _device(asked: Asked) -> Sequence[Outgoing]:
    path = asked.path
    if path is None:
        if not asked.tenant or not asked.device:
            raise ValueError("A device sends for itself: say which, with --tenant and --device.")
        names = {"{tenant}": asked.tenant, "{device}": asked.device}
        path = PATH
        for parameter, name in names.items():
            path = path.replace(parameter, quote(name, safe=""))
    headers = {"X-Moki-TenantAPIToken": asked.secret, "Content-Type": JSON}
    bodies = [asked.body]
    if _is_array(asked.body):
        # A device sends one event a request.
        with suppress(msgspec.MsgspecError):
            bodies = [bytes(one) for one in msgspec.json.decode(asked.body, type=_RAWS)]
    return [Outgoing("POST", path, headers, body) for body in bodies]


_RAWS = list[msgspec.Raw]


def _otlp(asked: Asked) -> Sequence[Outgoing]:
    is_json = asked.body.lstrip()[:1] in (b"{", b"[")
    path = asked.path
    if path is None:
        found = [one.path for one in SIGNALS if f'"{one.resources}"'.encode() in asked.body]
        if not is_json or len(found) != 1:
            raise ValueError("Say whether these are logs or spans: --path /v1/logs or /v1/traces.")
        [path] = found
    headers = {APPLICATION_ID: asked.secret, "Content-Type": JSON if is_json else PROTOBUF}
    return [Outgoing("POST", path, headers, asked.body)]


def _applications(table: str) -> Callable[[str, str], str]:
    return lambda tenant, digest: f"[[{table}]]\ntenant = {tenant}\nids = [{digest}]\n"


CLIENTS: Mapping[str, Client] = {
    "moesif": Client(_moesif, _applications("moesif.applications")),
    "logspace": Client(
        _logspace,
        lambda tenant, digest: f"[[logspace.spaces]]\ntenant = {tenant}\ntokens = [{digest}]\n",
    ),
    "device": Client(
        _device,
        lambda tenant, digest: (
            f'[[device.tenants]]\ntenant = {tenant}\ndevices = ["D1"]\n\n'
            f"[[device.keys]]\nkey = {digest}\ntenants = [{tenant}]\n"
        ),
    ),
    "otlp": Client(_otlp, _applications("otlp.applications")),
}
"""The clients by dialect."""
