"""What a Logspace HQ tells agents: orders, from files or composed from their capabilities.

The agents' parser wants exact members in an exact order, takes no order without
``Last-Modified``, and fires every schedule anew unless it is answered 304.
"""

from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import msgspec

from gateway.adapter import Inbound, Reply, Tenant
from gateway.store import Documents, StoredDocument
from schemas import Invalid, Problem, Unreadable, jsontext, load
from schemas.logspace import Capabilities, Options

FILES = "order-files/"
"""Names of documents that an operator's folder of orders holds."""

_SECOND = 1_000_000
_CAPABILITIES = Capabilities()


class Orders:
    """Takes capabilities and gives orders. *options* are those of ``[logspace]``."""

    def __init__(self, dialect: str, options: Options) -> None:
        self._dialect = dialect
        self._options = options

    async def take_capabilities(self, inbound: Inbound[Tenant], documents: Documents) -> Reply:
        """``PUT /capabilities/{controller}``: kept whatever it replaces."""
        controller = inbound.head.params["controller"]
        try:
            raw = jsontext.require_utf8(inbound.body)
            if jsontext.values_exceed(raw, jsontext.MAX_VALUES):
                return _bad_capabilities([Problem("", jsontext.TOO_MANY_VALUES)])
            capabilities = load(_CAPABILITIES, jsontext.loads(raw))
        except Unreadable as error:
            return _bad_capabilities([Problem("", str(error))])
        except Invalid as error:
            return _bad_capabilities(error.problems)
        if capabilities["id"] != controller:
            message = "The ID in the path does not match the ID in the payload."
            return Reply(400, _error("INVALID_CONTROLLER_ID", message))
        name = f"capabilities/{controller}"
        await documents.put(
            self._dialect, inbound.tenant.name, name, raw.decode(), inbound.received_at
        )
        return Reply(200, headers={"Content-Type": "application/json"})

    async def give_order(self, inbound: Inbound[Tenant], documents: Documents) -> Reply:
        """``GET /orders/{controller}``, or 304 where the agent has the one of that second."""
        controller = inbound.head.params["controller"]
        order = await self._order(inbound, documents, controller)
        if order is None:
            message = f"There is no order for controller with ID '{controller}'."
            return Reply(404, _error("ORDER_NOT_FOUND", message, {"controller-id": controller}))
        modified = formatdate(order.modified // _SECOND, usegmt=True)
        headers = {"Last-Modified": modified}
        # HQ compares for equality, not age; an agent's first poll sends the header empty.
        if (inbound.head.header("If-Modified-Since") or "").strip() == modified:
            return Reply(304, headers=headers)
        return Reply(200, order.body.encode(), headers)

    async def _order(
        self, inbound: Inbound[Tenant], documents: Documents, controller: str
    ) -> StoredDocument | None:
        dialect, tenant = self._dialect, inbound.tenant.name
        if self._options.orders_directory is not None:
            written = await documents.get(dialect, tenant, FILES + controller)
            if written is not None:
                return written
        if not self._options.default_orders:
            return None
        capabilities = await documents.get(dialect, tenant, f"capabilities/{controller}")
        if capabilities is None:
            return None
        # Composed orders are kept, so that they change their date only with their content.
        try:
            body = self._compose(capabilities)
        except (Invalid, Unreadable):
            # A rule of the operator has masked what an order is composed of.
            return None
        kept = await documents.get(dialect, tenant, f"orders/{controller}")
        if kept is not None and kept.body == body:
            return kept
        now = inbound.received_at
        if kept is not None:
            now = max(now, kept.modified + _SECOND)
        await documents.put(dialect, tenant, f"orders/{controller}", body, now)
        return StoredDocument(body, now)

    def _compose(self, stored: StoredDocument) -> str:
        capabilities = load(_CAPABILITIES, jsontext.loads(stored.body.encode()))
        orders = [self._agent_order(agent) for agent in capabilities["agent_capabilities"]]
        document = {"agent-orders": orders, "commit-max-seconds": self._options.commit_max_seconds}
        return msgspec.json.encode(document).decode()

    def _agent_order(self, agent: Any) -> dict[str, str]:
        order, triggers = {"id": agent["id"]}, agent["trigger_types"]
        if "Scheduler" in triggers:
            parameter = self._options.default_cron
            return order | {"trigger-type": "SCHEDULER", "trigger-parameter": parameter}
        return order | {"trigger-type": "APPLICATION" if "Application" in triggers else "OFF"}


def _bad_capabilities(problems: Sequence[Problem]) -> Reply:
    parameters = {"errors": problems[:100]}
    return Reply(400, _error("INVALID_CAPABILITIES", "The capabilities are invalid.", parameters))


def _error(word: str, message: str, parameters: dict[str, Any] | None = None) -> bytes:
    return msgspec.json.encode({"type": word, "message": message, "parameters": parameters or {}})
