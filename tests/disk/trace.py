"""What the shim has recorded: operations on files and answers to clients, in one order."""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<cQqII")

# The ends of a name of `tests.system.wire`, so that event-1 is not found in event-12.
_NAME = re.compile(rb'"(event-\d+)"')


class Step(NamedTuple):
    """One record. The operations:

    ``C`` creates the file *inode* with the name *first*, ``W`` writes *first* at
    *offset*, ``T`` sets the length to *offset*, ``B`` begins to sync, ``E`` ends it and
    ``X`` fails to; *first* is a folder's path. ``R`` renames and ``L`` links *first* to
    *second*, ``U`` removes a name, ``M`` and ``D`` make and remove a folder. ``S`` sends
    *first* to the client whose port is *inode*. ``P`` begins a process: another one may
    have been killed while it synced.
    """

    operation: str
    inode: int
    offset: int
    first: bytes
    second: bytes


def read(path: Path) -> list[Step]:
    """The steps of a trace. The last record is left out if a kill cut it off."""
    steps = []
    data = memoryview(path.read_bytes())
    at = 0
    while at + _HEAD.size <= len(data):
        operation, inode, offset, first, second = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + first + second > len(data):
            break
        texts = bytes(data[at : at + first]), bytes(data[at + first : at + first + second])
        steps.append(Step(operation.decode(), inode, offset, *texts))
        at += first + second
    return steps


class Sent(NamedTuple):
    """An answer that had left completely at the step with the number *at*."""

    at: int
    status: int
    request_id: str


def answers(steps: list[Step]) -> Iterator[Sent]:
    """The answers that clients were sent."""
    streams: defaultdict[int, bytes] = defaultdict(bytes)
    for at, step in enumerate(steps):
        if step.operation != "S":
            continue
        rest = streams[step.inode] + step.first
        while (end := rest.find(b"\r\n\r\n")) >= 0:
            head = rest[:end].decode("latin-1").split("\r\n")
            fields = {name.lower(): text for name, _, text in (one.partition(": ") for one in head)}
            whole = end + 4 + int(fields.get("content-length", 0))
            if len(rest) < whole:
                break
            yield Sent(at, int(head[0].split(" ")[1]), fields.get("x-request-id", ""))
            rest = rest[whole:]
        streams[step.inode] = rest


def durable_before(steps: list[Step]) -> dict[str, int]:
    """The step at which each event's name was durable: its file's sync had returned."""
    written: defaultdict[int, list[str]] = defaultdict(list)
    begun: defaultdict[int, list[int]] = defaultdict(list)
    found: dict[str, int] = {}
    for at, (operation, inode, _, first, _) in enumerate(steps):
        if operation == "W":
            written[inode] += (name.decode() for name in _NAME.findall(first))
        elif operation == "P":
            begun.clear()
        elif operation == "B":
            begun[inode].append(len(written[inode]))
        elif operation in "EX" and begun[inode]:
            count = begun[inode].pop(0)
            if operation == "E":
                for name in written[inode][:count]:
                    found.setdefault(name, at)
            del written[inode][:count]
            begun[inode] = [left - count for left in begun[inode]]
    return found
