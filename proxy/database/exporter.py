"""Asks PgBouncer's console every two seconds, and tells whoever should know when the database keeps clients waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.database.console import Console, ProtocolError
from proxy.database.console_url import parse_console_url
from proxy.database.pressure import PoolState, next_share, read_pools
from proxy.database.settings import DatabaseSettings, PgBouncerSettings

__all__ = ["INTERVAL_S", "Exporter"]

INTERVAL_S: Final = 2.0
TIMEOUT_S: Final = 1.0  # for one round, connecting included
log = logging.getLogger("weir.database")


class Exporter:
    """`pools` is what was read last, `shares` how much each server's upstreams may have at once: 1 is all of it.

    `changed` is called after a round that changed `shares`, `read` after every round, with `late` up to date; neither
    after one that a reload overtook. Without `pgbouncer.console` there is no round at all.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        read: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._changed = changed
        self._read = read
        self._clock = clock
        self._settings: PgBouncerSettings | None = None
        self._databases: Mapping[str, DatabaseSettings] = {}
        self._task: asyncio.Task[None] | None = None
        self._console: Console | None = None
        self._read_at: float | None = None
        self._took_s = 0.0
        self._wake: asyncio.Event | None = None
        self.pools: dict[str, PoolState] = {}
        self.shares: dict[str, float] = {}
        self.late: frozenset[str] = frozenset()  # servers whose clients wait for too long, by the last round
        self.error: str | None = None
        self.failures = 0

    # -- life --

    def start(self, pgbouncer: PgBouncerSettings | None, databases: Mapping[str, DatabaseSettings]) -> None:
        """Begin, or go on with other settings. Needs the running loop; never waits and never fails."""
        self.use(pgbouncer, databases)
        self._wake = asyncio.Event()
        self._task = spawn(self._run(self._wake), name="database exporter")

    def use(self, pgbouncer: PgBouncerSettings | None, databases: Mapping[str, DatabaseSettings]) -> None:
        """Other settings, at once. What is known of pools that stay is kept."""
        console = pgbouncer.console if pgbouncer is not None else "off"
        moved = self._settings is None or self._settings.console != console
        self._settings = pgbouncer
        self._databases = databases
        if moved:
            self._forget(None)
            self.shares = {}
        self.shares = {name: self.shares.get(name, 1.0) for name in databases}
        if self._wake is not None:
            self._wake.set()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._forget(None)

    # -- for the operator --

    @property
    def is_on(self) -> bool:
        return self._settings is not None and self._settings.console != "off"

    def status(self) -> dict[str, Any]:
        """`error` is None while the console answers."""
        detail: dict[str, Any] = {"error": self.error}
        if self._settings is not None and self._settings.console != "off":
            detail["console"] = parse_console_url(self._settings.console).label
        if self._read_at is not None:
            detail["read_s_ago"] = round(max(self._clock() - self._read_at, 0.0), 1)
            detail["latency_ms"] = round(self._took_s * 1000, 1)
        detail["waiting"] = sum(state.client_waiting for state in self.pools.values())
        detail["max_wait_ms"] = round(1000 * max((state.max_wait_s for state in self.pools.values()), default=0.0), 1)
        detail["share"] = min(self.shares.values(), default=1.0)
        return detail

    # -- rounds --

    async def _run(self, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            if self.is_on:
                await self.read_once()
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await wake.wait()
            except TimeoutError:
                pass

    async def read_once(self) -> None:
        """One round: ask, and take the answer over. A console that is away costs TIMEOUT_S, and nothing else."""
        settings = self._settings
        if settings is None or settings.console == "off":
            return
        began_at, trouble = self._clock(), None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._console is None:
                    self._console = await Console.open(parse_console_url(settings.console))
                pools = read_pools(await self._console.ask("SHOW POOLS"), await self._console.ask("SHOW STATS"))
        except TimeoutError:
            trouble = f"no answer within {TIMEOUT_S:g} s"
        except (OSError, ProtocolError) as error:
            trouble = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        if self._settings is not settings:
            self._hang_up()  # a reload came in between: it may be another console that was asked
        elif trouble is not None:
            self._failed(trouble)
        else:
            if self.error is not None:
                log.info("the console of PgBouncer is back")
            self._read_at, self._took_s = self._clock(), self._clock() - began_at
            self.error = None
            self.pools = pools
            self._take_shares(settings.max_wait)

    def _failed(self, reason: str) -> None:
        if self.error is None:
            log.warning("the console of PgBouncer is away: %s", reason)
        self.failures += 1
        self._forget(reason)
        self._take_shares(inf)

    def _hang_up(self) -> None:
        if self._console is not None:
            self._console.close()
            self._console = None

    def _forget(self, reason: str | None) -> None:
        self._hang_up()
        self.error = reason
        self._read_at = None
        self.pools = {}
        self.late = frozenset()

    def _take_shares(self, bound_s: float) -> None:
        before = self.shares
        self.shares = {
            name: next_share(before.get(name, 1.0), self._max_wait_s(database), bound_s)
            for name, database in self._databases.items()
        }
        self.late = frozenset(
            [name for name, each in self._databases.items() if (self._max_wait_s(each) or 0.0) > bound_s]
        )
        if self.shares != before:
            self._changed()
        self._read()

    def _max_wait_s(self, database: DatabaseSettings) -> float | None:
        if self.error is not None:
            return None
        return max((self.pools[name].max_wait_s for name in database.pools if name in self.pools), default=0.0)

    def is_late(self, upstream: str) -> bool:
        """Whether a server that the upstream uses keeps clients waiting, by the last round."""
        return any(self._databases[name].uses(upstream) for name in self.late if name in self._databases)

    def share_of(self, upstream: str) -> float:
        """How much of its `max_in_flight` an upstream's endpoints may use: the least that any of its servers allows."""
        return min(
            (self.shares.get(name, 1.0) for name, database in self._databases.items() if database.uses(upstream)),
            default=1.0,
        )
