"""``gateway completion``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click
from click.shell_completion import get_completion_class

from gateway.cli.console import IO_ERROR, fail

_PROGRAM = "gateway"
_VARIABLE = "_GATEWAY_COMPLETE"


class _Place(NamedTuple):
    """Where a shell looks for completions: a folder of a user's, by the variable that moves it."""

    variable: str
    default: str
    file: str
    then: str


_PLACES: Mapping[str, _Place] = {
    "bash": _Place(
        "XDG_DATA_HOME",
        "~/.local/share",
        "bash-completion/completions/gateway",
        "Begin a new shell. It needs the package bash-completion; without that, add this line to "
        "~/.bashrc:\n    source {path}",
    ),
    "zsh": _Place(
        "XDG_DATA_HOME",
        "~/.local/share",
        "zsh/site-functions/_gateway",
        "Have this in ~/.zshrc, and begin a new shell:\n"
        "    fpath=({folder} $fpath)\n    autoload -Uz compinit && compinit",
    ),
    "fish": _Place(
        "XDG_CONFIG_HOME", "~/.config", "fish/completions/gateway.fish", "Begin a new shell."
    ),
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_PLACES)))
@click.option("--install", is_flag=True, help="Write it where the shell looks for completions.")
@click.pass_context
def completion(context: click.Context, shell: str, install: bool) -> None:
    """Print what lets SHELL complete commands and options at the Tab key, or install it.

    \b
    Example: gateway completion bash --install
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"click does not know the shell {shell}.")
    script = made(context.find_root().command, {}, _PROGRAM, _VARIABLE).source()
    if not install:
        click.echo(script)
        return
    place = _PLACES[shell]
    folder = Path(os.environ.get(place.variable) or Path(place.default).expanduser())
    path = folder / place.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
    except OSError as error:
        fail(f"{path}: {error.strerror}", IO_ERROR)
    click.echo(path)
    click.echo(place.then.format(path=path, folder=path.parent), err=True)
