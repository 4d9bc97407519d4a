"""Precomputer: has everything that is fetched ahead fetched, in its time, and knows how that went.

One timer for all. At most AT_ONCE runs are under way, none while its pool is busy (for a while), and one target never
twice at a time. Whoever provides `has_room` knows the pools. No task: a run is carried by what it waits for
(core/tasks.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import random
from typing import TYPE_CHECKING, Any, Final

from proxy.cache.precompute.run import Outcome, PrecomputeRun
from proxy.cache.precompute.schedule import Schedule, Step
from proxy.cache.precompute.target import Numbers, Precompute, Target
from proxy.cache.reuse import select
from proxy.core.clock import monotonic, wall
from proxy.exchange import Exchange

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.purges.purge import Purge
    from proxy.cache.tags import Tags
    from proxy.snapshot import Snapshot

AT_ONCE: Final = 4  # runs under way; the others wait for their turn


class Ahead:
    """A target that is alive: its schedule, and what its runs brought. Counters go on over a reload."""

    __slots__ = (
        "bytes",
        "failed_runs",
        "last_error",
        "last_good_at",
        "last_run_wall",
        "last_status",
        "numbers",
        "overtaken",
        "precompute",
        "run",
        "runs",
        "schedule",
        "skipped",
        "started_at",
        "tags",
        "target",
        "took_s",
        "vary",
        "yielded",
    )

    def __init__(self, precompute: Precompute, target: Target, schedule: Schedule) -> None:
        self.precompute = precompute
        self.target = target
        self.schedule = schedule
        self.run: PrecomputeRun | None = None
        self.runs = 0  # that are over
        self.failed_runs = 0  # of them
        self.overtaken = 0  # of them: neither good nor failed
        self.skipped = 0  # because the one before went on
        self.yielded = 0  # put off because the pool was busy
        self.started_at = 0.0  # monotonic: of the last run, or of the one under way
        self.last_run_wall: float | None = None  # when that was
        self.last_good_at: float | None = None  # monotonic: end of the last success
        self.took_s: float | None = None  # the last one that is over
        self.last_status: int | None = None
        self.last_error = ""  # empty after a success
        self.bytes = 0  # of content, in the last one
        self.tags: Tags = precompute.numbers.tags  # of what was stored last, and those that it will have
        self.vary: tuple[bytes, ...] = ()

    @property
    def is_failing(self) -> bool:
        return self.schedule.failures > 0


class Precomputer:
    """One per process. `apply` before `start`, and after every reload."""

    def __init__(
        self,
        cache: Cache,
        *,
        snapshot: Callable[[], Snapshot],
        peer: Any,
        next_id: Callable[[], bytes],
        has_room: Callable[[str], bool],
        told: Callable[[Ahead, str], None],
    ) -> None:
        """`peer`: the clients.client.Client that the backend sees; `has_room(upstream)`: a run would take nobody's
        place; `told(ahead, error)`: it began to fail, or with no error: it is good again."""
        self._cache = cache
        self._snapshot = snapshot
        self._peer = peer
        self._next_id = next_id
        self._has_room = has_room
        self._told = told
        self._alive: dict[bytes, Ahead] = {}
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_started = False
        cache.ended = self._ended

    # -- life --

    def start(self) -> None:
        """Begin to keep the schedules. Needs the running loop."""
        self._is_started = True
        self._wind()

    def stop(self) -> None:
        """No run begins any more, and those under way are given up."""
        self._is_started = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for ahead in self._alive.values():
            self._give_up(ahead)

    def apply(self, precomputes: Iterable[Precompute], now: float) -> None:
        """Take over the configuration: what stays as it was keeps its schedule, and what is gone is stopped."""
        before, self._alive = self._alive, {}
        for precompute in precomputes:
            for target in precompute.targets:
                self._alive[target.key] = self._keep_or_create(before.pop(target.key, None), precompute, target, now)
        for ahead in before.values():
            self._give_up(ahead)
        if self._is_started:
            self._wind()

    def _keep_or_create(self, old: Ahead | None, precompute: Precompute, target: Target, now: float) -> Ahead:
        if old is not None and old.precompute.name == precompute.name:
            is_same = old.precompute.numbers == precompute.numbers and old.target == target
            old.precompute, old.target = precompute, target
            if not is_same:
                self._give_up(old)
                old.schedule = self._schedule(precompute.numbers, now)
                old.tags = precompute.numbers.tags
            return old
        if old is not None:
            self._give_up(old)
        return Ahead(precompute, target, self._schedule(precompute.numbers, now))

    @staticmethod
    def _schedule(numbers: Numbers, now: float) -> Schedule:
        return Schedule(numbers.every_s, numbers.jitter, now, random())

    def _give_up(self, ahead: Ahead) -> None:
        run, ahead.run = ahead.run, None
        if run is not None:
            self._running -= 1
            ahead.schedule.is_running = False
            run.stop()

    # -- for the operator, and for metrics --

    @property
    def groups(self) -> Mapping[str, Sequence[Ahead]]:
        """By name of the route, in the order of the configuration."""
        found: dict[str, list[Ahead]] = {}
        for ahead in self._alive.values():
            found.setdefault(ahead.precompute.name, []).append(ahead)
        return found

    def order(self, name: str) -> int:
        """Have all of `name` fetched now. Gives how many runs were under way already, which it joins then."""
        now = monotonic()
        joined = sum([not ahead.schedule.order(now) for ahead in self.groups.get(name, ())])
        self._tick()
        return joined

    def numbers(self) -> Iterator[tuple[str, dict[str, int], float | None]]:
        """(name, counters, seconds since the oldest of its responses was renewed; None while one never was)."""
        now = monotonic()
        for name, every in self.groups.items():
            counts = {
                "good": sum([ahead.runs - ahead.failed_runs - ahead.overtaken for ahead in every]),
                "failed": sum([ahead.failed_runs for ahead in every]),
                "overtaken": sum([ahead.overtaken for ahead in every]),
                "skipped": sum([ahead.skipped for ahead in every]),
            }
            good_at = [ahead.last_good_at for ahead in every if ahead.last_good_at is not None]
            yield name, counts, now - min(good_at) if len(good_at) == len(every) else None

    def status(self) -> dict[str, Any]:
        """For /healthz: how many there are, and what is wrong with those that fail."""
        failing = {
            name: next(ahead.last_error for ahead in every if ahead.is_failing)
            for name, every in self.groups.items()
            if any(ahead.is_failing for ahead in every)
        }
        return {"state": "degraded" if failing else "ok", "targets": len(self._alive), "failing": failing}

    # -- private --

    def _ended(self, purge: Purge) -> None:
        """A purge or a write ends what is stored (cache.py)."""
        alive = self._alive
        if not alive:
            return
        if purge.kind == "url":
            ahead = alive.get(purge.value)
            found = [] if ahead is None else [ahead]
        else:
            found = [ahead for key, ahead in alive.items() if purge.covers(key, ahead.tags)]
        if found:
            now = monotonic()
            for ahead in found:
                ahead.schedule.want(now)
            self._wind()

    def _wind(self) -> None:
        """Set the timer for what comes next."""
        if not self._is_started:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._alive:
            due_at = min([ahead.schedule.due_at for ahead in self._alive.values()])
            delay_s = max(due_at - monotonic(), 0.0)
            if delay_s <= 0.0 and self._running >= AT_ONCE:
                return  # the end of a run winds it again
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        if not self._is_started:
            return
        now = monotonic()
        for ahead in sorted(self._alive.values(), key=_due_at):
            step = ahead.schedule.step(now, random())
            if step is Step.SKIPPED:
                ahead.skipped += 1
            elif step is Step.RUN and self._running < AT_ONCE:
                self._begin(ahead, now)
        self._wind()

    def _begin(self, ahead: Ahead, now: float) -> None:
        schedule = ahead.schedule
        if schedule.wanted_at is not None and self._is_brought(ahead, schedule.wanted_at, now):
            return
        route = ahead.precompute.route
        if not self._has_room(route.upstream.name) and schedule.give_way(now):
            ahead.yielded += 1
            return
        schedule.begin(now, random())
        ahead.started_at, ahead.last_run_wall = now, wall()
        self._running += 1
        precompute, target = ahead.precompute, ahead.target
        request = target.request(precompute.name, precompute.numbers.fields)
        exchange = Exchange(request, self._snapshot(), None, self._peer, False, self._next_id(), now)
        exchange.route = route
        exchange.params = precompute.params[target.key]
        ahead.run = run = PrecomputeRun(
            self._cache, precompute, target, exchange, lambda outcome: self._end(ahead, run, outcome)
        )
        run.start(precompute.patience_s)

    def _is_brought(self, ahead: Ahead, wanted_at: float, now: float) -> bool:
        """A client has asked since, and what it got is good; or it is coming."""
        cache, key = self._cache, ahead.target.key
        index = ahead.target.request(ahead.precompute.name, ahead.precompute.numbers.fields).index
        shelf = cache.store.shelves.get(key)
        entry = select(shelf, index) if shelf is not None else None
        # what was asked for before a purge is not stored; and a Date has whole seconds
        if entry is not None and entry.born_at > wanted_at - 1.0 and now - entry.born_at < entry.fresh_s:
            if ahead.precompute.policy.is_fetched_ahead(entry.status):
                was_failing = ahead.is_failing
                ahead.schedule.satisfied(now, random())
                ahead.last_error = ""
                if was_failing:
                    self._told(ahead, "")
                return True
        elif cache.flights.find(key, index) is not None and now - wanted_at < ahead.precompute.numbers.timeout_s:
            ahead.schedule.wait_for_others(now)
            return True
        return False

    def _end(self, ahead: Ahead, run: PrecomputeRun, outcome: Outcome) -> None:
        if ahead.run is not run:
            return  # given up meanwhile
        now = monotonic()
        ahead.run = None
        self._running -= 1
        ahead.runs += 1
        ahead.took_s = now - ahead.started_at
        ahead.last_status, ahead.bytes = outcome.status, outcome.bytes
        failures = ahead.schedule.failures
        ahead.schedule.end(now, is_good=not outcome.error, draw=random())
        if not outcome.error:
            ahead.last_good_at = now
            ahead.tags = tuple({*ahead.precompute.numbers.tags, *outcome.tags})
            ahead.vary = outcome.vary
        elif ahead.schedule.failures > failures:
            ahead.failed_runs += 1
        else:
            ahead.overtaken += 1
        ahead.last_error = outcome.error
        if ahead.is_failing != (failures > 0):
            self._told(ahead, outcome.error)
        self._wind()


def _due_at(ahead: Ahead) -> float:
    return ahead.schedule.due_at
