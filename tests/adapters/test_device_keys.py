"""Stores hold keys of device events: the same event has the same key in every version."""

import pytest

from gateway.adapter import Head, Inbound, ParseResult
from gateway.adapters.device import Admitted, DeviceAdapter
from schemas import device

EVENT = (
    rb'{"typeId":"0045","description":"hei\u00df \ud83d\ude00","appId":"a","severity":3,'
    rb'"data":{"b":2.50,"a":[1,1.0,true,null,"x"],"\u00e9":1e3},"timestamp":1440014969567}'
)


@pytest.mark.parametrize(
    ("conflict", "key"),
    [
        ("event", "2b21d5a8fae0127249ed2fa0a3d97cd7"),
        ("instant", "9c17f825e079f77459c93436ce03767d"),
    ],
)
def test_the_key_of_an_event_never_changes(conflict, key):
    [endpoint] = DeviceAdapter(device.Options(conflict=conflict)).endpoints
    head = Head("POST", "/", {}, lambda _: None, lambda _: ())
    inbound = Inbound(head, Admitted("acme", "dev", new=False), EVENT, 0, "127.0.0.1")
    result = ParseResult([], [], batch=False)
    endpoint.read(inbound, [EVENT], result)
    [record] = result.records

    assert key == record.key.hex()
