"""Which senders a store tells apart, and their numbers."""

import sqlite3
from collections.abc import Iterable, Mapping

from gateway.record import EventRecord, sender_of
from gateway.store import MAX_SENDERS, OTHER
from gateway.stores.statements import in_transaction

_SENDERS = "SELECT id, credential, user_agent FROM sender"
_NEW = "INSERT OR IGNORE INTO sender (credential, user_agent) VALUES (?, ?)"


class Distinct:
    """Keeps the User-Agents of the first `MAX_SENDERS` senders of each credential."""

    def __init__(self) -> None:
        self._kept: dict[str, set[str]] = {}

    def name(self, sender: str) -> str:
        """What *sender* is kept as: unchanged, or with `OTHER` for its User-Agent."""
        credential, _, user_agent = sender.partition(" ")
        kept = self._kept.setdefault(credential, set())
        if user_agent not in kept:
            if len(kept) >= MAX_SENDERS:
                return sender_of(credential, OTHER)
            kept.add(user_agent)
        return sender


class Senders:
    """The numbers of senders in an SQLite store, each interned when its first record comes."""

    def __init__(self) -> None:
        self.known: dict[str | None, int | None] = {None: None}
        """The number of each sender that is kept unchanged."""
        self._distinct = Distinct()

    def learn(
        self, db: sqlite3.Connection, records: Iterable[EventRecord]
    ) -> Mapping[str | None, int | None]:
        """Return the numbers of the senders of *records*; those that are new get theirs first."""
        known = self.known
        if len(known) == 1:
            self._read(db)
        names = {r.sender: self._distinct.name(r.sender) for r in records if r.sender is not None}
        new = [name.partition(" ")[::2] for name in names.values() if name not in known]
        if new:
            in_transaction(db, lambda: db.executemany(_NEW, sorted(new)))
            self._read(db)
        # Not in `known` itself: of senders that are kept as another there is no end.
        return {None: None, **{sender: known[name] for sender, name in names.items()}}

    def _read(self, db: sqlite3.Connection) -> None:
        for number, credential, user_agent in db.execute(_SENDERS):
            sender = f"{credential} {user_agent}"
            self._distinct.name(sender)
            self.known[sender] = number
