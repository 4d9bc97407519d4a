"""What `databases` and `pgbouncer` say, held against each other and against the routes."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.diagnostics import did_you_mean
from proxy.config.document import Path
from proxy.config.parts import Part
from proxy.config.settings import Settings
from proxy.core.units import format_duration
from proxy.database.settings import DatabaseSettings, PgBouncerSettings
from proxy.database.sizing import ServerPlan, plan_servers

__all__ = ["check_databases"]


def check_databases(parts: list[Part], root: Settings) -> None:
    """Report into the documents: pools without room, waits longer than a request, names that lead nowhere."""
    part = parts[0]
    for server in plan_servers(root.databases):
        if not server.fits:
            _report_room(part, server, root.databases[server.name])
    _check_names(part, root)
    if root.pgbouncer is None:
        return
    if not any(server.pools for server in root.databases.values()) and not _is_broken(part):
        hint = "add `databases: {main: {pools: {app: {}}}}`"
        part.document.report("WEIR0254", "PgBouncer would have no pool", ("pgbouncer",), hint=hint, of_key=True)
    for other, path, timeout_s in _timeouts(parts, root, root.databases):
        _check_wait(other, path, timeout_s, root.pgbouncer)


def _is_broken(part: Part) -> bool:
    """Something stands there and could not be read, which is told already."""
    return part.document.has_errors and part.has("databases")


def _report_room(part: Part, server: ServerPlan, settings: DatabaseSettings) -> None:
    needed = sum((pool.size or 1) + pool.reserve for pool in server.pools)
    message = f"the pools of `{server.name}` may open {needed} connections, and {server.room} are left for them"
    note = (
        f"max_connections {settings.max_connections}, less {settings.superuser_reserved} superuser_reserved, "
        f"less {settings.reserved} reserved"
    )
    fixed = [name for name, pool in settings.pools.items() if pool.size is not None]
    hint = f"max_connections of the server would have to be {settings.max_connections + needed - server.room}"
    if fixed:
        largest = max(fixed, key=lambda name: settings.pools[name].size or 0)
        left = (settings.pools[largest].size or 0) - (needed - server.room)
        if left > 0:
            hint = f"lower `size` of `{largest}` to {left}, or raise max_connections to " + hint.rpartition(" ")[2]
    path: Path = ("databases", server.name, "pools")
    part.document.report("WEIR0250", message, path, hint=hint, note=note, of_key=True)


def _check_names(part: Part, root: Settings) -> None:
    first: dict[str, Path] = {}
    for name, database in root.databases.items():
        for pool in database.pools:
            path: Path = ("databases", name, "pools", pool)
            if pool in first:
                note = f"the first is at {part.document.where(first[pool], of_key=True)}"
                message = f"two pools have the name `{pool}`, and PgBouncer knows pools by name"
                hint = "give it another, and its `database`"
                part.document.report("WEIR0253", message, path, hint=hint, note=note, of_key=True)
            first.setdefault(pool, path)
        known = part.names("upstreams")
        for index, upstream in enumerate(database.upstreams or ()):
            if upstream not in known:
                place: Path = ("databases", name, "upstreams", index)
                message = f"there is no upstream `{part.document.shown(place)}`"
                hint = did_you_mean(upstream, known) or "upstreams: " + ", ".join(known)
                part.document.report("WEIR0252", message, place, hint=hint)


def _timeouts(
    parts: list[Part], root: Settings, databases: dict[str, DatabaseSettings]
) -> Iterator[tuple[Part, Path, float]]:
    """Where a timeout is written that holds for requests to a database. Not the default that nobody wrote."""
    everywhere = any(database.upstreams is None for database in databases.values())
    named = {name for database in databases.values() for name in database.upstreams or ()}

    def is_meant(upstream: str | None) -> bool:
        return bool(databases) and (everywhere or (upstream or root.defaults.upstream) in named)

    if parts[0].has("defaults", "timeout") and is_meant(None):
        yield parts[0], ("defaults", "timeout"), root.defaults.timeout
    for part in parts:
        for path, route in part.routes():
            if route.timeout is not None and is_meant(route.upstream):
                yield part, (*path, "timeout"), route.timeout


def _check_wait(part: Part, path: Path, timeout_s: float, pgbouncer: PgBouncerSettings) -> None:
    if pgbouncer.query_wait < timeout_s:
        return
    wait = format_duration(pgbouncer.query_wait)
    message = f"a query may wait {wait} for the database, and this request is given up before"
    hint = f"raise it above {wait}, or lower `pgbouncer.query_wait`"
    part.document.report("WEIR0251", message, path, hint=hint)
