"""The numbers of what many rows have in common: streams and senders."""

from collections.abc import Mapping, Sequence

from gateway.record import EventRecord
from gateway.stores.postgres.connections import Connection
from gateway.stores.senders import Distinct

_STREAMS = "SELECT dialect, tenant, kind, id FROM stream"
_NEW_STREAMS = """
INSERT INTO stream (dialect, tenant, kind)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
"""
_SENDERS = "SELECT credential, user_agent, id FROM sender ORDER BY id"
_NEW_SENDERS = """
INSERT INTO sender (credential, user_agent)
SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""


class Names:
    """Numbers are given once and never change, so what is known stays true."""

    def __init__(self) -> None:
        self.streams: dict[tuple[str, str, str], int] = {}
        """The number of each stream by dialect, tenant and kind."""
        self.senders: dict[str | None, int | None] = {None: None}
        """The number of each sender that is kept unchanged."""
        self._distinct = Distinct()

    def forget(self) -> None:
        """Look everything up again: streams and senders may have been erased."""
        self.streams, self.senders, self._distinct = {}, {None: None}, Distinct()

    async def learn_streams(
        self, connection: Connection, records: Sequence[EventRecord]
    ) -> Mapping[tuple[str, str, str], int]:
        """Return the numbers of the streams of *records*; those that are new get theirs first."""
        wanted = {(r.dialect, r.tenant, r.kind) for r in records}
        if not wanted <= self.streams.keys():
            new = list(zip(*sorted(wanted - self.streams.keys()), strict=True))
            await connection.execute(_NEW_STREAMS, *map(list, new))
            self.streams = {tuple(row[:3]): row[3] for row in await connection.fetch(_STREAMS)}
        return self.streams

    async def learn_senders(
        self, connection: Connection, records: Sequence[EventRecord]
    ) -> Mapping[str | None, int | None]:
        """Return the numbers of the senders of *records*; those that are new get theirs first."""
        wanted = {r.sender for r in records}
        if wanted <= self.senders.keys():
            return self.senders
        if len(self.senders) == 1:
            await self._read_senders(connection)
        names = {one: self._distinct.name(one) for one in wanted if one is not None}
        new = {name.partition(" ")[::2] for name in names.values() if name not in self.senders}
        if new:
            credentials, agents = zip(*sorted(new), strict=True)
            await connection.execute(_NEW_SENDERS, list(credentials), list(agents))
            await self._read_senders(connection)
        # Not in `senders` itself: of senders that are kept as another there is no end.
        return {None: None, **{one: self.senders[name] for one, name in names.items()}}

    async def _read_senders(self, connection: Connection) -> None:
        for credential, user_agent, number in await connection.fetch(_SENDERS):
            sender = f"{credential} {user_agent}"
            self._distinct.name(sender)
            self.senders[sender] = number
