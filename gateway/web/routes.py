"""Routing: which adapter and endpoint a path belongs to.

The raw path is split before its segments are decoded. aiohttp's router leaves ``%ff`` as
text and decodes ``%2F``, so it cannot be used for ids.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from gateway.adapter import AnyAdapter, Endpoint
from gateway.errors import Reason, Refusal


class Match(msgspec.Struct, frozen=True):
    """A known path: its adapter, the endpoint for each method, and its parameters."""

    adapter: AnyAdapter
    methods: Mapping[str, Endpoint]
    params: Mapping[str, str] = {}

    def endpoint(self, method: str) -> Endpoint:
        """The endpoint for *method*; raises Refusal METHOD_NOT_ALLOWED."""
        found = self.methods.get(method)
        if found is None:
            raise Refusal(Reason.METHOD_NOT_ALLOWED, allowed=sorted(self.methods))
        return found


class Routes:
    """Every address of every adapter.

    Raises:
        ValueError: two addresses match the same path, an address can never be
            asked for, or two dialects claim the same prefix or name.
    """

    def __init__(self, adapters: Sequence[AnyAdapter]) -> None:
        self._plain: dict[str, Match] = {}
        self._templates: list[tuple[Sequence[str], Match]] = []
        self._prefixes = _longest_first(adapters)
        known: dict[str, Match] = {}
        for adapter in adapters:
            for path, methods in _by_path(adapter).items():
                _check_address(adapter.dialect, path)
                for other, match in known.items():
                    # Addresses without parameters overlap only where they are the same.
                    if path == other or "{" in path or "{" in other:
                        _check_pair(other, match.adapter, path, adapter)
                known[path] = match = Match(adapter, methods)
                if "{" in path:
                    self._templates.append((path.split("/"), match))
                else:
                    self._plain[path] = match

    def has(self, path: str) -> bool:
        """Whether *path* is an address without any normalization."""
        return path in self._plain

    def find(self, path: str) -> Match | None:
        """Return the match of a normalized *path*, or None."""
        plain = self._plain.get(path)
        if plain is not None:
            return plain
        segments = path.split("/")
        for template, match in self._templates:
            params = _params(template, segments)
            if params is not None:
                return Match(match.adapter, match.methods, params)
        return None

    def owner(self, path: str) -> AnyAdapter | None:
        """The adapter that words the 404 of *path*: the one with the longest prefix of it."""
        for prefix, adapter in self._prefixes:
            # `normal` took the slash off an address that ends where the prefix does.
            if f"{path}/".startswith(prefix):
                return adapter
        return None


def _longest_first(adapters: Sequence[AnyAdapter]) -> list[tuple[str, AnyAdapter]]:
    owners: dict[str, AnyAdapter] = {}
    for number, adapter in enumerate(adapters):
        if adapter.dialect in (one.dialect for one in adapters[:number]):
            raise ValueError(f"Two adapters have the dialect '{adapter.dialect}'.")
        for prefix in adapter.prefixes:
            owner = owners.setdefault(prefix, adapter)
            if owner is not adapter:
                raise ValueError(
                    f"The dialects '{owner.dialect}' and '{adapter.dialect}' "
                    f"both claim the prefix {prefix}."
                )
    return sorted(owners.items(), key=lambda one: len(one[0]), reverse=True)


def _by_path(adapter: AnyAdapter) -> dict[str, dict[str, Endpoint]]:
    found: dict[str, dict[str, Endpoint]] = {}
    for endpoint in adapter.endpoints:
        for path in endpoint.paths:
            for method in endpoint.methods:
                known = found.setdefault(path, {})
                if method in known:
                    raise ValueError(
                        f"The dialect '{adapter.dialect}' has two endpoints for {method} {path}."
                    )
                known[method] = endpoint
    for methods in found.values():
        if "GET" in methods:
            # RFC 9110: every resource that answers GET answers HEAD, with the same head.
            methods.setdefault("HEAD", methods["GET"])
    return found


def _check_address(dialect: str, path: str) -> None:
    """Raise ValueError for an address that no request can match."""
    if not path.startswith("/") or normal(path) != path:
        raise ValueError(f"An address of the dialect '{dialect}' is {path}, which is not normal.")
    for segment in path.split("/"):
        if ("{" in segment or "}" in segment) and not _PARAMETER.fullmatch(segment):
            raise ValueError(
                f"An address of the dialect '{dialect}' is {path}: "
                "a parameter must be a whole segment, such as {name}."
            )


_PARAMETER = re.compile(r"\{[^{}]+\}")


def _check_pair(one: str, owner: AnyAdapter, other: str, adapter: AnyAdapter) -> None:
    """Raise ValueError where some path matches both addresses."""
    left, right = one.split("/"), other.split("/")
    if len(left) == len(right) and all(
        a == b or a.startswith("{") or b.startswith("{") for a, b in zip(left, right, strict=True)
    ):
        raise ValueError(
            f"The addresses {one} of the dialect '{owner.dialect}' and {other} "
            f"of '{adapter.dialect}' overlap."
        )


def _params(template: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    params: dict[str, str] = {}
    for wanted, given in zip(template, segments, strict=True):
        if wanted.startswith("{"):
            params[wanted[1:-1]] = decode_segment(given)
        elif wanted != given:
            return None
    return params


def decode_segment(segment: str) -> str:
    """Decode one segment of a path.

    Returns "" if it is not UTF-8 or contains a slash or a control character, because no id
    looks like that.
    """
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeError:
        return ""
    return text if "/" not in text and text.isprintable() else ""


def normal(target: str) -> str:
    """The path of a request's target: no host, no query, one leading slash, no trailing one.

    Clients join a base URL that ends in a slash with a path that begins with
    one; and a redirected POST would lose its body.
    """
    if not target.startswith("/"):
        target = "/" + re.sub(r"\A[^/?#]*/?", "", target.partition("://")[2])
    path = target.partition("?")[0].partition("#")[0]
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if path.endswith("/") and len(path) > 1:
        path = path[:-1]
    return path
