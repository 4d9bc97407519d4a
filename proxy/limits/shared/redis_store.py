"""Counts in Redis or Valkey, shared by every worker and every proxy that uses the same store.

Many requests need no call at all: keys that are known to be denied (deny_cache.py), slices of a busy quota that were
charged before (leases.py), and limits that are counted in each process alone. The others share calls
(calls.py): a request waits on its own ticket, and the call itself is never cancelled.

A request without an answer in time is decided by `on_store_error` (fallback.py) and never asked again: it may have been
charged. A store that keeps failing is not asked at all until a probe finds it well (recovery.py), and
meanwhile nobody waits. When it is back it is told what was admitted meanwhile, and only then asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from math import inf
from typing import Any, Final

from proxy.core.clock import monotonic
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import LimiterSettings
from proxy.limits.shared.calls import Calls
from proxy.limits.shared.deny_cache import DenyCache
from proxy.limits.shared.fallback import Due, StandIn, uncounted
from proxy.limits.shared.fleet import Fleet
from proxy.limits.shared.group import Question, adjusting, verdicts
from proxy.limits.shared.hand_over import Guarded, HandOver
from proxy.limits.shared.last_seen import LastSeen
from proxy.limits.shared.link import link_to
from proxy.limits.shared.membership import Membership
from proxy.limits.shared.orders import Order
from proxy.limits.shared.parts import Parts
from proxy.limits.shared.recovery import Listener, Recovery
from proxy.limits.shared.slices import slice_bound
from proxy.limits.shared.slicing import Slicing
from proxy.limits.shared.waiting_line import Ticket
from proxy.limits.store import StoreStats
from proxy.limits.verdict import LOCAL, SHARED, Verdict
from proxy.store.breaker import FAILURES

log = logging.getLogger("weir.limits")
_LARGEST_MERGE: Final = 128  # charges in one call
_MERGE_S: Final = 0.25  # how long a store that is back is kept waiting for the outage's charges; the rest goes along
_MOST_RESEEDED: Final = 4096  # keys that a store which lost its data is told of again, besides those of the outage
_MOST_SETS: Final = 4096


class RedisStore:
    """Shared counts, and this process's share of them for as long as the store is away."""

    def __init__(self, url: str, settings: LimiterSettings, listener: Listener) -> None:
        """Raises ValueError for a URL that is no store's. Nothing is opened before `start`."""
        self.stats = StoreStats()
        self._link = link_to(url)
        self._max_keys = settings.max_keys
        self._calls = Calls(self._link, self._answered, self._failed, self._broken)
        self._recovery = Recovery(self._link, self._calls, self.stats, listener, self._prove, self._settle)
        self._recovery.patience_s = settings.store_timeout
        self._fleet = Fleet()
        self._membership = Membership(self._link, self._calls, self._fleet, self._fleet_changed)
        self._deny_cache = DenyCache()
        self._seen = LastSeen()
        self._slicing = Slicing(self._calls, self._deny_cache, self._seen, self.stats)
        self._leases = self._slicing.leases
        self._memory = MemoryStore(settings.max_keys, self.stats)  # for limits that are counted in each process alone
        self._asked: set[tuple[LimitPolicy, ...]] = set()  # sets of limits that are all asked of the store
        self._held: dict[tuple[bytes, bytes], LimitPolicy] = {}  # (key, member): admitted by the store, not yet over
        # from the first request without an answer until the store was told, and until it can have been told by all
        self._stand_in: StandIn | None = None
        self._hand_over = HandOver(self._membership, self._handed_over)
        self._late_at = 0.0  # the last answer for which requests did not wait
        self._has_logged = False

    def decide(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes = b""
    ) -> Verdict | Awaitable[Verdict]:
        """A ticket, or the verdict itself where the store is not asked. `now` must be the monotonic clock's."""
        if self._deny_cache.entries:
            denial = self._deny_cache.judge(policies, keys, now)
            if denial is not None:
                self.stats.deny_cache_hits += 1
                return denial
        if policies not in self._asked and not self._are_all_asked(policies):
            return self._decide_in_parts(policies, keys, now, member)
        if self._calls.is_open:
            return self._calls.ask(policies, keys, now, member)
        return self._without_store(policies, keys, now, member, False)

    def adjust(self, policy: LimitPolicy, key: bytes, units: int, charged_at: float) -> None:
        """Fire and forget. While the store is away it is kept for its return, unless it was charged here."""
        if policy.accuracy == "local":
            self._memory.adjust(policy, key, units, charged_at)
            return
        if units < 0:
            self._deny_cache.drop(key)
        stand_in = self._stand_in
        if stand_in is None or not stand_in.adjust(policy, key, units, charged_at, monotonic()):
            self._calls.do(Order("adjust", policy, key, units=units, at=charged_at))

    def renew(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """Fire and forget. What is held here is renewed here while the store is away; its own leases may end."""
        if policy.accuracy == "local":
            self._memory.renew(policy, key, member)
            return
        if self._stand_in is not None:
            self._stand_in.renew(policy, key, member)
        if self._calls.is_open:
            self._calls.do(Order("renew", policy, key, member=member))

    def release(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """Fire and forget. While the store is away it is kept for its return; the lease ends by itself in any case."""
        if policy.accuracy == "local":
            self._memory.release(policy, key, member)
            return
        self._held.pop((key, member), None)
        if self._stand_in is not None:
            self._stand_in.release(policy, key, member)
        self._calls.do(Order("release", policy, key, member=member))

    def peek(self, policy: LimitPolicy, key: bytes, now: float) -> Verdict | Awaitable[Verdict]:
        """What a request would find. A future while the store is there; it may take longer than a request waits."""
        if policy.accuracy == "local":
            return self._memory.peek(policy, key, now)
        if not self._calls.is_open:
            return self._ensure_stand_in(now).peek(policy, key, now)
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

        def answered(reply: list[int] | None) -> None:
            if future.done():
                return
            verdict = None if reply is None else verdicts([Question((policy,), (key,))], reply)[0]
            if verdict is None:
                at = monotonic()
                verdict = self._ensure_stand_in(at).peek(policy, key, at)
            future.set_result(verdict)

        self._calls.do(Order("peek", policy, key, reply=answered))
        return future

    def reset(self, policy: LimitPolicy, key: bytes) -> Awaitable[None] | None:
        """The key has everything again, here at once and in the store when the future is done, or when it is back."""
        self._deny_cache.drop(key)
        self._leases.drop(key)
        self._seen.drop(key)
        self._memory.reset(policy, key)
        if self._stand_in is not None:
            self._stand_in.reset(policy, key)
        if policy.accuracy == "local":
            return None
        if not self._calls.is_open:
            self._calls.do(Order("reset", policy, key))
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(reply: list[int] | None) -> None:
            if reply is None:
                self._calls.do(Order("reset", policy, key))
            if not future.done():
                future.set_result(None)

        self._calls.do(Order("reset", policy, key, reply=answered))
        return future

    def forget(self, policy: LimitPolicy | None) -> None:
        """Drop what is remembered of denials: a limit became more generous, here or at another Weir. None: of all."""
        self._deny_cache.forget(policy)

    def declared_excess(self, policy: LimitPolicy) -> int:
        """The most units that a trailing window may hold beyond what the algorithm allows: N*k of a `leased` limit."""
        if policy.accuracy != "leased":
            return 0
        return self._fleet.size * slice_bound(round(1.0 / policy.unit_share), self._fleet.size)

    def status(self) -> dict[str, Any]:
        """For /healthz. `share`: of each limit, that this Weir enforces while the store is away, and just after it is
        back, while others may not be (`handing_over`). `since`: Unix time."""
        return {
            "mode": SHARED if self._calls.is_open else LOCAL,
            "since": self._recovery.since_wall,
            "latency_s": self.stats.latency_s,
            "error": self._recovery.error,
            "breaker": self._recovery.breaker_state,
            "fleet": self._fleet.size,
            "share": self._fleet.share,
            "handing_over": self._hand_over.is_on,
        }

    def apply(self, settings: LimiterSettings) -> None:
        """After a reload. A wait that is under way may still last as long as the old settings say."""
        self._recovery.patience_s = settings.store_timeout
        self._calls.set_patience(settings.store_timeout)
        self._max_keys = settings.max_keys
        self._memory.apply(settings)
        self._asked.clear()

    async def start(self) -> None:
        """Connect. Waits for the first attempt, two seconds at most, and never fails."""
        self._calls.start(self._recovery.patience_s, self._ran_out)
        await self._recovery.start()
        self._membership.start()

    async def aclose(self) -> None:
        """Give back what is held, let the call that is in flight end, decide the rest here, and disconnect.

        Three seconds at most.
        """
        self._membership.stop()
        if self._calls.is_open:
            self._slicing.close()
            self._membership.leave()
            await self._calls.drain()
        self._settle(self._calls.turn_away())
        await self._recovery.aclose()
        self._hand_over.stop()
        self._calls.close()
        await self._link.close()

    # Requests that need not be asked, or not for all of their limits.

    def _are_all_asked(self, policies: tuple[LimitPolicy, ...]) -> bool:
        if self._hand_over.is_on or any([policy.accuracy != "exact" for policy in policies]):
            return False
        if len(self._asked) >= _MOST_SETS:
            self._asked.clear()
        self._asked.add(policies)
        return True

    def _decide_in_parts(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes
    ) -> Verdict | Awaitable[Verdict]:
        stand_in = self._stand_in
        parts: Parts
        if self._hand_over.is_on and self._calls.is_open and stand_in is not None:
            parts = Guarded(policies, keys, now, member, self._memory, stand_in)
        else:
            parts = Parts(policies, keys, now, member, self._memory, self._leases)
        if parts.denied_here is not None:
            return parts.denied_here
        if not parts.rest:
            return parts.combine(None, now)
        if self._calls.is_open:
            if type(parts) is Guarded:
                denial = parts.pass_shares(now, self._hand_over.left_s(now))
                if denial is not None:
                    self.stats.degraded += 1
                    return parts.combine(denial, now)
            return self._calls.ask(parts.rest, parts.rest_keys, now, member, parts)
        return parts.combine(self._without_store(parts.rest, parts.rest_keys, now, member, False), now)

    # Answers.

    def _answered(self, orders: list[Order], tickets: list[Ticket], answer: list[int | None]) -> None:
        now = monotonic()
        stats = self.stats
        took_s = stats.latency_s = now - self._calls.sent_at
        stats.latency_sum_s += took_s
        stats.calls += 1
        self._recovery.answered(took_s, now)
        at = 3 * len(orders)
        if orders:
            _report(orders, answer)
        undecided: list[Ticket] = []
        told = verdicts(tickets, answer[at:] if at else answer)
        for i, ticket in enumerate(tickets):
            verdict = told[i]
            if verdict is None:  # that part of the store did not answer
                undecided.append(ticket)
            else:
                try:
                    self._learn(ticket, verdict, answer, at)
                    if ticket.parts is not None:
                        told[i] = ticket.parts.combine(verdict, now)
                except Exception:  # a defect, which must not keep the others waiting
                    self._log_defect()
            at += 3 * len(ticket.policies)
        if undecided:
            stats.errors += 1
            self._settle([ticket for ticket in undecided if not ticket.done()])
        elif self._stand_in is not None and self._calls.is_open:
            if took_s <= self._recovery.patience_s:
                self._merge_after_hiccup(self._stand_in, now)
            else:
                self._late_at = now
        for ticket, verdict in zip(tickets, told, strict=True):  # last: each goes on at once, and may ask again
            if verdict is not None and not ticket.done():
                stats.requests += 1
                ticket.set_result(verdict)

    def _learn(self, ticket: Ticket, verdict: Verdict, numbers: Sequence[Any], at: int) -> None:
        """Remember what may spare a question, or stand in for an answer, later."""
        self._seen.note(ticket.policies, ticket.keys, numbers, at, self._calls.sent_at)
        if verdict.denied or verdict.would_deny:
            self._note_denial(ticket, numbers, at)
        if not verdict.denied:
            if ticket.member:
                self._note_held(ticket)
            if ticket.parts is not None and not self._hand_over.is_on:
                self._note_busy(ticket, numbers, at)

    def _note_denial(self, ticket: Ticket, numbers: Sequence[int], at: int) -> None:
        """For the deny cache: each limit that refused, enforced or not."""
        asked_at = self._calls.sent_at
        for policy, key in zip(ticket.policies, ticket.keys, strict=True):
            passed = numbers[at + 2]
            if passed > 0 or passed == -1:
                retry_after_s = inf if passed < 0 else passed * 1e-6
                self._deny_cache.note(policy, key, numbers[at], numbers[at + 1] * 1e-6, retry_after_s, asked_at)
            at += 3

    def _note_held(self, ticket: Ticket) -> None:
        """Who has left meanwhile, or was denied here because this took too long, will not release it."""
        is_unwanted = ticket.done() and (ticket.value is None or ticket.value.denied)
        for policy, key in zip(ticket.policies, ticket.keys, strict=True):
            if policy.is_held:
                if is_unwanted:
                    if self._stand_in is not None:
                        self._stand_in.release(policy, key, ticket.member)
                    self._calls.do(Order("release", policy, key, member=ticket.member))
                else:
                    self._held[key, ticket.member] = policy

    def _note_busy(self, ticket: Ticket, numbers: Sequence[int], at: int) -> None:
        """A leased key that was asked for by itself may be worth a slice."""
        for policy, key in zip(ticket.policies, ticket.keys, strict=True):
            if policy.accuracy == "leased" and policy.is_enforced:
                self._leases.seen(policy, key, numbers[at], self._calls.sent_at)
            at += 3
        self._slicing.watch()

    def _fleet_changed(self) -> None:
        if self._stand_in is not None:  # of an outage that is just over: it may have to stand in for the next one
            self._stand_in.grow(self._fleet.size)
        self._leases.fleet_size = self.stats.fleet_size = self._fleet.size
        self.stats.local_share = self._fleet.share
        self.stats.deny_cache_size = len(self._deny_cache)

    # Without the store, and its return.

    def _failed(self, tickets: list[Ticket], reason: str) -> None:
        self._settle(tickets)
        self._recovery.failed(reason)

    def _broken(self) -> None:
        self._recovery.wake_up()

    def _ran_out(self, tickets: list[Ticket]) -> None:
        self.stats.timeouts += len(tickets)
        self._settle(tickets)
        self._recovery.ran_out()

    def _settle(self, tickets: list[Ticket]) -> None:
        """Decide here for those who got no answer."""
        now = monotonic()
        for ticket in tickets:
            parts = ticket.parts
            try:
                if type(parts) is Guarded:
                    parts.take_back(now)  # it is charged like the others, and then told to the store
                verdict = self._without_store(ticket.policies, ticket.keys, now, ticket.member, ticket.is_sent)
                if parts is not None:
                    verdict = parts.combine(verdict, now)
            except Exception:  # a defect, which must not keep the others waiting
                self._log_defect()
                verdict = uncounted(ticket.policies, ticket.keys)
            if not ticket.done():
                ticket.set_result(verdict)

    def _log_defect(self) -> None:
        """Once: what goes wrong for one request may do so for thousands."""
        if not self._has_logged:
            self._has_logged = True
            log.exception("a request could not be counted; the next ones are not told of")

    def _without_store(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], now: float, member: bytes, may_be_charged: bool
    ) -> Verdict:
        self.stats.degraded += 1
        back_in_s = self._recovery.back_in_s(now)
        return self._ensure_stand_in(now).decide(policies, keys, now, member, back_in_s, may_be_charged)

    def _ensure_stand_in(self, now: float, size: int = 0) -> StandIn:
        """`size`: of the fleet, where a store that is empty has said otherwise meanwhile."""
        stand_in = self._stand_in
        if stand_in is None:
            stand_in = self._stand_in = StandIn(
                self._max_keys, self.stats, self._seen, size or self._fleet.size, self._membership.phase, now
            )
            for (key, member), policy in self._held.items():
                stand_in.hold(policy, key, member)
        return stand_in

    async def _prove(self) -> None:
        """See that the store is well, and charge what was admitted while it was away, before anybody asks again."""
        size = self._fleet.size
        was_away = not self._calls.is_open and self._fleet.heard_at is not None
        has_lost = await self._membership.probe(self._recovery.patience_s)
        now = monotonic()
        lost: list[Due] = []
        if has_lost or was_away:  # even if nobody asked here meanwhile
            self._ensure_stand_in(now, size)
        if has_lost:
            self._slicing.lose()
            lost = self._ensure_stand_in(now).lost_dues(now, _MOST_RESEEDED)
        stand_in = self._stand_in
        if stand_in is None:
            return
        until = now + _MERGE_S
        while now < until:
            dues = lost[:_LARGEST_MERGE] or stand_in.take_dues(now, _LARGEST_MERGE, has_lost)
            if not dues:
                break
            lost = lost[_LARGEST_MERGE:]
            self.stats.merged_units += sum([due.units for due in dues])
            await self._link.evaluate([adjusting(due.policy, due.key, due.units, 0.0) for due in dues])
            now = monotonic()
        self._merge_along(stand_in, lost, has_lost, now)
        self._hand_over_from(stand_in)

    def _merge_after_hiccup(self, stand_in: StandIn, now: float) -> None:
        """Requests ran out of time, and yet the store is well. Some other Weir's breaker may have opened."""
        is_short = self._late_at - stand_in.since < (FAILURES - 1) * self._recovery.patience_s
        if self._hand_over.is_on:
            if not stand_in.is_settled:
                self._merge_along(stand_in, [], False, now)
            return
        self._merge_along(stand_in, [], False, now)
        if is_short:
            self._stand_in = None
        else:
            self._hand_over_from(stand_in)

    def _hand_over_from(self, stand_in: StandIn) -> None:
        """The store has been told, or will be with the next calls. Its shares hold on until the others have told it."""
        if stand_in.fleet_size > 1:
            self._asked.clear()
            self._hand_over.begin(stand_in.fleet_size)
        else:
            self._stand_in = None

    def _handed_over(self) -> None:
        if self._calls.is_open and self._stand_in is not None:  # else it stands in for the next outage
            if not self._stand_in.is_settled:
                self._merge_along(self._stand_in, [], False, monotonic())
            self._stand_in = None

    def _merge_along(self, stand_in: StandIn, dues: list[Due], has_lost: bool, now: float) -> None:
        """Charge what is left of it along with the next calls."""
        dues += stand_in.take_dues(now, self._max_keys, has_lost)
        self.stats.merged_units += sum([due.units for due in dues])
        for due in dues:
            self._calls.add(Order("adjust", due.policy, due.key, units=due.units, at=now))
        for (key, member), policy in stand_in.members.items():
            self._held[key, member] = policy
            self._calls.add(Order("renew", policy, key, member=member))
        stand_in.settled()


def _report(orders: list[Order], answer: list[int | None]) -> None:
    """Tell those who wait for more than that it is done."""
    at = 0
    for order in orders:
        if order.reply is not None:
            own = [number for number in answer[at : at + 3] if number is not None]
            order.reply(own if len(own) == 3 else None)
        at += 3
