"""The protocols by which adapters read events say what the derived decoders give."""

import json
import types
import typing
from typing import Any, Union

import pytest

from gateway.adapters import device_events, logspace, moesif_events
from schemas.decoders import Decoder
from tests.dialects import CALL, READING, REPORT

WHEN = "2016-08-16T09:21:56.998Z"
MODIFIED = {"modified_time": WHEN}
WHO = {"user_id": 7, "companyId": "c", "transaction_id": "t"}

SAMPLES: list[tuple[type, Decoder[Any], list[Any]]] = [
    (device_events.Event, device_events.EVENT, [REPORT]),
    (logspace.Event, logspace.EVENT, [READING, {**READING, "type": None}, {**READING, "type": 5}]),
    (moesif_events.ApiCall, moesif_events.EVENT.decoder, [CALL, {**CALL, **WHO}]),
    (
        moesif_events.Action,
        moesif_events.ACTION.decoder,
        [
            {"action_name": "a"},
            {"actionName": "a", "request": {}, **WHO},
            {"action_name": "a", "request": {"time": WHEN}, **WHO},
        ],
    ),
    (
        moesif_events.User,
        moesif_events.USER.decoder,
        [{"user_id": 5}, {"anonymous_id": "a", **MODIFIED}],
    ),
    (
        moesif_events.Company,
        moesif_events.COMPANY.decoder,
        [{"company_id": 5}, {"companyId": "c", **MODIFIED}],
    ),
    (
        moesif_events.Subscription,
        moesif_events.SUBSCRIPTION.decoder,
        [{"subscription_id": 5}, {"subscriptionId": "s", **MODIFIED}],
    ),
]


def choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)


def mismatches(protocol: type, event: object) -> list[str]:
    """The attributes of *protocol* that *event* lacks, or has other values of."""
    found = []
    for name, kind in typing.get_type_hints(protocol).items():
        value = getattr(event, name, found)
        protocols = [one for one in choices(kind) if typing.Protocol in one.__mro__]
        plain = tuple(one for one in choices(kind) if one not in protocols)
        if protocols and not isinstance(value, plain):
            found += [f"{name}.{inner}" for inner in mismatches(protocols[0], value)]
        elif value is found or not isinstance(value, plain):
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("protocol", "decoder", "documents"), SAMPLES, ids=[one.__qualname__ for one, *_ in SAMPLES]
)
def test_a_decoded_event_is_what_its_protocol_says(protocol, decoder, documents):
    for document in documents:
        raw = json.dumps(document).encode()
        explained, _ = decoder.explain(raw)

        assert [] == mismatches(protocol, explained)
        assert [] == mismatches(protocol, decoder.decode(raw))


class Inner(typing.Protocol):
    verb: int


class Wrong(typing.Protocol):
    user_id: int
    nothing: str
    company_id: str | None
    request: Inner


def test_a_wrong_protocol_is_found():
    event, _ = moesif_events.EVENT.decoder.explain(json.dumps({**CALL, **WHO}).encode())

    assert ["user_id", "nothing", "request.verb"] == mismatches(Wrong, event)
