"""Checks of a configuration that only the parts themselves can make."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import MappingProxyType

import msgspec

from gateway.adapter import AnyAdapter, Credential, Ingest
from gateway.adapters import ADAPTERS
from gateway.auth import digest_of
from gateway.config import Overrides, Settings, find_open_examples, read
from gateway.errors import ConfigError
from gateway.record import Kind
from gateway.stores import files_of, folder_of
from gateway.web.routes import Routes
from gateway.web.tls import context_of
from schemas import Problem
from schemas.addresses import addresses_of, overlap
from schemas.config import Ops, Server, Store
from schemas.options import TenantTable
from schemas.table import Table

AdapterClasses = Sequence[type[AnyAdapter]]


def dialects(adapters: AdapterClasses = ADAPTERS) -> dict[str, type[Table]]:
    """The type of each dialect's table in the configuration."""
    return {adapter.dialect: adapter.options for adapter in adapters}


def find_problems(name: str, table: Table, adapters: AdapterClasses = ADAPTERS) -> list[Problem]:
    """The problems of the table *name* that only its adapter or its store can find."""
    if isinstance(table, Store):
        return _store_problems(table.url)
    if isinstance(table, Server):
        return [*_address_problems(table.listen), *_tls_problems(table)]
    if isinstance(table, Ops):
        return _address_problems(table.listen)
    problems: list[Problem] = []
    for adapter in adapters:
        if adapter.dialect == name:
            problems.extend(_credential_problems(adapter(table)))
    return problems


def validate(settings: Settings, file: str, adapters: AdapterClasses = ADAPTERS) -> None:
    """Check every table by `find_problems`, then look for what two tables claim.

    Raises:
        ConfigError: with every problem found.
    """
    problems = [
        problem.prefixed(name)
        for name, table in settings.tables().items()
        for problem in find_problems(name, table, adapters)
    ]
    problems += [] if problems else [*_claimed_twice(settings), *_clashes(settings, adapters)]
    problems += _unknown_names(settings, adapters)
    problems += _too_small_budgets(settings, adapters)
    problems += find_open_examples(settings)
    if problems:
        raise ConfigError(file, problems)


def load(
    path: Path,
    adapters: AdapterClasses = ADAPTERS,
    overrides: Overrides = MappingProxyType({}),
    *,
    to_serve: bool = False,
) -> Settings:
    """The settings in the file *path*, with *overrides*, checked by all parts.

    With *to_serve* there must be somebody to serve: a file that is empty, or half written,
    is not a gateway's.

    Raises:
        ConfigError: with every problem found.
    """
    settings = read(path, dialects(adapters), partial(find_problems, adapters=adapters), overrides)
    validate(settings, str(path), adapters)
    if to_serve and not any(
        any(adapter(settings.dialects[adapter.dialect]).credentials()) for adapter in adapters
    ):
        raise ConfigError(str(path), [Problem("", "No credential: nobody could send an event.")])
    return settings


def _unknown_names(settings: Settings, adapters: AdapterClasses) -> Iterator[Problem]:
    """Rules of retention that fit no event, because there is no such dialect or kind."""
    kinds = {one.dialect: [*one.kinds, Kind.REJECTED] for one in adapters}
    for at, rule in enumerate(settings.retention.rules):
        where = f"retention.rules[{at}]"
        if rule.dialect is not None and rule.dialect not in kinds:
            yield Problem(f"{where}.dialect", f"Not one of: {', '.join(kinds)}.")
            continue
        known = kinds[rule.dialect] if rule.dialect else sorted(set().union(*kinds.values()))
        if rule.kind is not None and rule.kind not in known:
            yield Problem(f"{where}.kind", f"Not one of: {', '.join(known)}.")


def _too_small_budgets(settings: Settings, adapters: AdapterClasses) -> Iterator[Problem]:
    """Budgets of memory without room for the largest body that some dialect reads whole."""
    limits, largest = settings.limits, 0
    for adapter in adapters:
        for one in adapter(settings.dialects[adapter.dialect]).endpoints:
            if isinstance(one, Ingest):
                most = one.whole if one.batch else settings.ingest.max_event
                largest = max(largest, one.max_body if most is None else min(one.max_body, most))
    if limits.tenant_inflight_bytes < 2 * largest:
        yield Problem(
            "limits.tenant_inflight_bytes",
            f"At least {2 * largest}: a body of {largest} bytes, as sent and decompressed.",
        )
    if limits.inflight_bytes < limits.tenant_inflight_bytes:
        yield Problem("limits.inflight_bytes", "At least as much as tenant_inflight_bytes.")


def _claimed_twice(settings: Settings) -> Iterator[Problem]:
    """Resources claimed by two tables."""
    taken = [path.absolute() for path in files_of(settings.store.url)]
    if spool_path(settings).absolute() in taken:
        yield Problem("spool.path", "This is the store's file; the spool needs one of its own.")
    if overlap(settings.server.listen, settings.ops.listen):
        yield Problem("ops.listen", "The public listener has this address.")


def _clashes(settings: Settings, adapters: AdapterClasses) -> Iterator[Problem]:
    """The first address that two endpoints claim, or that no request can have."""
    try:
        Routes([adapter(settings.dialects[adapter.dialect]) for adapter in adapters])
    except ValueError as error:
        yield Problem("", str(error))


def _credential_problems(adapter: AnyAdapter) -> Iterator[Problem]:
    seen: dict[bytes, Credential] = {}
    for credential in adapter.credentials():
        try:
            first = seen.setdefault(digest_of(credential.secret), credential)
        except ValueError as error:
            yield Problem("", str(error))
            continue
        if _opens(first) != _opens(credential):
            owners = [", ".join(one.tenants) for one in (first, credential)]
            yield Problem(
                "", f"The same credential is given twice, to '{owners[0]}' and to '{owners[1]}'."
            )


def _opens(credential: Credential) -> Credential:
    """What a credential opens, to compare it with another one."""
    return msgspec.structs.replace(credential, secret="")


def _store_problems(url: str) -> list[Problem]:
    try:
        files_of(url)
    except ValueError as error:
        return [Problem("url", str(error))]
    return []


def _address_problems(listen: str) -> list[Problem]:
    try:
        addresses_of(listen)
    except OSError as error:
        return [Problem("listen", f"The host cannot be resolved: {error.strerror or error}.")]
    return []


def _tls_problems(server: Server) -> list[Problem]:
    if server.certificate is None:
        return [Problem("key", "There is no certificate for it.")] if server.key else []
    try:
        context_of(server.certificate, server.key)
    except ValueError as error:
        return [Problem("certificate", str(error))]
    return []


def spool_path(settings: Settings) -> Path:
    """The spool's file: as configured, else beside the store."""
    path = settings.spool.path
    return Path(path) if path else folder_of(settings.store.url) / "spool.db"


def control_path(settings: Settings) -> Path:
    """The socket for commands: as configured, else beside the store's file or the spool."""
    if settings.ops.control:
        return Path(settings.ops.control)
    first = [*files_of(settings.store.url), spool_path(settings)][0]
    return first.with_name(f"{first.name}-control")


def tenants_of(table: Table) -> list[TenantTable]:
    """The tenants that a dialect's table configures, whatever that dialect calls them."""
    options = [getattr(table, field.name) for field in fields(table)]
    arrays = [value for value in options if isinstance(value, tuple)]
    return [one for found in arrays for one in found if isinstance(one, TenantTable)]
