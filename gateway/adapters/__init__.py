"""The dialects: one module each, and a line in `ADAPTERS`."""

from gateway.adapter import AnyAdapter
from gateway.adapters.device import DeviceAdapter
from gateway.adapters.logspace import LogspaceAdapter
from gateway.adapters.moesif import MoesifAdapter
from gateway.adapters.otlp import OtlpAdapter

ADAPTERS: tuple[type[AnyAdapter], ...] = (
    MoesifAdapter,
    LogspaceAdapter,
    DeviceAdapter,
    OtlpAdapter,
)
