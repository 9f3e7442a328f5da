"""What is sent: one template for each kind of document, with a mark where an id goes.

Each id is a UUID. The load generator varies its first 8 hex digits with every
event; the tail belongs to one run. So no id is sent twice.
"""

import json
import os
import random
from datetime import UTC, datetime
from typing import Any

MARK = "00000000-1d1d-4444-8888-000000000000"
"""Stands in a template where an id goes; as long as an id."""

EVENT_BYTES = 1024
"""The size of a Moesif event."""

_CAMEL = {
    "user_id": "userId",
    "company_id": "companyId",
    "session_token": "sessionToken",
    "transaction_id": "transactionId",
    "api_version": "apiVersion",
    "ip_address": "ipAddress",
}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _filler(count: int) -> str:
    # Text that compresses about three to one, like prose and JSON.
    words = ("order", "status", "shipped", "customer", "amount", "currency", "region", "retry")
    made = ""
    while len(made) < count:
        made += f"{random.choice(words)} {random.randrange(1000)} "
    return made[:count]


def _event(user: str | int = "my_user_id") -> dict[str, Any]:
    return {
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
        "user_id": user,
        "company_id": "my_company_id",
        "session_token": "23jdf0owekfmcn4u3qypxg09w4d8ayrcdx8nu2ng",
        "transaction_id": MARK,
        "metadata": {"datacenter": "westus", "deployment_version": "v1.2.3"},
    }


def _filled(event: dict[str, Any]) -> str:
    event["response"]["body"]["note"] = _filler(EVENT_BYTES - len(_text(event)))
    return _text(event)


def moesif() -> str:
    """A logged API call of EVENT_BYTES, in the form that SDKs send."""
    return _filled(_event())


def moesif_camel() -> str:
    """The same with every member in camelCase, as SDKs for typed languages send it."""
    event = _renamed(_event())
    event["request"] = _renamed(event["request"])
    return _filled(event)


def moesif_numeric() -> str:
    """The same with a number as its user_id."""
    return _filled(_event(user=1045761))


def moesif_user() -> str:
    """A user's profile of about 400 bytes; its id is the user's."""
    user = {
        "user_id": MARK,
        "modified_time": _now(),
        "company_id": "my_company_id",
        "metadata": {"email": "john@acme.com", "name": "John Doe", "note": _filler(250)},
    }
    return _text(user)


def logspace() -> str:
    """A Logspace event of about 500 bytes, in the form that agents send."""
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


def logspace_short() -> str:
    """The smallest Logspace event, to fill a store with."""
    event = {"id": MARK, "type": "os/cpu", "system": "w", "agent-id": "a", "timestamp": _now()}
    return _text(event)


def device() -> str:
    """A device's event of about 300 bytes; the id is in its data, which is part of its key."""
    event = {
        "typeId": "0045",
        "description": "Battery below threshold",
        "appId": "IPSO-SFHWREG-ASDEGFE-SDGACXV-BSDF",
        "severity": 3,
        "data": {"reading": MARK, "level": 17, "charging": False, "note": _filler(100)},
        "timestamp": int(datetime.now(UTC).timestamp() * 1000),
    }
    return _text(event)


def _renamed(document: dict[str, Any]) -> dict[str, Any]:
    return {_CAMEL.get(name, name): value for name, value in document.items()}


def _text(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def new_id() -> str:
    """An id that no template or run has given before."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
