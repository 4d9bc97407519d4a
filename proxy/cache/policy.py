"""CachePolicy: the `cache:` section of a route with nothing left to look up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from proxy.cache.settings import CacheRouteSettings
from proxy.core.units import format_duration

__all__ = ["HEURISTIC_CAP_S", "STALE_ON_ERROR_S", "CachePolicy", "compile_cache", "describe_cache"]

HEURISTIC_CAP_S: Final = 24 * 3600.0  # RFC 9111 §4.2.2 suggests 10 % of the age; a day is enough for a guess
STALE_ON_ERROR_S: Final = 24 * 3600.0  # how stale a response may stand in for an origin that cannot be reached


@dataclass(frozen=True, slots=True, eq=False)
class CachePolicy:
    """What one route says of caching. None for a duration means: what the response says."""

    ttl_s: float | None = None
    stale_while_revalidate_s: float | None = None
    stale_if_error_s: float | None = None
    set_cookie: Literal["bypass", "strip", "store"] = "bypass"
    vary: tuple[bytes, ...] = ()  # lower case
    ignored_parameters: frozenset[bytes] = frozenset()
    honours_request_directives: bool = True


def compile_cache(settings: CacheRouteSettings | Literal["off"]) -> CachePolicy | None:
    """The policy of a route, or None when it does not cache."""
    if settings == "off":
        return None
    return CachePolicy(
        ttl_s=settings.ttl,
        stale_while_revalidate_s=settings.stale_while_revalidate,
        stale_if_error_s=settings.stale_if_error,
        set_cookie=settings.set_cookie,
        vary=tuple(dict.fromkeys(name.lower().encode("ascii") for name in settings.vary)),
        ignored_parameters=frozenset(name.encode("ascii") for name in settings.ignore_query),
        honours_request_directives=settings.honour_request_directives,
    )


def describe_cache(policy: CachePolicy | None) -> str:
    """One sentence for people who ask what a route does."""
    if policy is None:
        return "Nothing is stored."
    parts = ["GET and HEAD; fresh for as long as the response says"]
    if policy.ttl_s is not None:
        parts = [f"GET and HEAD; fresh for {format_duration(policy.ttl_s)}"]
    if policy.stale_while_revalidate_s is not None:
        parts.append(f"given stale for {format_duration(policy.stale_while_revalidate_s)} while it is fetched anew")
    if policy.stale_if_error_s is not None:
        parts.append(f"given stale for {format_duration(policy.stale_if_error_s)} when the origin fails")
    if policy.vary:
        parts.append("apart for each " + ", ".join(name.decode("ascii") for name in policy.vary))
    if policy.ignored_parameters:
        parts.append(
            "whatever " + ", ".join(sorted(name.decode("ascii") for name in policy.ignored_parameters)) + " is"
        )
    if policy.set_cookie != "bypass":
        parts.append(f"Set-Cookie: {policy.set_cookie}")
    return "; ".join(parts) + "."
