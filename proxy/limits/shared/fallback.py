"""While the shared store is away: what each policy's `on_store_error` says, and never an error.

`local` enforces this Weir's share of the limit (share.py), beginning with what the store last said of the key. What is
admitted here is remembered in a ledger of the share's own, and is charged in the store once, when it is back: as much
as the share says is not regained by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import ceil
from typing import Any, Final, NamedTuple

from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy
from proxy.limits.shared.last_seen import LastSeen
from proxy.limits.shared.share import MARGIN, Share
from proxy.limits.store import StoreStats
from proxy.limits.verdict import ALLOW, DENY, Verdict

_MOST_SHARES: Final = 4096


class Due(NamedTuple):
    """Units that were admitted here and are to be charged in the store."""

    policy: LimitPolicy
    key: bytes
    units: int


class StandIn:
    """One outage, from the first request that got no answer to the merge. Instants are monotonic."""

    def __init__(
        self, max_keys: int, stats: StoreStats, seen: LastSeen, fleet_size: int, phase: float, since: float
    ) -> None:
        self.since = since
        self.fleet_size = fleet_size
        self.members: dict[tuple[bytes, bytes], LimitPolicy] = {}  # held, and admitted here: (key, member)
        self._phase = phase
        self._seen = seen
        self._max_keys = max_keys
        self._counts = _Counts(max_keys, stats)
        self._shares: dict[LimitPolicy, Share] = {}
        self._reseeded: set[bytes] = set()  # their seeds have been charged again
        self._ledger: dict[bytes, tuple[LimitPolicy, bytes, Any]] = {}  # what was admitted here, as if it were all

    def decide(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        now: float,
        member: bytes,
        back_in_s: float,
        may_be_charged: bool,
    ) -> Verdict:
        """`deny` beats all; then those that say `local` are counted here, all or none; the others let pass.

        `back_in_s`: when the store is looked for again, which is what a denied client is told to wait at least.
        `may_be_charged`: the store was asked and may have charged it, so it is not charged there again.
        """
        denying = tuple([policy for policy in policies if policy.on_store_error == "deny" and policy.is_enforced])
        if denying:
            key = keys[policies.index(denying[0])]
            wait_s = max(back_in_s, 1.0)
            return Verdict(policies, keys, denying[0], key, 0, wait_s, wait_s, denying, DENY)
        counted = [i for i, policy in enumerate(policies) if policy.on_store_error != "allow"]
        if not counted:
            return Verdict(policies, keys, policies[0], keys[0], 0, 0.0, 0.0, (), ALLOW)
        own = tuple([policies[i] for i in counted])
        own_keys = [keys[i] for i in counted]
        shares, verdict = self._count(own, own_keys, now, member)
        _rename(verdict, own, own_keys, shares)
        if verdict.denied:
            verdict.reset_s = max(verdict.reset_s, back_in_s)
            verdict.retry_after_s = max(verdict.retry_after_s, verdict.reset_s)
        else:
            self._admitted(own, own_keys, shares, verdict.would_deny, now, member, may_be_charged)
        verdict.policies, verdict.keys = policies, keys
        return verdict

    def charge_shares(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes
    ) -> Verdict | None:
        """For a request that is asked of the store besides: of the limits that say `local`, all or none.

        None when there are none. What was charged is not told to the store; `give_back` puts it back.
        """
        own = tuple([policy for policy in policies if policy.on_store_error == "local"])
        if not own:
            return None
        own_keys = [key for policy, key in zip(policies, keys, strict=True) if policy.on_store_error == "local"]
        shares, verdict = self._count(own, own_keys, now, member)
        _rename(verdict, own, own_keys, shares)
        verdict.policies, verdict.keys = own, own_keys
        return verdict

    def give_back(self, verdict: Verdict, member: bytes, now: float) -> None:
        """A request that `charge_shares` has admitted was admitted nowhere else."""
        for policy, key in zip(verdict.policies, verdict.keys, strict=True):
            if policy in verdict.would_deny:
                continue
            share = self._share(policy)
            if policy.is_held:
                self._counts.release(share.policy, key, member)
            else:
                self._counts.adjust(share.policy, key + share.mark, -policy.cost, now, now)

    def peek(self, policy: LimitPolicy, key: bytes, now: float) -> Verdict:
        """What a request would find here."""
        share = self._share(policy)
        verdict = self._counts.peek(share.policy, self._open(share, key, now), now)
        _rename(verdict, (policy,), (key,), [share])
        verdict.policies, verdict.keys = (policy,), (key,)
        return verdict

    def adjust(self, policy: LimitPolicy, key: bytes, units: int, charged_at: float, now: float) -> bool:
        """Correct what was charged here. False: it was not, so it is the store's to correct."""
        share = self._share(policy)
        place = key + share.mark
        if charged_at < self.since:
            return False
        if place in self._counts:
            self._counts.adjust(share.policy, place, units, charged_at)
        entry = self._ledger.get(place)
        if entry is None:  # charged by the store, and perhaps here besides
            return False
        age_s = max(now - charged_at, 0.0)
        self._ledger[place] = policy, key, share.policy.adjust(entry[2], now, share.policy.numbers, units, age_s)
        return True

    def release(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """End an admission, whoever made it."""
        self.members.pop((key, member), None)
        self._counts.release(self._share(policy).policy, key, member)

    def renew(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        self._counts.renew(self._share(policy).policy, key, member)

    def reset(self, policy: LimitPolicy, key: bytes) -> None:
        share = self._share(policy)
        self._ledger.pop(key + share.mark, None)
        self._counts.reset(share.policy, key + share.mark)

    def take_dues(self, now: float, most: int, with_seeds: bool) -> list[Due]:
        """What is to be charged, at most for so many keys; they are not told of again.

        `with_seeds`: the store has lost what it knew, so this Weir's share of that is charged again, too.
        """
        dues: list[Due] = []
        while self._ledger and len(dues) < most:
            place, (policy, key, state) = self._ledger.popitem()
            share = self._share(policy)
            if with_seeds and place not in self._reseeded:
                self._reseeded.add(place)
                units = _whole_spent(share.policy, self._counts.state_of(place), now)
            else:
                units = _spent(share.policy, state, now)
            if units > 0:
                dues.append(Due(policy, key, units))
        return dues

    def lost_dues(self, now: float, most: int) -> list[Due]:
        """This Weir's share of what a store that lost it all knew of keys that nothing was admitted for meanwhile."""
        dues: list[Due] = []
        for key, (policy, remaining, reset_us, at) in islice(self._seen.items(), most):
            share = self._share(policy)
            place = key + share.mark
            if policy.is_held or place in self._ledger:
                continue
            if place in self._counts:  # asked for, and refused
                state = self._counts.state_of(place)
                self._reseeded.add(place)
            else:
                state = share.seed(remaining, reset_us * 1e-6, at, self.since)
            units = _whole_spent(share.policy, state, now)
            if units > 0:
                dues.append(Due(policy, key, units))
        return dues

    def hold(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """Count an admission that the store made before it went away."""
        self._counts.renew(self._share(policy).policy, key, member)

    @property
    def is_settled(self) -> bool:
        """The store has been told of everything."""
        return not (self._ledger or self.members)

    def settled(self) -> None:
        """The store has been told. The counts go on; a store that loses its data again is told of them again."""
        self.members.clear()
        self._reseeded.clear()

    def _count(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes
    ) -> tuple[list[Share], Verdict]:
        shares = [self._share(policy) for policy in policies]
        places = [self._open(share, key, now) for share, key in zip(shares, keys, strict=True)]
        return shares, self._counts.decide(tuple([share.policy for share in shares]), places, now, member)

    def grow(self, fleet_size: int) -> None:
        """There are more Weirs than when the outage began: each share is a smaller part. It never gets larger."""
        if fleet_size > self.fleet_size:
            self.fleet_size = fleet_size
            self._shares.clear()

    def _share(self, policy: LimitPolicy) -> Share:
        share = self._shares.get(policy)
        if share is None:
            if len(self._shares) >= _MOST_SHARES:
                self._shares.clear()
            share = self._shares[policy] = Share(policy, self.fleet_size, self._phase)
        return share

    def _open(self, share: Share, key: bytes, now: float) -> bytes:
        """Where a key is counted. If it is asked for here for the first time, begin with what was spent of it."""
        place = key + share.mark
        if place in self._counts:
            return place
        seen = self._seen.get(key)
        if seen is None:
            state = share.unseen(self.since)
        else:
            _, remaining, reset_us, at = seen
            state = share.seed(remaining, reset_us * 1e-6, at, self.since)
        if state is not None:
            self._counts.put(share.policy, place, state, now)
        return place

    def _admitted(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        shares: Sequence[Share],
        would_deny: tuple[LimitPolicy, ...],
        now: float,
        member: bytes,
        may_be_charged: bool,
    ) -> None:
        for policy, key, share in zip(policies, keys, shares, strict=True):
            if policy in would_deny:
                continue
            if policy.is_held:
                self.members[key, member] = policy
            elif not may_be_charged:
                self._enter(policy, key, share, now)

    def _enter(self, policy: LimitPolicy, key: bytes, share: Share, now: float) -> None:
        """Into the ledger."""
        place = key + share.mark
        entry = self._ledger.get(place)
        if entry is not None:
            state = entry[2]
        elif len(self._ledger) >= self._max_keys:
            return  # crowded: what these keys spend here is not charged later
        else:
            counted = self._counts.state_of(place)
            # a window that is open already is this one's window, too
            is_window = counted is not None and share.policy.algorithm in ("fixed", "calendar")
            state = (counted[0], 0) if is_window else None
        numbers = share.policy.numbers
        passed, state, *_ = share.policy.step(state, now, numbers, policy.cost)
        if passed:
            self._ledger[place] = policy, key, state


def uncounted(policies: tuple[LimitPolicy, ...], keys: Sequence[bytes]) -> Verdict:
    """The last resort, when a request cannot be counted even here."""
    denying = tuple([policy for policy in policies if policy.on_store_error == "deny" and policy.is_enforced])
    if denying:
        return Verdict(policies, keys, denying[0], keys[policies.index(denying[0])], 0, 1.0, 1.0, denying, DENY)
    return Verdict(policies, keys, policies[0], keys[0], 0, 0.0, 0.0, (), ALLOW)


class _Counts(MemoryStore):
    """The counts of an outage, which begin with what is known."""

    __slots__ = ()

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def state_of(self, key: bytes) -> Any:
        return self._entries.get(key)

    def put(self, policy: LimitPolicy, key: bytes, state: Any, now: float) -> None:
        """Set a new key's state, unless memory is full: then it is counted with others, as every newcomer is."""
        if len(self._ring) < self._max_keys or self._make_room(now):
            self._entries[key] = state
            self._added(policy, key, now)


def _rename(
    verdict: Verdict, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], shares: Sequence[Share]
) -> None:
    """A verdict on shares becomes one on the policies that they are shares of."""
    whole = {share.policy: policy for policy, share in zip(policies, shares, strict=True)}
    verdict.policy = whole[verdict.policy]
    verdict.key = keys[policies.index(verdict.policy)]
    verdict.violated = tuple([whole[policy] for policy in verdict.violated])
    verdict.would_deny = tuple([whole[policy] for policy in verdict.would_deny])


def _spent(share: LimitPolicy, state: Any, now: float) -> int:
    """Units that are spent and not regained."""
    if state is None:
        return 0
    whole = share.step(None, now, share.numbers, 0)[2]
    return whole - share.step(state, now, share.numbers, 0)[2]


def _whole_spent(share: LimitPolicy, state: Any, now: float) -> int:
    """The same of the limit's own quota, of which the shares together are a little less: rounded up."""
    return ceil(_spent(share, state, now) / MARGIN)
