"""The same shop on Postgres: `run` and `write` as `Database` has them, over a pool of connections that fits PgBouncer.

The shop's work is written for a connection that blocks, and is done in threads. Here each of its statements goes to the
loop, where the driver lives, and its thread waits. All of a request's work is one transaction: a pooler in transaction
mode may give the next one to another connection, so nothing may be left on it (`statement_cache_size=0`, no reset).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import asyncpg

from examples.marketplace.database import DatabaseError
from examples.marketplace.seed import SCHEMA, TABLES, first_day

THREADS: Final = 8
ACQUIRE_S: Final = 5.0  # an acquire without a bound waits for ever
STATEMENT_S: Final = 10.0

P = ParamSpec("P")
T = TypeVar("T")


class _Connection(asyncpg.Connection):
    """One that asks nothing of the server on its way back to the pool: by then it may be another client's."""

    def get_reset_query(self) -> str:
        return ""


class PostgresDatabase:
    """Opened by `open` in the loop that serves. `run` waits for a free connection."""

    def __init__(self, url: str, *, connections: int = THREADS + 1) -> None:
        self._url = url
        self._connections = connections
        self._pool: Any = None
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="postgres")

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._connections,
            statement_cache_size=0,
            command_timeout=STATEMENT_S,
            connection_class=_Connection,
        )

    async def run(self, work: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(connection, *args)` in a thread and in a transaction. Raises DatabaseError."""
        loop = asyncio.get_running_loop()
        try:
            async with self._pool.acquire(timeout=ACQUIRE_S) as connection, connection.transaction():
                statements = _Statements(connection, loop)
                return await loop.run_in_executor(self._executor, lambda: work(statements, *args, **kwargs))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise DatabaseError(str(error) or type(error).__name__) from error

    write = run  # a transaction is one either way

    async def check(self) -> None:
        await self.run(lambda connection: connection.execute("SELECT 1 FROM stores LIMIT 1").fetchone())

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        self._executor.shutdown(wait=False)


class _Statements:
    """A connection as the shop's work knows one."""

    def __init__(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._connection, self._loop = connection, loop

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> _Rows:
        """Waits, in the caller's thread."""
        asked: Coroutine[Any, Any, list[Any]] = self._connection.fetch(_numbered(statement), *parameters)
        return _Rows(asyncio.run_coroutine_threadsafe(asked, self._loop).result(STATEMENT_S + 1))


class _Rows(list[Any]):
    def fetchone(self) -> Any:
        return self[0] if self else None

    def fetchall(self) -> list[Any]:
        return self


@lru_cache(maxsize=64)
def _numbered(statement: str) -> str:
    """`?` is SQLite's word for a parameter; Postgres counts them."""
    first, *rest = statement.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


async def seed_postgres(url: str) -> None:
    """Make the tables and what is in them on the first day, unless they are there: all of it or nothing."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        async with connection.transaction():
            if await connection.fetchval("SELECT to_regclass('users') IS NOT NULL"):
                return
            await connection.execute(_postgres_schema())
            for table, rows in first_day().items():
                await connection.copy_records_to_table(table, records=rows, columns=TABLES[table])
            await connection.execute("SELECT setval('orders_id_seq', (SELECT max(id) FROM orders))")
    finally:
        await connection.close()


async def wait_for_postgres(url: str, timeout_s: float) -> bool:
    """Wait until the primary's tables are here, complete: they come in one transaction."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < deadline:
        try:
            connection = await asyncpg.connect(url, statement_cache_size=0, timeout=2.0)
        except (asyncpg.PostgresError, OSError, TimeoutError):
            await asyncio.sleep(0.05)
            continue
        try:
            async with connection.transaction():
                if await connection.fetchval("SELECT to_regclass('users') IS NOT NULL"):
                    return True
        finally:
            await connection.close()
        await asyncio.sleep(0.05)
    return False


def _postgres_schema() -> str:
    """The schema in Postgres' words. Only orders are numbered by the database."""
    schema = SCHEMA.replace("TABLE orders (\n    id INTEGER PRIMARY KEY", "TABLE orders (\n    id SERIAL PRIMARY KEY")
    return schema.replace("BLOB", "BYTEA")
