"""Addresses and networks in the configuration."""

import ipaddress
import itertools
import socket
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


def addresses_of(listen: str) -> list[tuple[socket.AddressFamily, str]]:
    """What the host of ``host:port`` stands for on this machine; all addresses without a host.

    Raises:
        OSError: the host is not known here.
    """
    host, port = split_address(listen)
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError:
        raise OSError(0, "not a host name") from None
    return [(family, str(address[0])) for family, _, _, _, address in found]


def is_loopback(listen: str) -> bool:
    """Whether only this machine can connect to ``host:port``; False if the host is not known."""
    try:
        found = addresses_of(listen)
    except OSError:
        return False
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for _, address in found)


def overlap(one: str, other: str) -> bool:
    """Whether two ``host:port`` cannot both be listened on; False if a host is not known."""
    port = split_address(one)[1]
    if not port or port != split_address(other)[1]:
        return False
    try:
        pairs = itertools.product(addresses_of(one), addresses_of(other))
    except OSError:
        return False
    return any(
        family == other_family
        and (
            address == other_address
            or ipaddress.ip_address(address).is_unspecified
            or ipaddress.ip_address(other_address).is_unspecified
        )
        for (family, address), (other_family, other_address) in pairs
    )


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
