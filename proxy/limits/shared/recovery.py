"""Whether the store is in use: when to stop asking it, and how it is found again.

Owns the one task of a store, which connects, and connects again. Requests never wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import random
from typing import Final

from proxy.core.clock import monotonic, wall
from proxy.core.tasks import spawn
from proxy.limits.shared.calls import Calls
from proxy.limits.shared.link import Link, StoreLost
from proxy.limits.shared.waiting_line import GRAIN_S, Ticket, longest_wait_s
from proxy.limits.store import StoreStats
from proxy.store.breaker import Breaker

_SHORTEST_PAUSE_S: Final = 0.05  # between attempts to connect, doubled each time
_LONGEST_PAUSE_S: Final = 1.0

Listener = Callable[[str | None], None]
"""Told when the shared store is lost (why, without secrets) and when it is back (None). Must not wait or raise."""


class Recovery:
    """The state of the store's use. `error` is the last failure, None when all is well."""

    def __init__(
        self,
        link: Link,
        calls: Calls,
        stats: StoreStats,
        listener: Listener,
        prove: Callable[[], Awaitable[None]],
        settle: Callable[[list[Ticket]], None],
    ) -> None:
        """`prove` has the store decide something and tells it what it missed, or raises StoreLost. `settle` decides
        here for those who waited."""
        self.patience_s = 0.0
        self.error: str | None = "not started"
        self.since_wall = wall()  # of the mode
        self._link = link
        self._calls = calls
        self._stats = stats
        self._listener = listener
        self._prove = prove
        self._settle = settle
        self._breaker = Breaker()
        self._is_lost = False  # the listener has been told so
        self._failed_attempts = 0  # in a row
        self._ran_out_at = -1.0  # when a wait last took too long
        self._is_closing = False
        self._wake: asyncio.Future[None] | None = None  # set while the task sleeps
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect. Waits for the first attempt, two seconds at most, and never fails."""
        attempted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = spawn(self._run(attempted), name="limit store")
        await asyncio.shield(attempted)

    async def aclose(self) -> None:
        """End the task. Two seconds at most."""
        self._is_closing = True
        self.wake_up()
        if self._task is not None:
            await asyncio.wait([self._task])  # each of its steps has a timeout; it is never cancelled

    def answered(self, took_s: float, now: float) -> None:
        """A call was answered."""
        if self._calls.is_open:
            self.error = None
        is_late = took_s > longest_wait_s(self.patience_s)
        if self._breaker.is_closed and self._breaker.answered(is_late, now, random()):
            self._stats.breaker_openings += 1
            self._turn_away("most answers come too late")

    def failed(self, reason: str) -> None:
        """A call or a connection failed."""
        self._stats.errors += 1
        self.error = reason
        self._count_failure(reason)
        if not self._link.is_open:
            self.wake_up()

    def ran_out(self) -> None:
        """Requests waited as long as they may."""
        now = monotonic()
        # One stall makes many requests late: it counts once for as long as a wait lasts, or a hiccup would open
        # the breaker.
        if now - self._ran_out_at >= longest_wait_s(self.patience_s) - GRAIN_S:
            self._ran_out_at = now
            self._count_failure(f"no answer within {self.patience_s * 1000:.0f} ms")

    def back_in_s(self, now: float) -> float:
        """Seconds until the store is looked for again, if its breaker is open."""
        return self._breaker.probe_in_s(now)

    @property
    def breaker_state(self) -> str:
        return self._breaker.state(monotonic())

    def wake_up(self) -> None:
        """Look at the connection now."""
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    async def _run(self, attempted: asyncio.Future[None]) -> None:
        await self._recover()
        attempted.set_result(None)
        while not self._is_closing:
            if self._calls.is_open and self._link.is_open:
                await self._sleep(None)
            else:
                await self._sleep(self._pause_s())
                await self._recover()

    async def _recover(self) -> None:
        """Connect if need be, and see that the store decides, writes, and does so in time."""
        if self._is_closing:
            return
        try:
            await self._calls.drain()  # what came too late is still on its way
            if not self._link.is_open:
                await self._link.open()
            await self._prove()
        except StoreLost as lost:
            self._failed_attempts += 1
            self.failed(str(lost))
            self._turn_away(str(lost))
            return
        self._failed_attempts = 0
        self.error = None
        if not self._breaker.is_closed:  # else only a decision clears the failures: a store may accept no other key
            self._breaker.succeeded()
        if self._is_closing:
            return
        if not self._calls.is_open:
            self._calls.is_open = True
            self.since_wall = wall()
        if self._is_lost:
            self._is_lost = False
            self._listener(None)
        self._calls.flush()

    def _count_failure(self, reason: str) -> None:
        was_closed = self._breaker.is_closed
        if self._breaker.failed(monotonic(), random()):
            if was_closed:
                self._stats.breaker_openings += 1
            self._turn_away(reason)

    def _turn_away(self, reason: str) -> None:
        """From now on nobody waits for the store, and those who do stop."""
        self.error = reason
        if self._calls.is_open:
            self.since_wall = wall()
        waiting = self._calls.turn_away()
        if not self._is_lost:
            self._is_lost = True
            self._listener(reason)
        self._settle(waiting)
        self.wake_up()

    def _pause_s(self) -> float:
        """Until the next attempt. The first one after a loss comes at once: most losses are a restart."""
        if not self._breaker.is_closed:
            return self._breaker.probe_in_s(monotonic())
        if not self._failed_attempts:
            return 0.0
        longest_s = min(_SHORTEST_PAUSE_S * 2.0 ** (self._failed_attempts - 1), _LONGEST_PAUSE_S)
        return longest_s * (0.5 + 0.5 * random())

    async def _sleep(self, seconds: float | None) -> None:
        """Until `wake_up`, or that long."""
        if self._is_closing or seconds == 0.0:
            return
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        alarm = None if seconds is None else loop.call_later(seconds, self.wake_up)
        await self._wake
        if alarm is not None:
            alarm.cancel()
