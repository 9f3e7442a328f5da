"""Requests of OTLP in protobuf, made of the same genes as those in JSON."""

from collections.abc import Mapping
from typing import Any

RESOURCES, SCOPES, RECORDS = b"\x0a", b"\x12", b"\x12"
TIME = b"\x09\x00\x00\x00\x00\x00\x00\x00\x01"

# Fields that a record or a resource may hold again and again: tags, lengths and contents.
FIELDS = (
    b"\x32\x00",  # an attribute without a key
    b"\x32\x07\x0a\x01a\x12\x02\x0a\x00",
    b"\x32\x0b\x0a\x01a\x12\x06\x2a\x04\x0a\x02\x0a\x00",
    b"\x32\x0c\x0a\x08password\x12\x00",
    b"\x32" + b"\x7e" + b"\x0a\x7c" + b"x" * 124,
    b"\x2a\x02\x2a\x00",  # a body
    b"\x2a\x06\x2a\x04\x0a\x00\x0a\x00",
    b"\x0a\x02\x0a\x00",  # in a resource: an attribute
    b"\x0a\x00",
    b"\x12\x00",
    b"\x78\x00",  # an unknown number
    b"\x7a\x00",  # an unknown text
    b"\x1a\x01x",
    b"\x5a\x00",  # in a span: an event
    b"\x6a\x00",  # a link
    b"\xff\xff\xff\xff\x0f\x00",
)
LEVELS = ("record", "scope", "resource", "request", "records", "scopes", "resources")


def message(tag: bytes, content: bytes) -> bytes:
    """A field that is a message."""
    size, length = len(content), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"%b%b%c%b" % (tag, bytes(length), size, content)


def body_of(genes: Mapping[str, Any], limit: int) -> bytes:
    """The body that *genes* describe. What they name by words of JSON is chosen by their place."""
    number = sum(map(ord, genes["value"]))
    field = FIELDS[number % len(FIELDS)]
    other = FIELDS[sum(map(ord, genes["other"])) % len(FIELDS)]
    if genes["every"]:
        field = field * genes["every"] + other
    level = LEVELS[sum(map(ord, genes["place"])) % len(LEVELS)]
    size = min(genes["bytes"], limit - 100)
    content = field * (size // len(field))
    plain = message(RECORDS, TIME)
    if level == "record":
        records = message(RECORDS, TIME + content)
        many = genes["copies"] == "same"
        room = (limit - 100) // len(records) if many else 1
        body = message(RESOURCES, message(SCOPES, records * min(room, 90_000) or plain))
    elif level == "scope":
        body = message(RESOURCES, message(SCOPES, content + plain * 1000))
    elif level == "resource":
        body = message(RESOURCES, content + message(SCOPES, plain * 1000))
    elif level == "request":
        body = content + message(RESOURCES, message(SCOPES, plain))
    else:
        one = message(RECORDS, TIME + field)
        if level != "records":
            one = message(SCOPES, one)
        if level == "resources":
            one = message(RESOURCES, one)
        body = one * min(size // len(one), 99_000 // LEVELS.index(level))
        body = body if level == "resources" else message(RESOURCES, body)
    return (body + genes["tail"].encode())[:limit]
