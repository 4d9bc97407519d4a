"""CachePolicy: the `cache:` section of a route with nothing left to look up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from proxy.cache.downstream import DownstreamControl
from proxy.cache.freshness import HEURISTIC_CAP_S, TTL_STATUSES
from proxy.cache.key import Keying
from proxy.cache.settings import CacheRouteSettings
from proxy.cache.tags import OUR_FIELDS
from proxy.cache.targeted import TARGETS
from proxy.core.units import format_duration, format_size
from proxy.http.message import Field

__all__ = ["HEURISTIC_CAP_S", "STALE_ON_ERROR_S", "CachePolicy", "compile_cache", "describe_cache"]

STALE_ON_ERROR_S: Final = 24 * 3600.0  # how stale a response may stand in for an origin that cannot be reached
FETCHED_AHEAD: Final = frozenset({200, 203, 204})  # a redirect, say to a login, is no success of a schedule
_TARGETS: Final = tuple(name.lower().encode("ascii") for name in TARGETS)
_NO_TIERS: Final[Mapping[str, float]] = {}


@dataclass(frozen=True, slots=True, eq=False)
class CachePolicy:
    """What one route says of caching. None for a duration means: what the response says."""

    ttl_s: float | None = None
    ttl_overrides: bool = True  # what the response says of its lifetime
    statuses: Mapping[int, float] = field(default_factory=dict)
    statuses_override: bool = False
    stale_while_revalidate_s: float | None = None
    stale_if_error_s: float | None = None
    stale_on_error_s: float | None = None
    is_strict_on_s_maxage: bool = True
    eagerness: float = 0.0  # of early refreshes; 0: none
    heuristic_cap_s: float = HEURISTIC_CAP_S
    set_cookie: Literal["bypass", "strip", "store"] = "bypass"
    vary: tuple[bytes, ...] = ()  # lower case
    ignored_parameters: frozenset[bytes] = frozenset()
    keying: Keying | None = None  # None: the URI as it came is the key
    shares_authorized: bool = False  # responses to requests with Authorization, under whatever `keying` keeps apart
    reason: str = ""  # why it shares them with everyone
    honours_request_directives: bool = True
    honours_immutable: bool = False
    targets: tuple[bytes, ...] = _TARGETS  # lower case
    hidden: frozenset[bytes] = OUR_FIELDS  # lower-case names of response fields that clients do not get
    downstream: DownstreamControl | None = None
    max_entry_bytes: int | None = None
    is_shared: bool = True  # with other Weirs, where there is a place for that
    precomputed: dict[bytes, CachePolicy] = field(default_factory=dict)  # by key; filled once, where it is compiled
    otherwise: CachePolicy | None = None  # of a policy in `precomputed`: for responses that are no success
    tag_line: Field | None = None  # tags beside the origin's own

    def is_fetched_ahead(self, status: int) -> bool:
        """The schedule alone renews such a response, for those who ask would wait, and it may be somebody's own."""
        return self.otherwise is not None and status in FETCHED_AHEAD

    def lifetime(self, status: int, said_s: float | None) -> float | None:
        """What the operator says of a response that says `said_s` itself; None: what it says holds."""
        own_s = self.statuses.get(status)
        overrides = self.statuses_override
        if own_s is None and status in TTL_STATUSES:
            own_s, overrides = self.ttl_s, self.ttl_overrides
        return own_s if overrides or said_s is None else None

    def shown(self, fields: list[Field]) -> list[Field]:
        """The fields of a response that clients may see; the same list when that is all."""
        if not self.hidden or self.hidden.isdisjoint([line[0] for line in fields]):
            return fields
        return [line for line in fields if line[0] not in self.hidden]

    def outgoing(self, fields: list[Field], age_s: int) -> list[Field]:
        """The fields of a response that was stored just now, for the client whose request brought it."""
        shown = self.shown(fields)
        return shown if self.downstream is None else self.downstream.replaced(shown, age_s)


def compile_cache(
    settings: CacheRouteSettings | Literal["off"], tiers: Mapping[str, float] = _NO_TIERS
) -> CachePolicy | None:
    """The policy of a route, or None when it does not cache. A tier that is not in `tiers` is reported elsewhere."""
    if settings == "off":
        return None
    targets = tuple(dict.fromkeys(name.lower().encode("ascii") for name in settings.targeted))
    return CachePolicy(
        ttl_s=settings.ttl if settings.tier is None else tiers.get(settings.tier),
        ttl_overrides=settings.ttl_mode != "default",
        statuses=dict(settings.statuses),
        statuses_override=settings.ttl_mode == "override",
        stale_while_revalidate_s=settings.stale_while_revalidate,
        stale_if_error_s=settings.stale_if_error,
        stale_on_error_s=settings.stale_on_error,
        is_strict_on_s_maxage=settings.strict_s_maxage,
        eagerness=settings.early_refresh or 0.0,
        heuristic_cap_s=settings.heuristic,
        set_cookie=settings.set_cookie,
        vary=tuple(dict.fromkeys(name.lower().encode("ascii") for name in settings.vary)),
        ignored_parameters=frozenset(name.encode("ascii") for name in settings.ignore_query),
        keying=_keying(settings),
        shares_authorized=settings.by == "user" or settings.shared_with_everyone is not None,
        reason=settings.shared_with_everyone or "",
        honours_request_directives=settings.honour_request_directives,
        honours_immutable=settings.honour_immutable,
        targets=targets,
        hidden=(frozenset() if settings.pass_tags else OUR_FIELDS)
        | (frozenset(targets) if settings.strip_targeted else frozenset()),
        downstream=None if settings.downstream is None else DownstreamControl(settings.downstream),
        max_entry_bytes=settings.max_entry,
        is_shared=settings.shared,
    )


def _keying(settings: CacheRouteSettings) -> Keying | None:
    parts = settings.key
    keep = settings.keep_query
    if not settings.ignore_query and keep is None and not settings.sort_query and parts is None and not settings.by:
        return None
    return Keying(
        ignored=frozenset(name.encode("ascii") for name in settings.ignore_query),
        kept=None if keep is None else frozenset(name.encode("ascii") for name in keep),
        sorts=settings.sort_query,
        fields=() if parts is None else tuple(sorted({name.lower().encode("ascii") for name in parts.fields})),
        cookies=() if parts is None else tuple(sorted({name.encode("ascii") for name in parts.cookies})),
        by=settings.by,
    )


def describe_cache(policy: CachePolicy | None) -> str:
    """One sentence for people who ask what a route does."""
    if policy is None:
        return "Nothing is stored."
    return "; ".join([*_of_lifetimes(policy), *_of_keys(policy), *_of_clients(policy)]) + "."


def _of_lifetimes(policy: CachePolicy) -> list[str]:
    parts = ["GET and HEAD; fresh for as long as the response says"]
    if policy.ttl_s is not None and policy.ttl_overrides:
        parts = [f"GET and HEAD; fresh for {format_duration(policy.ttl_s)}"]
    elif policy.ttl_s is not None:
        parts[0] += f", or {format_duration(policy.ttl_s)} when it says nothing"
    if policy.statuses:
        listed = ", ".join(f"{status} for {format_duration(held)}" for status, held in policy.statuses.items())
        parts.append(listed if policy.statuses_override else f"{listed} where the response says nothing")
    if policy.stale_while_revalidate_s is not None:
        parts.append(f"given stale for {format_duration(policy.stale_while_revalidate_s)} while it is fetched anew")
    if policy.stale_if_error_s is not None:
        parts.append(f"given stale for {format_duration(policy.stale_if_error_s)} when the origin fails")
    if policy.stale_on_error_s is not None:
        parts.append(f"given stale for {format_duration(policy.stale_on_error_s)} when the origin cannot be reached")
    if policy.eagerness:
        parts.append("fetched anew shortly before it goes stale")
    if policy.precomputed:
        ahead = next(iter(policy.precomputed.values()))
        count = f"{len(policy.precomputed)} responses" if len(policy.precomputed) > 1 else "one response"
        parts.append(f"{count} fetched before anybody asks, and fresh for {format_duration(ahead.ttl_s or 0.0)}")
    if policy.max_entry_bytes is not None:
        parts.append(f"at most {format_size(policy.max_entry_bytes)}")
    if not policy.is_shared:
        parts.append("in this Weir alone")
    return parts


def _of_keys(policy: CachePolicy) -> list[str]:
    parts = []
    keying = policy.keying
    if keying is not None and keying.by is not None:
        parts.append(f"apart for each {keying.by}")
    names = policy.vary if keying is None else (*policy.vary, *keying.fields)
    if names:
        parts.append("apart for each " + ", ".join(name.decode("ascii") for name in names))
    if keying is not None and keying.cookies:
        parts.append("apart for each cookie " + ", ".join(name.decode("ascii") for name in keying.cookies))
    if policy.ignored_parameters:
        parts.append(
            "whatever " + ", ".join(sorted(name.decode("ascii") for name in policy.ignored_parameters)) + " is"
        )
    if keying is not None and keying.kept is not None:
        kept = ", ".join(sorted(name.decode("ascii") for name in keying.kept))
        parts.append(f"whatever other parameters than {kept} are" if kept else "whatever the query is")
    if keying is not None and keying.sorts:
        parts.append("in whatever order the parameters are")
    return parts


def _of_clients(policy: CachePolicy) -> list[str]:
    parts = []
    if policy.set_cookie != "bypass":
        parts.append(f"Set-Cookie: {policy.set_cookie}")
    if policy.reason:
        parts.append(f"also to requests with credentials, because: {policy.reason.rstrip('.')}")
    if policy.downstream is not None:
        parts.append(f"clients are told `{policy.downstream.text}`")
    return parts
