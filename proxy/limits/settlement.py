"""What is owed after the response: costs known only then, outcomes that do not count, and what was held.

`exchange.settles` is (policies, keys, member) from the moment something may be owed until it is settled, once. The
store is told and not waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.limits.verdict import ALLOW

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response
    from proxy.limits.policy import LimitPolicy
    from proxy.limits.stage import Limiter
    from proxy.limits.verdict import Verdict

_MOST_DIGITS: Final = 12  # of a cost in a field


def owe(exchange: Exchange, limiter: Limiter, verdict: Verdict, member: bytes) -> None:
    """An admission is to be settled, or given back if it comes to that."""
    exchange.settles = verdict.policies, verdict.keys, member
    # after the charge, never before it: what is older than a window is not given back
    exchange.charged_at = now = limiter.clock()
    if member:
        for policy, key in zip(verdict.policies, verdict.keys, strict=True):
            if policy.is_held and policy not in verdict.would_deny:
                limiter.held.add(policy, key, member, now)


def take_costs(exchange: Exchange, response: Response) -> None:
    """Read what the backend says that the request cost, and take the fields that say it out of the response."""
    names = exchange.route.cost_fields if exchange.route is not None else ()
    if not names:
        return
    costs = exchange.costs = exchange.costs or {}
    for name in names:
        value = response.get(name)
        if value is not None and value.isdigit() and len(value) <= _MOST_DIGITS:
            costs[name] = int(value)
    response.fields = [field for field in response.fields if field[0] not in names]


def settle(exchange: Exchange, limiter: Limiter) -> None:
    """The exchange is over: correct what it was charged, and release what it holds. Whatever became of it."""
    assert exchange.settles is not None
    policies, keys, member = exchange.settles
    exchange.settles = None
    verdict: Verdict | None = exchange.decision
    store = limiter.store
    for policy, key in zip(policies, keys, strict=True):
        if policy.is_held:
            limiter.held.drop(policy, key, member)
            store.release(policy, key, member)
        elif policy.is_settled and _was_charged(verdict, policy):
            units = actual_cost(policy, exchange) - policy.cost
            if units:
                store.adjust(policy, key, units, exchange.charged_at)
                policy.stats.settled += 1


def release(exchange: Exchange, limiter: Limiter) -> None:
    """End what is held, and owe nothing."""
    assert exchange.settles is not None
    policies, keys, member = exchange.settles
    exchange.settles = None
    for policy, key in zip(policies, keys, strict=True):
        if policy.is_held:
            limiter.held.drop(policy, key, member)
            limiter.store.release(policy, key, member)


def give_back(exchange: Exchange, limiter: Limiter) -> None:
    """Undo an admission: it was not used."""
    verdict = exchange.decision
    assert verdict is not None
    charged_at = exchange.charged_at or limiter.clock()
    if exchange.settles is not None:
        release(exchange, limiter)
    for policy, key in zip(verdict.policies, verdict.keys, strict=True):
        if not policy.is_held and _was_charged(verdict, policy):
            limiter.store.adjust(policy, key, -policy.cost, charged_at)


def actual_cost(policy: LimitPolicy, exchange: Any) -> int:
    """What the request turned out to cost: an Exchange, or an entry of a log. The reserve, when that is not known."""
    status = exchange.status
    # 0: the client left before the head. That must not be a way to try a password without being counted.
    if policy.count_if is not None and status and status not in policy.count_if:
        return 0
    if policy.cost_field is not None:
        costs: dict[bytes, int] = exchange.costs or {}
        return min(costs.get(policy.cost_field, policy.cost), policy.most)
    if policy.cost_bytes is not None:
        sent_bytes: int = exchange.bytes_sent
        return min(max(-(-sent_bytes // policy.cost_bytes), 1), policy.most)
    return policy.cost


def _was_charged(verdict: Any, policy: LimitPolicy) -> bool:
    """Nothing is given back where nothing is known to have been charged: by a store that is away, or in shadow."""
    return verdict is not None and not verdict.denied and verdict.mode is not ALLOW and policy not in verdict.would_deny
