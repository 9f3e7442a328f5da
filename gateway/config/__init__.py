"""TOML to typed settings; the only reader of the operator's files and of the environment."""

from gateway.config.settings import ExtraChecks, hide_values, read, resolve
from schemas.config import Settings

__all__ = ["ExtraChecks", "Settings", "hide_values", "read", "resolve"]
