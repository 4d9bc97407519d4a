"""`pgbouncer.ini` from the plan: each value with the reason for it. The same plan gives the same bytes.

Every line is an `Entry`, which is also what `ini_check.py` holds an existing file against.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from proxy.core.units import format_duration
from proxy.database.settings import PgBouncerSettings, parse_version
from proxy.database.sizing import PoolPlan, ServerPlan, files_needed, max_clients

__all__ = ["Entry", "Plan", "make_plan", "render"]

Rule = Literal["same", "at_least", "at_most", "free"]
_PREPARED_SINCE = (1, 21)
_WIDTH = 116


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting of `[pgbouncer]`. `rule`: what another file's value must be, held against this one.

    With `at_most` a 0 is refused too: it means "for ever". `default` is PgBouncer's own.
    """

    key: str
    value: str
    why: str
    rule: Rule = "free"
    default: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    servers: tuple[ServerPlan, ...]
    entries: tuple[Entry, ...]
    files: int  # file descriptors that the process needs


def make_plan(pgbouncer: PgBouncerSettings, servers: tuple[ServerPlan, ...], in_flight: int) -> Plan:
    """What the file will say. `in_flight`: what Weir sends to the backend at most at once."""
    most_clients = max_clients(pgbouncer, in_flight)
    files = files_needed(most_clients, servers)
    return Plan(servers, tuple(_entries(pgbouncer, servers, most_clients, in_flight, files)), files)


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


def _entries(
    pgbouncer: PgBouncerSettings, servers: tuple[ServerPlan, ...], most_clients: int, in_flight: int, files: int
) -> Iterable[Entry]:
    host, _, port = pgbouncer.listen.rpartition(":")
    expected = pgbouncer.clients if pgbouncer.clients is not None else in_flight
    sizes = [pool.size for server in servers for pool in server.pools]
    reserves = [pool.reserve for server in servers for pool in server.pools]
    wait = format_duration(pgbouncer.query_wait)
    yield Entry("listen_addr", host.removeprefix("[").removesuffix("]"), "Where the backend connects.")
    yield Entry("listen_port", port, "Its port: the backend's connection string has this one, not the server's.")
    folder = pgbouncer.socket_folder or ""
    yield Entry("unix_socket_dir", folder, "The folder of the unix socket." if folder else "No unix socket.")
    yield Entry(
        "pool_mode",
        "transaction",
        "A connection to the server belongs to a client for one transaction. In session mode it would for as long as "
        "the client stays, and a hundred idle clients would use up the server.",
        "same",
        "session",
    )
    yield Entry(
        "max_client_conn",
        str(most_clients),
        f"1.2 times the {expected} connections expected, and one for each of {pgbouncer.workers} workers. A client "
        f"costs PgBouncer a few KiB; one too many is refused with an error. The process needs {files} file "
        f"descriptors: `LimitNOFILE={files}` in its unit, or `ulimit -n {files}`.",
        "at_least",
        "100",
    )
    yield Entry(
        "default_pool_size",
        str(min(sizes, default=1)),
        "Every pool above has its own size; this is for one that is added by hand.",
        "free",
        "20",
    )
    yield Entry(
        "reserve_pool_size",
        str(max(reserves, default=0)),
        "Connections beyond a pool's size, for a moment that needs them. They are counted in what the server has.",
        "free",
        "0",
    )
    yield Entry("reserve_pool_timeout", "1", "Seconds that a client waits before the reserve is used.", "at_most", "5")
    yield Entry(
        "query_wait_timeout",
        _seconds(pgbouncer.query_wait),
        f"A client waits {wait} for a connection to the server and is then told so, while there is still somebody to "
        "tell: every route waits longer. PgBouncer's own 120 s outlive every request.",
        "at_most",
        "120",
    )
    yield Entry(
        "idle_transaction_timeout",
        _seconds(pgbouncer.idle_transaction),
        "An open transaction keeps a connection from everybody else; after this its client is disconnected.",
        "at_most",
        "0",
    )
    yield Entry(
        "server_idle_timeout",
        _seconds(pgbouncer.server_idle),
        "Unused connections go back to the server, which pays memory for each of them.",
        "free",
        "600",
    )
    yield Entry("server_connect_timeout", "5", "Seconds for a connection to the server; then its clients wait on.")
    yield Entry(
        "server_login_retry", "1", "Seconds until a server that refused is tried again: clients wait meanwhile.", "free"
    )
    yield Entry(
        "ignore_startup_parameters",
        "extra_float_digits",
        "Drivers send it when they connect, and nothing depends on it. What a client must not lose silently, such as "
        "search_path, is not here: it gets an error, and belongs into ALTER ROLE.",
    )
    if parse_version(pgbouncer.version) >= _PREPARED_SINCE:
        yield Entry(
            "max_prepared_statements",
            "200",
            "Named prepared statements work across transactions: PgBouncer prepares them where they are missing.",
            "at_least",
            "0",
        )
    yield Entry("auth_type", pgbouncer.auth_type, "How clients prove who they are.", "free", "md5")
    yield Entry("auth_file", pgbouncer.auth_file, 'Lines of "user" "secret", readable by PgBouncer alone.')
    yield Entry("stats_users", ",".join(pgbouncer.stats_users), "May read numbers in the console, and change nothing.")


def _seconds(duration_s: float) -> str:
    return f"{duration_s:g}"
