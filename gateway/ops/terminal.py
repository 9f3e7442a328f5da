"""Log lines for a person at a terminal: one short line a request, colours by severity."""

import os
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

_RESET, _DIM = "\x1b[0m", "\x1b[2m"
_COLOURS = {"ok": "\x1b[32m", "client": "\x1b[33m", "server": "\x1b[31m"}
_COUNTS = ("stored", "queued", "duplicate", "rejected")
_REQUESTS = ("request_answered", "request_refused")


def wants_colours(stream: TextIO) -> bool:
    """Whether a person reads *stream* who has not asked for no colours, by ``NO_COLOR``."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class ShortLines:
    """The last of structlog's processors: makes a text of each line."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        # Where rich is installed structlog shows local variables, which hold events.
        plain = structlog.dev.plain_traceback
        self._others = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain)

    def __call__(self, logger: WrappedLogger, level: str, line: EventDict) -> str:
        """The text of *line*."""
        if line.get("event") not in _REQUESTS:
            return self._others(logger, level, line)
        status = int(line["status"])
        severity = "ok" if status < 400 else "client" if status < 500 else "server"
        shown = [
            self._in(_DIM, line["timestamp"]),
            self._in(_COLOURS[severity], str(status)),
            _who(line),
            self._in(_COLOURS[severity], _fate(line)),
            self._in(_DIM, f"{line['ms']:g} ms"),
        ]
        if "reason" in line:
            shown.append(f"{line['method']} {line['path']} from {line['client']}")
        if "problem" in line:
            shown.append(line["problem"])
        if "duplicate_id" in line:
            shown.append(f"there already: {line['duplicate_id']}")
        return "  ".join(shown)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours else text


def _who(line: EventDict) -> str:
    """The dialect and the tenant, as far as they are known."""
    return "/".join(name for name in (line.get("dialect"), line.get("tenant")) if name) or "-"


def _fate(line: EventDict) -> str:
    """What became of a request."""
    counts = ", ".join(f"{line[name]} {name}" for name in _COUNTS if name in line)
    return ", ".join(part for part in (line.get("reason", ""), counts) if part) or "answered"
