"""``gateway send``."""

import gzip
import http.client
import ssl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlsplit

import click
import msgspec

from gateway import __version__
from gateway.adapters import ADAPTERS
from gateway.cli.console import UNAVAILABLE, config_option, fail, read_settings
from gateway.clients import CLIENTS, Asked, Outgoing
from gateway.config import Settings
from schemas.addresses import split_address

_REFUSED = 1
_SECONDS = 30.0
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it
_COUNTS = ("Rejected", "Duplicate", "Queued")
"""What the gateway tells in headers of an answer, ``Gateway-Rejected`` and so on."""


@click.command()
@config_option
@click.argument("dialect", type=click.Choice(sorted(CLIENTS)))
@click.argument("file", type=click.File("rb"))
@click.option("--url", help="Where the gateway listens; else the configuration says it.")
@click.option(
    "--token",
    envvar="GATEWAY_TOKEN",
    help="The credential (or GATEWAY_TOKEN); else one of the configuration.",
)
@click.option("--tenant", help="With a credential of this tenant. A device has to say it.")
@click.option("--device", help="The device that sends, in the device dialect.")
@click.option("--path", "address", metavar="/PATH", help="Another address, such as /v1/actions.")
@click.option("--gzip", "compressed", is_flag=True, help="Compress the body.")
def send(
    path: Path,
    dialect: str,
    file: BinaryIO,
    url: str | None,
    token: str | None,
    **options: Any,  # Any: the options above, by name
) -> None:
    """Send the events in FILE (- is stdin) as a client of DIALECT would.

    The answer goes to stdout. An array for the device dialect is sent event by event. The
    exit status is 1 if an event was refused.

    \b
    Example: gateway send moesif --path /v1/users - <<<"{\\"user_id\\": \\"$HOSTNAME\\"}"
    """
    tenant = options["tenant"]
    settings = None if url and token else read_settings(path)
    secret = token or _secret(settings, dialect, tenant)
    asked = Asked(file.read(), secret, tenant, options["device"], options["address"])
    try:
        requests = CLIENTS[dialect].requests(asked)
        where = urlsplit(url or _url(settings))
        if where.scheme not in ("http", "https") or not where.hostname:
            raise ValueError("Expected http://host:port or https://host:port.")
        refused = False
        for status, answer in _send(where, requests, compressed=options["compressed"]):
            _show(status, answer)
            refused |= status >= http.client.MULTIPLE_CHOICES or bool(answer.get("rejected"))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        fail(f"no answer from {where.geturl()}: {error}", UNAVAILABLE)
    if refused:
        sys.exit(_REFUSED)


def _secret(settings: Settings | None, dialect: str, tenant: str | None) -> str:
    """A credential of the configuration in plain text; exit where there is none."""
    tenants: set[str] = set()
    for adapter in ADAPTERS if settings is not None else ():
        if adapter.dialect == dialect and settings is not None:
            for credential in adapter(settings.dialects[dialect]).credentials():
                tenants.update(credential.tenants)
                fits = tenant is None or tenant in credential.tenants
                if fits and not credential.secret.startswith("sha256:"):
                    return str(credential.secret)
    if tenant is not None and tenant not in tenants:
        there = ", ".join(sorted(tenants)) or "none"
        raise click.BadParameter(
            f"No credential opens '{tenant}'. There are: {there}.", param_hint="--tenant"
        )
    raise click.UsageError(
        "The configuration has digests alone: give the credential with --token or GATEWAY_TOKEN."
        if tenants
        else f"The configuration has no credential of the dialect {dialect}."
    )


def _url(settings: Settings | None) -> str:
    assert settings is not None
    host, port = split_address(settings.server.listen)
    host = _ANY.get(host, host)
    scheme = "https" if settings.server.certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _send(
    where: SplitResult, requests: Sequence[Outgoing], *, compressed: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Send one after the other; give the status of each answer, and what it says."""
    host, port = where.hostname or "", where.port
    connection = (
        http.client.HTTPSConnection(
            host, port, timeout=_SECONDS, context=ssl.create_default_context()
        )
        if where.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=_SECONDS)
    )
    try:
        for request in requests:
            headers = {**request.headers, "User-Agent": f"gateway-send/{__version__}"}
            body = request.body
            if compressed:
                body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
            connection.request(request.method, where.path.rstrip("/") + request.path, body, headers)
            response = connection.getresponse()
            told: dict[str, Any] = {"status": response.status}
            for name in _COUNTS:
                if count := response.getheader(f"Gateway-{name}"):
                    told[name.lower()] = int(count)
            yield response.status, {**told, "answer": _read(response.read())}
    finally:
        connection.close()


def _read(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.MsgspecError:
        return body.decode("utf-8", "backslashreplace")


def _show(status: int, told: dict[str, Any]) -> None:
    if not sys.stdout.isatty():
        click.echo(msgspec.json.encode(told))
        return
    counts = "".join(f", {told[name]} {name}" for name in map(str.lower, _COUNTS) if name in told)
    reason = http.client.responses.get(status, "")
    answer = told["answer"]
    shown = "" if answer in (None, {}) else msgspec.json.encode(answer).decode()
    click.echo(f"{status} {reason}{counts} {shown}".rstrip())
