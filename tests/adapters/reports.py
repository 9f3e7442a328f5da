"""Device events for tests: variants of the event E of the test vectors, and the answers."""

from tests.dialects import REPORT as E

KEY = {"X-Moki-TenantAPIToken": "K1", "Content-Type": "application/json"}


MISSING = object()


def altered(**changes):
    """E with some members changed; MISSING takes one out."""
    return {name: value for name, value in {**E, **changes}.items() if value is not MISSING}


def stored(device):
    return [event["data"] for event in device.events()]


async def events(gateway):
    return [event["data"] for event in await gateway.events(kind="device_event")]


def assert_error(answer, status, error):
    assert (status, error) == (answer.status, answer.json["error"])
    assert "application/json" == answer.headers["Content-Type"]
    assert answer.json["message"] == answer.json["errorMessage"] != ""
