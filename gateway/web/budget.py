"""The requests that are being answered: their bytes in all, their bytes and number for a tenant.

A request reserves bytes before they exist: what its head announces before its body
is read, more as the body arrives, is decompressed and is cut into events. It gives
all of them back with its answer. A body that is stored piece by piece reserves its pieces.
"""

import math
from collections.abc import Mapping

import msgspec

from gateway.errors import Reason, Refusal
from gateway.web.backlog import PER_REQUEST, Backlog

Who = tuple[str, str]
"""A dialect and a tenant."""

UNANNOUNCED = 1 << 16
"""Bytes that are reserved for a body whose length is not announced, before it arrives."""

PER_EVENT = 128
"""Bytes that are reserved for each event of a batch, besides its text."""


BUSY = "More arrives than can be stored."
"""What a request is told that is refused because too much work waits."""


class _Account:
    """How many requests of one tenant are being answered, and the bytes they have reserved."""

    __slots__ = ("requests", "size", "work")

    def __init__(self) -> None:
        self.requests = 0
        self.size = 0
        self.work = 0


class Budget:
    """Requests that may be answered at the same time, by the bytes that they reserve.

    Attributes:
        held: how many are reserved now.
        backlog: how long they keep the gateway busy.
    """

    def __init__(self, in_all: int, per_tenant: int, requests: int | None = None) -> None:
        """At most *in_all* bytes, and *per_tenant* bytes and *requests* of one tenant.

        None is no limit.
        """
        self.held = 0
        self.backlog = Backlog()
        self.limit(in_all, per_tenant, requests)
        self._accounts: dict[Who, _Account] = {}

    def limit(self, in_all: int, per_tenant: int, requests: int | None) -> None:
        """Allow so many bytes and requests from now on; what is reserved stays so."""
        self.in_all = in_all
        self.per_tenant = per_tenant
        self._requests = math.inf if requests is None else requests

    def reserve(self, who: Who, size: int) -> "Share":
        """Reserve *size* bytes for a request of the tenant *who*.

        Raises:
            Refusal: as `Share.grow`, and OVERLOADED where the tenant has too many requests;
                nothing is reserved then.
        """
        account = self._accounts.get(who)
        if account is None:
            account = self._accounts[who] = _Account()
        # As `Share.grow`, which would cost every request another call.
        held, sum_of_tenant = self.held + size, account.size + size
        if held > self.in_all or sum_of_tenant > self.per_tenant:
            raise self.refusal(size)
        backlog = self.backlog
        if backlog.work > backlog.line and backlog.refuses(account.work):
            backlog.refuse()
            raise Refusal(Reason.OVERLOADED, BUSY)
        if account.requests >= self._requests:
            said = f"Limit: {self._requests} requests at the same time."
            raise Refusal(Reason.OVERLOADED, said)
        account.requests += 1
        self.held = held
        account.size = sum_of_tenant
        # As `Share.begin`.
        work = size + PER_REQUEST
        if not account.work:
            backlog.tenants += 1
        account.work += work
        backlog.work += work
        return Share(self, account, size, work)

    def refuses(self, who: Who, more: int) -> bool:
        """Whether the tenant *who* is refused because too much work waits, with *more* of it."""
        backlog = self.backlog
        above = backlog.work + more > backlog.line
        return above and backlog.refuses(self._accounts[who].work + more)

    def refusal(self, wanted: int) -> Refusal:
        """What to say to a request that needs *wanted* bytes, which are not free."""
        most = min(self.in_all, self.per_tenant)
        if wanted > most:
            said = f"Limit: {most} bytes of memory, for the body as sent and decompressed."
            return Refusal(Reason.BODY_TOO_LARGE, said, limit=most)
        return Refusal(Reason.OVERLOADED, "The requests being answered have too many bytes.")

    def by_tenant(self) -> Mapping[Who, int]:
        """How many bytes the requests of each tenant have reserved. For any thread."""
        return {who: account.size for who, account in list(self._accounts.items())}

    def requests_by_tenant(self) -> Mapping[Who, int]:
        """How many requests of each tenant are being answered. For any thread."""
        return {who: account.requests for who, account in list(self._accounts.items())}


class Share(msgspec.Struct, gc=False):
    """What one request has reserved: `size` bytes of *budget*, on the *account* of its tenant."""

    budget: Budget
    account: _Account
    size: int
    work: int = 0

    def begin(self) -> None:
        """Count the request as work: its body is here, or is expected at once."""
        work = self.work = self.size + PER_REQUEST
        account, backlog = self.account, self.budget.backlog
        if not account.work:
            backlog.tenants += 1
        account.work += work
        backlog.work += work

    def pause(self) -> None:
        """Do not count the request as work: it waits for its client."""
        work, self.work = self.work, 0
        account, backlog = self.account, self.budget.backlog
        account.work -= work
        backlog.work -= work
        if work and not account.work:
            backlog.tenants -= 1

    def done(self) -> None:
        """The request's work was done."""
        self.budget.backlog.done += self.size + PER_REQUEST

    def grow(self, more: int) -> None:
        """Reserve *more* bytes.

        Raises:
            Refusal: OVERLOADED while other requests hold too much; BODY_TOO_LARGE where
                the request alone is more than its tenant may have. The share stays as it was.
        """
        budget, account = self.budget, self.account
        held, size = budget.held + more, account.size + more
        if held > budget.in_all or size > budget.per_tenant:
            raise budget.refusal(self.size + more)
        budget.held = held
        account.size = size
        self.size += more
        if self.work:
            self.work += more
            account.work += more
            budget.backlog.work += more

    def cover(self, size: int) -> None:
        """Have at least *size* bytes reserved; raises as `grow`."""
        if size > self.size:
            self.grow(size - self.size)

    def resize(self, size: int) -> None:
        """Have exactly *size* bytes reserved; raises as `grow`, and gives back what is more."""
        more = size - self.size
        if more > 0:
            self.grow(more)
        else:
            self.budget.held += more
            self.account.size += more
            self.size = size
            if self.work:
                self.work += more
                self.account.work += more
                self.budget.backlog.work += more

    def release(self) -> None:
        """Give everything back, once."""
        budget, account = self.budget, self.account
        # As `pause`.
        work, self.work = self.work, 0
        account.work -= work
        budget.backlog.work -= work
        if work and not account.work:
            budget.backlog.tenants -= 1
        size = self.size
        budget.held -= size
        account.size -= size
        account.requests -= 1
