"""A request whose limits are not all asked of the store: some were paid from slices, some are counted here alone.

All or none still holds: if the store refuses the rest, what was taken here is put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.limits.policy import LimitPolicy
from proxy.limits.shared.leases import Leases
from proxy.limits.shared.slices import Slice
from proxy.limits.verdict import SHARED, Verdict

if TYPE_CHECKING:
    from proxy.limits.memory_store import MemoryStore


class Parts:
    """One request. `rest` are the limits that have to be asked; none of them when `denied_here` is set."""

    __slots__ = ("_keys", "_local", "_memory", "_paid", "_policies", "denied_here", "rest", "rest_keys")

    def __init__(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        now: float,
        member: bytes,
        memory: MemoryStore,
        leases: Leases,
    ) -> None:
        self._policies = policies
        self._keys = keys
        self._memory = memory
        self._local: Verdict | None = None
        self._paid: list[tuple[LimitPolicy, bytes, Slice]] = []
        self.denied_here: Verdict | None = None
        rest: list[LimitPolicy] = []
        rest_keys: list[bytes] = []
        local: list[LimitPolicy] = []
        local_keys: list[bytes] = []
        for policy, key in zip(policies, keys, strict=True):
            if policy.accuracy == "local":
                local.append(policy)
                local_keys.append(key)
                continue
            if policy.accuracy == "leased" and policy.is_enforced:
                payer = leases.payer(policy, key, now)
                if payer is not None:
                    self._paid.append((policy, key, payer))
                    continue
            rest.append(policy)
            rest_keys.append(key)
        self.rest = tuple(rest)
        self.rest_keys = rest_keys
        if local:
            verdict = memory.decide(tuple(local), local_keys, now, member)
            if verdict.denied:
                verdict.policies, verdict.keys = policies, keys
                self.denied_here = verdict
                return
            self._local = verdict
        for policy, key, payer in self._paid:
            payer.pay(policy.cost, now)
            leases.paid(policy, key, now)

    def combine(self, verdict: Verdict | None, now: float) -> Verdict:
        """The whole verdict, from the one on `rest` (None: there was nothing to ask)."""
        if verdict is not None and verdict.denied:
            self._put_back(now)
            verdict.policies, verdict.keys = self._policies, self._keys
            return verdict
        local = self._local
        if verdict is None:
            verdict = local
        elif local is not None:
            if local.remaining < verdict.remaining:
                _be_tightest(verdict, local.policy, local.key, local.remaining, local.reset_s)
            verdict.would_deny += local.would_deny
            verdict.delay_s = max(verdict.delay_s, local.delay_s)
        for policy, key, payer in self._paid:
            remaining = payer.remaining + payer.held
            reset_s = max(payer.reset_at - now, 0.0)
            if verdict is None:
                verdict = Verdict(self._policies, self._keys, policy, key, remaining, reset_s, 0.0, (), SHARED)
            elif remaining < verdict.remaining or not verdict.policy.is_enforced:
                _be_tightest(verdict, policy, key, remaining, reset_s)
        assert verdict is not None
        verdict.policies, verdict.keys = self._policies, self._keys
        return verdict

    def _put_back(self, now: float) -> None:
        for policy, _, payer in self._paid:
            payer.unpay(policy.cost)
        if self._local is not None:
            for policy, key in zip(self._local.policies, self._local.keys, strict=True):
                if policy not in self._local.would_deny:
                    self._memory.adjust(policy, key, -policy.cost, now)


def _be_tightest(verdict: Verdict, policy: LimitPolicy, key: bytes, remaining: int, reset_s: float) -> None:
    verdict.policy, verdict.key, verdict.remaining, verdict.reset_s = policy, key, remaining, reset_s
