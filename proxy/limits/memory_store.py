"""Counts in this process: the store of a single worker, and what stands in when a shared store is away.

Bounded. A key whose quota is full again is worth nothing and is dropped, two looks for each new key. When memory is
full of keys with something spent, the least spent of a few goes; a key that has nothing left is never dropped, because
that would give it everything back. If none may go, the newcomer is counted in one of 1024 entries that it shares with
other newcomers: memory stays bounded, and limiting is never off.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final

from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import LimiterSettings
from proxy.limits.store import StoreStats
from proxy.limits.verdict import LOCAL, Verdict

_LOOKS: Final = 2  # for each new key: more than one, so that dropping keeps up with any flood
_CANDIDATES: Final = 8  # among which the least spent goes
_SHARED_ENTRIES: Final = 1024
_SHARED_MARK: Final = b"\x00\x00shared"


class MemoryStore:
    """Never waits. Belongs to one event loop: a decision is not interrupted."""

    __slots__ = ("_entries", "_hand", "_max_keys", "_ring", "stats")

    is_immediate: bool = True

    def __init__(self, max_keys: int, stats: StoreStats | None = None) -> None:
        self.stats = stats or StoreStats()
        self._max_keys = max_keys
        self._entries: dict[bytes, Any] = {}
        self._ring: list[tuple[bytes, LimitPolicy]] = []  # every key of its own once; the hand goes round
        self._hand = 0

    def decide(self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], cost: int, now: float) -> Verdict:
        """Charge all or none. Returns at once."""
        if len(policies) != 1:
            return self._decide_several(policies, keys, cost, now)
        policy = policies[0]
        key = keys[0]
        entries = self._entries
        state = entries.get(key)
        if state is None and len(self._ring) >= self._max_keys:
            key, state = self._crowded(policy, key, now)
        allowed, state, remaining, reset_s, retry_after_s = policy.step(state, now, policy.numbers, cost)
        if not allowed:
            return Verdict(policies, policy, key, remaining, reset_s, retry_after_s, policies, LOCAL)
        count = len(entries)
        entries[key] = state
        if len(entries) != count:
            self._added(policy, key, now)
        return Verdict(policies, policy, key, remaining, reset_s, 0.0, (), LOCAL)

    def _decide_several(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], cost: int, now: float
    ) -> Verdict:
        entries = self._entries
        is_full = len(self._ring) >= self._max_keys
        charges = []
        violated: list[LimitPolicy] | None = None
        tightest: LimitPolicy | None = None
        at = b""
        remaining = 0
        reset_s = retry_after_s = 0.0
        lowest = inf
        for policy, key in zip(policies, keys):  # noqa: B905 - of one length by contract, and strict costs 0.1 us
            state = entries.get(key)
            if state is None and is_full:
                key, state = self._crowded(policy, key, now)
            allowed, state, left, full_s, wait_s = policy.step(state, now, policy.numbers, cost)
            if not allowed:
                if violated is None:
                    violated = []
                violated.append(policy)
                if wait_s > retry_after_s:
                    tightest, at, remaining, reset_s, retry_after_s = policy, key, left, full_s, wait_s
            elif violated is None:
                charges.append((policy, key, state))
                if left < lowest:
                    lowest = left
                    tightest, at, remaining, reset_s = policy, key, left, full_s
        assert tightest is not None
        if violated is not None:
            return Verdict(policies, tightest, at, remaining, reset_s, retry_after_s, tuple(violated), LOCAL)
        for policy, key, state in charges:
            count = len(entries)
            entries[key] = state
            if len(entries) != count:  # asked only now: making room for another key may have dropped this one
                self._added(policy, key, now)
        return Verdict(policies, tightest, at, remaining, reset_s, 0.0, (), LOCAL)

    def peek(self, policy: LimitPolicy, key: bytes, now: float) -> Verdict:
        """What a request would find, without charging it: `remaining` does not count it."""
        state = self._entries.get(key)
        _, _, remaining, reset_s, _ = policy.step(state, now, policy.numbers, 0)
        allowed, _, _, _, retry_after_s = policy.step(state, now, policy.numbers, 1)
        violated = () if allowed else (policy,)
        return Verdict((policy,), policy, key, remaining, reset_s, retry_after_s, violated, LOCAL)

    def status(self) -> dict[str, Any]:
        """For /healthz. Memory is always there."""
        return {"mode": LOCAL, "latency_s": 0.0, "error": None, "keys": len(self._entries)}

    def apply(self, settings: LimiterSettings) -> None:
        """A smaller `max_keys` holds for new keys; it does not drop what is there."""
        self._max_keys = settings.max_keys

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    def __len__(self) -> int:
        return len(self._entries)

    def _charge_new(self, charges: list[tuple[bytes, Any, LimitPolicy]], now: float) -> None:
        """Some of these keys are new. Which ones is only known now: making room for one may have dropped another."""
        entries = self._entries
        for key, state, policy in charges:
            count = len(entries)
            entries[key] = state
            if len(entries) != count:
                self._added(policy, key, now)

    def _added(self, policy: LimitPolicy, key: bytes, now: float) -> None:
        """A new key has come: remember it, and look at the next few for what is full again."""
        if _SHARED_MARK in key:
            return  # stays: there are only so many
        ring = self._ring
        ring.append((key, policy))
        for _ in range(_LOOKS):
            if self._hand >= len(ring):
                self._hand = 0
            at, its_policy = ring[self._hand]
            if its_policy.full_at(self._entries[at], its_policy.numbers) <= now:
                self._drop(self._hand)
            self._hand += 1

    def _crowded(self, policy: LimitPolicy, key: bytes, now: float) -> tuple[bytes, Any]:
        """The key and state to count a newcomer under, now that memory is full: its own if there is room to make."""
        if self._make_room(now):
            return key, None
        self.stats.overflows += 1
        # bytes hash differently in every process: nobody outside can aim at an entry
        shared = b"%b%b%d" % (policy.prefix, _SHARED_MARK, hash(key) % _SHARED_ENTRIES)
        return shared, self._entries.get(shared)

    def _make_room(self, now: float) -> bool:
        """Drop keys that are full again, else the least spent one of a few that have something left."""
        ring = self._ring
        least_spent = -1
        largest_share = 0.0
        for _ in range(min(_CANDIDATES, len(ring))):
            if self._hand >= len(ring):
                self._hand = 0
            key, policy = ring[self._hand]
            state = self._entries[key]
            if policy.full_at(state, policy.numbers) <= now:
                self._drop(self._hand)
                if len(ring) < self._max_keys:
                    return True
                least_spent, largest_share = -1, 0.0  # dropping moves another key
                continue
            share = policy.step(state, now, policy.numbers, 0)[2] * policy.unit_share
            if share > largest_share:
                largest_share = share
                least_spent = self._hand
            self._hand += 1
        if least_spent >= 0:
            self.stats.evictions += 1
            self._drop(least_spent)
        # a request of several limits can overshoot by as many keys; then two must go for one to come
        return len(ring) < self._max_keys

    def _drop(self, position: int) -> None:
        """Forget the key at a place of the ring; the newest takes its place."""
        ring = self._ring
        del self._entries[ring[position][0]]
        last = ring.pop()
        if position < len(ring):
            ring[position] = last
