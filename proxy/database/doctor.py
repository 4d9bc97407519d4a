"""Connects, and finds out what the connection is: what `weir doctor db` says comes from here.

Two clients are enough. The first does something in a transaction that a session would keep; the second takes a
connection; then the first looks whether it is still where it was. Nothing is written to any table, every statement is
inside an explicit transaction (a pooler may change the server between any two others), and every step has a deadline.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Coroutine
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg

from proxy.database.connection_string import ConnectionString, Finding, Mode, look_at
from proxy.database.diagnosis import Evidence, diagnose, explain_refusal

__all__ = ["examine"]

CONNECT_S: Final = 5.0
STEP_S: Final = 5.0
WAIT_S: Final = 2.0  # for a second connection to the server: a pool of one has none
FORGOTTEN_S: Final = 5  # an idle transaction is forgotten after this
ROUNDS: Final = 3  # other clients of the pool may take a connection away under our hands

_ACTIVITY: Final = f"""
SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby,
    current_setting('max_connections')::int AS most,
    current_setting('superuser_reserved_connections')::int AS reserved,
    count(*) FILTER (WHERE backend_type = 'client backend') AS in_use,
    pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER') AS sees_all,
    count(*) FILTER (WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()
        AND state_change < now() - interval '{FORGOTTEN_S} s') AS forgotten,
    coalesce(max(extract(epoch FROM now() - state_change)) FILTER (WHERE state LIKE 'idle in transaction%'
        AND pid <> pg_backend_pid()), 0)::float8 AS forgotten_s
FROM pg_stat_activity
"""
_TLS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword")
_MARK: Final = "weir_doctor.mark"

Connection = Any  # asyncpg.Connection: the driver ships no types
_TROUBLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


async def examine(string: ConnectionString, mode: Mode) -> list[Finding]:
    """Everything that is known in the end, in the order in which it was found. Some 30 s at most, usually 0.1 s."""
    findings = list(look_at(string, mode))
    evidence = Evidence()
    try:
        first = await _connect(string)
    except (*_TROUBLE, ValueError, ssl.SSLError) as error:
        findings.append(explain_refusal(_hide(_reason(error), string)))
        return findings
    try:
        trouble = await _step(_look_around(first, evidence))
        if trouble is None and evidence.is_pooled:
            trouble = await _try_pooler(first, string, evidence)
    finally:
        first.terminate()
    findings += diagnose(evidence, mode)
    if trouble is not None:
        findings.append(Finding("error", f"a question was not answered: {_hide(trouble, string)}"))
    return findings


async def _connect(string: ConnectionString) -> Connection:
    async with asyncio.timeout(CONNECT_S):
        return await asyncpg.connect(
            host=string.host,
            port=string.port,
            user=string.user,
            password=string.password,
            database=string.database,
            dsn=_tls_of(string),  # what stands beside it wins: only the TLS parameters are taken from here
            statement_cache_size=0,
            timeout=CONNECT_S,
            command_timeout=STEP_S,
        )


async def _step(work: Coroutine[Any, Any, None], timeout_s: float = STEP_S) -> str | None:
    """What went wrong, or None."""
    try:
        async with asyncio.timeout(timeout_s):
            await work
    except _TROUBLE as error:
        return _reason(error)
    return None


async def _look_around(client: Connection, evidence: Evidence) -> None:
    async with client.transaction(readonly=True):
        row = await client.fetchrow(_ACTIVITY)
        pid = await client.fetchval("SELECT pg_backend_pid()")
    assert row is not None
    # a pooler invents the number that cancels a query, for it is the pooler who passes the cancellation on
    evidence.is_pooled = pid != client.get_server_pid()
    evidence.server_version, evidence.is_standby = row["version"], row["standby"]
    evidence.max_connections, evidence.reserved, evidence.in_use = row["most"], row["reserved"], row["in_use"]
    evidence.sees_all, evidence.forgotten, evidence.forgotten_s = (
        row["sees_all"],
        row["forgotten"],
        row["forgotten_s"],
    )


async def _try_pooler(first: Connection, string: ConnectionString, evidence: Evidence) -> str | None:
    try:
        second = await _connect(string)
    except _TROUBLE as error:
        return f"a second client is refused: {_reason(error)}"
    try:
        trial = _Trial(first, second, evidence)
        for _ in range(ROUNDS):
            if (trouble := await _step(trial.run(), 2 * STEP_S)) is not None:
                return trouble
            if evidence.changes_server == "yes":
                return None
        evidence.changes_server = "no"
        return None
    finally:
        second.terminate()


class _Trial:
    """The two clients, and what the first one leaves on the connection that it had."""

    def __init__(self, first: Connection, second: Connection, evidence: Evidence) -> None:
        self.first, self.second, self.evidence = first, second, evidence
        self.mark = secrets.token_hex(8)
        self.key = secrets.randbits(62)
        self.name = f"weir_doctor_{self.mark}"

    async def run(self) -> None:
        async with self.first.transaction():
            before = await self.first.fetchval("SELECT pg_backend_pid()")
            await self.first.execute(f"SET {_MARK} = '{self.mark}'")
            await self.first.fetchval("SELECT pg_try_advisory_lock($1)", self.key)
            statement = await self.first.prepare("SELECT 42", name=self.name)
        self.evidence.left_behind = True
        async with self.second.transaction():
            held = await self.second.fetchval("SELECT pg_backend_pid()")
            if held == before:  # the connection of the first client, which is still there: it was only lent
                self.evidence.changes_server = "yes"
                await self._see_what_is_left()
            await self._come_back(before, statement)
        await self._clean(self.first)
        self.name = f"weir_doctor_{secrets.token_hex(8)}"

    async def _see_what_is_left(self) -> None:
        found = await self.second.fetchval("SELECT current_setting($1, true)", _MARK)
        self.evidence.leaks_settings = "yes" if found == self.mark else "no"
        unlocked = await self.second.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() "
            "AND (classid::bigint << 32 | objid::bigint) = $1",
            self.key,
        )
        self.evidence.leaks_locks = "yes" if unlocked else "no"
        await self._clean_inside(self.second)

    async def _come_back(self, before: int, statement: Any) -> None:
        """The first client once more, while the second holds a connection: where does it get to?"""
        try:
            async with asyncio.timeout(WAIT_S), self.first.transaction():
                now = await self.first.fetchval("SELECT pg_backend_pid()")
                if now != before:
                    self.evidence.changes_server = "yes"
                    self.evidence.keeps_prepared = "yes" if await _works(self.first, statement) else "no"
        except TimeoutError:  # the pool has only one connection, and the second client has it
            self.evidence.changes_server = "yes"

    async def _clean(self, client: Connection) -> None:
        if self.first.is_closed():
            return
        async with client.transaction():
            await self._clean_inside(client)

    async def _clean_inside(self, client: Connection) -> None:
        if await client.fetchval("SELECT current_setting($1, true)", _MARK) != self.mark:
            return
        await client.execute(f"RESET {_MARK}")
        await client.fetchval("SELECT pg_advisory_unlock($1)", self.key)
        named = await client.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name = $1", self.name)
        if named:
            await client.execute(f"DEALLOCATE {self.name}")
        self.evidence.left_behind = False


async def _works(client: Connection, statement: Any) -> bool:
    """Whether the statement is known here. When it is not, only the savepoint is lost."""
    try:
        async with client.transaction():
            return bool(await statement.fetchval() == 42)
    except asyncpg.InvalidSQLStatementNameError:
        return False


def _tls_of(string: ConnectionString) -> str:
    """Without the parameters that are for other programs: the driver would send them to the server."""
    return "postgresql:///?" + urlencode([pair for pair in string.parameters if pair[0] in _TLS])


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return str(error) or type(error).__name__


def _hide(text: str, string: ConnectionString) -> str:
    """Nothing that we print comes from the password, unless the server repeats it."""
    if string.password is None or len(string.password) < 4:
        return text
    return text.replace(string.password, "***")
