"""Records as CloudEvents 1.0 in the JSON format, one object per line."""

import re
import uuid
from urllib.parse import quote

import msgspec

from gateway.record import EventRecord
from schemas.times import rfc3339

UNTYPED = {"logspace": "logspace.event"}
"""The type of records without one, because CloudEvents requires a type."""

# An escape, or a pair of escapes that is one character. The group is half of such a pair.
_ESCAPES = re.compile(
    r"\\[^u]|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\u....", re.DOTALL
)


def cloudevent(sequence: int, record: EventRecord) -> bytes:
    """Write *record* as one line, without the newline.

    Attributes as in the CloudEvents 1.0 JSON event format; the extensions are
    dialect, tenant, kind, receivedat, clientaddress, sequence (a decimal string) and,
    where they are known, credential (the first 8 hexadecimal digits of its SHA-256
    digest) and useragent. Times are RFC 3339 in UTC, `data` is the event's own JSON
    text, in which half of a surrogate pair becomes U+FFFD: not every reader takes one.
    """
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": str(uuid.UUID(bytes=record.id)),
        "source": f"/{record.dialect}/{quote(record.tenant, safe='')}",
        "type": record.type or UNTYPED.get(record.dialect, record.kind),
    }
    if record.subject:
        event["subject"] = record.subject
    event |= {
        "time": rfc3339(record.time),
        "datacontenttype": "application/json",
        "dialect": record.dialect,
        "tenant": record.tenant,
        "kind": record.kind,
        "receivedat": rfc3339(record.received_at),
        "clientaddress": record.client_address,
        "sequence": str(sequence),
    }
    if record.sender is not None:
        event["credential"], _, event["useragent"] = record.sender.partition(" ")
    data = _readable(_one_line(record.data)).encode("utf-8", "replace")
    event["data"] = msgspec.Raw(data)
    return msgspec.json.encode(event)


def _one_line(text: str) -> str:
    # In JSON text a line break can only be between tokens, where a space means the same.
    return text.replace("\r", " ").replace("\n", " ") if "\n" in text or "\r" in text else text


def _readable(text: str) -> str:
    if "\\ud" in text or "\\uD" in text:
        return _ESCAPES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    return text
