"""What some adapters can do beside what `gateway.adapter.Adapter` asks of all.

An adapter inherits from each part that it has.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Generic, Self

from gateway.adapter import Inbound, TenantT


class HasFolders(ABC):
    """The part of an adapter some of whose documents are files that an operator writes."""

    @abstractmethod
    def folders(self) -> Mapping[str, str]:
        """Folders of such files, by the prefix of those documents' names."""


class ComparesClocks(ABC):
    """The part of an adapter whose clients have clocks that may be wrong."""

    @abstractmethod
    def skewed(self) -> Mapping[tuple[str, str], int]:
        """Events whose time is far from that of their receipt so far, by tenant and direction."""


class Provisions(ABC, Generic[TenantT]):
    """The part of an adapter whose requests create what later requests may name.

    What was created is recorded as an empty document, and restored at the next
    start. `created_prefix` is what the names of those documents begin with.
    """

    created_prefix: ClassVar[str]

    @abstractmethod
    def created_document(self, inbound: Inbound[TenantT]) -> str | None:
        """The name of the document that records what this request's success creates."""

    @abstractmethod
    def restore(self, created: Iterable[tuple[str, str]]) -> None:
        """Know what requests created, by (tenant, name of the document)."""

    @abstractmethod
    def inherit(self, earlier: Self) -> None:
        """Know what *earlier* knows, now and later, after a reload of the configuration.

        For a moment both answer requests, and what one creates the other must know.
        """
