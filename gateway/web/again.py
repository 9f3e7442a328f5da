"""A refusal that is given again: to who sends on while too much waits, at next to no cost.

To refuse a request costs almost as much as to take a small one: its head is parsed, its client
found, its answer composed. Who sends a head that was refused a moment ago, on this connection or
another one, is told the same in the same bytes, for as long as that would be the answer.
"""

from collections.abc import Callable

import msgspec


class Again(msgspec.Struct, frozen=True):
    """Says of a refused request whether one with the same head is refused in the same way now.

    `holds` tells that, `count` counts such a refusal. It is forgotten after `seconds`.
    """

    holds: Callable[[], bool]
    count: Callable[[], None]
    seconds: float
