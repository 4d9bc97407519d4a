"""What a limit would do for a request, for `weir explain`. Nothing is asked of a store and nothing is charged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.core.units import format_duration, format_size
from proxy.http.message import Request
from proxy.limits.key import Named
from proxy.limits.ladder import Step
from proxy.limits.limit import Limit
from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import CostSettings
from proxy.limits.terms import Party


@dataclass(frozen=True, slots=True)
class Description:
    """One limit and one request."""

    name: str
    where: str  # "policies/shop.yaml:12"
    applies: bool
    denies: bool  # refuses whatever was spent: the request lacks the key, or the client is on the deny list
    reason: str  # a sentence
    key: str | None  # as the store names it
    by: tuple[str, ...]
    rate: str  # or "40 at once"
    algorithm: str
    burst: int | None  # None where the algorithm has none
    most_in_a_window: int  # the trailing maximum over one period of the rate, or of what is under way
    on_store_error: str
    mode: str  # "enforce", "shadow" or "off", as it is for this key
    plan: str | None  # whose numbers these are; None: everybody's
    notes: tuple[str, ...]  # sentences about whatever else there is to the limit


def describe(limit: Limit, client: Party, request: Request, route: Named) -> Description:
    """Say whether `limit` applies to the request, under which key, and with which numbers.

    Operators' overrides and bans are not known here: they live in a running Weir.
    """
    entry = limit.deny.find(client)
    exempt = None if entry is not None else limit.allow.find(client)
    key = limit.key(client, request, route) if entry is exempt is None and limit.mode != "off" else None
    plan = client.plan if client.plan in limit.plans else None
    policy = limit.live if key is None else limit.policies(key, client.plan, None)[0]
    keyless = key is None and entry is exempt is None and limit.mode != "off"
    enforces = limit.mode == "enforce"
    return Description(
        name=limit.name,
        where=limit.where,
        applies=key is not None,
        denies=enforces and (entry is not None or (keyless and policy.missing == "deny")),
        reason=_reason(limit, client, request, key, entry, exempt),
        key=None if key is None else key.decode("utf-8", "backslashreplace"),
        by=limit.by,
        rate=policy.label,
        algorithm=limit.settings.algorithm,
        burst=policy.burst if policy.algorithm == "gcra" else None,
        most_in_a_window=most_in_a_window(policy),
        on_store_error=policy.on_store_error,
        mode="shadow" if enforces and key is not None and not policy.is_enforced else limit.mode,
        plan=plan,
        notes=tuple(_notes(limit, policy, client)),
    )


def most_in_a_window(policy: LimitPolicy) -> int:
    """The most units that any trailing period of the rate can hold; of `inflight`, that can be under way."""
    if policy.rate is None:
        return policy.quota
    count = policy.rate.count
    if policy.algorithm == "gcra":
        return count if policy.is_strict else count + policy.burst
    return 2 * count if policy.algorithm in ("fixed", "calendar") else count


def _reason(
    limit: Limit, client: Party, request: Request, key: bytes | None, entry: str | None, exempt: str | None
) -> str:
    if limit.mode == "off":
        return "Switched off (mode: off)."
    if entry is not None:
        return f"On its deny list as {entry}: " + ("refused." if limit.mode == "enforce" else "only told, in shadow.")
    if exempt is not None:
        return f"On its allow list as {exempt}: not counted."
    missing = [word for word in limit.by if _is_missing(word, client, request)]
    if not missing:
        return f"Counted by {' + '.join(limit.by)}."
    lacks = " and ".join(missing)
    if key is not None:
        return f"The request has no {lacks}: counted by address instead (missing: ip)."
    if limit.live.missing == "deny":
        return f"The request has no {lacks}: denied (missing: deny)."
    return f"The request has no {lacks}: not limited by this policy (missing: skip)."


def _is_missing(word: str, client: Party, request: Request) -> bool:
    if word.startswith("header:"):
        return not client.is_vouched_for or not request.index.get(word[len("header:") :].lower().encode("ascii"))
    return word in ("user", "tenant", "api_key") and not getattr(client, word)


def _notes(limit: Limit, policy: LimitPolicy, client: Party) -> Iterator[str]:
    settings = limit.settings
    if limit.plans:
        if client.plan in limit.plans:
            yield f"The numbers are those of the plan {client.plan}."
        else:
            has = "has no plan" if client.plan is None else f"has the plan {client.plan}, which is not listed"
            yield f"The client {has}: the numbers are those for everybody."
    if policy.calendar is not None:
        yield f"Each {policy.calendar.unit} of the calendar in {policy.calendar.zone} is a window."
    yield from _cost_notes(limit, policy)
    if limit.mode == "shadow":
        yield "In shadow: it counts and refuses nobody."
    elif limit.enforce_share is not None:
        yield f"Enforced for {100 * limit.enforce_share:g}% of the keys" + _share_words(policy)
    if limit.candidate is not None and client.plan not in limit.plans:
        yield f"A candidate of {limit.candidate.label} is counted beside it and refuses nobody."
    if (rule := settings.penalty) is not None:
        yield (
            f"After {rule.after} denials within {format_duration(rule.within)} the key is blocked for "
            f"{format_duration(rule.block)}, {rule.growth:g} times longer each time, "
            f"at most {format_duration(rule.most)}."
        )
    if policy.ladder:
        delay = f"delay up to {format_duration(policy.delay_s)}"
        steps = [delay if step is Step.DELAY else step.value for step in policy.ladder]
        yield f"Over the limit: {', then '.join(steps)}, then 429."
    if policy.is_held:
        yield f"A lease of {format_duration(policy.lease_s)} is renewed while the request is under way."
    if policy.accuracy != "exact":
        yield {
            "leased": "A part of what is left is taken from the store at a time, and spent here.",
            "local": "Each process counts alone, whatever the store.",
        }[policy.accuracy]


def _cost_notes(limit: Limit, policy: LimitPolicy) -> Iterator[str]:
    cost = limit.settings.cost
    if isinstance(cost, CostSettings):
        source = f"the response's {cost.response_field}" if cost.response_field else "the content, one for every "
        source += format_size(cost.response_bytes) if cost.response_bytes is not None else ""
        yield f"Costs {policy.cost} at first, then what it was by {source}, at most {policy.most}."
    elif cost != 1:
        yield f"Costs {cost}."
    if limit.settings.count_if is not None:
        yield f"Counts only if {limit.settings.count_if}; what does not is given back after the response."


def _share_words(policy: LimitPolicy) -> str:
    return ", and this is one of them." if policy.is_enforced else ", and this is not one of them: in shadow."
