"""TLS for the public listener."""

import ssl


def context_of(certificate: str, key: str | None) -> ssl.SSLContext:
    """What serves TLS with the PEM files *certificate*, which may hold the chain, and *key*.

    Without *key*, the first file holds the key as well. TLS 1.2 is the least.

    Raises:
        ValueError: a file cannot be read, or they do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Nobody is there to type a password, and the prompt would hang the start.
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        raise ValueError(f"Not a certificate and its key: {reason}.") from None
    except OSError as error:
        files = certificate if key is None else f"{certificate} or {key}"
        raise ValueError(f"{files}: {error.strerror or error}.") from None
    return context


class Renewable:
    """What serves TLS, with a certificate that can be replaced while clients connect.

    Attributes:
        context: for the listener.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = self._current = context
        context.sni_callback = self._choose

    def use(self, context: ssl.SSLContext) -> None:
        """Serve clients that connect from now on with the certificate of *context*."""
        self._current = context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Called in each handshake, even if the client names no host."""
        connection.context = self._current


def _no_password() -> str:
    raise ValueError("The key has a password. Give a key without one.")
