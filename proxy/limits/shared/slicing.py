"""The slices of a shared store (`accuracy: leased`): how they are charged, and that they end in time."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

from proxy.core.clock import monotonic
from proxy.limits.policy import LimitPolicy
from proxy.limits.shared.calls import Calls
from proxy.limits.shared.deny_cache import DenyCache
from proxy.limits.shared.last_seen import LastSeen
from proxy.limits.shared.leases import Leases
from proxy.limits.shared.orders import Order
from proxy.limits.store import StoreStats

_GRAIN_S: Final = 0.001  # of the timer


class Slicing:
    """`leases` decides; this carries out, with one timer for the slice that ends next."""

    def __init__(self, calls: Calls, deny_cache: DenyCache, seen: LastSeen, stats: StoreStats) -> None:
        self.leases = Leases(self._take, self._give_back)
        self._calls = calls
        self._deny_cache = deny_cache
        self._seen = seen
        self._stats = stats
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = 0.0  # what the timer is set for
        self._is_closing = False

    def watch(self) -> None:
        """Something has changed: see that the next slice to end does."""
        end_at = self.leases.next_end_at()
        if self._is_closing or end_at == inf:
            return
        if self._timer is None or end_at < self._ends_at:
            if self._timer is not None:
                self._timer.cancel()
            self._ends_at = end_at
            self._timer = asyncio.get_running_loop().call_later(max(end_at - monotonic(), _GRAIN_S), self._end)

    def lose(self) -> None:
        """The store has lost its data: what it had charged is not ours any more."""
        self._stats.stranded_units += self.leases.held_units()
        self.leases.drop_all()

    def close(self) -> None:
        """Give back what is held."""
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        self.leases.end_all()

    def _end(self) -> None:
        self._timer = None
        self.leases.end(monotonic())
        self.watch()

    def _take(self, policy: LimitPolicy, key: bytes, units: int) -> None:
        if not self._calls.is_open or self._is_closing:
            self.leases.refused(key)
            return

        def answered(reply: list[int] | None) -> None:
            if reply is None:
                self._stats.stranded_units += units  # it may have been charged: then nobody can spend it
                self.leases.refused(key)
            elif reply[2] == 0:
                self._seen.note((policy,), (key,), reply, 0, self._calls.sent_at)  # what an outage would begin with
                self._stats.leased_units += units
                self._deny_cache.drop(key)
                self.leases.granted(policy, key, units, reply[0], reply[1] * 1e-6, self._calls.sent_at)
                self.watch()
            else:
                self.leases.refused(key)

        self._calls.do(Order("take", self.leases.taking(policy, units), key, reply=answered))

    def _give_back(self, policy: LimitPolicy, key: bytes, units: int, charged_at: float) -> None:
        if self._calls.is_open:
            self._stats.returned_units += units
            self._deny_cache.drop(key)
        else:
            self._stats.stranded_units += units  # it comes too late to be spent in its time
        self._calls.do(Order("adjust", policy, key, units=-units, at=charged_at))
