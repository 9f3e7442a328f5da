"""The events of devices: how they are read, and what hides the App Key that they may hold."""

import re
from typing import Protocol

from schemas import Unreadable, device, jsontext
from schemas.decoders import Decoder
from schemas.jsontext import MAX_VALUES, values_exceed


class Event(Protocol):
    """What the gateway reads of an event. `timestamp` is in milliseconds since 1970 UTC."""

    type_id: str
    description: str
    app_id: str
    severity: int
    data: object
    timestamp: int


EVENT = Decoder[Event](device.Event(), finite=True)
# A member's name may be written with escapes of its letters.
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
_WITHHELD = b'"[withheld: too many values to find the App Key among them]"'
_APP_KEY = re.compile(rb"""(["']?appKey["']?\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s,}]+)""")


class Events:
    """Reads events, among them those that the options allow to differ from the schema."""

    def __init__(self, options: device.Options) -> None:
        self._options = options

    def decode(self, raw: bytes) -> Event | None:
        # Whatever `data` holds is decoded, too.
        if _may_hold_key(raw) or (len(raw) > MAX_VALUES and values_exceed(raw, MAX_VALUES)):
            return None
        return EVENT.decode(raw)

    def explain(self, raw: bytes) -> tuple[Event, str]:
        return EVENT.explain(self._normalized(raw))

    def _normalized(self, raw: bytes) -> bytes:
        """The document with `appKey` and a missing description as the options have them."""
        if values_exceed(raw, MAX_VALUES):
            return raw
        document = jsontext.loads(raw, finite=True)
        if not isinstance(document, dict):
            return raw
        normalized = dict(document)
        app_key = normalized.pop("appKey", None)
        if self._options.accept_app_key and app_key is not None and "appId" not in document:
            normalized["appId"] = app_key
        if self._options.lenient_description and normalized.get("description") is None:
            normalized["description"] = ""
        return raw if normalized == document else jsontext.dumps(normalized).encode()


def _may_hold_key(raw: bytes) -> bool:
    """Whether text may have a member `appKey`; no is certain."""
    return b"appKey" in raw or (b"\\" in raw and _ESCAPED_LETTER.search(raw) is not None)


def without_key(raw: bytes) -> bytes:
    """An invalid event without its App Key, which is a credential.

    It is masked by a pattern where the text cannot be read as JSON.
    """
    if not _may_hold_key(raw):
        return raw
    if values_exceed(raw, MAX_VALUES):
        return _WITHHELD
    try:
        document = jsontext.loads(raw, constants=float)
    except Unreadable:
        return _APP_KEY.sub(rb'\1"[redacted]"', raw)
    if not isinstance(document, dict) or "appKey" not in document:
        return raw
    return jsontext.dumps({**document, "appKey": "[redacted]"}).encode()
