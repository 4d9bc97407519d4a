"""A route as the line sees it: everything looked up, nothing left to parse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.http.message import Field

FieldRules = tuple[tuple[str, bytes, bytes], ...]
"""(action, lower-case name, whole line b"Name: value"): "set" replaces all lines of the name, "remove" drops them."""


@dataclass(frozen=True, slots=True)
class Cors:
    """What a browser on another origin may do (Fetch standard, CORS protocol)."""

    origins: frozenset[bytes]  # exact origins; empty with any_origin
    any_origin: bool
    methods: bytes  # joined for Access-Control-Allow-Methods
    headers: bytes  # joined, or empty: reflect what the preflight asked for
    expose: bytes
    credentials: bool
    max_age_s: int
    # by allowed origin (b"*" for any), filled once by cors.compile_cors: all that does not depend on the request
    on_responses: dict[bytes, tuple[Field, ...]] = field(default_factory=dict, compare=False)
    on_preflights: dict[bytes, tuple[Field, ...]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One compiled route. Compared by identity; `index` is its position in the configuration."""

    name: str
    index: int
    where: str  # "policies/shop.yaml:12", for explain and errors
    hosts: tuple[str, ...]  # empty: any host
    methods: frozenset[bytes]  # empty: any method
    pattern: str  # as written: "/api/items/{id}"
    upstream: Any  # upstreams.upstream.Upstream
    limits: Sequence[Any] = ()  # limits.limit.Limit
    announces_limits: bool = True  # False: no rate-limit fields on responses; Retry-After stays on a 429
    cost_fields: tuple[bytes, ...] = ()  # lower-case names: what a request cost, by the backend; kept from clients
    cache: Any = None  # cache.policy.CachePolicy or None
    read_primary: bool = False  # send safe methods to the primary too
    consistency: Any = None  # replicas.consistency.Consistency of the upstream, or None
    requires_user: bool = False
    priority: int = 1  # while requests wait for an upstream: 0 critical, 1 normal, 2 background
    timeout_s: float = 60.0  # until the response head, retries included
    max_body_bytes: int | None = None
    may_hedge: bool = True  # where the upstream hedges
    fallback: Any = None  # upstreams.upstream.Fallback: the answer when nobody can be asked
    rewrite: Any = None  # routing.rewrite.Rewrite or None
    request_rules: FieldRules = ()
    response_rules: FieldRules = ()
    cors: Cors | None = None
    security_headers: bool = False  # add routing.security's preset where the backend sends none
    upgrade: bool = True
    # (scheme, allowed origin) -> routing.decoration.Decoration, made by routing.stage when it is first needed
    decorations: dict[tuple[str, bytes | None], Any] = field(default_factory=dict, compare=False, repr=False)
    stats: Any = field(default=None, compare=False)  # observe.metrics.RouteStats, attached at compile time
