"""The database file: the primary writes it, replicas open it read-only.

SQLite works in threads, so that a heavy query never holds up the loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from aiohttp import web

PRIMARY: Final = "primary"
SCHEMA_VERSION: Final = 1

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseError(Exception):
    """What the database said, when it is not SQLite."""


class Database:
    """A few threads with one connection each. `run` waits for a free thread; `close` waits for work under way."""

    def __init__(self, path: Path, *, read_only: bool, threads: int = 4) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        self._read_only = read_only
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="sqlite")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def run(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(connection, *args)` in a thread. SQLite's own errors come out as they are."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: work(self._connection(), *args, **kwargs)
        )

    async def write(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, in a transaction that no other writer is in: what it has read stays so until it has written."""
        return await self.run(_in_transaction, lambda connection: work(connection, *args, **kwargs))

    async def open(self) -> None:
        """Nothing: a thread opens its connection when it first needs one."""

    async def check(self) -> None:
        """Read one row at once, in the caller's thread: microseconds, even while every other thread is busy."""
        self._connection().execute("SELECT 1 FROM stores LIMIT 1").fetchone()

    async def close(self) -> None:
        self._executor.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Transactions are spelled out where they are needed (isolation_level=None); `close` is another thread's.
            connection = sqlite3.connect(self._uri, uri=True, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            if not self._read_only:
                # Readers never wait for the writer. A crash of the process loses nothing.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
            self._connections.append(connection)
        return connection


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result


DATABASE: Final = web.AppKey("database", Database)


def wait_for(path: Path, timeout_s: float) -> bool:
    """Wait (blocking) until the primary has made the file. It appears whole, by a rename."""
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
