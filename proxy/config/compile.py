"""Settings become a Snapshot: names become objects, text becomes what the line works with.

Compiles whatever is right, so that each feature's own refusals are told together with all other errors. A snapshot
comes out only when nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from proxy.cache.policy import compile_cache
from proxy.clients.addresses import TrustedProxies
from proxy.clients.identity import Identity, compile_identity
from proxy.config.document import Document, Path
from proxy.config.parts import Part
from proxy.config.precomputes import compile_precomputes
from proxy.config.settings import DefaultsSettings, RouteSettings, Settings, UpstreamEntrySettings
from proxy.limits.limit import Limit
from proxy.limits.settings import InlineLimitSettings, LimiterSettings, LimitSettings
from proxy.replicas.consistency import Consistency, compile_consistency
from proxy.routing.cors import compile_cors
from proxy.routing.field_rules import compile_field_rules
from proxy.routing.rewrite import compile_rewrite
from proxy.routing.route import Route
from proxy.routing.table import RouteTable, conflicts
from proxy.snapshot import Snapshot
from proxy.upstreams.address import parse_address
from proxy.upstreams.queue import PRIORITIES
from proxy.upstreams.upstream import Upstream, compile_fallback, compile_upstream
from proxy.wire.limits import compile_wire

__all__ = ["Compiler"]

T = TypeVar("T")


class Compiler:
    """Compiles the parts of one configuration. What is refused goes into the documents' diagnostics."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.upstreams: dict[str, Upstream] = {}
        self.consistencies: dict[str, Consistency | None] = {}
        self.limits: dict[str, Limit] = {}
        self.limit_places: dict[str, tuple[Document, Path]] = {}
        self.routes: list[Route] = []
        self._places: dict[Route, tuple[Document, Path]] = {}
        root = parts[0].root
        self._defaults = root.defaults if root is not None else DefaultsSettings()
        self._tiers = root.cache.tiers if root is not None else {}
        self._near = (root.limiter if root is not None else LimiterSettings()).near

    def compile(self, version: str, now_wall: float, previous: Snapshot | None = None) -> Snapshot | None:
        """The snapshot, or None. `previous` lends what outlives a reload: keys that were fetched."""
        self._compile_upstreams()
        self._compile_named_limits()
        self._compile_routes()
        self._report_conflicts()
        table = RouteTable(self.routes)
        precomputes = compile_precomputes(self.parts, self.routes, table)
        identity = self._compile_identity(previous)
        root = self.parts[0].root
        if root is None or identity is None or any(part.document.has_errors for part in self.parts):
            return None
        return Snapshot(
            version=version,
            loaded_at_wall=now_wall,
            routes=table,
            upstreams=self.upstreams,
            trusted_proxies=TrustedProxies(root.trusted_proxies),
            identity=identity,
            private_fields=identity.private_fields,
            limits=tuple(self.limits.values()),
            wire=compile_wire(root.wire),
            limiter=root.limiter,
            cache=root.cache,
            access_log=root.access_log,
            settings=self._merged(root),
            consistencies=tuple([each for each in self.consistencies.values() if each is not None]),
            precomputes=precomputes,
        )

    def _compile_upstreams(self) -> None:
        root = self.parts[0]
        for name, settings in (root.root.upstreams if root.root is not None else {}).items():
            make = partial(compile_upstream, settings, name)
            upstream = _attempt(root.document, ("upstreams", name), make)
            if upstream is not None:
                self.upstreams[name] = upstream
                self.consistencies[name] = self._consistency(settings, upstream)

    def _consistency(self, settings: UpstreamEntrySettings, upstream: Upstream) -> Consistency | None:
        databases = {
            parse_address(replica.url): replica.database
            for replica in settings.replicas
            if not isinstance(replica, str) and replica.database is not None
        }
        slots = upstream.pool.max_in_flight * len(upstream.primary)
        if upstream.pool.max_in_flight_total is not None:
            slots = min(slots, upstream.pool.max_in_flight_total)
        if not upstream.replicas or (settings.database is None) != (not databases):
            return None  # there is nothing to be consistent with; or it is told as an error
        return compile_consistency(settings.consistency, upstream.name, settings.database, databases, slots)

    def _compile_named_limits(self) -> None:
        for part in self.parts:
            for name, settings in (part.settings.limits if part.settings is not None else {}).items():
                self._limit(part.document, ("limits", name), name, settings)

    def _limit(self, document: Document, path: Path, name: str, settings: LimitSettings) -> Limit | None:
        """One limit for each name, however often it is written."""
        if name not in self.limits:
            where = document.where(path, of_key=True)
            limit = _attempt(document, path, partial(Limit, name, settings, where, self._near))
            if limit is None:
                return None
            self.limits[name] = limit
            self.limit_places[name] = document, path
        return self.limits[name]

    def _limits(self, document: Document, path: Path, listed: Iterable[str | InlineLimitSettings]) -> tuple[Limit, ...]:
        limits = []
        for index, item in enumerate(listed):
            if isinstance(item, str):
                limit = self.limits.get(item)
            else:
                limit = self._limit(document, (*path, index), item.name, item)
            if limit is not None:
                limits.append(limit)
        return tuple(limits)

    def _compile_routes(self) -> None:
        default_limits = self._limits(self.parts[0].document, ("defaults", "limits"), self._defaults.limits)
        for part in self.parts:
            for path, settings in part.routes():
                route = self._route(part.document, path, settings, default_limits)
                self.routes.append(route)
                self._places[route] = (part.document, path)

    def _route(
        self, document: Document, path: Path, settings: RouteSettings, default_limits: tuple[Limit, ...]
    ) -> Route:
        defaults = self._defaults
        match = settings.match
        methods = frozenset(method.encode("ascii") for method in match.methods)
        limits = default_limits
        if settings.limits is not None:
            limits = self._limits(document, (*path, "limits"), settings.limits)
        rewrite = None
        if (rules := settings.rewrite) is not None:
            rewrite = _attempt(document, (*path, "rewrite"), partial(compile_rewrite, rules, match.path))
        upstream = self.upstreams.get(settings.upstream or defaults.upstream or "")
        return Route(
            name=settings.name,
            index=len(self.routes),
            where=document.where((*path, "name")),
            hosts=match.hosts,
            methods=methods,
            pattern=match.path,
            upstream=upstream,
            limits=limits,
            announces_limits=settings.announce_limits,
            cost_fields=tuple(dict.fromkeys(limit.cost_field for limit in limits if limit.cost_field is not None)),
            cache=compile_cache(settings.cache, self._tiers),
            consistency=self.consistencies.get(settings.upstream or defaults.upstream or ""),
            read_primary=(settings.read or defaults.read) == "primary",
            priority=PRIORITIES.index(settings.priority),
            requires_user=settings.require_user,
            timeout_s=_first(settings.timeout, defaults.timeout),
            max_body_bytes=_first(settings.max_body, defaults.max_body),
            may_hedge=settings.hedge,
            fallback=compile_fallback(settings.fallback) or (upstream.fallback if upstream is not None else None),
            rewrite=rewrite,
            request_rules=compile_field_rules(settings.request_fields),
            response_rules=compile_field_rules(settings.response_fields),
            cors=compile_cors(settings.cors, methods),
            security_headers=_first(settings.security_headers, defaults.security_headers),
            upgrade=settings.upgrade,
        )

    def _report_conflicts(self) -> None:
        for first, second in conflicts(self.routes):
            document, path = self._places[second]
            message = f"route `{second.name}` matches the same requests as route `{first.name}`"
            hint, note = "one of them can never be reached", f"the first is at {first.where}"
            document.report("WEIR0204", message, (*path, "match"), hint=hint, note=note)

    def _compile_identity(self, previous: Snapshot | None) -> Identity | None:
        for part in self.parts:
            if part.settings is not None and part.settings.identity is not None:
                old = previous.identity if previous is not None else None
                return _attempt(part.document, ("identity",), partial(compile_identity, part.settings.identity, old))
        return compile_identity(None)

    def _merged(self, root: Settings) -> Settings:
        """The root settings with what the included files add."""
        every = [part.settings for part in self.parts if part.settings is not None]
        return root.model_copy(
            update={
                "identity": next((one.identity for one in every if one.identity is not None), None),
                "limits": {name: limit for one in every for name, limit in one.limits.items()},
                "routes": tuple(route for one in every for route in one.routes),
            }
        )


def _attempt(document: Document, path: Path, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except ValueError as error:
        document.refuse("WEIR0220", error, path, of_key=True)
        return None


def _first(own: T | None, default: T) -> T:
    return default if own is None else own
