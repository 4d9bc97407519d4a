"""What is written into `[pgbouncer]`, and why: one `Entry` for each line.

They are also what `ini_check.py` holds an existing file against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from proxy.core.units import format_duration
from proxy.database.settings import PgBouncerSettings, parse_version
from proxy.database.sizing import ServerPlan, expected_clients

__all__ = ["Entry", "entries"]

Rule = Literal["same", "at_least", "at_most", "free"]
_PREPARED_SINCE = (1, 21)


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


def entries(
    pgbouncer: PgBouncerSettings, servers: tuple[ServerPlan, ...], most_clients: int, in_flight: int, files: int
) -> Iterator[Entry]:
    """In the order of the file. `most_clients` connect at most, and the process needs `files` file descriptors;
    `in_flight` as in `expected_clients`."""
    yield from _listening(pgbouncer)
    yield from _pools(pgbouncer, servers, most_clients, expected_clients(pgbouncer, in_flight), files)
    yield from _times(pgbouncer)
    yield from _statements(pgbouncer)
    yield from _users(pgbouncer)


def _listening(pgbouncer: PgBouncerSettings) -> Iterator[Entry]:
    host, _, port = pgbouncer.listen.rpartition(":")
    yield Entry("listen_addr", host.removeprefix("[").removesuffix("]"), "Where the backend connects.")
    yield Entry("listen_port", port, "Its port: the backend's connection string has this one, not the server's.")
    folder = pgbouncer.socket_folder or ""
    yield Entry("unix_socket_dir", folder, "The folder of the unix socket." if folder else "No unix socket.")


def _pools(
    pgbouncer: PgBouncerSettings, servers: tuple[ServerPlan, ...], most_clients: int, expected: int, files: int
) -> Iterator[Entry]:
    sizes = [pool.size for server in servers for pool in server.pools]
    reserves = [pool.reserve for server in servers for pool in server.pools]
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


def _times(pgbouncer: PgBouncerSettings) -> Iterator[Entry]:
    wait = format_duration(pgbouncer.query_wait)
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


def _statements(pgbouncer: PgBouncerSettings) -> Iterator[Entry]:
    """What drivers send that a pooler has to know about."""
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


def _users(pgbouncer: PgBouncerSettings) -> Iterator[Entry]:
    yield Entry("auth_type", pgbouncer.auth_type, "How clients prove who they are.", "free", "md5")
    yield Entry("auth_file", pgbouncer.auth_file, 'Lines of "user" "secret", readable by PgBouncer alone.')
    yield Entry("stats_users", ",".join(pgbouncer.stats_users), "May read numbers in the console, and change nothing.")


def _seconds(duration_s: float) -> str:
    return f"{duration_s:g}"
