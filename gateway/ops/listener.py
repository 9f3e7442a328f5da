"""The operator's listener: health checks and metrics."""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Collection

import structlog
from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.errors import StoreError
from gateway.ops.metrics import Metrics

log = structlog.get_logger()


class _WithoutContent(logging.Filter):
    """Logs of a request that the parser refused no traceback: it quotes what the client sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        # aiohttp's message has one argument, the address of the client.
        client = record.args[0] if isinstance(record.args, tuple) and record.args else None
        log.info("request_malformed", listener="ops", client=client, error=type(error).__name__)
        return False


REQUEST_LOG = logging.getLogger("gateway.ops.listener")
"""What the runner of the operator's application logs to."""

REQUEST_LOG.addFilter(_WithoutContent())


def ops_app(
    metrics: Metrics, probe: Callable[[], Awaitable[str]], hosts: Collection[str] = ()
) -> web.Application:
    """Answers /livez, /readyz and /metrics; *probe* says why the store is unavailable.

    It raises StoreError where no event would be taken. A request must name the listener by
    an address, as localhost, or by one of *hosts*; any other name is answered with 421.
    """
    names = {"localhost", *(host.lower() for host in hosts)}

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse other names: a page in a browser can make its own name mean this address."""
        given = request.headers.get(hdrs.HOST)
        if given is not None and not _is_named(given, names):
            return web.json_response(
                {"status": "misdirected", "reason": "The Host is not in [ops] hosts."}, status=421
            )
        return await handler(request)

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        try:
            reason = await probe()
        except StoreError as error:
            return web.json_response({"status": "not ready", "reason": str(error)}, status=503)
        if reason:
            return web.json_response({"status": "ready", "store": "unavailable", "reason": reason})
        return web.json_response({"status": "ready"})

    async def scrape(_: web.Request) -> web.Response:
        await metrics.prepare()
        # With many tenants it is long, and others have their turn meanwhile.
        text = await asyncio.to_thread(generate_latest, metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[check_host])
    app.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", scrape)]
    )
    return app


def _is_named(given: str, names: Collection[str]) -> bool:
    """Whether a Host header has an address or one of *names*, with or without a port."""
    host, colon, port = given.rpartition(":")
    if not colon or not port.isdigit():
        host = given
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") in names
    return True
