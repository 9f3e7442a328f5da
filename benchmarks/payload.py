"""What is sent: templates of each dialect's documents, with a mark where an id goes.

An id is a UUID: 8 hex digits that the load generator varies with every event,
then a tail that belongs to one thread of one run. So no id is ever sent twice.
"""

import gzip
import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MARK = "00000000-1d1d-4444-8888-000000000000"
"""Stands in a template where an id goes; of the same length as one."""

EVENT_BYTES = 1024
"""The size of a Moesif event."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _filler(count: int) -> str:
    # Text that compresses as prose and JSON do, about three to one.
    words = ("order", "status", "shipped", "customer", "amount", "currency", "region", "retry")
    made = ""
    while len(made) < count:
        made += f"{random.choice(words)} {random.randrange(1000)} "
    return made[:count]


def moesif(size: int = EVENT_BYTES) -> str:
    """A logged API call of exactly *size* bytes, shaped as the SDKs send it."""
    event: dict[str, Any] = {
        "request": {
            "time": _now(),
            "uri": "https://api.acme.com/items/83738/reviews/?page=2",
            "verb": "POST",
            "api_version": "1.1.0",
            "ip_address": "61.48.220.123",
            "headers": {
                "Host": "api.acme.com",
                "Accept": "*/*",
                "Content-Type": "application/json",
                "User-Agent": "acme-client/3.4 (linux)",
            },
            "body": {"items": [{"id": 1, "fruit": "apple"}, {"id": 2, "fruit": "pear"}]},
        },
        "response": {
            "time": _now(),
            "status": 201,
            "headers": {"Content-Type": "application/json", "Vary": "Accept-Encoding"},
            "body": {"note": ""},
        },
        "user_id": "my_user_id",
        "company_id": "my_company_id",
        "session_token": "23jdf0owekfmcn4u3qypxg09w4d8ayrcdx8nu2ng",
        "transaction_id": MARK,
        "metadata": {"datacenter": "westus", "deployment_version": "v1.2.3"},
    }
    short = size - len(_text(event))
    event["response"]["body"]["note"] = _filler(short)
    return _text(event)


def logspace() -> str:
    """A Logspace event of about 500 bytes, shaped as agents send it."""
    event = {
        "id": MARK,
        "type": "os/cpu",
        "system": "web-7.acme.com",
        "agent-id": "os-agent",
        "timestamp": _now(),
        "pid": "4711",
        "gid": "b1946ac9-2492-4d23-8a30-0c6b1a7e3f55",
        "marker": "nightly",
        "string-properties": {"host": "web-7", "zone": "eu-1a", "cgroup": _filler(80)},
        "double-properties": {"user": 12.5, "system": 3.25, "idle": 84.25},
        "long-properties": {"context-switches": 184467440, "interrupts": 907301},
        "integer-properties": {"processors": 8},
        "boolean-properties": {"virtual": True},
    }
    return _text(event)


def device() -> str:
    """A device's event of about 300 bytes; the id is in its data, which identity includes."""
    event = {
        "typeId": "0045",
        "description": "Battery below threshold",
        "appId": "IPSO-SFHWREG-ASDEGFE-SDGACXV-BSDF",
        "severity": 3,
        "data": {"reading": MARK, "level": 17, "charging": False, "note": _filler(100)},
        "timestamp": int(datetime.now(UTC).timestamp() * 1000),
    }
    return _text(event)


def _text(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def new_id() -> str:
    """An id that no template, thread or run has given before."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def batch(template: str, count: int) -> bytes:
    """A JSON array of *count* events, each with an id of its own."""
    return b"[%s]" % ",".join(template.replace(MARK, new_id()) for _ in range(count)).encode()


def write_pool(path: Path, bodies: int, events: int) -> list[int]:
    """Write *bodies* gzipped batches one after the other to *path*; return their lengths.

    Their texts differ from event to event, or they would compress like nothing real.
    """
    templates = [moesif() for _ in range(events)]
    lengths = []
    with path.open("wb") as file:
        for _ in range(bodies):
            filled = ",".join(one.replace(MARK, new_id()) for one in templates)
            lengths.append(file.write(gzip.compress(f"[{filled}]".encode(), 6, mtime=0)))
    return lengths
