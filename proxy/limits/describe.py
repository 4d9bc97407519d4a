"""What a limit would do for a request, for `weir explain`. Nothing is asked of a store and nothing is charged."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.http.message import Request
from proxy.limits.key import Caller, Named
from proxy.limits.policy import LimitPolicy


@dataclass(frozen=True, slots=True)
class Description:
    """One limit and one request."""

    name: str
    where: str  # "policies/shop.yaml:12"
    applies: bool
    denies: bool  # `missing: deny`, and the request lacks the key
    reason: str  # a sentence
    key: str | None  # as the store names it
    by: tuple[str, ...]
    rate: str
    algorithm: str
    burst: int | None  # None where the algorithm has none
    most_in_a_window: int  # the trailing maximum over one period of the rate
    on_store_error: str


def describe(policy: LimitPolicy, client: Caller, request: Request, route: Named) -> Description:
    """Say whether `policy` applies to the request, under which key, and with which numbers."""
    key = policy.key(client, request, route)
    denies = key is None and policy.missing == "deny"
    return Description(
        name=policy.name,
        where=policy.where,
        applies=key is not None,
        denies=denies,
        reason=_reason(policy, client, request, route, key),
        key=None if key is None else key.decode("utf-8", "backslashreplace"),
        by=policy.by,
        rate=str(policy.rate),
        algorithm=policy.algorithm,
        burst=policy.burst if policy.algorithm == "gcra" else None,
        most_in_a_window=_most_in_a_window(policy),
        on_store_error=policy.on_store_error,
    )


def _reason(policy: LimitPolicy, client: Caller, request: Request, route: Named, key: bytes | None) -> str:
    words = " + ".join(policy.by)
    missing = [word for word in policy.by if _is_missing(word, client, request)]
    if not missing:
        return f"Counted by {words}."
    lacks = " and ".join(missing)
    if key is not None:
        return f"The request has no {lacks}: counted by address instead (missing: ip)."
    if policy.missing == "deny":
        return f"The request has no {lacks}: denied (missing: deny)."
    return f"The request has no {lacks}: not limited by this policy (missing: skip)."


def _is_missing(word: str, client: Caller, request: Request) -> bool:
    if word.startswith("header:"):
        return not request.index.get(word[len("header:") :].lower().encode("ascii"))
    return word in ("user", "tenant", "api_key") and not getattr(client, word)


def _most_in_a_window(policy: LimitPolicy) -> int:
    return policy.rate.count + {"gcra": policy.burst, "fixed": policy.rate.count, "sliding": 0}[policy.algorithm]
