"""Events as agents of release 0.3.2 write them, one of each type that an HQ knows."""

import uuid
from datetime import UTC, datetime
from typing import Any

SORTS: dict[str, dict[str, Any]] = {
    "os/cpu": {
        "double-properties": {"system_load_average": [2.36], "system_cpu_load": [1.0]},
        "integer-properties": {"processor_count": [2]},
    },
    "os/memory": {
        "long-properties": {"total_memory": [25276518400], "free_memory": [22986715136]},
    },
    "os/disk": {
        "long-properties": {"disk_total_space": [1], "disk_used_space": [0]},
        "string-properties": {"disk_path": ["/"]},
    },
    "journal": {
        "string-properties": {"category": ["info"], "message": ["Begin work é中"]},
    },
    "cxf": {
        "integer-properties": {"port": [8080], "response_code": [200]},
        "long-properties": {"duration": [12]},
        "string-properties": {"http_method": ["GET"], "query_string": ["a=b"], "path": ["/x"]},
    },
    "jvm/start": {
        "gid": "11111111-2222-3333-4444-555555555555",
        "integer-properties": {"available_processors": [2]},
        "string-properties": {"os_name": ["Linux"]},
    },
    "jvm/stop": {"gid": "11111111-2222-3333-4444-555555555555"},
    "jvm/statistics": {
        "double-properties": {"process_cpu_load": [0.0], "process_cpu_time": [9.7e8]},
        "long-properties": {"max_non_heap_memory": [-1]},
    },
    "solr/core/statistics": {
        "boolean-properties": {"is_master": [True], "is_slave": [False]},
        "double-properties": {"average_request_time": [float("nan")]},
        "float-properties": {"filter_cache_hit_ratio": [0.5], "worst": [float("-inf")]},
        "string-properties": {"s": ["x", "y"], "empty": [""], "weird key é": ['q"\\/\n']},
    },
}


def event(sort: str = "journal", agent: str = "my-journal", **changes: Any) -> dict[str, Any]:
    """A new event; its members stand in the order that agents write them in."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made = {
        "id": str(uuid.uuid4()),
        "type": sort,
        "system": "vm",
        "agent-id": agent,
        "timestamp": now,
        "marker": "m1",
    }
    return made | SORTS[sort] | changes


def events(count: int) -> list[dict[str, Any]]:
    """*count* events, of all sorts in turn."""
    sorts = list(SORTS)
    return [event(sorts[number % len(sorts)], f"agent/{number}") for number in range(count)]


def poison() -> dict[str, Any]:
    """An event that no Logspace takes: its time says nothing."""
    return event(timestamp="yesterday")
