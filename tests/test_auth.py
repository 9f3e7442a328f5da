"""Authentication."""

import hashlib

import pytest

from gateway.adapter import Credential
from gateway.adapters.device import ApiKey
from gateway.auth import Keyring, digest_of, digest_text
from gateway.errors import Reason, Refusal

HASHED = "sha256:" + hashlib.sha256(b"hashed secret").hexdigest()


@pytest.fixture
def keyring() -> Keyring:
    keyring = Keyring()
    keyring.add("moesif", [ApiKey("plain secret", ["acme"], frozenset({"D1"}))])
    keyring.add("moesif", [Credential(HASHED, ["other"]), Credential("tökén 🎉", ["acme"])])
    keyring.add("logspace", [Credential("a token", ["space"])])
    return keyring


def refused(keyring: Keyring, dialect: str, secret: str | None) -> Reason:
    with pytest.raises(Refusal) as refusal:
        keyring.find(dialect, secret)
    return refusal.value.reason


def test_a_credential_is_found_by_its_secret(keyring):
    found = keyring.find("moesif", "plain secret")

    assert ApiKey("", ["acme"], frozenset({"D1"})) == found.credential
    assert ["acme"] == keyring.find("moesif", "tökén 🎉").credential.tenants


def test_a_credential_is_named_by_the_first_digits_of_its_digest(keyring):
    digest = hashlib.sha256(b"hashed secret").hexdigest()

    assert digest[:8] == keyring.find("moesif", "hashed secret").name


def test_a_secret_configured_as_a_digest_is_sent_as_plain_text(keyring):
    assert ["other"] == keyring.find("moesif", "hashed secret").credential.tenants


def test_a_digest_is_not_accepted_as_a_credential(keyring):
    assert Reason.CREDENTIAL_UNKNOWN is refused(keyring, "moesif", HASHED)
    assert Reason.CREDENTIAL_UNKNOWN is refused(keyring, "moesif", digest_text("plain secret"))


@pytest.mark.parametrize("secret", [None, ""])
def test_a_missing_secret_is_refused(keyring, secret):
    assert Reason.CREDENTIAL_MISSING is refused(keyring, "moesif", secret)


@pytest.mark.parametrize("secret", ["Plain secret", "plain secret ", "x", "\udc80", "a" * 100_000])
def test_another_secret_is_unknown(keyring, secret):
    assert Reason.CREDENTIAL_UNKNOWN is refused(keyring, "moesif", secret)


def test_a_secret_is_valid_for_one_dialect_only(keyring):
    assert Reason.CREDENTIAL_UNKNOWN is refused(keyring, "logspace", "plain secret")
    assert Reason.CREDENTIAL_UNKNOWN is refused(keyring, "device", "plain secret")


def test_no_secret_is_kept_as_plain_text(keyring):
    assert "" == keyring.find("moesif", "plain secret").credential.secret
    assert "plain secret" not in repr(vars(keyring))


@pytest.mark.parametrize(
    "text", ["sha256:", "sha256:abc", "sha256:" + "g" * 64, "sha256:" + "a" * 66]
)
def test_a_malformed_digest_is_refused(text):
    with pytest.raises(ValueError):
        digest_of(text)


def test_the_digest_of_a_digest_is_itself():
    assert HASHED == digest_text("hashed secret") == digest_text(HASHED)
