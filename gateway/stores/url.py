"""The URLs of SQLite stores."""

from collections.abc import Sequence
from pathlib import Path

_PREFIX = "sqlite:///"


def path_of(url: str) -> Path:
    """The file that ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` names.

    Raises:
        ValueError: the URL has another form.
    """
    if not url.startswith(_PREFIX) or url == _PREFIX:
        raise ValueError("Expected sqlite:///FILE, or sqlite:////FILE for an absolute path.")
    return Path(url[len(_PREFIX) :])


def files_of(url: str) -> Sequence[Path]:
    """As `gateway.stores.StoreType.files_of`."""
    return [path_of(url)]
