"""The commands that a running gateway takes from its operator, by the control socket."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from gateway.care import Progress
from gateway.erasure import erase
from gateway.ops.control import Command
from gateway.rejected import Wanted
from gateway.rejected import drop as drop_from
from gateway.replay import Order, Replay
from gateway.store import Rotates, Selection, Store
from gateway.stores.spool import Spool


def commands_of(
    store: Store,
    spool: Spool,
    probe: Callable[[], Awaitable[str]],
    replaying: Callable[[], Replay],
    settled: float,
) -> dict[str, Command]:
    """The commands by name: ``status``, ``prune``, ``replay``, ``drop``; ``rotate`` if *store* can.

    *probe* says why the store is unavailable, if it is. *replaying* gives what replays by the
    configuration of now. After *settled* seconds, every
    request that waits now is in the store or the spool.
    """

    async def status(_: Mapping[str, object], __: Progress) -> object:
        return {"store_unavailable": await probe()}

    async def prune(arguments: Mapping[str, object], progress: Progress) -> object:
        wanted = msgspec.convert(arguments, Selection)
        return await erase(store, spool, wanted, progress, settled)

    async def replay(arguments: Mapping[str, object], progress: Progress) -> object:
        return await replaying().run(msgspec.convert(arguments, Order), progress)

    async def drop(arguments: Mapping[str, object], progress: Progress) -> object:
        return await drop_from(store, msgspec.convert(arguments, Wanted), progress)

    commands: dict[str, Command] = {
        "status": status,
        "prune": prune,
        "replay": replay,
        "drop": drop,
    }
    if isinstance(store, Rotates):
        rotate = store.rotate
        commands["rotate"] = lambda _, progress: rotate(progress)
    return commands
