"""``gateway token``."""

import secrets

import click

from gateway.auth import digest_text


@click.command()
def token() -> None:
    """Make a credential: print it and, on the next line, its sha256: form."""
    # 64 characters: real SDKs of the Moesif dialect want 50 or more.
    made = secrets.token_hex(32)
    click.echo(made)
    click.echo(digest_text(made))
