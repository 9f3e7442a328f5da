"""The load: wrk with a Lua script that costs the client next to nothing.

The script cuts one request into pieces around its ids and joins them again with
new ids each time. Ids come from a counter that visits every 32-bit number once in
large steps (a Weyl sequence), so they are unique and land anywhere in an index.
"""

import gzip
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks import payload
from benchmarks.machine import cpu_seconds, memory, on_client_core

REPEATED = 10
"""Events of each batch that repeat the batch before, where a load has duplicates."""


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of request at a number of connections; *batch* is events a request, 0: no array."""

    path: str
    headers: Mapping[str, str]
    template: str
    connections: int
    batch: int = 0
    method: str = "POST"
    repeats: bool = False
    gzipped: bool = False
    """Send the same compressed bytes each time: the template may hold no id."""

    @property
    def events(self) -> int:
        """Events in a request."""
        return self.batch or 1

    def request(self) -> bytes:
        """The whole request, with marks where ids go."""
        body = self.template.encode()
        if self.batch:
            body = b"[%s]" % b",".join([body] * self.batch)
        headers = dict(self.headers)
        if self.gzipped:
            body = gzip.compress(body, 6)
            headers["Content-Encoding"] = "gzip"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def script(self, folder: Path) -> Path:
        """A script for wrk in *folder*, which sends it with new ids each time."""
        script, request = folder / "load.lua", folder / "request"
        request.write_bytes(self.request())
        words: dict[str, object] = {
            "mark": payload.MARK,
            "tail": payload.new_id()[8:],
            "start": int.from_bytes(os.urandom(4), "big"),
            "repeated": REPEATED if self.repeats else 0,
            "file": request,
        }
        script.write_text(_SCRIPT % words)
        return script


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load took. Latencies are in milliseconds, `rate` is answered events a second.

    `cpu` is microseconds of the server's CPU for each event, `peak` its memory in MiB.
    `faults` says what went wrong, if anything.
    """

    requests: int
    rate: float
    cpu: float
    peak: float
    p50: float
    p99: float
    worst: float
    faults: tuple[str, ...]


_SCRIPT = """
local mark, tail, at, repeated = "%(mark)s", "%(tail)s", %(start)d, %(repeated)d
local parts, count, hex = {}, 0, {}
for n = 0, 65535 do hex[n] = string.format("%%04x", n) end
-- Steps of 2^32 / the golden ratio: every number once before any comes again.
local function step()
  at = (at + 2654435769) %% 4294967296
  local low = at %% 65536
  return hex[(at - low) / 65536], hex[low]
end
local function fill(from)
  for n = from, count do parts[3 * n - 1], parts[3 * n] = step() end
end
function init(args)
  local file = io.open("%(file)s", "rb")
  local text, from, before = file:read("*a"), 1, ""
  file:close()
  while true do
    local found = text:find(mark, from, true)
    parts[3 * count + 1] = before .. text:sub(from, (found or 0) - 1)
    if not found then break end
    count, from, before = count + 1, found + #mark, tail
    parts[3 * count - 1], parts[3 * count] = "", ""
  end
  fill(1)
end
function request()
  for n = 2, 3 * repeated, 3 do
    parts[n], parts[n + 1] = parts[n + 3 * repeated], parts[n + 3 * repeated + 1]
  end
  fill(repeated + 1)
  return table.concat(parts)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nBENCH {"requests":%%d,"us":%%d,"p50":%%.1f,"p99":%%.1f,"max":%%.1f,'
    .. '"refused":%%d,"broken":%%d,"timeouts":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, e.status, e.connect + e.read + e.write, e.timeout))
end
"""


def drive(load: Load, url: str, pid: int, seconds: float, folder: Path) -> Figures:
    """Send *load* to *url*, which process *pid* serves; *folder* takes the script."""
    # wrk takes whole seconds only; a signal ends it in good order before.
    command = _wrk(url, load.connections, ceil(seconds) + 1, load.script(folder))
    before, client_before = cpu_seconds(pid), _children_seconds()
    output = _run(command, seconds)
    used, client_used = cpu_seconds(pid) - before, _children_seconds() - client_before
    _, found, figures = output.partition("\nBENCH ")
    if not found:
        raise RuntimeError(f"wrk gave no figures: {output[-2000:]}")
    told = json.loads(figures)
    took, events = told["us"] / 1e6, told["requests"] * load.events
    faults = [f"{told[what]} {what}" for what in ("refused", "broken", "timeouts") if told[what]]
    if not events:
        faults.append("no answer")
    if client_used > 0.9 * took:
        faults.append("wrk was the limit")
    return Figures(
        requests=told["requests"],
        rate=events / took,
        cpu=used * 1e6 / max(events, 1),
        peak=memory(pid),
        p50=told["p50"] / 1e3,
        p99=told["p99"] / 1e3,
        worst=told["max"] / 1e3,
        faults=tuple(faults),
    )


@contextmanager
def flood(url: str, connections: int, script: Path) -> Iterator[None]:
    """Send what *script* says without pause, beside what is measured."""
    command = _wrk(url, connections, 600, script)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as wrk:
        try:
            yield
        finally:
            wrk.kill()


def _wrk(url: str, connections: int, seconds: int, script: Path) -> list[str]:
    wrk = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "20s"]
    return on_client_core([*wrk, "-s", str(script), url])


def _run(command: Sequence[str], seconds: float) -> str:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        except BaseException:
            process.kill()
            raise
        return process.communicate(timeout=60)[0]


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
