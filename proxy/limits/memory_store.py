"""Counts in this process: the store of a single worker, and what stands in when a shared store is away.

Bounded. A key whose quota is full again is worth nothing and is dropped, two looks for each new key. When memory is
full of keys with something spent, the least spent of a few goes; a key that has nothing left is never dropped, because
that would give it everything back. If none may go, the newcomer is counted in one of 1024 entries that it shares with
other newcomers: memory stays bounded, and limiting is never off.

A key takes about 250 bytes under `gcra` and `fixed`, 300 to 1900 under `sliding`, 450 and 16 more for each unit under
`log`, 550 and 150 more for each admission under `inflight`. With the default of 100,000 keys, a flood of a million that
ask once each stays below 64 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from proxy.core.clock import monotonic, wall
from proxy.limits.algorithms import Outcome, gcra, inflight
from proxy.limits.algorithms.calendar import Calendar
from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import LimiterSettings
from proxy.limits.store import StoreStats
from proxy.limits.verdict import LOCAL, Verdict

_LOOKS: Final = 2  # for each new key: more than one, so that dropping keeps up with any flood
_CANDIDATES: Final = 8  # among which the least spent goes
_SHARED_ENTRIES: Final = 1024
_SHARED_MARK: Final = b"\x00\x00shared"
_CLOCK_CHECK_S: Final = 60.0  # how long a clock that was set may leave the ends of calendar windows where they were


def _wall_of(now: float) -> float:
    return now - monotonic() + wall()


class MemoryStore:
    """Never waits. Belongs to one event loop: a decision is not interrupted."""

    __slots__ = ("_clock", "_ends", "_entries", "_hand", "_max_keys", "_ring", "_wall_of", "stats")

    def __init__(
        self,
        max_keys: int,
        stats: StoreStats | None = None,
        wall_of: Callable[[float], float] = _wall_of,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`wall_of` tells the Unix time of an instant such as `decide` is given; only calendar windows ask for it.
        `clock` gives the instant of what is told of without one."""
        self.stats = stats or StoreStats()
        self._max_keys = max_keys
        self._wall_of = wall_of
        self._clock = clock
        self._entries: dict[bytes, Any] = {}  # None for a key that was given everything back
        self._ring: list[tuple[bytes, LimitPolicy]] = []  # every key of its own once; the hand goes round
        self._hand = 0
        self._ends: dict[Calendar, tuple[float, float, tuple[float, ...]]] = {}  # good from, good until, window ends

    def decide(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes = b""
    ) -> Verdict:
        """Charge all or none. Returns at once."""
        count = len(policies)  # narrowed by its length, a tuple would be made anew by what is compiled
        if count != 1:
            return self._decide_several(policies, keys, now, member)
        policy = policies[0]
        if not policy.is_plain:
            return self._decide_special(policies, keys, now, member)
        key = keys[0]
        entries = self._entries
        state = entries.get(key)
        if state is None and len(self._ring) >= self._max_keys:
            key, state = self._crowded(policy, key, now)
        allowed, state, remaining, reset_s, retry_after_s = _step(policy, state, now)
        if not allowed:
            return Verdict(policies, keys, policy, key, remaining, reset_s, retry_after_s, policies, LOCAL)
        before = len(entries)
        entries[key] = state
        if len(entries) != before:
            self._added(policy, key, now)
        return Verdict(policies, keys, policy, key, remaining, reset_s, 0.0, (), LOCAL)

    def adjust(self, policy: LimitPolicy, key: bytes, units: int, charged_at: float, now: float | None = None) -> None:
        """Charge units without asking, or give them back (below zero). `charged_at`: when the verdict was there."""
        if now is None:
            now = self._clock()
        key, state = self._find(policy, key)
        if state is None:
            if units <= 0:
                return
            if len(self._ring) >= self._max_keys:
                key, state = self._crowded(policy, key, now)
        age_s = max(now - charged_at, 0.0)
        self._put(policy, key, policy.adjust(state, now, self._numbers(policy, now), units, age_s), now)

    def renew(self, policy: LimitPolicy, key: bytes, member: bytes, now: float | None = None) -> None:
        """Let a lease begin anew; one that has ended is taken again if there is room."""
        if now is None:
            now = self._clock()
        key, state = self._find(policy, key)
        if state is None and len(self._ring) >= self._max_keys:
            key, state = self._crowded(policy, key, now)
        self._put(policy, key, inflight.renew(state, member, now, policy.numbers)[1], now)

    def release(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """End a lease; one that is not there makes no difference."""
        key, state = self._find(policy, key)
        if state is not None:
            self._entries[key] = inflight.release(state, member)

    def peek(self, policy: LimitPolicy, key: bytes, now: float) -> Verdict:
        """What a request would find, without charging it: `remaining` does not count it."""
        _, state = self._find(policy, key)
        numbers = self._numbers(policy, now)
        _, _, remaining, reset_s, _ = policy.step(state, now, numbers, 0)
        allowed, _, _, _, wait_s = policy.step(state, now, numbers, policy.cost)
        asked = (policy,)
        if allowed:
            return Verdict(asked, (key,), policy, key, remaining, reset_s, 0.0, (), LOCAL, (), wait_s)
        if policy.is_enforced:
            return Verdict(asked, (key,), policy, key, remaining, reset_s, wait_s, asked, LOCAL)
        return Verdict(asked, (key,), policy, key, remaining, reset_s, 0.0, (), LOCAL, asked)

    def reset(self, policy: LimitPolicy, key: bytes) -> None:
        """The key has everything again. One that shares an entry with others keeps sharing it: they are not reset."""
        if key in self._entries:
            self._entries[key] = None

    def forget(self, policy: LimitPolicy | None) -> None:
        """There are no shortcuts to drop: every decision is made from the counts."""

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

    # Decisions that are not of one plain limit.

    def _decide_several(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes
    ) -> Verdict:
        entries = self._entries
        is_full = len(self._ring) >= self._max_keys
        charges = []
        violated: list[LimitPolicy] | None = None
        tightest: LimitPolicy | None = None
        at = b""
        remaining = 0
        reset_s = retry_after_s = 0.0
        for policy, key in zip(policies, keys):  # noqa: B905 - of one length by contract, and strict costs 0.1 us
            if not policy.is_plain:
                return self._decide_special(policies, keys, now, member)
            state = entries.get(key)
            if state is None and is_full:
                key, state = self._crowded(policy, key, now)
            allowed, state, left, full_s, wait_s = _step(policy, state, now)
            if not allowed:
                if violated is None:
                    violated = []
                violated.append(policy)
                if wait_s > retry_after_s:
                    tightest, at, remaining, reset_s, retry_after_s = policy, key, left, full_s, wait_s
            elif violated is None:
                charges.append((policy, key, state))
                if tightest is None or left < remaining:
                    tightest, at, remaining, reset_s = policy, key, left, full_s
        assert tightest is not None
        if violated is not None:
            return Verdict(policies, keys, tightest, at, remaining, reset_s, retry_after_s, tuple(violated), LOCAL)
        for policy, key, state in charges:
            count = len(entries)
            entries[key] = state
            if len(entries) != count:  # asked only now: making room for another key may have dropped this one
                self._added(policy, key, now)
        return Verdict(policies, keys, tightest, at, remaining, reset_s, 0.0, (), LOCAL)

    def _decide_special(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes
    ) -> Verdict:
        """The same with limits that are not enforced, held, delaying, or of a calendar."""
        is_full = len(self._ring) >= self._max_keys
        charges = []
        violated: list[LimitPolicy] = []
        would_deny: list[LimitPolicy] = []
        longest_s = delay_s = 0.0
        # of the violated limit with the longest wait, else the enforced one with the fewest left, else of any
        tightest: tuple[float, LimitPolicy, bytes, int, float] | None = None
        for policy, key in zip(policies, keys, strict=True):
            state = self._entries.get(key)
            if state is None and is_full:
                key, state = self._crowded(policy, key, now)
            numbers = self._numbers(policy, now)
            allowed, state, left, full_s, wait_s = policy.step(
                state, now, numbers, 1 if policy.is_held else policy.cost
            )
            if allowed:
                charges.append((policy, key, state))
                rank = float(left) if policy.is_enforced else inf
                if policy.is_enforced:
                    delay_s = max(delay_s, wait_s)
            elif policy.is_enforced:
                violated.append(policy)
                longest_s = max(longest_s, wait_s)
                rank = -wait_s
            else:
                would_deny.append(policy)
                rank = inf
            if tightest is None or rank < tightest[0] or (rank == inf == tightest[0] and left < tightest[3]):
                tightest = rank, policy, key, left, full_s
        assert tightest is not None
        _, policy, key, left, full_s = tightest
        if violated:
            delay_s = 0.0
        else:
            for charged, at, state in charges:
                if charged.is_held:  # asked only now: making room for another key may have dropped this one
                    state = inflight.acquire(self._entries.get(at), member, now, charged.numbers)
                self._put(charged, at, state, now)
        return Verdict(
            *(policies, keys, policy, key, left, full_s, longest_s, tuple(violated), LOCAL, tuple(would_deny), delay_s)
        )

    def _numbers(self, policy: LimitPolicy, now: float) -> Any:
        """What the step wants. Those of a calendar window get the ends of the windows around `now`."""
        calendar = policy.calendar
        if calendar is None:
            return policy.numbers
        good_from, good_until, ends = self._ends.get(calendar, (0.0, 0.0, ()))
        if not good_from <= now < good_until:
            wall_now = self._wall_of(now)
            ends = tuple([end - wall_now + now for end in calendar.ends(wall_now)])
            self._ends[calendar] = now, min(ends[1], now + _CLOCK_CHECK_S), ends
        return (*policy.numbers, *ends)

    def _find(self, policy: LimitPolicy, key: bytes) -> tuple[bytes, Any]:
        """Where a key is counted, and its state: in its own entry, or in the one it shares."""
        state = self._entries.get(key)
        if state is None and self.stats.overflows:
            shared = self._shared(policy, key)
            state = self._entries.get(shared)
            if state is not None:
                return shared, state
        return key, state

    def _put(self, policy: LimitPolicy, key: bytes, state: Any, now: float) -> None:
        entries = self._entries
        if state is None and key not in entries:
            return
        before = len(entries)
        entries[key] = state
        if len(entries) != before:
            self._added(policy, key, now)

    # Room.

    def _added(self, policy: LimitPolicy, key: bytes, now: float) -> None:
        """A new key has come: remember it, and look at the next few for what is full again."""
        if _SHARED_MARK in key:
            return  # stays: there are only so many
        ring = self._ring
        ring.append((key, policy))
        for _ in range(_LOOKS):
            if not ring:
                return  # what has come was full again
            if self._hand >= len(ring):
                self._hand = 0
            at, its_policy = ring[self._hand]
            state = self._entries[at]
            if state is None or its_policy.full_at(state, its_policy.numbers) <= now:
                self._drop(self._hand)
            self._hand += 1

    def _crowded(self, policy: LimitPolicy, key: bytes, now: float) -> tuple[bytes, Any]:
        """The key and state to count a newcomer under, now that memory is full: its own if there is room to make."""
        if key in self._entries or self._make_room(now):
            return key, None
        self.stats.overflows += 1
        shared = self._shared(policy, key)
        return shared, self._entries.get(shared)

    def _shared(self, policy: LimitPolicy, key: bytes) -> bytes:
        """The entry of those for whom there is no room."""
        # bytes hash differently in every process: nobody outside can aim at an entry
        return b"%b%b%d" % (policy.prefix, _SHARED_MARK, hash(key) % _SHARED_ENTRIES)

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
            if state is None or policy.full_at(state, policy.numbers) <= now:
                self._drop(self._hand)
                if len(ring) < self._max_keys:
                    return True
                least_spent, largest_share = -1, 0.0  # dropping moves another key
                continue
            share = policy.step(state, now, self._numbers(policy, now), 0)[2] * policy.unit_share
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


def _step(policy: LimitPolicy, state: Any, now: float) -> Outcome:
    """The step of a limit whose numbers are all there is to know. Most are GCRA, which is called without detours."""
    if policy.is_gcra:
        return gcra.step(state, now, policy.numbers, policy.cost)
    return policy.step(state, now, policy.numbers, policy.cost)
