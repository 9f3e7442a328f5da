"""The load: what wrk sends, written as a Lua script that costs the client next to nothing.

The whole request is cut up once, around its ids; a request is then one
concatenation. Ids come from a counter that walks all 32-bit numbers in leaps
(a Weyl sequence), so they are unique and land anywhere in an index.
"""

import json
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from benchmarks import payload
from benchmarks.machine import on_client_core

REPEATED = 10
"""Events of each batch that repeat the batch before, where a load has duplicates."""


@dataclass(frozen=True, slots=True)
class Load:
    """One sort of request at a number of connections; *batch* is events a request, 0: no array."""

    path: str
    headers: Mapping[str, str]
    template: str
    connections: int
    batch: int = 0
    method: str = "POST"
    repeats: bool = False
    pool: Sequence[str] = ()
    """Application ids that gzipped batches are sent with in turn, or none: plain bodies."""

    @property
    def events(self) -> int:
        """Events in a request."""
        return self.batch or 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What wrk saw; latencies are in milliseconds. `faults` says what went wrong, if anything.

    `busy` is the part of a core that wrk itself used: near 1 it is wrk that was measured.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    worst: float
    busy: float = 0.0
    faults: Sequence[str] = field(default=())

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds


_IDS = """
local hex, at, tail, number = {}, 0, "", 0
for n = 0, 65535 do hex[n] = string.format("%%04x", n) end
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end
-- Leaps of 2^32 / the golden ratio: every number once before any comes again.
local function leap()
  at = (at + 2654435769) %% 4294967296
  local low = at %% 65536
  return hex[(at - low) / 65536], hex[low]
end
local function begin()
  at = %(start)d
  tail = string.format("%(tail)s%%04x", _G.number or 0)
end
"""

_SINGLE = """
local before, after = %(before)s, %(after)s
function init(args)
  begin()
  after = tail .. after
end
function request()
  local high, low = leap()
  return before .. high .. low .. after
end
"""

_BATCH = """
local parts, count, repeated = {}, %(batch)d, %(repeated)d
local function fill(from)
  for n = from, count do parts[3 * n - 1], parts[3 * n] = leap() end
end
function init(args)
  begin()
  parts[1] = %(head)s .. "[" .. %(before)s
  local between = tail .. %(after)s .. "," .. %(before)s
  for n = 1, count - 1 do parts[3 * n + 1] = between end
  parts[3 * count + 1] = tail .. %(after)s .. "]"
  fill(1)
end
function request()
  for n = 2, 3 * repeated, 3 do
    parts[n], parts[n + 1] = parts[n + 3 * repeated], parts[n + 3 * repeated + 1]
  end
  fill(repeated + 1)
  return table.concat(parts)
end
"""

# Each body is sent once to each application, so that its ids are new there.
_POOL = """
local heads, bodies, lengths = {}, {}, {%(lengths)s}
local application, turn = 1, 0
function init(args)
  begin()
  local file = io.open(%(file)s, "rb")
  for n, length in ipairs(lengths) do
    bodies[n] = "Content-Length: " .. length .. "\\r\\n\\r\\n" .. file:read(length)
  end
  file:close()
  for n, id in ipairs({%(applications)s}) do
    heads[n] = %(head)s .. "X-Moesif-Application-Id: " .. id .. "\\r\\n"
  end
end
function request()
  turn = turn + 1
  if turn > #bodies then
    turn = 1
    application = application %% #heads + 1
  end
  return heads[application] .. bodies[turn]
end
"""

_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nBENCH {"requests":%%d,"us":%%d,"p50":%%.1f,"p99":%%.1f,"max":%%.1f,'
    .. '"status":%%d,"broken":%%d,"timeout":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, e.status, e.connect + e.read + e.write, e.timeout))
end
"""


def _quoted(text: str) -> str:
    """*text* as a Lua string; what needs no escape in JSON or HTTP needs none there either."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\r", "\\r").replace("\n", "\\n") + '"'


def _head(load: Load, length: int | None) -> str:
    sized = dict(load.headers) if length is None else {**load.headers, "Content-Length": length}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sized.items())
    return f"{load.method} {load.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}" + (
        "" if length is None else "\r\n"
    )


def script(load: Load, folder: Path) -> str:
    """The Lua that makes *load*; files that it reads while it starts go to *folder*."""
    first, last = load.template.split(payload.MARK)
    tail = payload.new_id()[8:-4]
    words: dict[str, object] = {
        "start": int.from_bytes(os.urandom(4), "big"),
        "tail": tail,
        "batch": load.batch,
        "repeated": REPEATED if load.repeats else 0,
        "before": _quoted(first),
        "after": _quoted(last),
    }
    if load.pool:
        file = folder / "pool.gz"
        lengths = payload.write_pool(file, 200, load.batch)
        words["lengths"] = ",".join(map(str, lengths))
        words["file"] = _quoted(str(file))
        words["applications"] = ",".join(map(_quoted, load.pool))
        words["head"] = _quoted(_head(load, None))
        body = _POOL
    elif load.batch:
        length = load.batch * (len(load.template.encode()) + 1) + 1
        words["head"] = _quoted(_head(load, length))
        body = _BATCH
    else:
        words["before"] = _quoted(_head(load, len(load.template.encode())) + first)
        body = _SINGLE
    return (_IDS + body + _DONE) % words


def drive(load: Load, url: str, seconds: float, folder: Path) -> Figures:
    """Send *load* to *url* for *seconds*; *folder* takes the script."""
    file = folder / "load.lua"
    file.write_text(script(load, folder))
    # wrk takes whole seconds only; a signal ends it in good order before.
    wrk = ["wrk", "-t", "1", "-c", str(load.connections), "-d", f"{ceil(seconds) + 1}s"]
    command = on_client_core([*wrk, "--timeout", "20s", "-s", str(file), url])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    for line in said.splitlines():
        if line.startswith("BENCH "):
            return _figures(json.loads(line.removeprefix("BENCH ")), used)
    raise RuntimeError(f"wrk ended with {process.returncode} and without figures: {said[-2000:]}")


def _figures(told: Mapping[str, float], used: float) -> Figures:
    words = {"status": "not 2xx", "broken": "broken connections", "timeout": "timeouts"}
    return Figures(
        requests=int(told["requests"]),
        seconds=told["us"] / 1e6,
        p50=told["p50"] / 1e3,
        p99=told["p99"] / 1e3,
        worst=told["max"] / 1e3,
        busy=used * 1e6 / told["us"],
        faults=[f"{told[name]:.0f} {word}" for name, word in words.items() if told[name]],
    )
