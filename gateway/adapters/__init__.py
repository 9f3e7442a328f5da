"""The dialects, one module each. Registration is this list."""

from gateway.adapter import Adapter
from gateway.adapters.device import DeviceAdapter
from gateway.adapters.logspace import LogspaceAdapter
from gateway.adapters.moesif import MoesifAdapter

ADAPTERS: tuple[type[Adapter], ...] = (
    MoesifAdapter,
    LogspaceAdapter,
    DeviceAdapter,
)
