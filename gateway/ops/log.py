"""Logging: JSON lines on stderr, or short coloured ones if it is a terminal.

Each request has one line. A line never contains a body or a secret.
"""

import asyncio
import errno
import logging
import os
import sys
import time
from typing import Any, BinaryIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from gateway.errors import without_content
from gateway.ops.terminal import ShortLines, wants_colours

_QUIET_SECONDS = 60.0
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


_threshold = logging.INFO


def set_level(level: str) -> None:
    """Log *level* and above from now on."""
    global _threshold  # noqa: PLW0603 - bound loggers are cached, with the level that they began with
    _threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(_threshold, logging.WARNING))


def _drop_below_level(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    if _NUMBERS.get(level, logging.CRITICAL) < _threshold:
        raise structlog.DropEvent
    return event


_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def configure(level: str) -> None:
    """Send structlog's and the standard library's logs of *level* and above to stderr."""
    if sys.stderr.isatty():
        structlog.configure(
            processors=[
                _drop_below_level,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
                ShortLines(colours=wants_colours(sys.stderr)),
            ],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
    else:
        lines = _BatchedWriter(sys.stderr.buffer)
        structlog.configure(
            processors=[_drop_below_level, _line_for_journal if _is_journal() else _line],
            logger_factory=lambda *_: lines,
            cache_logger_on_first_use=True,
        )
    root = logging.getLogger()
    root.handlers = [_Forward()]
    set_level(level)


def _is_journal() -> bool:
    """Whether stderr is the journal's socket, as systemd tells in ``JOURNAL_STREAM``."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class RequestLog:
    """Writes the lines of requests by structlog's processors, without a bound logger.

    A bound logger copies every line twice and costs twice as much as all the rest of it.
    """

    def __init__(self) -> None:
        """Write where structlog is configured to write now."""
        configured = structlog.get_config()
        self._processors = configured["processors"]
        self._logger = configured["logger_factory"]()

    def write(self, level: int, event: str, line: EventDict) -> None:
        """Write *line* about *event*, if *level* is logged. The line must not be used again."""
        if level < _threshold:
            return
        line["event"] = event
        made: Any = line
        name = _LEVEL_NAMES[level]
        try:
            for process in self._processors:
                made = process(self._logger, name, made)
        except structlog.DropEvent:
            return
        self._logger.msg(made)


_LEVEL_NAMES = {logging.INFO: "info", logging.WARNING: "warning"}


class LoopErrors:
    """Logs what an event loop can tell nobody else.

    While no descriptor is free asyncio reports each connection that it cannot accept,
    thousands of times a second and with a traceback. One line a minute tells the same.
    """

    def __init__(self) -> None:
        self._told_at = -_QUIET_SECONDS

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: dict[str, Any],  # Any: what the loop knows of the fault
    ) -> None:
        """As `asyncio.loop.set_exception_handler` wants it."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _EXHAUSTED):
            loop.default_exception_handler(context)
        elif loop.time() - self._told_at >= _QUIET_SECONDS:
            self._told_at = loop.time()
            structlog.get_logger().error("connection_not_accepted", error=error.strerror)


class _BatchedWriter:
    """Writes lines to a file; those of one turn of the event loop together.

    A system call a line would cost more than making the line. Outside of a loop
    each line is written at once.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[bytes] = []

    def msg(self, line: bytes) -> None:
        """Write one line, without its end."""
        self._waiting.append(line)
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write)
            except RuntimeError:
                self._write()

    debug = info = warning = error = critical = msg

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        lines.append(b"")
        try:
            self._file.write(b"\n".join(lines))
            self._file.flush()
        except OSError:
            # Nobody reads the log any more; that must not stop the events.
            return


_second = (0, "")


def _line(_: WrappedLogger, level: str, event: EventDict) -> bytes:
    """Write one JSON line: structlog's usual chain of processors in one, for its cost."""
    global _second  # noqa: PLW0603 - a cache of one value
    exception = event.pop("exc_info", None)
    if exception:
        event["exception"] = _trace(exception)
    event["level"] = level
    now = time.time_ns()
    second, rest = divmod(now, 1_000_000_000)
    if _second[0] != second:
        _second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    # `zfill` takes a third of what a format takes.
    event["timestamp"] = f"{_second[1]}.{str(rest // 1000).zfill(6)}Z"
    return _encode(event)


# Priorities as syslog(3) numbers them; journald takes them off, see sd-daemon(3).
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_PREFIXES = {level: b"<%d>" % number for level, number in _PRIORITIES.items()}


def _line_for_journal(logger: WrappedLogger, level: str, event: EventDict) -> bytes:
    """As `_line`, with the priority that journald is to give it."""
    return _PREFIXES.get(level, b"<3>") + _line(logger, level, event)


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _trace(exception: object) -> object:
    event: EventDict = {"exc_info": exception}
    text = structlog.processors.format_exc_info(None, "", event).get("exception", "")
    return without_content(str(text))


class _Forward(logging.Handler):
    """Passes what libraries log with the standard library on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
