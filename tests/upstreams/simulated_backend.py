"""A backend on virtual time: up to its knee it takes the same time for each request, beyond it the longer the more."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.upstreams.adaptive import Adaptive, AdaptiveRules

TICK_S = 0.05
Curve = Callable[[float], float]


def always(value: float) -> Curve:
    return lambda now: value


@dataclass
class Backend:
    """Clients, as many as `clients` says at each moment, ask again as soon as they are answered. `shape` 1 shares its
    time among those who are there; above that it gets less done the more there are."""

    adaptive: Adaptive
    slots: int = 64
    clients: Curve = field(default_factory=lambda: always(200.0))
    base_s: Curve = field(default_factory=lambda: always(0.05))
    knee: Curve = field(default_factory=lambda: always(1e9))
    shape: float = 1.0
    noise: float = 0.0  # sigma of a lognormal factor
    seed: int = 1

    def __post_init__(self) -> None:
        self.now = 0.0
        self.in_use = self.most_in_use = self.done = 0
        self.limits: list[tuple[float, float]] = []
        self.bounds: list[int] = []
        self.latencies_s: list[float] = []
        self._ends: list[tuple[float, float]] = []
        self._tick_at = 0.0
        self._rng = random.Random(self.seed)

    def run(self, until: float) -> Backend:
        self.done = 0
        self.latencies_s.clear()
        while self.now < until:
            self._admit()
            if self._ends and self._ends[0][0] <= self._tick_at:
                self.now, took_s = heapq.heappop(self._ends)
                self.in_use -= 1
                self.done += 1
                self.latencies_s.append(took_s)
                self.adaptive.took(took_s, self.now)
            else:
                self.now = self._tick_at
                self._tick_at += TICK_S
                self.adaptive.tick(self.in_use, self.slots, self.now)
                self.limits.append((self.now, self.adaptive.limit))
                self.bounds.append(self.adaptive.bound)
        return self

    @property
    def p95_s(self) -> float:
        return sorted(self.latencies_s)[int(0.95 * len(self.latencies_s))]

    def mean_limit(self, since: float) -> float:
        found = [limit for at, limit in self.limits if at >= since]
        return sum(found) / len(found)

    def _admit(self) -> None:
        bound = min(self.slots, self.adaptive.bound) if self.adaptive.rules.enforces else self.slots
        while self.in_use < min(bound, int(self.clients(self.now))):
            self.adaptive.asked(self.in_use)
            self.in_use += 1
            self.most_in_use = max(self.most_in_use, self.in_use)
            took_s = self.base_s(self.now) * max(1.0, self.in_use / self.knee(self.now)) ** self.shape
            if self.noise:
                took_s *= self._rng.lognormvariate(0.0, self.noise)
            heapq.heappush(self._ends, (self.now + took_s, took_s))


def backend(*, enforces: bool = True, rules: AdaptiveRules | None = None, **kind: object) -> Backend:
    return Backend(Adaptive(rules or AdaptiveRules(enforces)), **kind)  # type: ignore[arg-type]
