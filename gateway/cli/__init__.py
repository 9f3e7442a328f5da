"""The command line, a module for each command.

Data goes to stdout, notices to stderr. Exit statuses: 78 (EX_CONFIG) for a bad
configuration, 69 (EX_UNAVAILABLE) for a store or an address that cannot be had,
74 (EX_IOERR) for output that cannot be written, 65 (EX_DATAERR) for files that are
damaged. Results are JSON lines, and sentences on a terminal.
"""

import click

from gateway import __version__
from gateway.cli.backup import backup
from gateway.cli.check import check
from gateway.cli.completion import completion
from gateway.cli.doctor import doctor
from gateway.cli.events import events, tail
from gateway.cli.export import export
from gateway.cli.prune import prune
from gateway.cli.rebuild_keys import rebuild_keys
from gateway.cli.recover import recover
from gateway.cli.rejected import rejected
from gateway.cli.replaying import drop, replay
from gateway.cli.restore import restore
from gateway.cli.rotate import rotate
from gateway.cli.send import send
from gateway.cli.serve import serve
from gateway.cli.stats import stats
from gateway.cli.status import status
from gateway.cli.token import token
from gateway.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """One gateway for events in the dialects of Moesif, Logspace and tenant/device clients."""


_COMMANDS = (
    serve,
    check,
    token,
    send,
    status,
    stats,
    events,
    tail,
    rejected,
    export,
    backup,
    restore,
    rotate,
    prune,
    verify,
    recover,
    rebuild_keys,
    doctor,
    completion,
)

for _command in (replay, drop):
    rejected.add_command(_command)

for _command in _COMMANDS:
    main.add_command(_command)
