"""The handler of all requests as an aiohttp application, to embed and to test with.

`gateway serve` uses `gateway.web.server` instead, which costs less and does more.
"""

from typing import Any

from aiohttp import web

from gateway.web.server import Handler

SERVER_OPTIONS: dict[str, Any] = {  # Any: the keyword arguments of web.AppRunner
    "access_log": None,
    # Bodies are decompressed by us: see gateway.web.body.
    "auto_decompress": False,
}
"""What whoever serves the application must give to its runner; a parent application too."""


def application(respond: Handler) -> web.Application:
    """An application that gives every request to *respond*, whatever its address and method."""

    async def answer(request: web.Request) -> web.Response:
        try:
            reply, more, _ = await respond(request)
        except ConnectionError:
            # Nobody reads this: the client is gone.
            return web.Response(status=400)
        headers = {"Server": "gateway", **reply.headers, **more}
        if reply.body:
            headers["Content-Type"] = reply.content_type
        return web.Response(status=reply.status, body=reply.body or None, headers=headers)

    app = web.Application(handler_args=SERVER_OPTIONS)
    app.router.add_route("*", "/{path:.*}", answer, expect_handler=_expect)
    return app


async def _expect(request: web.Request) -> None:
    """Leave ``Expect`` to `gateway.web.body`, which answers it once the head has been checked."""
