"""Counts become findings: sorted, named, with suggested limits, and with what to know before believing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from proxy.core.units import Rate
from proxy.simulation.estimate import Arrivals, effect_of, everything, least_for_keys, least_for_requests
from proxy.simulation.findings import (
    ClientFinding,
    Findings,
    KeyFinding,
    LimitFinding,
    RateFinding,
    RouteFinding,
    Suggestion,
)
from proxy.simulation.instants import text_of
from proxy.simulation.key_text import key_text
from proxy.simulation.tally import DENIED, REQUESTS, LimitTally, Tally
from proxy.simulation.variants import Variants

if TYPE_CHECKING:
    from proxy.limits.policy import LimitPolicy

MAX_WORST: Final = 10  # keys of a limit, and clients
MAX_SLOTS: Final = 240  # of a chart


class Source:
    """Where the numbers come from, for the head of the report."""

    __slots__ = ("configuration", "files", "late", "lines", "notes", "rubbish", "samples")

    def __init__(
        self,
        configuration: str,
        files: dict[str, str],
        lines: int,
        rubbish: int,
        samples: Sequence[tuple[str, str, str]],
        late: int,
        notes: Sequence[str],
    ) -> None:
        self.configuration = configuration
        self.files = files
        self.lines = lines
        self.rubbish = rubbish
        self.samples = tuple(samples)
        self.late = late
        self.notes = tuple(notes)


def conclude(
    tally: Tally,
    source: Source,
    variants: Mapping[str, Variants],
    candidates: Mapping[str, Sequence[Rate]],
    on_limit: Callable[[str], None] = lambda name: None,
) -> Findings:
    """All findings. Takes seconds for a large log: every suggested limit is found by trying. `on_limit` hears which."""
    limits = []
    for name, limit in sorted(tally.limits.items()):
        on_limit(name)
        limits.append(_limit(name, limit, tally, variants[name], candidates.get(name, ())))
    timeline = tally.timeline
    slot_s, came = timeline.points(REQUESTS, MAX_SLOTS)
    routes = sorted(tally.routes.items(), key=lambda item: (-item[1].denied, -item[1].requests, item[0]))
    return Findings(
        configuration=source.configuration,
        files=source.files,
        lines=source.lines,
        rubbish=source.rubbish,
        rubbish_samples=source.samples,
        late=source.late,
        no_requests=tally.no_requests,
        refused={str(status): count for status, count in sorted(tally.refused.items())},
        first_at=text_of(tally.first_at),
        last_at=text_of(tally.last_at),
        requests=tally.requests,
        good=tally.good,
        denied=tally.denied,
        denied_share=_share(tally.denied, tally.requests),
        good_denied=tally.good_denied,
        good_denied_share=_share(tally.good_denied, tally.good),
        limits=tuple(limits),
        routes=tuple(RouteFinding(name, one.requests, one.denied, one.good_denied) for name, one in routes),
        clients=_clients(tally),
        start_wall=timeline.start_at,
        slot_s=slot_s,
        requests_over_time=tuple(came),
        denied_over_time=tuple(timeline.points(DENIED, MAX_SLOTS)[1]),
        notes=source.notes,
    )


def _limit(name: str, limit: LimitTally, tally: Tally, variants: Variants, candidates: Sequence[Rate]) -> LimitFinding:
    arrivals: list[Arrivals] = [
        (key.arrivals, key.units) for key in limit.keys.values() if key.arrivals is not None and len(key.arrivals)
    ]
    keys_denied = sum(key.denied > 0 for key in limit.keys.values())
    timeline = tally.timeline
    may_try = variants.rate is not None
    return LimitFinding(
        name=name,
        where=variants.where,
        rate=variants.label,
        by=variants.by,
        algorithm=variants.algorithm,
        mode=variants.mode,
        requests=limit.asked,
        denied=limit.denied,
        would_deny=limit.would_deny,
        candidate_denied=limit.candidate_denied,
        good_denied=limit.good_denied,
        keys=len(limit.keys),
        keys_denied=keys_denied,
        worst=_worst(limit, variants),
        now=_try(variants, variants.rate, arrivals) if variants.rate is not None else None,
        suggestion=_suggest(variants, limit, arrivals) if may_try else None,
        candidates=tuple(_try(variants, rate, arrivals) for rate in candidates) if may_try else (),
        note=variants.note,
        requests_over_time=tuple(timeline.points(name, MAX_SLOTS)[1]),
        denied_over_time=tuple(timeline.points(f"{DENIED} {name}", MAX_SLOTS)[1]),
    )


def _suggest(variants: Variants, limit: LimitTally, arrivals: Sequence[Arrivals]) -> Suggestion:
    assert variants.rate is not None
    period_s = variants.rate.period_s

    def policy_at(count: int) -> LimitPolicy | None:
        return variants.policy(Rate(count, period_s))

    for_requests = Rate(least_for_requests(policy_at, arrivals), period_s)
    for_keys = Rate(least_for_keys(policy_at, arrivals), period_s)
    return Suggestion(_try(variants, for_requests, arrivals), _try(variants, for_keys, arrivals), limit.sample_of_keys)


def _try(variants: Variants, rate: Rate, arrivals: Sequence[Arrivals]) -> RateFinding:
    policy = variants.policy(rate)
    if policy is None:  # nothing passes
        effect = everything(arrivals)
    else:
        effect = effect_of(policy, arrivals)
    return RateFinding(
        rate=str(rate),
        burst=policy.burst if policy is not None and variants.has_burst else None,
        denied=effect.denied,
        denied_share=effect.share,
        keys_denied=effect.keys_denied,
        keys_denied_share=effect.share_of_keys,
    )


def _worst(limit: LimitTally, variants: Variants) -> tuple[KeyFinding, ...]:
    denied = [(key, tally) for key, tally in limit.keys.items() if tally.denied]
    denied.sort(key=lambda item: (-item[1].denied, item[0]))
    return tuple(
        KeyFinding(
            key_text(key, variants.by),
            tally.requests,
            tally.denied,
            tally.good_denied,
            tally.spell.longest_s,
            text_of(tally.spell.longest_at),
        )
        for key, tally in denied[:MAX_WORST]
        if tally.spell is not None
    )


def _clients(tally: Tally) -> tuple[ClientFinding, ...]:
    denied = [(who, one) for who, one in tally.clients.items() if one.denied]
    denied.sort(key=lambda item: (-item[1].denied, item[0][0], item[0][1] or ""))
    return tuple(
        ClientFinding(
            address if user is None else f"{address}, user {user}",
            one.requests,
            one.denied,
            one.good_denied,
            one.spell.longest_s,
            text_of(one.spell.longest_at),
            dict(sorted(one.limits.items(), key=lambda item: -item[1])),
        )
        for (address, user), one in denied[:MAX_WORST]
        if one.spell is not None
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
