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


class Tally:
    """How often one combination of method, status and reason came."""

    __slots__ = ("count", "method", "reason", "status")

    def __init__(self, method: bytes, status: int, reason: str) -> None:
        self.method = method
        self.status = status
        self.reason = reason
        self.count = 0


class RouteStats:
    """What happened on one route. `stage.record` adds to the slots; everybody else reads."""

    __slots__ = (
        "_tallies",
        "bytes_received",
        "bytes_sent",
        "cache_hits",
        "duration_buckets",
        "duration_s",
        "is_retired",
        "latest",
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
        self._tallies: dict[Outcome, Tally] = {}
        self.latest = Tally(b"", 0, "")  # of the last exchange: most are like the one before
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

    def count(self, method: bytes, status: int, reason: str) -> None:
        """One exchange that is unlike the one before."""
        tally = self._tallies.get((method, status, reason))
        if tally is None:
            tally = self._first(method, status, reason)
        else:
            self.latest = tally
        tally.count += 1

    def _first(self, method: bytes, status: int, reason: str) -> Tally:
        """For a combination that has no tally: a new one, an odd method, or one too many."""
        outcome = (method if method in METHODS else OTHER_METHOD, status, reason)
        if outcome not in self._tallies and not self.registry.admits(self):
            outcome = _OVERFLOW_OUTCOME
            self.overflowed += 1
        tally = self._tallies.get(outcome)
        if tally is None:
            tally = self._tallies[outcome] = Tally(*outcome)
        return tally

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """A copy."""
        return {outcome: tally.count for outcome, tally in self._tallies.items()}

    def took(self, duration_s: float) -> None:
        self.duration_s += duration_s
        self.duration_buckets[bisect_left(DURATION_BOUNDS_S, duration_s)] += 1

    @property
    def outcome_count(self) -> int:
        return len(self._tallies)

    @property
    def requests(self) -> int:
        return sum([tally.count for tally in self._tallies.values()])


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
            self._outcomes -= stats.outcome_count

    def all(self) -> list[RouteStats]:
        return list(self._by_name.values())

    def admits(self, stats: RouteStats) -> bool:
        """Whether there is room for one more outcome of `stats`; takes the room."""
        if self._outcomes >= MAX_OUTCOMES or stats.outcome_count >= MAX_OUTCOMES_PER_ROUTE:
            return False
        if not stats.is_retired:
            self._outcomes += 1
        return True
