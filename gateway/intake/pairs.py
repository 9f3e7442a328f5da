"""Masking of members that a dialect writes as pairs: ``{"key": NAME, "value": VALUE}``.

OpenTelemetry's attributes are such pairs, at any depth. Their names are words between
dots: a rule for ``password`` also masks ``user.password`` and ``password.old``. A rule
for a header masks the attributes that the semantic conventions have for it, such as
``http.request.header.cookie``.
"""

import re
from collections.abc import Collection
from typing import Any

_HEADER = re.compile(r"http\.(?:request|response)\.header\.(.*)", re.DOTALL)


class Pairs:
    """The names of pairs whose values are masked; they match in any case."""

    def __init__(self, keys: Collection[str], headers: Collection[str]) -> None:
        """*keys* are names of members, and *headers* those of HTTP headers, in lower case."""
        self._headers = frozenset(map(_plain, headers))
        either = {*keys, *headers, *self._headers}
        self._any = re.compile("|".join(map(re.escape, sorted(either))))
        words = "|".join(map(re.escape, sorted(keys)))
        self._keys = re.compile(rf"(?:^|\.)(?:{words})(?:\.|$)") if keys else None

    def may_be_in(self, text: str) -> bool:
        """Whether JSON *text* may hold such a pair. An escape may hide a letter."""
        return "\\u" in text or self._any.search(text.lower()) is not None

    def mask(self, document: object, mask: str) -> list[object]:
        """Put *mask* in the place of each such value; return the values that stood there."""
        masked: list[object] = []
        waiting = [document]
        while waiting:
            node = waiting.pop()
            if isinstance(node, list):
                waiting.extend(node)
            elif isinstance(node, dict):
                if "value" in node and self._fits(node.get("key")):
                    masked.append(node["value"])
                    node["value"] = {"stringValue": mask}
                waiting.extend(node.values())
        return masked

    def _fits(self, name: Any) -> bool:  # Any: whatever stands there
        if not isinstance(name, str):
            return False
        name = name.lower()
        if self._keys is not None and self._keys.search(name):
            return True
        header = _HEADER.fullmatch(name)
        return header is not None and _plain(header[1]) in self._headers


def _plain(header: str) -> str:
    """A header's name as older conventions write it in an attribute."""
    return header.lower().replace("-", "_")
