"""Counts in Redis or Valkey, shared by every worker and every proxy that uses the same store.

One task per worker owns the connection and **group-commits**: what arrives while a call is in flight goes out together
in the next one, so the dearer a round trip is, the more requests share it. A request waits on its own future; the call
itself is never cancelled.

A request without an answer in time is decided by `on_store_error` and never asked again: it may have been charged.
A store that keeps failing is not asked at all until a probe finds it well (breaker.py), and meanwhile nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import random
from typing import Any, Final

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.core.units import Rate
from proxy.limits.breaker import Breaker
from proxy.limits.fallback import decide_without_store
from proxy.limits.group import Question, verdicts
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.redis_link_store import RedisLink, StoreLost
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.store import StoreStats
from proxy.limits.verdict import LOCAL, SHARED, Verdict
from proxy.limits.waiting_line import Ticket, WaitingLine

_LARGEST_GROUP: Final = 128  # keeps one call, which holds up the whole store, near a millisecond at the worst
_SHORTEST_PAUSE_S: Final = 0.05  # between attempts to connect, doubled each time
_LONGEST_PAUSE_S: Final = 1.0

Listener = Callable[[str | None], None]
"""Told when the shared store is lost (why, without secrets) and when it is back (None). Must not wait or raise."""


class RedisStore:
    """Shared counts, and counts of its own for as long as the store is away."""

    is_immediate: bool = False

    def __init__(self, url: str, settings: LimiterSettings, listener: Listener) -> None:
        """Raises ValueError for a URL that is no store's. Nothing is opened before `start`."""
        self.stats = StoreStats()
        self._link = RedisLink(url)
        self._local = MemoryStore(settings.max_keys, self.stats)
        self._patience_s = settings.store_timeout
        self._listener = listener
        self._breaker = Breaker()
        self._line: WaitingLine | None = None
        self._accepts = False  # requests may stand in line
        self._is_lost = False  # the listener has been told so
        self._error: str | None = "not started"
        self._failed_attempts = 0  # to recover, in a row
        self._ran_out_at = -1.0  # when a wait last took too long
        self._is_closing = False
        self._wake: asyncio.Future[None] | None = None  # set while the task sleeps
        self._task: asyncio.Task[None] | None = None

    def decide(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], cost: int, now: float
    ) -> Verdict | Awaitable[Verdict]:
        """A future, or the verdict itself while the store is away. `now` must be the monotonic clock's."""
        line = self._line
        if line is None or not self._accepts:
            return self._without_store(policies, keys, cost, now)
        future = line.add(policies, keys, cost, now)
        if self._wake is not None:
            self._wake_up()
        return future

    def status(self) -> dict[str, Any]:
        """For /healthz."""
        return {
            "mode": SHARED if self._accepts else LOCAL,
            "latency_s": self.stats.latency_s,
            "error": self._error,
            "breaker": self._breaker.state,
        }

    def apply(self, settings: LimiterSettings) -> None:
        """After a reload. A wait that is under way may still last as long as the old settings say."""
        self._patience_s = settings.store_timeout
        self._local.apply(settings)
        if self._line is not None:
            self._line.patience_s = settings.store_timeout

    async def start(self) -> None:
        """Connect. Waits for the first attempt, two seconds at most, and never fails."""
        self._line = WaitingLine(self._patience_s, self._ran_out)
        attempted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = spawn(self._run(self._line, attempted), name="limit store")
        await asyncio.shield(attempted)

    async def aclose(self) -> None:
        """Let the call that is in flight end, decide the rest here, and disconnect. Two seconds at most."""
        self._is_closing = True
        self._accepts = False
        self._wake_up()
        if self._task is not None:
            await asyncio.wait([self._task])  # each of its steps has a timeout; it is never cancelled
        if self._line is not None:
            self._settle(self._line.clear())
            self._line.close()
        await self._link.close()

    # The task that owns the connection.

    async def _run(self, line: WaitingLine, attempted: asyncio.Future[None]) -> None:
        await self._recover(line)
        attempted.set_result(None)
        while not self._is_closing:
            if not self._accepts or not self._link.is_open:
                await self._sleep(self._pause_s())
                await self._recover(line)
            elif line:
                await self._commit(line)
            else:
                await self._sleep(None)

    async def _commit(self, line: WaitingLine) -> None:
        """One round trip for everyone who waits now."""
        if not await self._link.is_quiet():
            return  # the store was restarted while we slept: nothing was sent yet, so connect and go on
        group = line.take(_LARGEST_GROUP)
        if not group:
            return
        sent_at = monotonic()
        try:
            reply = await self._link.evaluate(group)
        except StoreLost as lost:
            line.landed()
            self._settle([ticket for ticket in group if not ticket.future.done()])
            self._failed(line, str(lost))
            return
        line.landed()
        stats = self.stats
        took_s = stats.latency_s = monotonic() - sent_at
        stats.latency_sum_s += took_s
        stats.calls += 1
        if took_s <= self._patience_s and self._breaker.is_closed:  # a late answer is no success
            self._breaker.succeeded()
        for ticket, verdict in zip(group, verdicts(group, reply), strict=True):
            future = ticket.future
            if not future.done():
                future.set_result(verdict)
                stats.requests += 1

    async def _recover(self, line: WaitingLine) -> None:
        """Connect if need be, and see that the store decides, writes, and does so in time."""
        if self._is_closing:
            return
        try:
            if not self._link.is_open:
                await self._link.open()
                await self._link.evaluate(_PROBE)  # also has the store compile the script
            asked_at = monotonic()
            await self._link.evaluate(_PROBE)
            if monotonic() - asked_at > self._patience_s:
                raise StoreLost("the store answers, but too late")
        except StoreLost as lost:
            self._failed_attempts += 1
            self._failed(line, str(lost))
            self._turn_away(line, str(lost))
            return
        self._failed_attempts = 0
        self._error = None
        if not self._breaker.is_closed:  # else only a decision clears the failures: a store may accept no other key
            self._breaker.succeeded()
        self._accepts = not self._is_closing
        if self._is_lost:
            self._is_lost = False
            self._listener(None)

    def _pause_s(self) -> float:
        """Until the next attempt. The first one after a loss comes at once: most losses are a restart."""
        if not self._breaker.is_closed:
            return self._breaker.probe_in_s(monotonic())
        if not self._failed_attempts:
            return 0.0
        longest_s = min(_SHORTEST_PAUSE_S * 2.0 ** (self._failed_attempts - 1), _LONGEST_PAUSE_S)
        return longest_s * (0.5 + 0.5 * random())

    async def _sleep(self, seconds: float | None) -> None:
        """Until `_wake_up`, or that long."""
        if self._is_closing or seconds == 0.0:
            return
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        alarm = None if seconds is None else loop.call_later(seconds, self._wake_up)
        await self._wake
        if alarm is not None:
            alarm.cancel()

    def _wake_up(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    # Failures.

    def _failed(self, line: WaitingLine, reason: str) -> None:
        """A call or a connection failed."""
        self.stats.errors += 1
        self._error = reason
        self._count_failure(line, reason)

    def _ran_out(self, tickets: list[Ticket]) -> None:
        """Requests waited as long as they may."""
        self.stats.timeouts += len(tickets)
        self._settle(tickets)
        now = monotonic()
        # One stall makes many requests late: it counts once for as long as a wait lasts, or a hiccup would open
        # the breaker.
        if self._line is not None and now - self._ran_out_at >= self._patience_s:
            self._ran_out_at = now
            self._count_failure(self._line, f"no answer within {self._patience_s * 1000:.0f} ms")

    def _count_failure(self, line: WaitingLine, reason: str) -> None:
        was_closed = self._breaker.is_closed
        if self._breaker.failed(monotonic(), random()):
            if was_closed:
                self.stats.breaker_openings += 1
            self._turn_away(line, reason)

    def _turn_away(self, line: WaitingLine, reason: str) -> None:
        """From now on nobody waits for the store, and those who do stop."""
        self._error = reason
        self._accepts = False
        if not self._is_lost:
            self._is_lost = True
            self._listener(reason)
        self._settle(line.clear())

    def _settle(self, tickets: list[Ticket]) -> None:
        """Decide here for those who got no answer."""
        now = monotonic()
        for ticket in tickets:
            ticket.future.set_result(self._without_store(ticket.policies, ticket.keys, ticket.cost, now))

    def _without_store(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], cost: int, now: float
    ) -> Verdict:
        self.stats.degraded += 1
        return decide_without_store(self._local, policies, keys, cost, now, self._breaker.probe_in_s(now))


_PROBE_POLICY: Final = compile_limit(
    "weir-probe", LimitSettings.model_validate({"rate": Rate(1_000_000, 1.0), "by": "global"}), ""
)
_PROBE: Final = [Question((_PROBE_POLICY,), (_PROBE_POLICY.prefix,), 1)]
