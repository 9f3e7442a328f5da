"""What a store keeps and for how long, and what a step of deleting the rest has done."""

import msgspec

EVENT_BYTES = 100
"""What an event counts for the bound of a rule, besides its data: about what its row has."""


def bytes_of(data: str) -> int:
    """What an event with *data* counts for the bound of a rule."""
    size = len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
    return size + EVENT_BYTES


class RetentionRule(msgspec.Struct, frozen=True):
    """How long, and how many, records of a dialect, tenant and kind are kept; None means any.

    `max_age` is in microseconds since the receipt; None means for ever. `max_bytes` is what
    all records of the rule may have, as `bytes_of` counts; None means any number.
    """

    dialect: str | None = None
    tenant: str | None = None
    kind: str | None = None
    max_age: int | None = None
    max_bytes: int | None = None

    def fits(self, dialect: str, tenant: str, kind: str) -> bool:
        """Whether the rule is about such records."""
        wanted = (self.dialect, dialect), (self.tenant, tenant), (self.kind, kind)
        return all(name is None or name == given for name, given in wanted)


class RetentionPolicy(msgspec.Struct, frozen=True):
    """What a store keeps. The first rule that fits counts; a record that no rule fits stays.

    The oldest records of a rule go while they have more than its `max_bytes`. Whatever the
    rules say, the oldest records go while the store has more than `max_bytes`.
    """

    rules: tuple[RetentionRule, ...] = ()
    max_bytes: int | None = None

    def rule_of(self, dialect: str, tenant: str, kind: str) -> int | None:
        """Which of the rules such records follow; None means none."""
        fitting = (at for at, rule in enumerate(self.rules) if rule.fits(dialect, tenant, kind))
        return next(fitting, None)

    def max_age_of(self, dialect: str, tenant: str, kind: str) -> int | None:
        """After how many microseconds such records go; None means never."""
        rule = self.rule_of(dialect, tenant, kind)
        return None if rule is None else self.rules[rule].max_age


class Expired(msgspec.Struct, frozen=True):
    """What a step deleted, and for how many seconds it kept others from writing.

    `more` says that another step has work now, `pressing` that the store is larger than it
    may be.
    """

    by_age: int = 0
    by_size: int = 0
    seconds: float = 0
    more: bool = False
    pressing: bool = False
