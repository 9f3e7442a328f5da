"""The shop under Django, with `moesifdjango`."""

import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

import django
import shop
from django.conf import settings
from django.http import HttpResponse
from django.urls import re_path


def serve(request):
    status, headers, body = shop.answer(request.method, request.path, request.body)
    return HttpResponse(body, status=status, headers=headers)


urlpatterns = [re_path("", serve)]

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="made up",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "moesifdjango.middleware.moesif_middleware",
    ],
    MOESIF_MIDDLEWARE={
        **shop.SETTINGS,
        "IDENTIFY_USER": lambda request, response: shop.USER,
        "IDENTIFY_COMPANY": lambda request, response: shop.COMPANY,
        "GET_SESSION_TOKEN": lambda request, response: shop.SESSION,
        "GET_METADATA": lambda request, response: shop.METADATA,
        "SKIP": lambda request, response: request.path == shop.IGNORED,
    },
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402 - after the settings
from moesifdjango.middleware import moesif_middleware  # noqa: E402


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


server = make_server("127.0.0.1", 0, get_wsgi_application(), server_class=Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
shop.listening(server.server_port)
shop.tell(moesif_middleware(None))
