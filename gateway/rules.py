"""The rules that the settings hold, in the words of the parts that follow them."""

from gateway.adapters import ADAPTERS
from gateway.checks import AdapterClasses, tenants_of
from gateway.config import Settings
from gateway.intake.redact import Redactor, Rules
from gateway.web.rates import Measure, Rate, Rates
from schemas.config import Limits
from schemas.config import Rate as RateOption
from schemas.options import Redaction


def redactor_of(settings: Settings, adapters: AdapterClasses = ADAPTERS) -> Redactor:
    """What masks what *adapters* read, by the rules for all and those of each tenant."""
    tenants: dict[tuple[str, str], Rules] = {}
    for dialect, table in settings.dialects.items():
        for tenant in tenants_of(table):
            # A tenant may have several tables: a space may have one, and a file of tokens.
            name = dialect, tenant.tenant
            tenants[name] = tenants.get(name, Rules()).joined(_rules(tenant.redact))
    paired = [adapter.dialect for adapter in adapters if adapter.paired]
    return Redactor(_rules(settings.redact), tenants, paired)


def _rules(table: Redaction) -> Rules:
    return Rules.of(table.headers, table.keys)


def rates_of(limits: Limits) -> Rates | None:
    """The rates that [limits] sets, or None where it sets none."""
    found: tuple[dict[Measure, Rate], dict[Measure, Rate]] = {}, {}
    options: list[tuple[int, Measure, RateOption | None]] = [
        (0, "requests", limits.tenant_requests),
        (0, "events", limits.tenant_events),
        (0, "bytes", limits.tenant_bytes),
        (1, "requests", limits.device_requests),
        (1, "events", limits.device_events),
        (1, "bytes", limits.device_bytes),
    ]
    for level, measure, table in options:
        if table is not None:
            found[level][measure] = Rate(table.rate, table.burst or table.rate)
    return Rates(*found) if any(found) else None
