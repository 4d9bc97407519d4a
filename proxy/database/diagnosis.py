"""From what was seen on a connection to what is right, wrong, and to be changed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from proxy.database.connection_string import Finding, Mode

__all__ = ["Evidence", "Seen", "diagnose", "explain_refusal"]

Seen = Literal["yes", "no", "unknown"]
FULL_SHARE: Final = 0.95  # of the connections: the next deploy fails
CROWDED_SHARE: Final = 0.8

# (a part of what the server or the pooler says, what to do); the first that fits
_REFUSALS: Final = (
    ("password authentication failed", "check the user and the password, and that special characters are %-encoded"),
    ("SASL authentication failed", "check the password; PgBouncer has it in its auth_file"),
    ("no such user", "PgBouncer does not know this user: add it to auth_file, or set auth_query"),
    ("tenant or user not found", "write the user as postgres.PROJECT, and take the host of the project's region"),
    ("no such database", "PgBouncer does not know this database: add a pool of this name"),
    ("does not exist", "check the name of the database and the user"),
    ("too many clients", "the server's max_connections is used up: connect through a pooler"),
    ("remaining connection slots", "the server's max_connections is used up: connect through a pooler"),
    ("no more connections allowed", "PgBouncer's max_client_conn is used up: raise it (`weir pgbouncer render`)"),
    ("query_wait_timeout", "no connection to the server came free in time: look for long or forgotten transactions"),
    ("unsupported startup parameter", "leave the parameter out, or name it in ignore_startup_parameters of PgBouncer"),
    ("no pg_hba.conf entry", "the server admits neither this address nor this form of connection; try sslmode=require"),
    ("SSL", "the two sides do not agree on TLS: see sslmode, and the server's certificate"),
)


@dataclass(slots=True)
class Evidence:
    """What was seen. None and "unknown" mean that it could not be."""

    server_version: str = ""
    is_standby: bool | None = None
    is_pooled: bool | None = None
    changes_server: Seen = "unknown"  # transactions of one client run on different connections to the server
    keeps_prepared: Seen = "unknown"  # a statement prepared in one transaction can be used in the next
    leaks_settings: Seen = "unknown"
    leaks_locks: Seen = "unknown"
    left_behind: bool = False
    max_connections: int | None = None
    reserved: int = 0
    in_use: int | None = None
    sees_all: bool = True
    forgotten: int | None = None  # transactions that nobody has worked in for a while
    forgotten_s: float = 0.0  # the oldest of them


def explain_refusal(reason: str) -> Finding:
    """Why there is no connection, and what helps."""
    advice = next((advice for part, advice in _REFUSALS if part.lower() in reason.lower()), "")
    return Finding("error", f"no connection: {reason}", advice)


def diagnose(evidence: Evidence, mode: Mode) -> Iterator[Finding]:
    """What it means for somebody who wants to connect in `mode`."""
    if evidence.server_version:
        role = {True: ", a standby: it takes no writes", False: "", None: ""}[evidence.is_standby]
        yield Finding("ok", f"connected to Postgres {evidence.server_version}{role}")
    yield _of_pooler(evidence, mode)
    if evidence.changes_server == "yes" and mode == "transaction":
        yield from _of_sessions(evidence)
    if evidence.left_behind:
        text = (
            "a connection of the pool keeps a setting `weir_doctor.mark` and an advisory lock of ours until it closes"
        )
        yield Finding("note", text)
    yield from _of_transactions(evidence)
    yield from _of_room(evidence)


def _of_pooler(evidence: Evidence, mode: Mode) -> Finding:
    if evidence.is_pooled is None:
        return Finding("warning", "it could not be seen whether there is a pooler in between")
    if not evidence.is_pooled:
        if mode == "direct":
            return Finding("ok", "there is no pooler in between")
        advice = "connect to PgBouncer's port, or to the pooler of your provider"
        return Finding("error", "there is no pooler in between: each client takes a connection of the server", advice)
    if evidence.changes_server == "unknown":
        return Finding("warning", "there is a pooler in between; in which mode could not be seen")
    found = "transaction" if evidence.changes_server == "yes" else "session"
    if found == mode:
        return Finding("ok", f"there is a pooler in between, in {found} mode")
    advice = {
        "transaction": "set pool_mode = transaction, or take the port of the transaction pooler",
        "session": "take the port of the session pooler, or the server's own",
        "direct": "take the server's own host and port: migrations and LISTEN need it",
    }[mode]
    return Finding("error", f"there is a pooler in between, in {found} mode", advice)


def _of_sessions(evidence: Evidence) -> Iterator[Finding]:
    if evidence.keeps_prepared == "yes":
        yield Finding("ok", "prepared statements work across transactions")
    elif evidence.keeps_prepared == "no":
        advice = (
            "asyncpg: statement_cache_size=0; psycopg: prepare_threshold=None; Prisma: pgbouncer=true; or PgBouncer "
            "1.21 with max_prepared_statements"
        )
        yield Finding("warning", "a prepared statement is lost with the end of its transaction", advice)
    if evidence.leaks_settings == "yes":
        advice = "write SET LOCAL inside a transaction, or ALTER ROLE ... SET"
        yield Finding("warning", "a SET without LOCAL stays on the connection, and another client gets it", advice)
    if evidence.leaks_locks == "yes":
        advice = "write pg_advisory_xact_lock"
        yield Finding("warning", "pg_advisory_lock stays on the connection, and its client cannot unlock it", advice)


def _of_transactions(evidence: Evidence) -> Iterator[Finding]:
    if evidence.forgotten is None:
        return
    if evidence.forgotten:
        text = f"{evidence.forgotten} transactions are open and idle, the oldest for {evidence.forgotten_s:.0f} s"
        if evidence.forgotten == 1:
            text = f"a transaction is open and idle for {evidence.forgotten_s:.0f} s"
        advice = (
            "each keeps a connection of the pool: set idle_transaction_timeout in PgBouncer, or "
            "idle_in_transaction_session_timeout in Postgres, and find who forgets to commit in pg_stat_activity"
        )
        yield Finding("error", text, advice)
    elif evidence.sees_all:
        yield Finding("ok", "no transaction is left open")
    else:
        advice = "GRANT pg_read_all_stats TO this user, to see the others'"
        yield Finding("note", "no transaction of this user is left open", advice)


def _of_room(evidence: Evidence) -> Iterator[Finding]:
    if evidence.max_connections is None or evidence.in_use is None:
        return
    room = max(evidence.max_connections - evidence.reserved, 1)
    text = f"{evidence.in_use} of {room} connections of the server are in use"
    share = evidence.in_use / room
    if share >= FULL_SHARE:
        yield Finding("error", text, "the next clients are refused: lower the pools' sizes, or raise max_connections")
    elif share >= CROWDED_SHARE:
        yield Finding("warning", text, "a deploy, with both releases connected, may need more than is left")
    else:
        yield Finding("ok", text)
