"""Who may speak.

A secret is kept as its SHA-256 digest and found by digest: looking a digest up
in a dict takes the same time whatever the secret's text was.
"""

import hashlib
from collections.abc import Iterable

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
    """The ``sha256:<hex>`` form of a secret, for a configuration that others may read."""
    return _PREFIX + digest_of(secret).hex()


class Keyring:
    """Knows the credentials of each dialect, by the digest of their secret."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, Credential]] = {}

    def add(self, dialect: str, credentials: Iterable[Credential]) -> None:
        """Take in the credentials of one dialect; the last of two equal secrets counts."""
        held = self._known.setdefault(dialect, {})
        for credential in credentials:
            # The secret itself is forgotten: nothing in memory or in a traceback shows it.
            kept = Credential("", credential.tenants, credential.detail)
            held[digest_of(credential.secret)] = kept

    def find(self, dialect: str, secret: str | None) -> Credential:
        """The credential that *secret* is.

        Raises:
            Refusal: CREDENTIAL_MISSING or CREDENTIAL_UNKNOWN.
        """
        if not secret:
            raise Refusal(Reason.CREDENTIAL_MISSING)
        # A presented secret is always plain: knowing a digest must not open anything.
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        credential = self._known.get(dialect, {}).get(digest)
        if credential is None:
            # A header may hold bytes that are no UTF-8, which no answer could repeat.
            shown = secret.encode("utf-8", "backslashreplace").decode()
            raise Refusal(Reason.CREDENTIAL_UNKNOWN, subject=shown)
        return credential
