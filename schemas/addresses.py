"""Addresses and networks in the configuration."""

import ipaddress
from typing import Any

from marshmallow import ValidationError, fields


def split_address(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``.

    Raises:
        ValueError: with a sentence, for anything else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("Expected host:port, with a port from 0 to 65535.")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        raise ValueError("Put an IPv6 address in brackets: [::1]:8080.")
    return host, int(port)


class Address(fields.String):
    """``host:port`` to listen on."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        try:
            split_address(address)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return address


class Network(fields.Field["ipaddress.IPv4Network | ipaddress.IPv6Network"]):
    """An address or a network in CIDR notation."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        try:
            if isinstance(value, str):
                return ipaddress.ip_network(value)
        except ValueError as error:
            raise ValidationError(f"Not a network: {error}.") from None
        raise ValidationError("Not a valid string.")
