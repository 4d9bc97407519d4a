"""When to ask a second endpoint although the first may still answer.

A hedge pays where few requests are slow by accident: the first answer wins, and the rare pause of one endpoint is no
longer the client's. It is worth its load only beyond the time in which nearly all answers come. That time follows from
what the hedges may cost: with 2 % more requests allowed, whoever has waited longer than 98 % of the others is hedged
(Finagle's BackupRequestFilter ties the two in the same way). A fixed quantile below that would spend the allowance on
requests that are as good as answered, and leave none for those that hang.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Final

from proxy.upstreams.retry import RetryBudget, RetryRules

__all__ = ["HedgeRules", "Hedging", "Latencies"]

_STEPS: Final = 8  # buckets for each doubling: a quantile is right to 9 %
_LEAST_S: Final = 0.0005
_BUCKETS: Final = 18 * _STEPS  # up to 131 s
_FADE: Final = 0.93  # a second: half in ten seconds
_ENOUGH: Final = 50.0  # latencies, fresh ones, before they say anything


@dataclass(frozen=True, slots=True)
class HedgeRules:
    """What an upstream allows."""

    extra: float = 0.02  # hedges for each request
    least_s: float = 0.01  # nobody is hedged sooner
    most_s: float = 2.0


class Latencies:
    """How long answers took lately, in buckets that fade. Recording costs a logarithm."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0.0] * _BUCKETS

    def note(self, latency_s: float) -> None:
        position = int(log2(latency_s / _LEAST_S) * _STEPS) if latency_s > _LEAST_S else 0
        self._counts[min(position, _BUCKETS - 1)] += 1.0

    def fade(self) -> None:
        """A second has passed."""
        self._counts = [count * _FADE for count in self._counts]

    def quantile(self, share: float) -> float | None:
        """Seconds in which this share of the answers came, rounded up to a bucket; None: too few to say."""
        total = sum(self._counts)
        if total < _ENOUGH:
            return None
        wanted, seen = share * total, 0.0
        for position, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return float(_LEAST_S * 2.0 ** ((position + 1) / _STEPS))
        return float(_LEAST_S * 2.0 ** (_BUCKETS / _STEPS))


class Hedging:
    """The state of one upstream that hedges. `delay_s` is None while too little is known."""

    __slots__ = ("_budget", "_fade_at", "_rules", "delay_s", "latencies", "requests", "sent", "won")

    def __init__(self, rules: HedgeRules, now: float) -> None:
        self.latencies = Latencies()
        self.delay_s: float | None = None
        # counters, for metrics
        self.requests = 0  # that may be hedged
        self.sent = 0
        self.won = 0
        self._fade_at = now + 1.0
        self._budget = RetryBudget(now)
        self.take_rules(rules)

    def take_rules(self, rules: HedgeRules) -> None:
        self._rules = rules

    def spend(self, now: float) -> bool:
        """Take a hedge from its own allowance; the retries' budget is the caller's to ask."""
        return self._budget.spend(self.requests + self.sent, now, RetryRules(budget=self._rules.extra, floor_per_s=0.0))

    def tick(self, now: float) -> None:
        """Move the delay, once a second."""
        if now < self._fade_at:
            return
        self._fade_at = now + 1.0
        rules = self._rules
        quantile = self.latencies.quantile(1.0 - rules.extra)
        self.delay_s = None if quantile is None else min(max(quantile, rules.least_s), rules.most_s)
        self.latencies.fade()
