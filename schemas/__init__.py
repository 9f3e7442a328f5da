"""What documents look like: those of clients, by dialect, and the operator's configuration.

This package knows shapes, not meanings, and imports nothing of `gateway`.
"""

from marshmallow import Schema

from schemas.base import Invalid, Lenient, Problem, Strict, dump, load
from schemas.jsontext import TooMany, Unreadable

__all__ = [
    "Invalid",
    "Lenient",
    "Problem",
    "Schema",
    "Strict",
    "TooMany",
    "Unreadable",
    "dump",
    "load",
]
