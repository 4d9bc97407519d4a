"""Replicas: owns the monitors, the sessions and what was learned about routes. One per process; outlives reloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from secrets import token_bytes
from typing import Any, Final, NamedTuple

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.replicas.choice import Rules
from proxy.replicas.consistency import Consistency
from proxy.replicas.lessons import Lessons
from proxy.replicas.lsn import History
from proxy.replicas.monitor import Monitor, shown_lag
from proxy.replicas.node import Node, Sight
from proxy.replicas.session import Sessions
from proxy.replicas.sessions_store import SessionsStore

WORDS: Final = (
    *("replica", "waited", "unknown", "lagging", "behind", "history", "ahead", "pinned"),
    *("route", "store", "replayed", "refused", "last_resort"),
)


class ServerNumbers(NamedTuple):
    """Of a replica, for metrics."""

    label: str
    is_in_rotation: bool
    lag_s: float | None


class DatabaseNumbers(NamedTuple):
    """Of a primary and its replicas."""

    label: str
    is_known: bool
    asked: int
    replicas: list[ServerNumbers]


class Counts:
    """Of one upstream: reads by what became of them (WORDS; definitions.py says what each means), and writes."""

    __slots__ = ("captured", "falling_back", "reads", "uncaptured", "writes")

    def __init__(self) -> None:
        self.reads = dict.fromkeys(WORDS, 0)
        self.writes = 0
        self.captured = 0  # responses that waited for their position, and got it
        self.uncaptured = 0  # and those that did not
        self.falling_back = 0  # reads at the primary now that no replica could answer

    def positions(self) -> dict[str, int]:
        return {"known": self.captured, "unknown": self.uncaptured}


class Replicas:
    """`changed(server, is_primary, why)` hears of servers that leave the rotation or return (`why` is None)."""

    def __init__(
        self,
        changed: Callable[[str, bool, str | None], None],
        url: str = "memory",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`url`: of the store that all Weirs share (sessions_store.py), or "memory" where this one is alone."""
        self.clock = clock
        self.began_at = clock()
        self.lessons = Lessons()
        self.monitors: dict[str, Monitor] = {}  # by DSN of the primary
        self.sessions: dict[str, Sessions] = {}  # by source
        self.counts: dict[str, Counts] = {}  # by upstream
        self.store: SessionsStore | None = None
        self._url = url
        self._changed = changed
        self._secret = token_bytes(32)
        self._is_started = False

    @property
    def secret(self) -> bytes | None:
        """What cookies are signed with; None while only the store knows, and it is away."""
        return self._secret if self.store is None else self.store.secret

    def counts_of(self, upstream: str) -> Counts:
        """Its counters; of an upstream that a reload has dropped, some that nobody reads."""
        return self.counts.get(upstream) or Counts()

    # -- life --

    async def start(self) -> None:
        """Begin to watch. Waits for the shared store's first answer, a second at most; never fails."""
        self._is_started = True
        if self.store is not None:
            await self.store.start()
        for monitor in self.monitors.values():
            monitor.start()

    async def stop(self) -> None:
        self._is_started = False
        for monitor in self.monitors.values():
            await monitor.stop()
        if self.store is not None:
            await self.store.aclose()

    def apply(self, consistencies: Iterable[Consistency]) -> None:
        """Make these the ones in force. What stays keeps its servers, its sessions and what they know."""
        every = list(consistencies)
        now = self.clock()
        for consistency in every:
            self.counts.setdefault(consistency.upstream, Counts())
            sessions = self.sessions.get(consistency.source)
            if sessions is None:
                self.sessions[consistency.source] = sessions = Sessions(consistency.ttl_s)
            sessions.ttl_s = max(other.ttl_s for other in every if other.source == consistency.source)
        for gone in self.sessions.keys() - {consistency.source for consistency in every}:
            del self.sessions[gone]
        for gone in self.counts.keys() - {consistency.upstream for consistency in every}:
            del self.counts[gone]
        self._watch(every, now)
        if every and self._url != "memory":
            longest_s = max(consistency.ttl_s for consistency in every)
            if self.store is None:
                self.store = SessionsStore(self._url, longest_s, self._lost_all, self.clock)
                if self._is_started:
                    spawn(self.store.start(), name="sessions start")
            self.store.ttl_s = longest_s

    def _watch(self, every: list[Consistency], now: float) -> None:
        wanted: dict[str, list[Consistency]] = {}
        for consistency in every:
            if consistency.primary is not None:
                wanted.setdefault(consistency.primary, []).append(consistency)
        for dsn in self.monitors.keys() - wanted.keys():
            self._let_go(self.monitors.pop(dsn).stop)
        for dsn, users in wanted.items():
            monitor = self.monitors.get(dsn)
            is_new = monitor is None
            if monitor is None:
                source = users[0].source
                monitor = self.monitors[dsn] = Monitor(
                    dsn, self._resolved, partial(self._began, source), partial(self._server_changed, dsn)
                )
            servers = list(dict.fromkeys(server for user in users for server in user.databases.values()))
            rules = Rules(min(user.rules.max_lag_s for user in users), min(user.rules.wait_s for user in users))
            before = set(monitor.replicas)
            for watcher in monitor.apply(servers, rules):
                self._let_go(watcher.stop)
            if self._is_started:
                monitor.start_new(None if is_new else set(servers) - before)

    def _let_go(self, stop: Callable[[], Any]) -> None:
        if self._is_started:
            spawn(stop(), name="let go of a database")

    # -- what the monitors and the store say --

    def _resolved(self, sights: list[Sight]) -> None:
        """Positions are known: the other Weirs shall know them too."""
        if self.store is None:
            return
        for sight in sights:
            scope = sight.owner
            if scope is not None and sight.history is not None:
                wrote = sight.lsn if sight.is_write else 0
                self.store.merge(scope, sight.history, wrote, sight.lsn, closes=sight.closes)

    def _began(self, source: str, history: History, lsn: int) -> None:
        """The first position in this history: whatever was written before, and by whom this Weir does not know, lies
        before it."""
        if source in self.sessions:
            self.sessions[source].begin(self.clock(), history, lsn)

    def _lost_all(self) -> None:
        """The shared store knows nothing of what was written before."""
        now = self.clock()
        for monitor in self.monitors.values():
            for sessions in self._sessions_of(monitor):
                sessions.see(monitor.primary, now)
            monitor.capture()

    def _sessions_of(self, monitor: Monitor) -> Iterator[Sessions]:
        yield from (sessions for source, sessions in self.sessions.items() if source == f"database {monitor.label}")

    def _server_changed(self, dsn: str, node: Node, word: str | None) -> None:
        monitor = self.monitors.get(dsn)
        if monitor is not None:
            self._changed(node.label, node is monitor.primary, word)

    # -- for people --

    def databases(self) -> list[DatabaseNumbers]:
        now = self.clock()
        return [
            DatabaseNumbers(
                monitor.label,
                monitor.trouble(monitor.primary, now) is None,
                monitor.asked,
                [
                    ServerNumbers(node.label, monitor.trouble(node, now) is None, shown_lag(node))
                    for node in monitor.replicas.values()
                ],
            )
            for monitor in self.monitors.values()
        ]

    def pinned_routes(self) -> int:
        return self.lessons.pinned(self.clock())

    def status(self) -> dict[str, Any]:
        """By primary server; for /healthz and /v1/replicas."""
        now = self.clock()
        return {
            f"database {monitor.label}": {"healthy": monitor.is_healthy(now), **monitor.status(now)}
            for monitor in self.monitors.values()
        }

    def store_status(self) -> dict[str, Any] | None:
        store = self.store
        return None if store is None else {"shared": True, "error": store.error, "calls": store.calls}
