"""TOML to typed settings; the only reader of the operator's files and of the environment."""

from gateway.config.doubts import find_doubts, find_open_examples
from gateway.config.report import Placed, place, report
from gateway.config.settings import ExtraChecks, Overrides, parse, read, resolve
from schemas.settings import Settings

__all__ = [
    "ExtraChecks",
    "Overrides",
    "Placed",
    "Settings",
    "find_doubts",
    "find_open_examples",
    "parse",
    "place",
    "read",
    "report",
    "resolve",
]
