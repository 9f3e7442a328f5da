"""Requests made of genes: what is repeated, where it stands, how often, and what is around it."""

import itertools
import json
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.conftest import APPLICATION_ID
from tests.worst import protobuf

Genes = dict[str, Any]

TIME = "2026-01-15T10:00:00.250Z"
MOESIF = {"X-Moesif-Application-Id": APPLICATION_ID}
LOGSPACE = {"logspace.space-token": "development"}
DEVICE = {"X-Moki-TenantAPIToken": "K1", "Content-Type": "application/json"}
OTLP = {**MOESIF, "Content-Type": "application/json"}
PROTOBUF = {**MOESIF, "Content-Type": "application/x-protobuf"}
DEVICES = "/rest/v1/api/tenants/T1/devices/D1/events"

CALL = {"request": {"time": TIME, "verb": "GET", "uri": "/"}}
READING = {"id": "1", "type": "t", "system": "s", "agent-id": "a", "timestamp": TIME}
REPORT = {
    "typeId": "1", "description": "", "appId": "a", "severity": 3, "timestamp": 1, "data": {},
}  # fmt: skip
LOG = {"timeUnixNano": "1", "body": {"stringValue": "x"}, "attributes": []}
SPAN = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "n"}

TARGETS: dict[str, tuple[str, str, Mapping[str, str], Any, bool, int]] = {
    "call": ("POST", "/v1/events", MOESIF, CALL, False, 1 << 20),
    "calls": ("POST", "/v1/events/batch", MOESIF, CALL, True, 12_582_912),
    "actions": ("POST", "/v1/actions/batch", MOESIF, {"action_name": "a"}, True, 12_582_912),
    "users": ("POST", "/v1/users/batch", MOESIF, {"user_id": "u"}, True, 12_582_912),
    "readings": ("PUT", "/events", LOGSPACE, READING, True, 16_777_216),
    "logs": ("POST", "/v1/logs", OTLP, LOG, True, 16_777_216),
    "spans": ("POST", "/v1/traces", OTLP, SPAN, True, 16_777_216),
    "resources": ("POST", "/v1/logs", OTLP, {}, True, 16_777_216),
    "logs in protobuf": ("POST", "/v1/logs", PROTOBUF, None, True, 16_777_216),
    "spans in protobuf": ("POST", "/v1/traces", PROTOBUF, None, True, 16_777_216),
    "report": ("POST", DEVICES, DEVICE, REPORT, False, 1 << 20),
    "capabilities": ("PUT", "/capabilities/c", LOGSPACE, {"id": "c"}, False, 1 << 20),
}
"""Method, path, headers, a small valid event, whether it is a batch, and bytes at most."""

_NAMED = '"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},'
ENVELOPES = {
    "logs": (f'{{"resourceLogs":[{{{_NAMED}"scopeLogs":[{{"logRecords":[', "]}]}]}"),
    "spans": (f'{{"resourceSpans":[{{{_NAMED}"scopeSpans":[{{"spans":[', "]}]}]}"),
    "resources": ('{"resourceLogs":[', "]}"),
}
"""What stands around the events of a batch that is not an array."""

VALUES = (
    '{"key":"password","value":{"stringValue":"x"}}', '{"key":"a","value":{"intValue":"1"}}',
    '{"stringValue":"x"}', '{"arrayValue":{"values":[{}]}}', '{"logRecords":[{}]}',
    '{"scopeLogs":[{"logRecords":[{}]}]}',
    "1", "1.5", "1e9", "1e999", "4.0", "NaN", "-1", "true", "null", '""', '"x"', '"\\n"',
    '"\\ud800"', '"\\u0000"', '"é"', "[]", "{}", "[[]]", '{"a":{}}', '{"":""}',
    f'"{TIME}"', '"NaN"',
    '{"password":1}', '{"password":"x","password":[]}', '{"headers":{"cookie":"x"}}',
    '{"headers":[["cookie","x"]]}', '{"id":"x"}', "[" * 60 + "]" * 60,
    '{"a":' * 50 + "1" + "}" * 50,
    "9" * 4000, "9" * 5000, '"' + "x" * 300 + '"', '"' + "\\n" * 300 + '"', '"' + "é" * 300 + '"',
    " ", "\n\t", "[" * 2000 + "]" * 2000, '"\\u00', "x", '"', "\\",
)  # fmt: skip

PLACES = (
    "extra", "headers", "request", "response", "metadata", "data", "user_id", "boolean-properties",
    "date-properties", "double-properties", "integer-properties", "long-properties",
    "string-properties", "agent-capabilities", "trigger-types", "password", "appKey", "typeId",
    "attributes", "body", "events", "links", "resource", "scope", "scopeLogs",
)  # fmt: skip

WRAPS: dict[str, Callable[[str, Iterator[int]], str]] = {
    "array": lambda one, _: one,
    "members": lambda one, numbers: f'"{next(numbers):x}":{one}',
    "same member": lambda one, _: f'"a":{one}',
    "password": lambda one, _: f'"password":{one}',
    "distinct": lambda one, numbers: f'{one},"{next(numbers):x}"',
}

ALLELES: dict[str, tuple[Any, ...]] = {
    "value": VALUES,
    "other": VALUES,
    "every": (0, 0, 0, 2, 10, 100, 200, 1000),
    "place": PLACES,
    "wrap": tuple(WRAPS),
    "within": ("place", "place", "place.a", "top", "request.place"),
    "event": ("valid", "valid", "without", "alone", "wrong time"),
    "bytes": (64, 1000, 10_000, 100_000, 400_000, 1_000_000, 1_048_000, 16_000_000),
    "copies": ("same", "distinct", "one", "one at the end", "half distinct"),
    "tail": ("", "", "", "x", "]", ","),
    "between": (",", ", ", " " * 1000 + ","),
}


KNOWN: tuple[tuple[str, Genes], ...] = tuple(
    (target, dict(zip(ALLELES, genes, strict=True)))
    for target, genes in (
        ("users", ("NaN", '"NaN"', 10, "typeId", "distinct", "top", "wrong time",
                   1_000_000, "same", "", ",")),
        ("readings", ('"NaN"', '"\\u00', 1000, "headers", "same member", "top", "valid",
                      1_000_000, "distinct", ",", ",")),
        ("actions", ('{"headers":[["cookie","x"]]}', '""', 0, "double-properties", "same member",
                     "place", "without", 1000, "one at the end", "x", ", ")),
        ("calls", ("true", "null", 100, "typeId", "distinct", "place.a", "without",
                   100_000, "one", "", ",")),
        ("report", ('"' + "\\n" * 300 + '"', '"x"', 0, "appKey", "password", "place", "alone",
                    1_000_000, "one", "", ",")),
        ("spans", ("x", "x", 10, "integer-properties", "members", "place", "valid",
                   10_000, "one at the end", "", ", ")),
        ("call", ("9" * 4000, "[[]]", 10, "password", "array", "place", "valid",
                  16_000_000, "distinct", ",", ",")),
    )
)  # fmt: skip
"""Requests that once held the loop for long: the search begins with them."""


def random_genes(chance: random.Random) -> Genes:
    return {name: chance.choice(alleles) for name, alleles in ALLELES.items()}


def mutated(genes: Genes, chance: random.Random) -> Genes:
    names = chance.sample(sorted(ALLELES), k=chance.choice((1, 1, 2, 3)))
    return genes | {name: chance.choice(ALLELES[name]) for name in names}


def body_of(target: str, genes: Genes) -> bytes:
    """The body that *genes* describe, within the limit of *target*."""
    _, _, _, event, batch, limit = TARGETS[target]
    if event is None:
        return protobuf.body_of(genes, limit)
    before, after = ENVELOPES.get(target, ("[", "]"))
    size = min(genes["bytes"], limit - len(before) - len(after))
    numbers = itertools.count()
    if not batch:
        return (_event(event, genes, size - 400, numbers) + genes["tail"]).encode()[:limit]
    if genes["copies"].startswith("one"):
        plain = json.dumps(event, separators=(",", ":"))
        room = max(0, min(limit // 2, limit - size) - 10) // (len(plain) + 1)
        events = [plain] * min(room, 240_000)
        place = len(events) if genes["copies"].endswith("end") else 0
        events.insert(place, _event(event, genes, size - 10, numbers))
    else:
        one = _event(event, genes, min(size, limit // 3), numbers)
        room = limit // (len(one.encode()) + len(genes["between"]) + 12)
        events = [one] * max(1, min(room, 249_990))
        if genes["copies"] != "same" and one.startswith("{"):
            # The first half or all of them differ.
            different = len(events) // (2 if genes["copies"].startswith("half") else 1)
            events[:different] = [f'{{"{n:x}":0,{one[1:]}' for n in range(different)]
    text = f"{before}{genes['between'].join(events)}{after}{genes['tail']}".encode()
    return text if len(text) <= limit else text[: limit - 1] + b"]"


def _event(event: Any, genes: Genes, size: int, numbers: Iterator[int]) -> str:
    content, members = _content(genes, size, numbers)
    if genes["within"] == "place.a":
        content = f'{{"a":{content}}}'
    if genes["event"] == "alone":
        return content
    known = {} if genes["event"] == "without" else dict(event)
    known.pop(genes["place"], None)
    if genes["event"] == "wrong time":
        known["timestamp"] = known["request"] = "yesterday"
    member = f'"{genes["place"]}":{content}'
    if genes["within"] == "request.place":
        member = f'"request":{{"time":"{TIME}","verb":"GET","uri":"/",{member}}}'
    if genes["within"] == "top" and members:
        member = content[1:-1]
    text = json.dumps(known, separators=(",", ":"))[1:-1]
    return f"{{{text},{member}}}" if text else f"{{{member}}}"


def _content(genes: Genes, size: int, numbers: Iterator[int]) -> tuple[str, bool]:
    """An array or object of at most *size* bytes, and whether it is an object."""
    wrap = WRAPS[genes["wrap"]]
    members = genes["wrap"] in ("members", "same member", "password")
    made: list[str] = []
    while size > 300:
        other = genes["every"] and len(made) % genes["every"] == 1
        made.append(wrap(genes["other"] if other else genes["value"], numbers))
        size -= len(made[-1].encode()) + 1
    return (f"{{{','.join(made)}}}" if members else f"[{','.join(made)}]"), members


def packed(body: bytes) -> bytes:
    packer = zlib.compressobj(6, wbits=31)
    return packer.compress(body) + packer.flush()
