"""The URL of a PostgreSQL store: its hosts, and what is demanded of them."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

_FORM = "postgresql://[user[:password]@]host[:port][,host[:port]...]/database[?require_standby=on]"


class Target(NamedTuple):
    """Where a store is. `hosts` are host and port, in the order in which they are tried first."""

    hosts: Sequence[tuple[str, int]]
    database: str
    user: str | None
    password: str | None
    require_standby: bool

    @property
    def shown(self) -> str:
        """The hosts and the database, without user and password."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{hosts}/{self.database}"


def target_of(url: str) -> Target:
    """What *url* names.

    Raises:
        ValueError: it is not of the form that is expected; never quotes the URL.
    """
    wrong = ValueError(f"Expected {_FORM}.")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise wrong from None
    login, _, netloc = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    database = unquote(parts.path.removeprefix("/"))
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    standby = options.pop("require_standby", "off")
    if not netloc or not database or "/" in database or parts.fragment or options:
        raise wrong
    if standby not in ("on", "off"):
        raise wrong
    return Target(
        [_host(one, wrong) for one in netloc.split(",")],
        database,
        unquote(user) or None,
        unquote(password) or None,
        standby == "on",
    )


def _host(text: str, wrong: ValueError) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or host.endswith(":") or (host.startswith("[") and not host.endswith("]")):
        host, port = text, "5432"
    host = unquote(host.removeprefix("[").removesuffix("]"))
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise wrong
    return host, int(port)
