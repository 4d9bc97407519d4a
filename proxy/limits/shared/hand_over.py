"""The time after an outage, in which this Weir is back and others may not be.

The Weirs of a fleet find their store again at different times, and the first one back would spend what the others have
admitted and not told of yet. So until all are back, or must be, a request has to pass this Weir's share of the limit as
well as the store: the shares that held during the outage go on, and the fleet never admits more than they add up to.
What passes is charged in the store by the decision itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from proxy.core.clock import monotonic
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy
from proxy.limits.shared.fallback import StandIn
from proxy.limits.shared.leases import Leases
from proxy.limits.shared.membership import Membership
from proxy.limits.shared.parts import Parts
from proxy.limits.verdict import Verdict
from proxy.store.breaker import LONGEST_OPEN_S

LONGEST_S: Final = LONGEST_OPEN_S + 0.4  # whoever is not back by then cannot reach the store: a probe and a merge
_ASK_S: Final = 0.2  # how often it is asked whether all are back

_NO_LEASES: Final = Leases(lambda policy, key, units: None, lambda policy, key, units, at: None)


class HandOver:
    """`ended` is called when all that were in the fleet have merged, and at the latest after `LONGEST_S`."""

    __slots__ = ("_ended", "_membership", "_size", "_timer", "_until", "is_on")

    def __init__(self, membership: Membership, ended: Callable[[], None]) -> None:
        self.is_on = False
        self._membership = membership
        self._ended = ended
        self._size = 1
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, size: int) -> None:
        """This Weir, of so many, has told the store what it admitted; what is left of that goes out before this."""
        self.stop()
        self.is_on = True
        self._size = size
        self._until = monotonic() + LONGEST_S
        self._ask(is_first=True)

    def stop(self) -> None:
        """Without a word."""
        self.is_on = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def left_s(self, now: float) -> float:
        return max(self._until - now, 0.001)

    def _ask(self, is_first: bool = False) -> None:
        left_s = self._until - monotonic()
        if left_s <= 0.0:
            self._end()
            return
        self._membership.be_back(self._heard, is_first)
        self._timer = asyncio.get_running_loop().call_later(min(_ASK_S, left_s), self._ask)

    def _heard(self, back: int) -> None:
        if self.is_on and back >= self._size:
            self._end()

    def _end(self) -> None:
        self.stop()
        self._ended()


class Guarded(Parts):
    """A request that is asked of the store in that time: nothing of it is paid from slices."""

    __slots__ = ("_charged", "_member", "_stand_in")

    def __init__(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        now: float,
        member: bytes,
        memory: MemoryStore,
        stand_in: StandIn,
    ) -> None:
        super().__init__(policies, keys, now, member, memory, _NO_LEASES)
        self._stand_in = stand_in
        self._member = member
        self._charged: Verdict | None = None  # by the shares

    def pass_shares(self, now: float, left_s: float) -> Verdict | None:
        """Charge the shares; a denial if one of them refuses. `left_s`: after that, only the store's word counts."""
        verdict = self._stand_in.charge_shares(self.rest, self.rest_keys, now, self._member)
        if verdict is None:
            return None
        if not verdict.denied:
            self._charged = verdict
            return None
        verdict.retry_after_s = min(verdict.retry_after_s, left_s)
        verdict.policies, verdict.keys = self.rest, self.rest_keys
        return verdict

    def take_back(self, now: float) -> None:
        """The store did not admit it."""
        charged, self._charged = self._charged, None
        if charged is not None:
            self._stand_in.give_back(charged, self._member, now)

    def combine(self, verdict: Verdict | None, now: float) -> Verdict:
        charged = self._charged
        if verdict is None or charged is None:
            return super().combine(verdict, now)
        if verdict.denied:
            self.take_back(now)
            return super().combine(verdict, now)
        if charged.remaining < verdict.remaining and charged.policy.is_enforced:
            verdict.policy, verdict.key = charged.policy, charged.key
            verdict.remaining, verdict.reset_s = charged.remaining, charged.reset_s
        verdict.delay_s = max(verdict.delay_s, charged.delay_s)
        return super().combine(verdict, now)
