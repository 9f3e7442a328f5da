"""The record that every dialect's events become, its outcomes, ids and keys."""

import enum
import functools
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Sequence

import msgspec

from schemas import Problem


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """One event of any dialect; the attribute names are those of CloudEvents 1.0.

    Times are integer microseconds since 1970-01-01T00:00:00Z. `key` is 16 bytes
    that identify the event, so that a retry is a duplicate, or None if every copy
    counts. `data` is JSON text as it was received. `type` and `subject` contain no
    NUL and no lone surrogate. `sender` is what `sender_of` returns, or None if it is
    unknown.
    """

    id: bytes
    dialect: str
    tenant: str
    kind: str
    type: str
    subject: str | None
    time: int
    received_at: int
    client_address: str
    key: bytes | None
    data: str
    sender: str | None = None

    @property
    def identity(self) -> bytes:
        """What makes two records the same event everywhere: the key, or else the id."""
        return self.id if self.key is None else self.key

    def with_key(self) -> "EventRecord":
        """The record with its identity for a key, so that a second copy of it is recognised.

        A copy that is kept in two places needs that: in the spool, and in the store
        that the spool drains to.
        """
        return self if self.key is not None else msgspec.structs.replace(self, key=self.id)


MAX_USER_AGENT = 200
"""Characters that are kept of a User-Agent."""


# The few clients of a gateway send the same all the time.
@functools.lru_cache(maxsize=256)
def sender_of(credential: str, user_agent: str) -> str:
    """Who sent an event: the name of the *credential*, a space, and the *user_agent*.

    The name is the first 8 hexadecimal digits of the credential's SHA-256 digest. What
    cannot be printed, such as a byte that is not UTF-8, becomes a question mark.
    """
    kept = user_agent[:MAX_USER_AGENT]
    if not kept.isprintable():
        kept = "".join(one if one.isprintable() else "?" for one in kept)
    return f"{credential} {kept}"


class Kind:
    """The kinds of record that the gateway itself creates; the others belong to the dialects."""

    REJECTED = "rejected"


class Outcome(enum.Enum):
    """What became of one event."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    QUEUED = "queued"

    # Enum's own hashes the name in Python, and outcomes are counted for each request.
    __hash__ = object.__hash__


# To look it up on the class costs more than to count with it.
_STORED = Outcome.STORED


class Receipt(msgspec.Struct, frozen=True):
    """Proof, given only after the commit, of what became of a request's events.

    `outcomes` are in the order of the events; `rejected` counts the invalid elements
    that went to quarantine, and `problems` tells the first things that are wrong with them.
    `first_duplicate` is the first event that was a duplicate, without secrets.
    """

    outcomes: Sequence[Outcome]
    rejected: int = 0
    problems: Sequence[Problem] = ()
    first_duplicate: EventRecord | None = None

    def count(self, outcome: Outcome) -> int:
        """How many of the request's events ended as *outcome*."""
        return self.outcomes.count(outcome)

    @property
    def tally(self) -> "Sequence[tuple[Outcome, int]]":
        """Each outcome that occurs, with its count."""
        stored = self.outcomes.count(_STORED)
        if stored == len(self.outcomes):
            return ((_STORED, stored),) if stored else ()
        counts = ((outcome, self.outcomes.count(outcome)) for outcome in Outcome)
        return [(outcome, count) for outcome, count in counts if count]


def key_of(*parts: str | bytes) -> bytes:
    """Hash what identifies an event into 16 bytes.

    Each part is preceded by its length, so that no two lists of parts collide. A
    lone surrogate is hashed like any other text. The first three parts (dialect,
    tenant, kind) have few values, so their hash is cached.
    """
    digest = _hasher_for(*parts[:3]).copy()
    digest.update(b"".join(map(_length_prefixed, parts[3:])))
    return digest.digest()


@functools.lru_cache(maxsize=1024)
def keys_of(dialect: str, tenant: str, kind: str) -> Callable[[str], bytes]:
    """Return a function that does `key_of(dialect, tenant, kind, id)`, faster for many ids."""
    started = _hasher_for(dialect, tenant, kind)

    def key(client_id: str) -> bytes:
        digest = started.copy()
        digest.update(_length_prefixed(client_id))
        return digest.digest()

    return key


@functools.lru_cache(maxsize=1024)
def _hasher_for(*parts: str | bytes) -> "hashlib.blake2b":
    return hashlib.blake2b(b"".join(map(_length_prefixed, parts)), digest_size=16)


def _length_prefixed(part: str | bytes) -> bytes:
    raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(raw), raw)


# The low 62 bits of an id: a counter with a random start. Ids of one process are
# increasing and unique, and those of two processes collide with a chance of 2^-62.
_count = itertools.count(int.from_bytes(os.urandom(7), "big")).__next__
_VERSION = 0x7 << 76
_VARIANT = 0x2 << 62


def new_id(now: int) -> bytes:
    """Make a UUIDv7 (RFC 9562) for an event received at *now* microseconds, as 16 bytes."""
    return new_ids(now)()


def new_ids(now: int) -> Callable[[], bytes]:
    """Return a function that does `new_id(now)`, faster for many events."""
    micros = now % 1000
    # rand_a carries the microseconds within the millisecond (RFC 9562, method 3).
    high = ((now // 1000 & 0xFFFFFFFFFFFF) << 80) | _VERSION | (micros << 64)
    fixed = high | _VARIANT

    def make() -> bytes:
        return (fixed | (_count() & 0x3FFFFFFFFFFFFFFF)).to_bytes(16, "big")

    return make


def clock() -> int:
    """Now, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000
