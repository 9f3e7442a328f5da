"""The shop under Flask, with `moesifwsgi`."""

import threading

import shop
from flask import Flask, Response, request
from moesifwsgi import MoesifMiddleware
from werkzeug.serving import make_server

app = Flask("shop")


@app.route("/<path:path>", methods=["GET", "POST"])
def serve(path):
    status, headers, body = shop.answer(request.method, f"/{path}", request.get_data())
    return Response(body, status, headers)


middleware = app.wsgi_app = MoesifMiddleware(
    app.wsgi_app,
    {
        **shop.SETTINGS,
        "IDENTIFY_USER": lambda app, environ, response_headers=None: shop.USER,
        "IDENTIFY_COMPANY": lambda app, environ, response_headers=None: shop.COMPANY,
        "GET_SESSION_TOKEN": lambda app, environ: shop.SESSION,
        "GET_METADATA": lambda app, environ: shop.METADATA,
        "SKIP": lambda app, environ: environ["PATH_INFO"] == shop.IGNORED,
    },
)
server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
shop.listening(server.server_port)
shop.tell(middleware)
