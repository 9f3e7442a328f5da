"""The shop under Starlette and uvicorn, with `moesifasgi`."""

import socket
import threading

import shop
import uvicorn
from moesifasgi import MoesifMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route


async def serve(request):
    status, headers, body = shop.answer(request.method, request.url.path, await request.body())
    return Response(body, status, headers)


async def identify_user(request, response):
    return shop.USER


async def identify_company(request, response):
    return shop.COMPANY


async def get_session_token(request, response):
    return shop.SESSION


async def get_metadata(request, response):
    return shop.METADATA


async def should_skip(request, response):
    return request.url.path == shop.IGNORED


settings = {
    **shop.SETTINGS,
    "IDENTIFY_USER": identify_user,
    "IDENTIFY_COMPANY": identify_company,
    "GET_SESSION_TOKEN": get_session_token,
    "GET_METADATA": get_metadata,
    "SKIP": should_skip,
}
app = Starlette(
    routes=[Route("/{path:path}", serve, methods=["GET", "POST"])],
    middleware=[Middleware(MoesifMiddleware, settings=settings)],
)
listener = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
shop.listening(listener.getsockname()[1])
shop.tell(MoesifMiddleware(settings=settings))
