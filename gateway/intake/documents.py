"""Documents of clients, kept without their secrets."""

from collections.abc import Sequence

from gateway.intake.redact import Redactor
from gateway.store import Documents, StoredDocument


class MaskedDocuments:
    """Puts documents into *documents* as *redactor* masks them."""

    def __init__(self, documents: Documents, redactor: Redactor) -> None:
        self._documents = documents
        self._redactor = redactor

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        return await self._documents.get(dialect, tenant, name)

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        masked = self._redactor.redact_raw(dialect, tenant, body)
        await self._documents.put(dialect, tenant, name, masked, now)

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        return await self._documents.names(dialect, prefix)
