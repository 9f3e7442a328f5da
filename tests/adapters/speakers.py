"""A known client of each dialect: its credential, an address, an event, a batch."""

from typing import Any

import msgspec

from tests.conftest import APPLICATION_ID

CALL = {"request": {"time": "2016-08-16T09:21:56.998Z", "uri": "https://api.com/", "verb": "GET"}}
READING = {
    "id": "bbcca991-1070-4325-b719-dc9014816a2e",
    "type": "os/cpu",
    "system": "localhost",
    "agent-id": "os/cpu",
    "timestamp": "2015-05-18T14:07:00Z",
}
REPORT = {
    "typeId": "0045",
    "description": "",
    "appId": "IPSO-SFHWREG-ASDEGFE-SDGACXV-BSDF",
    "severity": 3,
    "data": {"source": "Software", "version": 2.5, "active": True},
    "timestamp": 1440014969567,
}


class Speaker(msgspec.Struct, frozen=True):
    """A client of one dialect: where it sends what, as whom, and what it hears on success."""

    method: str
    path: str
    credential: dict[str, str]
    body: Any
    success: int
    unauthorized: int
    kind: str
    tenant: str


SPEAKERS = {
    "moesif": Speaker(
        "POST",
        "/v1/events/batch",
        {"X-Moesif-Application-Id": APPLICATION_ID},
        [CALL],
        201,
        401,
        "api_call",
        "acme",
    ),
    "logspace": Speaker(
        "PUT",
        "/events",
        {"logspace.space-token": "development"},
        [READING],
        202,
        403,
        "event",
        "development",
    ),
    "device": Speaker(
        "POST",
        "/rest/v1/api/tenants/T1/devices/D1/events",
        {"X-Moki-TenantAPIToken": "K1"},
        REPORT,
        201,
        401,
        "device_event",
        "T1",
    ),
}
