"""Messages to systemd, by the protocol of sd_notify(3)."""

import asyncio
import os
import socket
from collections.abc import Callable


def notify(state: str) -> None:
    """Send *state* (for example ``READY=1``) to systemd, if it listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect(address)
        channel.sendall(state.encode())


def watchdog_interval() -> float | None:
    """Seconds between two signs of life, half of what systemd allows; None if it wants none."""
    wanted, process = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not wanted or process not in (None, str(os.getpid())):
        return None
    return int(wanted) / 2_000_000


async def feed_watchdog(healthy: Callable[[], bool]) -> None:
    """Tell systemd that the process works, as long as the loop turns and *healthy* says so.

    Returns at once where systemd does not ask for it; else goes on until cancelled.
    """
    interval = watchdog_interval()
    while interval is not None:
        if healthy():
            notify("WATCHDOG=1")
        await asyncio.sleep(interval)
