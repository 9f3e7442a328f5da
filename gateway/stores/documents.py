"""Documents from an operator's files, with the store for all others."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.store import Documents, StoredDocument


class FolderDocuments:
    """Reads documents with certain names from files, and leaves the others to *fallback*.

    A name that starts with a folder's prefix is ``<rest>.json`` in that folder. The
    file is read each time, so that an edit has effect at once.
    """

    def __init__(self, fallback: Documents, folders: Mapping[tuple[str, str], Path]) -> None:
        """*folders* maps (dialect, prefix of names) to a folder."""
        self._fallback = fallback
        self._folders = folders

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        for (entry_dialect, prefix), folder in self._folders.items():
            if entry_dialect == dialect and name.startswith(prefix):
                return await asyncio.to_thread(_read, folder, name[len(prefix) :])
        return await self._fallback.get(dialect, tenant, name)

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        await self._fallback.put(dialect, tenant, name, body, now)

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        return await self._fallback.names(dialect, prefix)


def _read(folder: Path, name: str) -> StoredDocument | None:
    # Names come from request paths: one with a slash could lead out of the folder.
    if not name or "/" in name or "\0" in name:
        return None
    path = folder / f"{name}.json"
    try:
        body = path.read_text(encoding="utf-8")
        return StoredDocument(body, path.stat().st_mtime_ns // 1000)
    except (OSError, UnicodeDecodeError):
        return None
