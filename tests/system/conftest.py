"""A gateway in this process for the system tests that need no process of its own."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.conftest import Running

TENANTS = [
    {"tenant": "T1", "devices": ["D1"]},
    {"tenant": "Q", "devices": ["D1"], "acknowledge": "queued"},
]
KEYS = [{"key": "K1", "tenants": ["T1", "Q"]}]


@pytest.fixture
async def queueing(running: Callable[..., Any]) -> AsyncIterator[Running]:
    """A gateway with a device tenant, Q, that is answered from the spool."""
    async with running({"device": {"tenants": TENANTS, "keys": KEYS}}) as gateway:
        yield gateway
