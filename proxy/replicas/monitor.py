"""One Postgres cluster, as far as Weir knows it: a primary, its replicas, and who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from proxy.core.clock import monotonic
from proxy.core.dsn import label_of
from proxy.replicas.choice import Choice, Rules, choose, left, why_out
from proxy.replicas.lsn import History, format_lsn
from proxy.replicas.node import Node, Role, Sample, Sight
from proxy.replicas.ring import LsnRing
from proxy.replicas.session import Need
from proxy.replicas.watcher import Watcher

_HURRY_AGAIN_S: Final = 0.005


class Rotation(NamedTuple):
    """All that may answer at the moment, for those who need nothing that one of them lacks."""

    until: float  # monotonic: then the oldest sample is stale
    history: History
    lsn: int  # every one of them has this
    readers: frozenset[Any]  # addresses
    as_of: tuple[History, int]


class Monitor:
    """Watches the servers of one primary DSN. `resolved` hears of sights that know their position now; `began` of the
    first position in a history; `changed` of replicas that leave the rotation or return, and of a primary lost."""

    def __init__(
        self,
        primary: str,
        resolved: Callable[[list[Sight]], None],
        began: Callable[[History, int], None],
        changed: Callable[[Node, str | None], None],
    ) -> None:
        self.primary = Node(label_of(primary), Role.PRIMARY)
        self.label = self.primary.label
        self.replicas: dict[str, Node] = {}  # by DSN
        self.ring = LsnRing()
        self.rules = Rules()  # the strictest of the upstreams that use it: for what is shown
        self.rotations: dict[Any, Rotation] = {}  # by Consistency, until something changes; stage.py fills it
        self._history: History | None = None
        self._resolved = resolved
        self._began = began
        self._changed = changed
        self._watchers: dict[str, Watcher] = {primary: self._watcher(self.primary, primary)}
        self._primary_dsn = primary
        self._waiting: set[asyncio.Future[None]] = set()
        self._told: dict[Node, str | None] = {}

    # -- life --

    def apply(self, replicas: Sequence[str], rules: Rules) -> list[Watcher]:
        """Watch these replicas, by DSN. Gives the watchers of those that are no more, for the caller to stop. Starts
        nothing."""
        self.rules = rules
        self.rotations.clear()
        for dsn in replicas:
            if dsn not in self.replicas:
                node = self.replicas[dsn] = Node(label_of(dsn), Role.STANDBY)
                self._watchers[dsn] = self._watcher(node, dsn)
        gone = self.replicas.keys() - set(replicas)
        dropped = [self._watchers.pop(dsn) for dsn in gone]
        for dsn in gone:
            node = self.replicas.pop(dsn)
            self.primary.adopt(node.lost("not configured any more"))
            self._told.pop(node, None)
        return dropped

    def start(self) -> None:
        """Start all watchers. Once."""
        self.start_new(None)

    def start_new(self, dsns: Iterable[str] | None) -> None:
        """Start the watchers of these servers; None: of all."""
        for dsn in self._watchers if dsns is None else dsns:
            self._watchers[dsn].start()

    async def stop(self) -> None:
        for watcher in self._watchers.values():
            await watcher.stop()
        self._wake()

    # -- for the stage --

    def choose(self, dsns: tuple[str, ...], need: Need, rules: Rules, now: float, waited_s: float = 0.0) -> Choice:
        """See choice.choose; `dsns` are those of the replicas that come into question."""
        nodes = [self.replicas[dsn] for dsn in dsns if dsn in self.replicas]
        return choose(nodes, self.primary, self.ring, need, rules, now, waited_s)

    def left(self, dsns: tuple[str, ...], need: Need, now: float) -> tuple[Node, ...]:
        """See choice.left."""
        nodes = [self.replicas[dsn] for dsn in dsns if dsn in self.replicas]
        return left(nodes, self.primary, self._history, need, now)

    async def news(self, timeout_s: float) -> None:
        """Wait until some server has been asked again, at most `timeout_s`. Has them asked sooner. Needs no task."""
        for watcher in self._watchers.values():
            watcher.hurry()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.add(future)
        timer = loop.call_later(timeout_s, _end, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def capture(self) -> None:
        """The primary's position is wanted soon."""
        self._watchers[self._primary_dsn].hurry()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def asked(self) -> int:
        return sum(watcher.asked for watcher in self._watchers.values())

    # -- what the watchers bring --

    def _watcher(self, node: Node, dsn: str) -> Watcher:
        return Watcher(node, dsn, self._observed, self._lost)

    def _observed(self, node: Node, sample: Sample) -> None:
        self.rotations.clear()
        told = node.observe(sample)
        if node.sample is sample:
            if node is self.primary:
                self._advance(sample)
            elif node.role is Role.STANDBY:
                node.lag = self.ring.lag(sample.flushed, sample.asked_at)
        if told:
            self._resolved(told)
        self._tell(node)
        self._wake()

    def _advance(self, sample: Sample) -> None:
        if sample.role is not Role.PRIMARY:
            return
        if sample.history != self._history:
            self._history = sample.history
            self.ring.clear()
            self._began(sample.history, sample.lsn)
        self.ring.add(sample.asked_at, sample.flushed)

    def _lost(self, node: Node, error: str) -> None:
        self.rotations.clear()
        orphans = node.lost(error)
        if orphans:
            self.primary.adopt(orphans)
            self.capture()
        self._tell(node)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            _end(future)

    def _tell(self, node: Node) -> None:
        """Say what has changed for a server, once."""
        now = monotonic()
        if node is not self.primary and not self.primary.knows(now):
            return  # that is the primary's trouble, and is told as such
        word = self.trouble(node, now)
        if word != self._told.get(node, ""):
            is_first = node not in self._told
            self._told[node] = word
            if word is not None or not is_first:
                self._changed(node, word)

    # -- for people --

    def trouble(self, node: Node, now: float) -> str | None:
        """Why this server is of no use now, or None."""
        if node is self.primary:
            if not node.knows(now):
                return node.error or "it has not answered for a while"
            return None if node.is_as_expected else "it is a standby"
        out = why_out(node, self.primary, self.rules, now)
        if out is None:
            return None
        return f"{out.value}: {node.error}" if node.error else out.value

    def status(self, now: float) -> dict[str, Any]:
        """For /healthz and /v1/replicas."""
        servers = []
        for node in (self.primary, *self.replicas.values()):
            sample = node.sample
            shown: dict[str, Any] = {
                "server": node.label,
                "is": node.expected.value,
                "trouble": self.trouble(node, now),
                "lsn": format_lsn(sample.lsn) if sample is not None else None,
                "timeline": sample.history.timeline if sample is not None else None,
            }
            if node is not self.primary:
                shown["lag_s"] = shown_lag(node)
            servers.append(shown)
        return {"servers": servers, "waiting": len(self._waiting)}

    def is_healthy(self, now: float) -> bool:
        return all(self.trouble(node, now) is None for node in (self.primary, *self.replicas.values()))


def shown_lag(node: Node) -> float | None:
    """In seconds, or None when nobody knows."""
    return node.lag.most_s if node.lag.most_s != float("inf") else None


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
