"""The operator's listener: health checks and metrics."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.errors import StoreError
from gateway.ops.metrics import Metrics


def ops_app(metrics: Metrics, probe: Callable[[], Awaitable[str]]) -> web.Application:
    """Answers /livez, /readyz and /metrics; *probe* says why the store is unavailable.

    It raises StoreError where no event would be taken.
    """

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
        text = generate_latest(metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", scrape)]
    )
    return app
