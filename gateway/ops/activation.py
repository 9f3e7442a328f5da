"""Sockets that systemd listens on for the gateway, by the protocol of sd_listen_fds(3).

They stay open while the gateway restarts: who connects meanwhile waits in the kernel's
queue and is not refused.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from typing import TypeAlias

PUBLIC = "public"
OPS = "ops"

Sockets: TypeAlias = Mapping[str, Sequence[socket.socket]]
"""Listening sockets by the name of their listener."""

_FIRST = 3


def is_activated() -> bool:
    """Whether sockets were passed to this process, and nobody has taken them."""
    return os.environ.get("LISTEN_PID") == str(os.getpid())


def inherited_sockets() -> Sockets:
    """Take the sockets that were passed to this process, once.

    ``FileDescriptorName=`` says which listener they are for, `PUBLIC` or `OPS`. One that
    is alone may have any name, and is the public one.

    Raises:
        OSError: a descriptor has no name of these, or is not a listening TCP socket.
    """
    wanted = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if wanted != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, list[socket.socket]] = {}
    for number in range(int(count)):
        name = names[number] if number < len(names) else ""
        if count == "1" and name != OPS:
            name = PUBLIC
        if name not in (PUBLIC, OPS):
            raise OSError(
                f"systemd passed a socket with the name '{name}': FileDescriptorName= must be "
                f"{PUBLIC} or {OPS}"
            )
        found.setdefault(name, []).append(_listening(_FIRST + number))
    return found


def _listening(descriptor: int) -> socket.socket:
    # What the gateway starts must not hold the socket open.
    os.set_inheritable(descriptor, False)
    made = socket.socket(fileno=descriptor)
    is_tcp = made.family in (socket.AF_INET, socket.AF_INET6) and made.type == socket.SOCK_STREAM
    if not is_tcp or not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        made.close()
        raise OSError("systemd passed a socket that does not listen for TCP connections")
    made.setblocking(False)
    return made
