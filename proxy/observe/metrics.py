"""Counters of the hot path: plain slots, one set per route, read only when somebody scrapes.

A labelled counter of a metrics library costs about 1.3 us a touch; a slot costs 25 ns. So `stage.record` writes these
slots, and `collector` turns them into metric families at scrape time.

Labels are bounded whatever clients send: methods outside a fixed set count as OTHER, and combinations past a cap are
counted together under `_other`. Nothing here is ever keyed by an address, a user or a path.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

DURATION_BOUNDS_S: Final[tuple[float, ...]] = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the duration histograms, inclusive. One more bucket counts what is longer."""

METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
OTHER_METHOD: Final = b"OTHER"
NO_REASON: Final = "-"
NO_ROUTE: Final = "-"
OVERFLOW: Final = "_other"

MAX_ROUTES: Final = 500
MAX_OUTCOMES: Final = 5000  # (route, method, status, reason) combinations in one worker
MAX_OUTCOMES_PER_ROUTE: Final = 100  # so that one odd backend cannot use up everybody's share

Outcome = tuple[bytes, int, str]
"""(method, status, reason); the overflow outcome has status 0."""

_OVERFLOW_OUTCOME: Final[Outcome] = (OVERFLOW.encode(), 0, OVERFLOW)


class RouteStats:
    """What happened on one route. `stage.record` adds to the slots; everybody else reads."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "cache_hits",
        "duration_buckets",
        "duration_s",
        "is_retired",
        "outcomes",
        "overflowed",
        "queue_s",
        "queued",
        "registry",
        "retries",
        "route",
        "upstream_buckets",
        "upstream_s",
    )

    def __init__(self, route: str, registry: StatsRegistry) -> None:
        self.route = route
        self.registry = registry
        self.is_retired = False  # no configuration has the route any more
        self.outcomes: dict[Outcome, int] = {}
        self.overflowed = 0  # requests whose own combination was not admitted
        self.duration_buckets = [0] * (len(DURATION_BOUNDS_S) + 1)
        self.duration_s = 0.0
        self.upstream_buckets = [0] * (len(DURATION_BOUNDS_S) + 1)  # only requests that reached an endpoint
        self.upstream_s = 0.0
        self.queued = 0  # requests that waited for a slot
        self.queue_s = 0.0
        self.retries = 0
        self.cache_hits = 0
        self.bytes_received = 0  # content bytes from clients
        self.bytes_sent = 0  # content bytes to clients

    def first(self, method: bytes, status: int, reason: str) -> None:
        """Count a combination that `outcomes` does not have: a new one, an odd method, or one too many."""
        outcome = (method if method in METHODS else OTHER_METHOD, status, reason)
        if outcome not in self.outcomes and not self.registry.admits(self):
            outcome = _OVERFLOW_OUTCOME
            self.overflowed += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def took(self, duration_s: float) -> None:
        self.duration_s += duration_s
        self.duration_buckets[bisect_left(DURATION_BOUNDS_S, duration_s)] += 1

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values())


class StatsRegistry:
    """Every route's stats, by route name: a reload keeps the numbers of routes that keep their name."""

    __slots__ = ("_by_name", "_outcomes", "unmatched")

    def __init__(self) -> None:
        self._by_name: dict[str, RouteStats] = {}
        self._outcomes = 0
        self.unmatched = self.for_route(NO_ROUTE)  # requests that ended before a route was found

    def for_route(self, name: str) -> RouteStats:
        """The stats to attach to the route `name`. Past MAX_ROUTES names, all further ones share `_other`."""
        stats = self._by_name.get(name)
        if stats is None:
            if len(self._by_name) >= MAX_ROUTES:
                name = OVERFLOW
            stats = self._by_name.setdefault(name, RouteStats(name, self))
        return stats

    def retain(self, names: set[str]) -> None:
        """Forget routes that no configuration has any more. Exchanges under way may still write to what is dropped."""
        for name in [name for name in self._by_name if name not in names and name not in (NO_ROUTE, OVERFLOW)]:
            stats = self._by_name.pop(name)
            stats.is_retired = True
            self._outcomes -= len(stats.outcomes)

    def all(self) -> list[RouteStats]:
        return list(self._by_name.values())

    def admits(self, stats: RouteStats) -> bool:
        """Whether there is room for one more outcome of `stats`; takes the room."""
        if self._outcomes >= MAX_OUTCOMES or len(stats.outcomes) >= MAX_OUTCOMES_PER_ROUTE:
            return False
        if not stats.is_retired:
            self._outcomes += 1
        return True
