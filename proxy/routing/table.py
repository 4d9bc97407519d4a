"""Which route a request belongs to.

Hosts come first: an exact host, then the longest `*.suffix`, then routes for any host. Within a host the path decides,
from left to right and segment by segment: literal before `{name}` before `*` before `**`. A route counts only when all
of it matches, the method too, so a less specific route gets what a more specific one leaves. On one path, a route that
names the method comes before one for any method; HEAD goes where GET goes unless a route names it (RFC 9110 §9.3.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from proxy.core.errors import ErrorKind
from proxy.routing.pattern import Kind, Pattern, matching_form, parse_pattern, split_path
from proxy.routing.readings import other_readings
from proxy.routing.route import Route

_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 512  # characters of a path


class Match:
    """A route, and what its `{name}` segments stand for: canonical, so still percent-encoded. Shared, never changed."""

    __slots__ = ("params", "route")

    def __init__(self, route: Route, params: dict[str, str] | None) -> None:
        self.route = route
        self.params = params


class Refusal:
    """Why there is no route: NO_ROUTE, METHOD_NOT_ALLOWED, MISDIRECTED, or REQUEST_MALFORMED for an ambiguous path."""

    __slots__ = ("allow", "kind")

    def __init__(self, kind: ErrorKind, allow: bytes = b"") -> None:
        self.kind = kind
        self.allow = allow  # the value of Allow for METHOD_NOT_ALLOWED


_NO_ROUTE: Final = Refusal(ErrorKind.NO_ROUTE)
_MISDIRECTED: Final = Refusal(ErrorKind.MISDIRECTED)
_AMBIGUOUS: Final = Refusal(ErrorKind.REQUEST_MALFORMED)


class RouteTable:
    """All routes, compiled. Immutable but for its memory of recent answers, which is bounded."""

    __slots__ = ("_any_host", "_deepest", "_exact", "_old", "_recent", "_suffixes", "routes")

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[str, _Node] = {}
        self._suffixes: dict[str, _Node] = {}  # ".example.com"
        self._any_host: _Node | None = None
        self._deepest = 0
        self._recent: dict[tuple[str, bytes, str], Match | Refusal] = {}
        self._old = self._recent
        for route in self.routes:
            pattern = parse_pattern(route.pattern)
            self._deepest = max(self._deepest, len(pattern.segments))
            for node in self._roots_of(route):
                _insert(node, pattern, route)

    def match(self, host: str, method: bytes, path: str) -> Match | Refusal:
        """The route for a canonical host and a canonical path, or why there is none. Remembers recent answers.

        A path that a backend may read as another one, for which this table has another answer, is refused (W4).
        """
        key = (host, method, path)
        found = self._recent.get(key)
        return found if found is not None else self._miss(key)

    def find(self, host: str, method: bytes, path: str) -> Match | Refusal:
        """The same without memory, and for this one reading of the path."""
        if path[:1] != "/":
            return _NO_ROUTE
        form = matching_form(path)
        segments = split_path(form, self._deepest + 1)
        roots = self._roots_for(host)
        for root in roots:
            target = _walk(root, segments, 0, len(segments), method)
            if target is not None:
                return _matched(target, segments if form is path else split_path(path, self._deepest + 1))
        if not roots:
            return _MISDIRECTED if self.routes else _NO_ROUTE
        allowed = {name for root in roots for leaf in _leaves(root, segments, 0) for name in leaf.by_method}
        return Refusal(ErrorKind.METHOD_NOT_ALLOWED, b", ".join(sorted(allowed))) if allowed else _NO_ROUTE

    def _miss(self, key: tuple[str, bytes, str]) -> Match | Refusal:
        found = self._old.get(key)
        if found is None:
            found = self._decide(*key)
        if len(key[2]) <= _LONGEST_REMEMBERED:
            recent = self._recent
            if len(recent) >= _REMEMBERED:  # two generations: what is still asked for moves to the young one
                self._old = recent
                self._recent = recent = {}
            recent[key] = found
        return found

    def _decide(self, host: str, method: bytes, path: str) -> Match | Refusal:
        found = self.find(host, method, path)
        if isinstance(found, Match):
            readings = other_readings(path)
            if readings is None:
                return _AMBIGUOUS
            for reading in readings:
                other = self.find(host, method, reading)
                if not isinstance(other, Match) or other.route is not found.route:
                    return _AMBIGUOUS
        return found

    def _roots_of(self, route: Route) -> Iterator[_Node]:
        """Where a route belongs, made if it is not there."""
        if not route.hosts:
            if self._any_host is None:
                self._any_host = _Node()
            yield self._any_host
        for host in route.hosts:
            if host[:2] == "*.":
                yield self._suffixes.setdefault(host[1:], _Node())
            else:
                yield self._exact.setdefault(host, _Node())

    def _roots_for(self, host: str) -> list[_Node]:
        """Where a host is looked for, the most specific first."""
        roots = []
        if (exact := self._exact.get(host)) is not None:
            roots.append(exact)
        if self._suffixes:
            at = host.find(".", 1)
            while at >= 0:
                if (found := self._suffixes.get(host[at:])) is not None:
                    roots.append(found)
                at = host.find(".", at + 1)
        if self._any_host is not None:
            roots.append(self._any_host)
        return roots


def conflicts(routes: Sequence[Route]) -> list[tuple[Route, Route]]:
    """Pairs of routes that match exactly the same requests on some host, with some method: neither is more specific."""
    first: dict[tuple[object, ...], Route] = {}
    found: dict[tuple[int, int], tuple[Route, Route]] = {}
    for position, route in enumerate(routes):
        shape = parse_pattern(route.pattern).shape
        for host in route.hosts or ("",):
            for method in route.methods or (None,):
                earlier = first.setdefault((host, shape, method), route)
                if earlier is not route:
                    found.setdefault((id(earlier), position), (earlier, route))
    return list(found.values())


class _Target:
    """A route at the end of its pattern; its names belong to it, and not to the segments that it shares."""

    __slots__ = ("match", "names", "route")

    def __init__(self, route: Route, names: tuple[tuple[int, str], ...]) -> None:
        self.route = route
        self.names = names
        self.match = None if names else Match(route, None)


class _Leaf:
    """The routes of one pattern by method."""

    __slots__ = ("any_method", "by_method")

    def __init__(self) -> None:
        self.by_method: dict[bytes, _Target] = {}
        self.any_method: _Target | None = None

    def add(self, route: Route, target: _Target) -> None:
        if not route.methods:
            self.any_method = self.any_method or target
        for method in route.methods:
            held = self.by_method.get(method)
            if held is None or method not in held.route.methods:  # HEAD only came with GET
                self.by_method[method] = target
        if b"GET" in route.methods:
            self.by_method.setdefault(b"HEAD", target)


class _Node:
    """A place in the tree of segments."""

    __slots__ = ("any", "end", "literals", "name", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.name: _Node | None = None
        self.any: _Node | None = None
        self.end: _Leaf | None = None
        self.rest: _Leaf | None = None


def _insert(node: _Node, pattern: Pattern, route: Route) -> None:
    target = _Target(route, pattern.names)
    for kind, text in pattern.segments:
        if kind is Kind.REST:
            node.rest = node.rest or _Leaf()
            node.rest.add(route, target)
            return
        if kind is Kind.LITERAL:
            node = node.literals.setdefault(text, _Node())
        elif kind is Kind.NAME:
            node.name = node = node.name or _Node()
        else:
            node.any = node = node.any or _Node()
    node.end = node.end or _Leaf()
    node.end.add(route, target)


def _walk(node: _Node, segments: list[str], at: int, count: int, method: bytes) -> _Target | None:
    """The most specific complete match below `node`. Visits each node of the tree at most once: no path is costly."""
    if at < count:
        child = node.literals.get(segments[at])
        if child is not None and (found := _walk(child, segments, at + 1, count, method)) is not None:
            return found
        if node.name is not None and (found := _walk(node.name, segments, at + 1, count, method)) is not None:
            return found
        if node.any is not None and (found := _walk(node.any, segments, at + 1, count, method)) is not None:
            return found
    elif (leaf := node.end) is not None and (found := leaf.by_method.get(method, leaf.any_method)) is not None:
        return found
    leaf = node.rest
    return leaf.by_method.get(method, leaf.any_method) if leaf is not None else None


def _leaves(node: _Node, segments: list[str], at: int) -> Iterator[_Leaf]:
    """Every pattern that matches the path, whatever its methods."""
    if at < len(segments):
        for child in (node.literals.get(segments[at]), node.name, node.any):
            if child is not None:
                yield from _leaves(child, segments, at + 1)
    elif node.end is not None:
        yield node.end
    if node.rest is not None:
        yield node.rest


def _matched(target: _Target, segments: list[str]) -> Match:
    return target.match or Match(target.route, {name: segments[at] for at, name in target.names})
