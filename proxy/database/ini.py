"""`pgbouncer.ini` from the plan: each value with the reason for it. The same plan gives the same bytes.

What is in `[pgbouncer]` and why is in `entries.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import wrap

from proxy.database.entries import Entry, entries
from proxy.database.settings import PgBouncerSettings
from proxy.database.sizing import PoolPlan, ServerPlan, files_needed, max_clients

__all__ = ["Plan", "make_plan", "render"]

_WIDTH = 116


@dataclass(frozen=True, slots=True)
class Plan:
    servers: tuple[ServerPlan, ...]
    entries: tuple[Entry, ...]
    files: int  # file descriptors that the process needs


def make_plan(pgbouncer: PgBouncerSettings, servers: tuple[ServerPlan, ...], in_flight: int) -> Plan:
    """What the file will say. `in_flight`: what Weir sends to the backend at most at once."""
    most_clients = max_clients(pgbouncer, in_flight)
    files = files_needed(most_clients, servers)
    return Plan(servers, tuple(entries(pgbouncer, servers, most_clients, in_flight, files)), files)


def render(plan: Plan) -> str:
    """The whole file."""
    lines = [
        "; Written by `weir pgbouncer render` from `databases` and `pgbouncer`. Change those, not this file.",
        "; Passwords are not in it: they belong into auth_file.",
        "",
        "[databases]",
    ]
    for server in plan.servers:
        reason = f"{server.name}: {server.room} of its connections are for pools, and these open at most {server.most}."
        lines += ["", *_comment(reason)]
        lines += [_database_line(server, pool) for pool in server.pools]
    lines += ["", "[pgbouncer]"]
    for entry in plan.entries:
        lines += ["", *_comment(entry.why), f"{entry.key} = {entry.value}".rstrip()]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"; {line}" for line in wrap(text, _WIDTH)]


def _database_line(server: ServerPlan, pool: PoolPlan) -> str:
    parts = [("host", server.host), ("port", str(server.port)), ("dbname", pool.database)]
    if pool.user is not None:
        parts.append(("user", pool.user))
    parts += [("pool_size", str(pool.size)), ("reserve_pool", str(pool.reserve))]
    # without `user` every user of the clients has a pool of the full size: this holds all of them together
    parts.append(("max_db_connections", str(pool.most)))
    # the name stands bare: the manual says that `-` and `.` need quotes, and 1.18 takes them without and not with
    return f"{pool.name} = " + " ".join(f"{key}={_quoted(value)}" for key, value in parts)


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", value):
        return value
    return "'" + value.replace("'", "''") + "'"
