"""How much an upstream can have at once, from how long it takes: no clock and no sockets, values and `now` come in.

A backend that works within its means takes the same time for each request; beyond them each takes longer, and no more
get done. So the 90th percentile of what was answered in the last 100 ms is compared with what it is usually: where it
is higher than `tolerance` times that, the limit falls in proportion, and it always gets the square root of itself on
top, as room to find out whether there is more (Gradient2 of Netflix' concurrency-limits). What is usual is a mean over
a minute, and under constant load, where everything that is seen is late, it is measured (`adaptive_measure.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt
from typing import Any, Final

from proxy.upstreams.adaptive_measure import Measure
from proxy.upstreams.adaptive_window import Window

__all__ = ["Adaptive", "AdaptiveRules", "next_limit", "next_usual"]

USUAL_S: Final = 60.0  # the mean of what is usual is over about this long
SMOOTHING: Final = 0.2  # of the way to where a window points: one odd window moves little
CUT: Final = 0.9  # after a window with a timeout
HALF: Final = 0.5  # after a reading in which the database kept clients waiting; also the most that a window takes away
_LATE_WEIGHT: Final = 0.1  # of a late window in what is usual: else a constant overload would become what is usual
_FAR_ABOVE: Final = 2.0  # what is usual, over what is seen: the backend is quicker than it was
_SINKS: Final = 0.95  # then, with each window
_OWN: Final = 3.0  # times our own lateness: an answer may have lain here for that long, and then nothing is known
_FIRST_S: Final = 1.0  # of load, before the first measurement: new connections and the first answers tell little
_LOWEST_S: Final = 5.0  # at the least limit it is measured again: that costs nothing there, and it may just be slower
_UNBOUNDED: Final = 1 << 30
_AGAIN_SOON: Final = 0.1  # of the time between two measurements, after one that came to nothing


@dataclass(frozen=True, slots=True)
class AdaptiveRules:
    """Of one upstream."""

    enforces: bool  # False: what would be held back is counted only
    least: int = 8  # the limit never falls below, not even to measure
    tolerance: float = 1.5  # how many times as long as usual is not late yet
    measure_s: float = 60.0  # under constant load, what is usual is measured this often


def next_usual(usual_s: float, p90_s: float, elapsed_s: float, is_late: bool) -> float:
    """What is usual after a window of `elapsed_s` with this 90th percentile. A late window counts a tenth, and one that
    is far below takes it down fast: that a backend can be so quick is proved by one."""
    weight = 1.0 - exp(-elapsed_s * (_LATE_WEIGHT if is_late else 1.0) / USUAL_S)
    usual_s += weight * (p90_s - usual_s)
    return usual_s * _SINKS if usual_s > _FAR_ABOVE * p90_s else usual_s


def next_limit(limit: float, in_use: int, p90_s: float, usual_s: float, tolerance: float) -> float:
    """The limit after a window in which it was used, without bounds. `in_use` may be more than the limit, where that
    is not enforced: what is too much is then a part of what is there."""
    part = min(1.0, tolerance * usual_s / p90_s) if p90_s > 0.0 else 1.0
    target = limit if part >= 1.0 else max(limit, float(in_use)) * part
    target = max(target + sqrt(limit), limit * HALF)
    return limit + SMOOTHING * (min(target, limit + sqrt(limit)) - limit)


class Adaptive:
    """The limit of one upstream, alive. `took` and `timed_out` are told of every attempt; `tick` does the rest."""

    __slots__ = (
        "_measure",
        "_measure_at",
        "_most",
        "_since_least",
        "_window",
        "cuts",
        "held_back",
        "is_database_late",
        "limit",
        "measured",
        "p90_s",
        "rules",
        "usual_s",
    )

    def __init__(self, rules: AdaptiveRules) -> None:
        self.rules = rules
        self.limit = float(_UNBOUNDED)  # all slots, until something is known
        self.p90_s: float | None = None  # of the last window
        self.usual_s: float | None = None
        self.is_database_late = False
        # counters, for metrics
        self.held_back = 0  # requests that found the limit reached, and slots beyond it
        self.cuts = {"latency": 0, "timeout": 0, "database": 0}
        self.measured = 0
        self._window = Window()
        self._measure: Measure | None = None  # while one is under way
        self._measure_at: float | None = None  # not before; None: there was no load yet
        self._most = _UNBOUNDED  # slots, at the last tick
        self._since_least: float | None = None

    # -- what exchanges tell --

    def took(self, latency_s: float, now: float) -> None:
        """An answer came, so long after its request was sent."""
        if self._measure is not None:
            self._measure.took(latency_s, now)
        else:
            self._window.took(latency_s)

    def timed_out(self) -> None:
        """No answer came, or no connection, within the time for it."""
        self._window.timeouts += 1

    def asked(self, in_use: int) -> None:
        """A request wants a slot, while so many are in use."""
        if self._most > self.bound <= in_use:
            self.held_back += 1

    # -- what time and the database tell --

    def tick(self, in_use: int, most: int, now: float, late_s: float = 0.0) -> None:
        """Move on; `most` are the slots that the configuration gives. Call it some twenty times a second.

        `late_s`: by how much this call is late. A process that is late itself finds every answer late, and gives a
        backend that is well less and less: such times are not judged.
        """
        self._most = most
        self._keep_in_bounds()
        self._window.sees(in_use, now, late_s)
        measure = self._measure
        if self._window.timeouts or (measure is not None and _OWN * late_s >= measure.before_s):
            self._measure = None  # no time for that
        if self._measure is not None:
            self._go_on_measuring(self._measure, in_use, now)
        elif self._window.is_over(now):
            self._take_window(now)
            self._window.open(now)
        self._keep_in_bounds()
        if not self.is_least:
            self._since_least = None
        elif self._since_least is None:
            self._since_least = now

    def database_said(self, is_late: bool) -> None:
        """A reading of its pooler: whether clients wait too long for a connection to it. If so half of the limit is
        gone, and it does not grow until a reading is better."""
        self.is_database_late = is_late
        if is_late:
            self.cuts["database"] += 1
            self.limit *= HALF
            self._keep_in_bounds()
            self._measure = None

    def take_rules(self, rules: AdaptiveRules) -> None:
        """The configuration has changed; what is known stays."""
        self.rules = rules
        if not rules.enforces:
            self._measure = None
        self._keep_in_bounds()

    # -- numbers --

    @property
    def bound(self) -> int:
        """What may be in use now, never more than there are slots."""
        measure = self._measure
        limit = self.limit if measure is None else measure.level
        return min(int(limit), self._most)

    @property
    def is_measuring(self) -> bool:
        return self._measure is not None

    @property
    def is_least(self) -> bool:
        """The limit is as low as it can be, and lower than it need be."""
        return self.limit <= self.rules.least < self._most

    def status(self) -> dict[str, Any]:
        """For the operator. Durations are seconds; counters are since the start."""
        return {
            "mode": "enforce" if self.rules.enforces else "observe",
            "limit": self.bound,
            "least": self.rules.least,
            "held_back": self.held_back,
            "p90_s": None if self.p90_s is None else round(self.p90_s, 6),
            "usual_s": None if self.usual_s is None else round(self.usual_s, 6),
            "measuring": self.is_measuring,
            "measured": self.measured,
            "database_late": self.is_database_late,
            "cuts": dict(self.cuts),
        }

    # -- windows --

    def _take_window(self, now: float) -> None:
        window, rules, p90_s = self._window, self.rules, self._window.p90_s
        if window.timeouts:
            self.limit *= CUT
            self.cuts["timeout"] += 1
        if p90_s is None:
            return
        self.p90_s = p90_s
        if _OWN * window.late_s >= p90_s:
            return
        is_used = 2 * window.most_in_use >= self.limit
        usual_s = p90_s if self.usual_s is None else self.usual_s
        if is_used and not window.timeouts:
            limit = next_limit(self.limit, window.most_in_use, p90_s, usual_s, rules.tolerance)
            if limit < self.limit:
                self.cuts["latency"] += 1
            if limit < self.limit or not self.is_database_late:
                self.limit = limit
        is_late = is_used and p90_s > rules.tolerance * usual_s
        self.usual_s = next_usual(usual_s, p90_s, window.elapsed_s(now), is_late)
        if not is_used:
            self._measure_at = now + rules.measure_s  # what is seen under a light load is what is usual
        elif self._measure_at is None:
            self._measure_at = now + _FIRST_S
        elif rules.enforces and (now >= self._measure_at or self._is_lowest_for_long(now, is_late)):
            self._measure = Measure(self.limit, min(rules.least, self._most), p90_s, now)

    def _is_lowest_for_long(self, now: float, is_late: bool) -> bool:
        return is_late and self._since_least is not None and now - self._since_least >= _LOWEST_S

    def _go_on_measuring(self, measure: Measure, in_use: int, now: float) -> None:
        if not measure.tick(in_use, now):
            return
        self._measure = self._since_least = None
        if measure.usual_s is None:
            self._measure_at = now + _AGAIN_SOON * self.rules.measure_s
        else:
            self.measured += 1
            self.usual_s = measure.usual_s
            self.limit = min(self.limit, measure.limit)
            self._measure_at = now + self.rules.measure_s
        self._window.open(now)

    def _keep_in_bounds(self) -> None:
        self.limit = max(min(self.limit, self._most), min(self.rules.least, self._most))
