"""LimitStore: what keeps the counts. One contract suite in the tests holds every implementation to this page.

- A request is charged on all of its limits or on none; a refused request writes nothing.
- What a key has spent survives every change of the configuration that keeps the policy's name and algorithm.
- A store never raises to the stage and never makes a request wait longer than `store_timeout`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import LimiterSettings
from proxy.limits.verdict import Verdict


class StoreStats:
    """Plain counters of one store, read by observe/."""

    __slots__ = (
        "breaker_openings",
        "calls",
        "degraded",
        "errors",
        "evictions",
        "latency_s",
        "latency_sum_s",
        "overflows",
        "requests",
        "timeouts",
    )

    def __init__(self) -> None:
        self.requests = 0  # decided in the shared store
        self.degraded = 0  # decided by `on_store_error` instead
        self.calls = 0  # round trips that were answered: requests / calls is the size of a group
        self.latency_sum_s = 0.0  # of those
        self.latency_s = 0.0  # of the last
        self.errors = 0  # round trips and connections that failed
        self.timeouts = 0  # requests that did not wait any longer
        self.breaker_openings = 0
        self.evictions = 0  # keys that were forgotten in memory although something was spent
        self.overflows = 0  # requests that were counted together with others, because memory was full


class LimitStore(Protocol):
    """Decides. `now` is monotonic; a shared store goes by its own clock and uses `now` for its patience only."""

    is_immediate: bool
    """`decide` always returns a Verdict itself, never something to wait for."""

    stats: StoreStats

    def decide(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], cost: int, now: float
    ) -> Verdict | Awaitable[Verdict]:
        """Charge `cost` (at least 1) on every policy under the key beside it, if all of them allow it."""

    def status(self) -> dict[str, Any]:
        """For /healthz: `mode` (shared or local), `latency_s`, `error` (text without secrets, or None)."""

    def apply(self, settings: LimiterSettings) -> None:
        """Take over changed settings after a reload. Counts are kept."""

    async def start(self) -> None:
        """Get ready. Never fails: a store that cannot be reached is reported, tried again, and stood in for."""

    async def aclose(self) -> None:
        """Let what is under way end, within about a second, and release everything. Safe to call twice."""
