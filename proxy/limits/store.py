"""LimitStore: what keeps the counts. One contract suite in the tests holds every implementation to this page.

- A request is charged on all of its limits or on none; a refused request writes nothing.
- What a key has spent survives every change of the configuration that keeps the policy's name and algorithm.
- A limit that is not enforced never refuses; it is charged if it passed itself and the request was admitted.
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
        "deny_cache_hits",
        "deny_cache_size",
        "errors",
        "evictions",
        "fleet_size",
        "latency_s",
        "latency_sum_s",
        "leased_units",
        "local_share",
        "merged_units",
        "overflows",
        "requests",
        "returned_units",
        "stranded_units",
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
        self.deny_cache_hits = 0  # requests that were denied without asking the shared store
        self.deny_cache_size = 0  # keys that would be, as of about a second ago
        self.leased_units = 0  # charged in advance, to be spent here (`accuracy: leased`)
        self.returned_units = 0  # of those, given back unspent
        self.stranded_units = 0  # of those, neither spent nor given back in time: what leasing has cost
        self.merged_units = 0  # admitted here while the shared store was away, and charged when it was back
        self.fleet_size = 1  # Weirs that share the store, as last heard
        self.local_share = 1.0  # the part of each limit that is enforced here while the store is away


class LimitStore(Protocol):
    """Decides. `now` is monotonic; a shared store goes by its own clock and uses `now` for its patience only."""

    stats: StoreStats

    def decide(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes = b""
    ) -> Verdict | Awaitable[Verdict]:
        """Charge every policy's cost under the key beside it, if all that are enforced allow it.

        `member` names the admission where one of the policies is held until it is released.
        """

    def adjust(self, policy: LimitPolicy, key: bytes, units: int, charged_at: float) -> None:
        """Charge units without asking, or give them back (below zero), for a request that was admitted.

        Never beyond the quota, never more than is spent, and nothing is given back to a window that has opened since.
        `charged_at` is when its verdict was there. Nothing is waited for.
        """

    def renew(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """Let a lease of a held policy begin anew. Nothing is waited for.

        One that has ended is taken again if there is room; else its owner goes on and is not counted.
        """

    def release(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """End a lease, also one whose decision is still under way. Nothing is waited for; a second time is harmless."""

    def peek(self, policy: LimitPolicy, key: bytes, now: float) -> Verdict | Awaitable[Verdict]:
        """What a request would find. Nothing is charged, and `remaining` does not count it."""

    def reset(self, policy: LimitPolicy, key: bytes) -> Awaitable[None] | None:
        """The key has everything again; whoever held a lease goes on without one until it is renewed."""

    def forget(self, policy: LimitPolicy | None) -> None:
        """A policy (None: any of them) has become more generous or was reset: drop what is remembered of refusals."""

    def status(self) -> dict[str, Any]:
        """For /healthz: `mode` (shared or local), `latency_s`, `error` (text without secrets, or None)."""

    def apply(self, settings: LimiterSettings) -> None:
        """Take over changed settings after a reload. Counts are kept."""

    async def start(self) -> None:
        """Get ready. Never fails: a store that cannot be reached is reported, tried again, and stood in for."""

    async def aclose(self) -> None:
        """Let what is under way end, within about a second, and release everything. Safe to call twice."""
