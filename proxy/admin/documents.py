"""Limits, keys and what is in force on them, as the JSON of /v1/."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf
from typing import TYPE_CHECKING, Any, Final

from proxy.limits.controls import Controls, Entry, Kill, Override
from proxy.limits.operator_keys import shown
from proxy.observe.redact import clean
from proxy.observe.times import rfc3339

if TYPE_CHECKING:
    from proxy.limits.limit import Limit
    from proxy.limits.limit_stats import LimitStats
    from proxy.limits.offenders import Offender
    from proxy.limits.policy import LimitPolicy
    from proxy.limits.verdict import Verdict

_COUNTERS: Final = (
    *("allowed", "denied", "blocked", "delayed", "diverted", "near"),
    *("would_deny", "candidate_denied", "settled"),
)


def limit_document(limit: Limit, top: list[Offender]) -> dict[str, Any]:
    """What the limit is, what it has counted since the start, and whom it denied most of late."""
    settings = limit.settings
    return {
        "name": limit.name,
        "where": limit.where,
        "by": list(limit.by),
        "mode": limit.mode,
        "enforce_share": limit.enforce_share,
        "numbers": numbers_document(limit.live),
        "candidate": None if limit.candidate is None else numbers_document(limit.candidate),
        "plans": {plan: numbers_document(pair[1]) for plan, pair in limit.plans.items()},
        "accuracy": settings.accuracy,
        "on_store_error": settings.on_store_error,
        "counters": counters_document(limit.stats),
        "offenders": offenders_document(limit, top),
    }


def numbers_document(policy: LimitPolicy) -> dict[str, Any]:
    return {
        "algorithm": policy.algorithm,
        "limit": policy.label,
        "quota": policy.quota,
        "window_s": policy.window_s,
        "burst": policy.burst if policy.algorithm == "gcra" else None,
        "cost": policy.cost,
    }


def counters_document(stats: LimitStats) -> dict[str, int]:
    return {name: getattr(stats, name) for name in _COUNTERS}


def offenders_document(limit: Limit, top: list[Offender]) -> list[dict[str, Any]]:
    """`denied` may be too high by `error` at most, and is never too low."""
    return [{"key": shown(limit, offender.key), "denied": offender.denied, "error": offender.error} for offender in top]


def key_document(
    limit: Limit, key: bytes, policy: LimitPolicy, verdict: Verdict, controls: Controls, now_wall: float
) -> dict[str, Any]:
    """One key: what a request with it would find now."""
    entries = controls.of_key(limit.name, key)
    kinds = {entry.slot[0] for entry in entries}
    answer = "deny" if verdict.violated else "admit"
    if not policy.is_enforced:
        answer = "admit"
    if "allow" in kinds:
        answer = "not counted"
    if "ban" in kinds and limit.mode == "enforce":
        answer = "block"
    return {
        "limit": limit.name,
        "key": shown(limit, key),
        "answer": answer,
        "is_enforced": policy.is_enforced,
        "numbers": numbers_document(policy),
        "remaining": verdict.remaining,
        "reset_s": _seconds(verdict.reset_s),
        "retry_after_s": _seconds(verdict.retry_after_s),
        "decided": verdict.mode,
        "in_force": [entry_document(entry, {limit.name: limit}, now_wall) for entry in entries],
    }


def entry_document(entry: Entry, limits: Mapping[str, Limit], now_wall: float) -> dict[str, Any]:
    """A ban, an allow, an override or a kill switch."""
    document: dict[str, Any] = {"kind": entry.slot[0]}
    if isinstance(entry, Kill):
        document |= {"scope": entry.scope, "name": entry.name or None}
    else:
        limit = limits.get(entry.limit)
        key = clean(entry.key.decode("utf-8", "backslashreplace")) if limit is None else shown(limit, entry.key)
        document |= {"limit": entry.limit, "key": key}
    if isinstance(entry, Override):
        document |= {"rate": str(entry.rate), "burst": entry.burst}
    return document | {
        "reason": entry.reason,
        "who": entry.who,
        "since": rfc3339(entry.since_wall),
        "until": rfc3339(entry.until_wall),
        "ends_in_s": max(round(entry.until_wall - now_wall, 3), 0.0),
    }


def _seconds(value: float) -> float | None:
    """None: no wait will bring it."""
    return None if isinf(value) else round(value, 3)
