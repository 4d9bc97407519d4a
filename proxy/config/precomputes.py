"""Routes with `precompute:` become schedules: each target with its key, held against the routes that would get it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from proxy.cache.precompute.settings import PrecomputeSettings, split_origin
from proxy.cache.precompute.target import Precompute, Target, numbers_of, policy_of, targets_of
from proxy.config.addresses import parse_address
from proxy.config.document import Document, Path
from proxy.config.parts import Part
from proxy.config.settings import Settings
from proxy.routing.route import Route
from proxy.routing.table import Match, RouteTable

__all__ = ["compile_precomputes"]

_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})
_MOST_TARGETS: Final = 256  # of one route


@dataclass(frozen=True, slots=True)
class _Site:
    """One `precompute:` in its file."""

    document: Document
    path: Path
    settings: PrecomputeSettings
    route: Route

    def report(self, code: str, message: str, *path: str | int, hint: str = "", of_key: bool = False) -> None:
        self.document.report(code, message, (*self.path, *path), hint=hint, of_key=of_key)


def compile_precomputes(parts: list[Part], routes: Sequence[Route], table: RouteTable) -> tuple[Precompute, ...]:
    """All that are right, in their order; what is wrong goes into the documents. `routes` are those of `parts`."""
    root = parts[0].root
    written = [(part, path, route) for part in parts for path, route in part.routes()]
    found = []
    for (part, path, settings), route in zip(written, routes, strict=True):
        if settings.precompute is not None:
            site = _Site(part.document, (*path, "precompute"), settings.precompute, route)
            made = _compile(site, root, table)
            if made is not None:
                found.append(made)
    return tuple(found)


def _compile(site: _Site, root: Settings | None, table: RouteTable) -> Precompute | None:
    route, settings = site.route, site.settings
    policy = route.cache
    if policy is None:
        site.report("WEIR0230", "nothing can be fetched ahead without `cache`", hint="add `cache: {}`", of_key=True)
        return None
    if policy.keying is not None and policy.keying.has_parts:
        message = "what is fetched ahead is for everyone, and this route keeps responses apart by more than the URL"
        site.report("WEIR0231", message, hint="leave `by` and `key` out of its `cache`", of_key=True)
        return None
    paths = settings.paths or ((route.pattern,) if _is_literal(route.pattern) else ())
    if not paths:
        hint = "list the paths: `paths: [/api/reports/today, ...]`"
        site.report("WEIR0232", f"the route's path `{route.pattern}` is a pattern, and can be anything", hint=hint)
        return None
    origins = list(_origins(site, root))
    if root is None or route.upstream is None:
        return None  # broken, which is told already
    if not origins:
        hint = "add `hosts: [shop.example]`, as clients write it; the host is part of the key"
        site.report("WEIR0233", "nobody can know under which host clients will ask", hint=hint, of_key=True)
        return None
    try:
        numbers = numbers_of(settings, route.timeout_s)
    except ValueError as error:
        place = (*site.path, "keep") if "keep" in settings.model_fields_set else (*site.path, "every")
        site.document.refuse("WEIR0234", error, place)
        return None
    targets = targets_of(policy, paths, origins)
    if len(targets) > _MOST_TARGETS:
        hint = "each of them is a run on the backend"
        site.report("WEIR0235", f"these are {len(targets)} responses; {_MOST_TARGETS} at most", hint=hint, of_key=True)
        return None
    matches = {target: _match(target, route, table) for target in targets}
    if not _all_come(site, matches):
        return None
    params = {target.key: match.params for target, match in matches.items() if isinstance(match, Match)}
    ahead = policy_of(policy, numbers)
    for target in targets:
        policy.precomputed[target.key] = ahead
    patient = replace(route, timeout_s=numbers.timeout_s)
    return Precompute(route.name, patient, numbers, ahead, tuple(targets), params, route.timeout_s)


def _is_literal(pattern: str) -> bool:
    return "{" not in pattern and "*" not in pattern


def _origins(site: _Site, root: Settings | None) -> Iterator[tuple[str, str]]:
    """(scheme, authority): those that are written, else the route's hosts, else where Weir listens."""
    if root is None:
        return
    schemes = list(dict.fromkeys("https" if one.tls is not None else "http" for one in root.listeners))
    named = site.settings.hosts or tuple(host for host in site.route.hosts if host[:2] != "*.")
    if named:
        for text in named:
            scheme, authority = split_origin(text)
            for each in [scheme] if scheme else schemes:
                yield each, authority
        return
    if site.route.hosts:
        return  # `*.suffix` only
    for listener in root.listeners:
        address = parse_address(listener.address)
        if address.host and address.host not in _ANYWHERE and address.port:
            yield "https" if listener.tls is not None else "http", str(address)


def _match(target: Target, route: Route, table: RouteTable) -> Match | str:
    """What a client's request for the target would find, if that is `route`; else what happens to it."""
    found = table.match(target.host, b"GET", target.path)
    if not isinstance(found, Match):
        return f"GET {target.url} does not come to this route"
    return found if found.route is route else f"GET {target.url} goes to route `{found.route.name}`"


def _all_come(site: _Site, matches: Mapping[Target, Match | str]) -> bool:
    """Tells of each path once, whatever the hosts."""
    told: set[bytes] = set()
    for target, match in matches.items():
        if isinstance(match, str) and target.path_and_query not in told:
            told.add(target.path_and_query)
            paths = site.settings.paths
            text = target.path_and_query.decode("ascii")
            place: tuple[str | int, ...] = ("paths", paths.index(text)) if text in paths else ()
            site.report("WEIR0236", match, *place, hint="its path, its hosts and GET have to fit", of_key=not place)
    return not told
