"""Authentication.

Secrets are kept and looked up as SHA-256 digests. The time of a lookup then says
nothing about the text of a secret.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from gateway.adapter import Credential
from gateway.errors import Reason, Refusal

_PREFIX = "sha256:"


def digest_of(secret: str) -> bytes:
    """The digest of a configured secret, given as plain text or as ``sha256:<hex>``.

    Raises:
        ValueError: ``sha256:`` is not followed by 64 hexadecimal digits.
    """
    if secret.startswith(_PREFIX):
        digest = bytes.fromhex(secret[len(_PREFIX) :])
        if len(digest) != 32:
            raise ValueError("sha256: must be followed by 64 hexadecimal digits.")
        return digest
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def digest_text(secret: str) -> str:
    """The ``sha256:<hex>`` form of a secret, for a configuration that others can read."""
    return _PREFIX + digest_of(secret).hex()


_SHOWN = 8
"""Hexadecimal digits of a digest that tell credentials apart, and let nobody find the secret."""


class Known(NamedTuple):
    """A credential without its secret, and what names it: the first digits of its digest."""

    credential: Credential
    name: str


class Keyring:
    """The credentials of each dialect, by the digest of their secret."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, Known]] = {}

    def add(self, dialect: str, credentials: Iterable[Credential]) -> None:
        """Add the credentials of one dialect; of two equal secrets the last counts."""
        held = self._known.setdefault(dialect, {})
        for credential in credentials:
            # Drop the secret itself, so that no traceback can show it.
            kept = msgspec.structs.replace(credential, secret="")
            digest = digest_of(credential.secret)
            held[digest] = Known(kept, digest.hex()[:_SHOWN])

    def find(self, dialect: str, secret: str | None) -> Known:
        """Return the credential with this secret.

        Raises:
            Refusal: CREDENTIAL_MISSING or CREDENTIAL_UNKNOWN.
        """
        if not secret:
            raise Refusal(Reason.CREDENTIAL_MISSING)
        # Clients send plain secrets: a digest must not work as a credential.
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(dialect, {}).get(digest)
        if known is None:
            # A header may contain bytes that are not UTF-8, which no answer could repeat.
            shown = secret.encode("utf-8", "backslashreplace").decode()
            raise Refusal(Reason.CREDENTIAL_UNKNOWN, subject=shown, digest=digest.hex()[:_SHOWN])
        return known
