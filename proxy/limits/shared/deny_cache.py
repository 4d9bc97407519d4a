"""Deny cache: a key that was refused is refused here, without asking the store, until it can pass again.

Only three things can let a refused key pass earlier than it was told: time, which is in the entry; units that are given
back, so policies whose cost is settled afterwards are kept for a second at most and held ones not at all; and an
operator, for whom there is `forget`. Whatever else may happen to a store (restored, flushed, its clock stepped), an
entry is believed for a minute at most, and then the store is asked once.

An entry holds for the very policy that refused: other numbers or another cost on the same key are asked of the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import ceil, inf
from typing import Final

from proxy.limits.policy import LimitPolicy
from proxy.limits.verdict import SHARED, Verdict

LONGEST_S: Final = 60.0
LONGEST_SETTLED_S: Final = 1.0  # what was reserved may come back at any moment
MOST_KEYS: Final = 32_768
_DRIFT: Final = 0.9995  # of a wait: clocks differ by less than 500 parts in a million


class Entry:
    """One denial. Who is refused asks again at once, so its verdict is kept for as long as the seconds in it hold."""

    __slots__ = ("policy", "remaining", "reset_at", "retry_at", "same_until", "until_at", "verdict")

    def __init__(self, policy: LimitPolicy, until_at: float, remaining: int, reset_at: float, retry_at: float) -> None:
        self.policy = policy
        self.until_at = until_at
        self.remaining = remaining
        self.reset_at = reset_at
        self.retry_at = retry_at
        self.verdict: Verdict | None = None
        self.same_until = 0.0

    def judge(self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float) -> Verdict:
        """For a request that has no other limit. Whoever changes what it says must not change the verdict itself."""
        reset_s = max(self.reset_at - now, 0.0)
        wait_s = self.retry_at - now
        verdict = Verdict(policies, keys, self.policy, keys[0], self.remaining, reset_s, wait_s, policies, SHARED)
        self.verdict = verdict
        self.same_until = now + min(_part_of_second(reset_s), _part_of_second(wait_s))
        return verdict


class DenyCache:
    """Pure; `now` is monotonic. The oldest denial goes when it is full."""

    __slots__ = ("_most", "entries")

    def __init__(self, most: int = MOST_KEYS) -> None:
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._most = most

    def judge(self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float) -> Verdict | None:
        """The denial, if one of these keys is known to have nothing left. None: it has to be asked."""
        count = len(policies)  # narrowed by its length, a tuple would be made anew by what is compiled
        if count != 1:
            return self._judge_several(policies, keys, now)
        key = keys[0]
        entry = self.entries.get(key)
        if entry is None:
            return None
        verdict = entry.verdict
        if verdict is not None and now < entry.same_until and verdict.policies is policies:
            return verdict
        if now >= entry.until_at:
            del self.entries[key]
            return None
        if entry.policy is not policies[0] or not entry.policy.is_enforced:
            return None
        return entry.judge(policies, keys, now)

    def note(
        self, policy: LimitPolicy, key: bytes, remaining: int, reset_s: float, retry_after_s: float, asked_at: float
    ) -> None:
        """The store refused. `asked_at`: before it was asked, so that no entry outlives what the store would say."""
        if policy.is_held:
            return
        longest_s = LONGEST_SETTLED_S if policy.is_settled else LONGEST_S
        until_at = asked_at + min(retry_after_s * _DRIFT, longest_s)
        entries = self.entries
        entries[key] = Entry(policy, until_at, remaining, asked_at + reset_s, asked_at + retry_after_s)
        if len(entries) > self._most:
            entries.popitem(last=False)

    def drop(self, key: bytes) -> None:
        """This key was given something back."""
        self.entries.pop(key, None)

    def forget(self, policy: LimitPolicy | None) -> None:
        """Drop what is known of one limit, in all its variants, or of all."""
        if policy is None:
            self.entries.clear()
            return
        entries = self.entries
        for key in [key for key, entry in entries.items() if entry.policy.prefix == policy.prefix]:
            del entries[key]

    def __len__(self) -> int:
        return len(self.entries)

    def _judge_several(self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float) -> Verdict | None:
        entries = self.entries
        violated: list[LimitPolicy] = []
        would_deny: list[LimitPolicy] = []
        tightest: Entry | None = None
        at = b""
        for policy, key in zip(policies, keys):  # noqa: B905 - of one length by contract, and strict costs 0.1 us
            entry = entries.get(key)
            if entry is None or entry.policy is not policy:
                continue
            if now >= entry.until_at:
                del entries[key]
            elif not policy.is_enforced:
                would_deny.append(policy)
            else:
                violated.append(policy)
                if tightest is None or entry.retry_at > tightest.retry_at:
                    tightest = entry
                    at = key
        if tightest is None:
            return None  # what is not enforced never denies, and is asked along with the rest
        return Verdict(
            *(policies, keys, tightest.policy, at, tightest.remaining),
            *(max(tightest.reset_at - now, 0.0), tightest.retry_at - now, tuple(violated), SHARED, tuple(would_deny)),
        )


def _part_of_second(left_s: float) -> float:
    """For so long `left_s` stays the same number of seconds, rounded up."""
    return left_s - ceil(left_s) + 1.0 if left_s < inf else inf
