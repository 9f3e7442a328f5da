"""``gateway token``."""

import secrets
import sys

import click
import msgspec

from gateway.auth import digest_text
from gateway.clients import CLIENTS
from schemas.options import tenant_name_fault


@click.command()
@click.option(
    "--tenant",
    metavar="NAME",
    help="Print the lines as well with which the credential opens this tenant.",
)
@click.option(
    "--dialect",
    type=click.Choice(list(CLIENTS)),
    help="With --tenant: only the lines of this dialect.",
)
def token(tenant: str | None, dialect: str | None) -> None:
    """Make a credential: print it and, on the next line, its sha256: form.

    It is shown this once and kept nowhere. Give the first line to the client; the
    configuration needs only the second one.

    \b
    Example: gateway token --tenant acme --dialect moesif
    """
    if dialect is not None and tenant is None:
        raise click.UsageError("--dialect goes with --tenant.")
    if tenant is not None and (fault := tenant_name_fault(tenant)):
        raise click.BadParameter(fault, param_hint="--tenant")
    # 64 characters: real SDKs of the Moesif dialect want 50 or more.
    made = secrets.token_hex(32)
    digest = digest_text(made)
    click.echo(made)
    click.echo(digest)
    if tenant is None:
        if sys.stdout.isatty():
            click.echo("With --tenant NAME: also the lines for the configuration.", err=True)
        return
    # Whatever a name may have, JSON writes it as TOML reads it.
    name, value = (msgspec.json.encode(text).decode() for text in (tenant, digest))
    for known, client in CLIENTS.items():
        if dialect in (None, known):
            click.echo(f"\n{client.toml(name, value)}", nl=False)
