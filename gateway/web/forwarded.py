"""The address of a client behind proxies.

A proxy appends the address that it was asked from to a header. Clients can send that
header too, so only what trusted proxies appended counts: the addresses are read from the
right, and the first that is no trusted proxy is the client.

``X-Forwarded-For`` is a list of addresses; ``Forwarded`` (RFC 7239) names them in ``for=``.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_PROXIES = 32
"""Addresses that are read of one request: a client may send thousands."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*)', re.IGNORECASE)
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([0-9.]+)(?::\d+)?")


class TrustedProxies:
    """Knows which peers are proxies, and reads the header that they add to."""

    def __init__(self, networks: Sequence[Network], header: str) -> None:
        """Trust peers in *networks*; *header* is ``X-Forwarded-For`` or ``Forwarded``."""
        self._networks = networks
        self._header = header
        self._read = _nodes if header == "Forwarded" else _elements

    def trust(self, peer: str) -> bool:
        """Whether *peer*, the text of an address, is a trusted proxy."""
        address = _address(peer)
        return address is not None and self._trusted(address)

    def client(self, peer: str, headers: Callable[[str], Sequence[str]]) -> str:
        """The client for which *peer*, a trusted proxy, asks.

        *headers* gives all values of a header. Where a proxy hides an address, the one
        that is nearest to it counts.
        """
        found = peer
        for hops, text in enumerate(self._read(",".join(headers(self._header)))):
            address = _address(text)
            if address is None or hops == _MAX_PROXIES:
                break
            found = str(address)
            if not self._trusted(address):
                break
        return found

    def _trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _elements(header: str) -> Iterator[str]:
    """The elements of ``X-Forwarded-For``, the last one first."""
    end = len(header)
    while end >= 0:
        start = header.rfind(",", 0, end)
        yield header[start + 1 : end]
        end = start


def _nodes(header: str) -> Iterator[str]:
    """The ``for=`` of each element of ``Forwarded``, the last first; empty where there is none."""
    # A comma within quotes separates nothing.
    plain = _QUOTED.sub(lambda quoted: quoted[0].replace(",", "_"), header)
    for element in _elements(plain):
        found = _FOR.search(element)
        yield found[1].strip().strip('"') if found else ""


def _address(text: str) -> _Address | None:
    """The address in *text*, which may end with a port; None where it has none."""
    text = text.strip()
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        text = with_port[1] or with_port[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both versions shows IPv4 peers as IPv6.
    return getattr(address, "ipv4_mapped", None) or address
