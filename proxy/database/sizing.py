"""How many connections: from what a server has to what each pool may open, and how many clients are let in.

Pure arithmetic. The sources of the rules: PgBouncer's manual for what each number bounds; and that a server with few
cores answers sooner when few queries run at once, which is why more than four for each core is not chosen by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from proxy.database.settings import DatabaseSettings, PgBouncerSettings

__all__ = ["PoolPlan", "ServerPlan", "expected_clients", "files_needed", "max_clients", "plan_servers"]

PER_CORE = 4
CLIENTS_MARGIN = 1.2  # a deploy has both releases connected for a moment
OTHER_FILES = 100  # of the process: log, sockets, its own listeners


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One line of PgBouncer's `[databases]`."""

    name: str
    database: str
    user: str | None
    size: int  # 0 when the server has no room for it
    reserve: int

    @property
    def most(self) -> int:
        """Connections to the server that this pool may ever open."""
        return self.size + self.reserve


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A server and its pools."""

    name: str
    host: str
    port: int
    room: int  # connections that the server has for pools
    pools: tuple[PoolPlan, ...]

    @property
    def most(self) -> int:
        return sum(pool.most for pool in self.pools)

    @property
    def fits(self) -> bool:
        return self.most <= self.room and all(pool.size for pool in self.pools)


def plan_servers(databases: Mapping[str, DatabaseSettings]) -> tuple[ServerPlan, ...]:
    """All servers in the order of the file. A plan may not fit: that is for the caller to report."""
    return tuple(_plan_server(name, settings) for name, settings in databases.items())


def expected_clients(pgbouncer: PgBouncerSettings, in_flight: int) -> int:
    """Connections of the backend, as configured. Else as many as `in_flight`: what Weir sends it at most at once."""
    return pgbouncer.clients if pgbouncer.clients is not None else max(in_flight, 1)


def max_clients(pgbouncer: PgBouncerSettings, in_flight: int) -> int:
    """`max_client_conn`."""
    return ceil(round(expected_clients(pgbouncer, in_flight) * CLIENTS_MARGIN, 6)) + pgbouncer.workers


def files_needed(max_client_conn: int, servers: tuple[ServerPlan, ...]) -> int:
    """File descriptors of the PgBouncer process: one for each client and each connection to a server, and some."""
    return max_client_conn + sum(server.most for server in servers) + OTHER_FILES


def _plan_server(name: str, settings: DatabaseSettings) -> ServerPlan:
    room = settings.max_connections - settings.superuser_reserved - settings.reserved
    taken = sum(pool.size + pool.reserve for pool in settings.pools.values() if pool.size is not None)
    sharing = sum(pool.size is None for pool in settings.pools.values())
    part = max(room - taken, 0) // sharing if sharing else 0
    pools = []
    for pool_name, pool in settings.pools.items():
        size = pool.size
        if size is None:
            size = max(min(PER_CORE * settings.cores, part - pool.reserve), 0)
        pools.append(PoolPlan(pool_name, pool.database or pool_name, pool.user, size, pool.reserve))
    return ServerPlan(name, settings.host, settings.port, max(room, 0), tuple(pools))
