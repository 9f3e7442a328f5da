"""The schemas of all documents: those of clients, by dialect, and the configuration.

This package describes what documents look like, not what they mean. It does not import
`gateway`.
"""

from marshmallow import Schema

from schemas.arrays import TooMany
from schemas.base import Invalid, Lenient, Problem, Strict, dump, load
from schemas.jsontext import Unreadable

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
