"""``gateway status``."""

import http.client
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from prometheus_client.parser import text_string_to_metric_families
from rich.filesize import decimal

from gateway.cli.console import UNAVAILABLE, config_option, fail, read_settings, show
from gateway.cli.tables import duration
from schemas.addresses import split_address

_SECONDS = 5.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it
"""Where to ask a listener that listens everywhere."""


@click.command()
@config_option
def status(path: Path) -> None:
    """Say whether the gateway runs and takes events, since when, and how it does.

    Asks the operator's listener. The exit status is 0 if events are taken, else 69.

    \b
    Example: gateway status -c config.toml
    """
    address = read_settings(path).ops.listen
    try:
        ready = json.loads(_get(address, "/readyz"))
        numbers = _numbers(_get(address, "/metrics").decode())
    except (OSError, http.client.HTTPException, ValueError) as error:
        fail(f"no gateway answers at {address}: {error}", UNAVAILABLE)
    told = {**ready, **numbers}
    show(told, _words(told))
    if ready.get("status") != "ready":
        sys.exit(UNAVAILABLE)


def _get(address: str, path: str) -> bytes:
    host, port = split_address(address)
    connection = http.client.HTTPConnection(_ANY.get(host, host), port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _numbers(page: str) -> dict[str, Any]:  # Any: JSON
    """What an operator asks first, of the metrics."""
    totals: dict[str, float] = {}
    sizes: dict[str, int] = {}
    free: list[int] = []
    version = ""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0) + sample.value
            if sample.name == "gateway_build_info":
                version = sample.labels["version"]
            elif sample.name == "gateway_file_bytes":
                sizes[sample.labels["file"]] = int(sample.value)
            elif sample.name == "gateway_disk_free_bytes":
                free.append(int(sample.value))

    def of(name: str) -> int:
        return int(totals.get(name, 0))

    started = totals.get("process_start_time_seconds")
    return {
        "version": version,
        "started": None
        if started is None
        else datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "stored": of("gateway_accepted_total"),
        "duplicates": of("gateway_duplicate_total"),
        "queued": of("gateway_queued_total"),
        "rejected": of("gateway_rejected_total"),
        "refused_requests": of("gateway_refused_total"),
        "spooled": of("gateway_spool_depth"),
        "connections": of("gateway_connections"),
        "memory_bytes": of("process_resident_memory_bytes"),
        "store_bytes": sizes.get("store", 0) + sizes.get("store_wal", 0),
        "spool_bytes": sizes.get("spool", 0) + sizes.get("spool_wal", 0),
        "disk_free_bytes": min(free, default=None),
    }


def _words(told: dict[str, Any]) -> str:
    state = "ready" if told.get("status") == "ready" else "NOT READY"
    if told.get("store") == "unavailable":
        state += ", but the store is unavailable and events wait in the spool"
    if told.get("reason"):
        state += f": {told['reason']}"
    since = ""
    if told["started"] is not None:
        up = int(time.time() - datetime.fromisoformat(told["started"]).timestamp())
        since = f", up {duration(up)}, since {told['started']}"
    memory = f", {told['memory_bytes'] / (1 << 20):,.0f} MiB" if told["memory_bytes"] else ""
    disk = f"store {decimal(told['store_bytes'])}, spool {decimal(told['spool_bytes'])}"
    if told["disk_free_bytes"] is not None:
        disk += f", {decimal(told['disk_free_bytes'])} free"
    return "\n".join(
        (
            f"{state}; gateway {told['version']}{since}{memory}",
            f"events     {told['stored']:,} stored, {told['duplicates']:,} duplicates, "
            f"{told['queued']:,} queued, {told['rejected']:,} rejected",
            f"requests   {told['refused_requests']:,} refused",
            f"now        {told['spooled']:,} events spooled, {told['connections']:,} connections",
            f"disk       {disk}",
        )
    )
