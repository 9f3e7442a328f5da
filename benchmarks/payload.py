"""What is sent: one template for each kind of document, with a mark where an id goes.

Each id is a UUID. The load generator varies its first 8 hex digits with every
event; the rest belongs to one run. So no id is sent twice.
"""

import json
import os
import random
import re

MARK = "00000000-1d1d-4444-8888-000000000000"
"""Stands in a template where an id goes; as long as an id."""

EVENT_BYTES = 1024
"""The size of a Moesif event."""

_MOESIF = """{
 "request": {"time": "2026-05-04T04:45:42.914Z", "verb": "POST", "api_version": "1.1.0",
  "uri": "https://api.acme.com/items/83738/reviews/?page=2", "ip_address": "61.48.220.123",
  "headers": {"Host": "api.acme.com", "Accept": "*/*", "Content-Type": "application/json",
   "User-Agent": "acme-client/3.4 (linux)"},
  "body": {"items": [{"id": 1, "fruit": "apple"}, {"id": 2, "fruit": "pear"}]}},
 "response": {"time": "2026-05-04T04:45:42.998Z", "status": 201,
  "headers": {"Content-Type": "application/json", "Vary": "Accept-Encoding"},
  "body": {"note": "<note>"}},
 "user_id": "my_user_id", "company_id": "my_company_id", "transaction_id": "<id>",
 "session_token": "23jdf0owekfmcn4u3qypxg09w4d8ayrcdx8nu2ng",
 "metadata": {"datacenter": "westus", "deployment_version": "v1.2.3"}}"""

_MOESIF_USER = """{
 "user_id": "<id>", "modified_time": "2026-05-04T04:45:42.914Z", "company_id": "my_company_id",
 "metadata": {"email": "john@acme.com", "name": "John Doe", "note": "<note>"}}"""

_LOGSPACE = """{
 "id": "<id>", "type": "os/cpu", "system": "web-7.acme.com", "agent-id": "os-agent",
 "timestamp": "2026-05-04T04:45:42.914Z", "pid": "4711", "marker": "nightly",
 "gid": "b1946ac9-2492-4d23-8a30-0c6b1a7e3f55",
 "string-properties": {"host": "web-7", "zone": "eu-1a", "cgroup": "<note>"},
 "double-properties": {"user": 12.5, "system": 3.25, "idle": 84.25},
 "long-properties": {"context-switches": 184467440, "interrupts": 907301},
 "integer-properties": {"processors": 8}, "boolean-properties": {"virtual": true}}"""

_DEVICE = """{
 "typeId": "0045", "description": "Battery below threshold", "severity": 3,
 "appId": "IPSO-SFHWREG-ASDEGFE-SDGACXV-BSDF", "timestamp": 1777869942914,
 "data": {"reading": "<id>", "level": 17, "charging": false, "note": "<note>"}}"""


def moesif(*, camel: bool = False, numeric: bool = False, with_id: bool = True) -> str:
    """A logged API call of EVENT_BYTES, in the form that SDKs send."""
    text = _MOESIF
    if camel:
        text = re.sub(r'(?<=[a-z])_([a-z])(?=\w*":)', lambda found: found[1].upper(), text)
    if numeric:
        text = text.replace('"my_user_id"', "1045761")
    if not with_id:
        text = text.replace('"transaction_id": "<id>",', "")
    return _filled(text, EVENT_BYTES)


def moesif_user() -> str:
    """A user's profile of 400 bytes; its id is the user's."""
    return _filled(_MOESIF_USER, 400)


def logspace() -> str:
    """A Logspace event of 500 bytes, in the form that agents send."""
    return _filled(_LOGSPACE, 500)


def device() -> str:
    """A device's event of 320 bytes; the id is in its data, which is part of its key."""
    return _filled(_DEVICE, 320)


def _filled(text: str, size: int) -> str:
    """The document without spaces, with its mark, and a note that makes it *size* bytes long."""
    short = json.dumps(json.loads(text), separators=(",", ":")).replace("<id>", MARK)
    # Compresses about three to one, like prose and JSON.
    words = ("order", "status", "shipped", "customer", "amount", "currency", "region", "retry")
    note = " ".join(f"{random.choice(words)} {random.randrange(1000)}" for _ in range(size))
    return short.replace("<note>", note[: size - len(short) + len("<note>")])


def new_id() -> str:
    """An id that no template or run has given before."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
