"""The table against a brute-force reading of the rules, over random route sets."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind
from proxy.routing.pattern import Kind, parse_pattern, split_path
from proxy.routing.route import Route
from proxy.routing.table import Match, RouteTable

MakeRoute = Callable[..., Route]

_segment = st.sampled_from(["a", "b", "c", "{x}", "*"])
_patterns = st.builds(
    lambda segments, rest: "/" + "/".join([*segments, *rest]),
    st.lists(_segment, max_size=4).map(lambda items: [s.replace("x", f"x{at}") for at, s in enumerate(items)]),
    st.sampled_from([[], ["**"]]),
)
_methods = st.sets(st.sampled_from(["GET", "HEAD", "POST"]), max_size=2).map(sorted)
_hosts = st.lists(st.sampled_from(["one.test", "a.one.test", "*.test", "*.one.test"]), max_size=2, unique=True).map(
    tuple
)
_routes = st.lists(st.tuples(_patterns, _methods, _hosts), min_size=1, max_size=12)
_paths = st.lists(st.sampled_from("abcd"), max_size=5).map(lambda segments: "/" + "/".join(segments))
_requests = st.tuples(
    st.sampled_from(["one.test", "a.one.test", "b.a.one.test", "two"]),
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    _paths,
)


def _host_rank(route: Route, host: str) -> int | None:
    """The best rank of the route's hosts for `host`: smaller is more specific; None when none fits."""
    ranks = [1000] if not route.hosts else []
    for pattern in route.hosts:
        if pattern == host:
            ranks.append(0)
        elif pattern[:2] == "*." and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1:
            ranks.append(500 - len(pattern))
    return min(ranks, default=None)


def _method_rank(route: Route, method: bytes) -> int | None:
    if method in route.methods:
        return 0
    if method == b"HEAD" and b"GET" in route.methods:
        return 1
    return 2 if not route.methods else None


def _path_rank(route: Route, path: str) -> tuple[int, ...] | None:
    pattern = parse_pattern(route.pattern)
    if not pattern.matches(split_path(path)):
        return None
    kinds = tuple(int(kind) for kind, _ in pattern.segments)
    return kinds if kinds and kinds[-1] == Kind.REST else (*kinds, -1)  # an end comes before an empty rest


def _brute_force(routes: list[Route], host: str, method: bytes, path: str) -> set[str] | ErrorKind:
    """The names of the best routes (several only when they match exactly the same), or why there is none."""
    if all(_host_rank(route, host) is None for route in routes):
        return ErrorKind.MISDIRECTED
    best: dict[tuple[int, tuple[int, ...], int], set[str]] = {}
    path_fits = False
    for route in routes:
        of_host, of_path, of_method = _host_rank(route, host), _path_rank(route, path), _method_rank(route, method)
        if of_host is None or of_path is None:
            continue
        path_fits = True
        if of_method is not None:
            best.setdefault((of_host, of_path, of_method), set()).add(route.name)
    if best:
        return best[min(best)]
    return ErrorKind.METHOD_NOT_ALLOWED if path_fits else ErrorKind.NO_ROUTE


@given(_routes, st.lists(_requests, min_size=1, max_size=20))
def test_the_table_agrees_with_a_scan_of_all_routes(
    make_route: MakeRoute,
    specs: list[tuple[str, list[str], tuple[str, ...]]],
    requests: list[tuple[str, str, str]],
) -> None:
    routes = [
        make_route(pattern, *methods, hosts=hosts, name=str(number))
        for number, (pattern, methods, hosts) in enumerate(specs)
    ]
    table = RouteTable(routes)
    for host, method, path in requests * 2:  # the second time from memory
        found = table.match(host, method.encode(), path)
        expected = _brute_force(routes, host, method.encode(), path)
        if isinstance(found, Match):
            assert isinstance(expected, set)
            assert found.route.name in expected
        else:
            assert found.kind is expected


@given(_routes, _requests, st.randoms(use_true_random=False))
def test_the_order_of_routes_never_matters(
    make_route: MakeRoute,
    specs: list[tuple[str, list[str], tuple[str, ...]]],
    request: tuple[str, str, str],
    rng: Random,
) -> None:
    host, method, path = request
    routes = [make_route(pattern, *methods, hosts=hosts) for pattern, methods, hosts in specs]
    shuffled = list(routes)
    rng.shuffle(shuffled)
    answers = []
    for order in (routes, shuffled):
        found = RouteTable(order).match(host, method.encode(), path)
        if isinstance(found, Match):
            shape = parse_pattern(found.route.pattern).shape
            answers.append((shape, method.encode() in found.route.methods))
        else:
            answers.append((found.kind, found.allow))
    assert answers[0] == answers[1]
