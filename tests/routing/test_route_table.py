"""Which route a request belongs to: the rules as tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.core.errors import ErrorKind
from proxy.routing.route import Route
from proxy.routing.table import Match, Refusal, RouteTable, conflicts

MakeRoute = Callable[..., Route]


def _name(found: Match | Refusal) -> str:
    return found.route.name if isinstance(found, Match) else found.kind.value


@pytest.mark.parametrize(
    ("patterns", "path", "winner"),
    [
        pytest.param(["/", "/**"], "/", "/", id="root-before-rest"),
        pytest.param(["/**"], "/", "/**", id="rest-may-be-nothing"),
        pytest.param(["/a/**"], "/a", "/a/**", id="rest-of-a-may-be-nothing"),
        pytest.param(["/a", "/a/**"], "/a", "/a", id="the-end-before-an-empty-rest"),
        pytest.param(["/a"], "/a/", "/a", id="final-slash"),
        pytest.param(["/a"], "/a/b", "no_route", id="longer-path"),
        pytest.param(["/a/*"], "/a", "no_route", id="any-needs-a-segment"),
        pytest.param(["/a/*", "/a/{x}", "/a/b"], "/a/b", "/a/b", id="literal-first"),
        pytest.param(["/a/*", "/a/{x}"], "/a/c", "/a/{x}", id="name-before-any"),
        pytest.param(["/a/**", "/a/*"], "/a/c", "/a/*", id="any-before-rest"),
        pytest.param(["/a/*/c", "/a/b/**"], "/a/b/c", "/a/b/**", id="left-to-right"),
        pytest.param(["/a/b/d", "/a/*/c"], "/a/b/c", "/a/*/c", id="one-step-back"),
        pytest.param(["/a/b/c/d", "/a/{x}/c/e", "/*/b/c/f", "/**"], "/a/b/c/f", "/*/b/c/f", id="three-steps-back"),
        pytest.param(["/a/b/c/d", "/a/b/**", "/**"], "/a/b/c/e", "/a/b/**", id="back-to-the-rest"),
        pytest.param(["/users/@me", "/users/{id}"], "/users/%40me", "/users/@me", id="escaped-reserved-character"),
        pytest.param(["/A", "/**"], "/a", "/**", id="case-matters"),
    ],
)
def test_the_most_specific_pattern_wins(make_route: MakeRoute, patterns: list[str], path: str, winner: str) -> None:
    for order in (patterns, patterns[::-1]):
        table = RouteTable([make_route(pattern) for pattern in order])
        assert _name(table.match("a.test", b"GET", path)) == winner


@pytest.mark.parametrize(
    ("host", "winner"),
    [
        ("shop.example.com", "exact"),
        ("other.example.com", "below example.com"),
        ("a.b.example.com", "below b.example.com"),
        ("a.a.example.com", "below example.com"),
        ("example.com", "any"),
        ("badexample.com", "any"),
        ("", "any"),
    ],
)
def test_the_most_specific_host_wins(make_route: MakeRoute, host: str, winner: str) -> None:
    table = RouteTable(
        [
            make_route("/**", name="any"),
            make_route("/**", hosts=("*.example.com",), name="below example.com"),
            make_route("/**", hosts=("*.b.example.com",), name="below b.example.com"),
            make_route("/**", hosts=("shop.example.com",), name="exact"),
        ]
    )
    assert _name(table.match(host, b"GET", "/x")) == winner


def test_a_host_without_a_fitting_path_leaves_the_request_to_routes_for_any_host(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/a", hosts=("one.test",)), make_route("/**", name="rest")])
    assert _name(table.match("one.test", b"GET", "/b")) == "rest"


def test_an_unknown_host_is_misdirected_when_every_route_has_hosts(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/**", hosts=("one.test", "*.two.test"))])
    assert _name(table.match("three.test", b"GET", "/")) == "misdirected"
    assert _name(table.match("two.test", b"GET", "/")) == "misdirected"
    assert _name(table.match("a.two.test", b"GET", "/")) == "/**"


def test_a_table_without_routes_has_no_route() -> None:
    assert _name(RouteTable([]).match("a.test", b"GET", "/")) == "no_route"


@pytest.mark.parametrize(
    ("method", "winner"),
    [
        (b"POST", "post"),
        (b"GET", "get"),
        (b"HEAD", "get"),
        (b"DELETE", "any"),
    ],
)
def test_a_route_that_names_the_method_comes_first(make_route: MakeRoute, method: bytes, winner: str) -> None:
    routes = [make_route("/a", name="any"), make_route("/a", "POST", name="post"), make_route("/a", "GET", name="get")]
    for order in (routes, routes[::-1]):
        assert _name(RouteTable(order).match("h", method, "/a")) == winner


def test_head_goes_where_get_goes_unless_a_route_names_it(make_route: MakeRoute) -> None:
    routes = [make_route("/a", "GET", name="get"), make_route("/a", "HEAD", name="head")]
    for order in (routes, routes[::-1]):
        assert _name(RouteTable(order).match("h", b"HEAD", "/a")) == "head"
        assert _name(RouteTable(order).match("h", b"GET", "/a")) == "get"


def test_a_method_that_the_specific_route_leaves_goes_to_the_next(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/api/buy", "POST"), make_route("/api/*", "PUT"), make_route("/**")])
    assert _name(table.match("h", b"POST", "/api/buy")) == "/api/buy"
    assert _name(table.match("h", b"PUT", "/api/buy")) == "/api/*"
    assert _name(table.match("h", b"GET", "/api/buy")) == "/**"


def test_a_method_that_nobody_takes_is_answered_with_those_that_somebody_takes(make_route: MakeRoute) -> None:
    table = RouteTable(
        [
            make_route("/a/b", "GET"),
            make_route("/a/*", "PUT"),
            make_route("/**", "POST", hosts=("h",)),
            make_route("/x"),
        ]
    )
    found = table.match("h", b"DELETE", "/a/b")
    assert isinstance(found, Refusal)
    assert found.kind is ErrorKind.METHOD_NOT_ALLOWED
    assert found.allow == b"GET, HEAD, POST, PUT"


def test_methods_are_compared_by_case(make_route: MakeRoute) -> None:
    assert _name(RouteTable([make_route("/a", "GET")]).match("h", b"get", "/a")) == "method_not_allowed"


def test_names_stand_for_segments_as_they_are_in_the_canonical_path(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/{shop}/items/{id}/**")])
    found = table.match("h", b"GET", "/a%20b/items/%40me/c/d/e")
    assert isinstance(found, Match)
    assert found.params == {"shop": "a%20b", "id": "%40me"}


def test_routes_of_one_shape_keep_their_own_names(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/{a}", "GET"), make_route("/{b}", "POST")])
    found = [table.match("h", method, "/1") for method in (b"GET", b"POST")]
    assert [match.params for match in found if isinstance(match, Match)] == [{"a": "1"}, {"b": "1"}]


def test_a_route_without_names_has_no_params(make_route: MakeRoute) -> None:
    found = RouteTable([make_route("/a/*")]).match("h", b"GET", "/a/b")
    assert isinstance(found, Match)
    assert found.params is None


def test_recent_answers_are_the_same_object(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/{a}")])
    assert table.match("h", b"GET", "/1") is table.match("h", b"GET", "/1")


def test_the_memory_is_bounded_and_keeps_what_is_asked_for(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/{a}")])
    kept = table.match("h", b"GET", "/kept")
    for number in range(20_000):
        table.match("h", b"GET", f"/{number}")
        if number % 1000 == 0:
            assert table.match("h", b"GET", "/kept") is kept
    assert len(table._recent) <= 4096
    assert len(table._old) <= 4096


def test_long_paths_are_matched_and_not_remembered(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/{a}")])
    assert _name(table.match("h", b"GET", "/" + "x" * 5000)) == "/{a}"
    assert not table._recent


def test_a_target_that_is_no_path_has_no_route(make_route: MakeRoute) -> None:
    assert _name(RouteTable([make_route("/**")]).match("h", b"OPTIONS", "*")) == "no_route"


@pytest.mark.parametrize(
    ("first", "second", "are_same"),
    [
        pytest.param(("/a",), ("/a",), True, id="same"),
        pytest.param(("/a",), ("/b",), False, id="other-path"),
        pytest.param(("/{x}",), ("/{y}",), True, id="names-do-not-count"),
        pytest.param(("/{x}",), ("/*",), True, id="name-and-any-match-the-same"),
        pytest.param(("/*",), ("/**",), False, id="any-and-rest"),
        pytest.param(("/@me",), ("/%40me",), True, id="two-spellings"),
        pytest.param(("/a", "GET"), ("/a", "POST"), False, id="other-methods"),
        pytest.param(("/a", "GET", "PUT"), ("/a", "POST", "PUT"), True, id="a-common-method"),
        pytest.param(("/a", "GET"), ("/a",), False, id="method-and-any-method"),
        pytest.param(("/a", "GET"), ("/a", "HEAD"), False, id="get-and-head"),
    ],
)
def test_routes_that_match_exactly_the_same_are_a_conflict(
    make_route: MakeRoute, first: tuple[str, ...], second: tuple[str, ...], are_same: bool
) -> None:
    one, other = make_route(*first, name="one"), make_route(*second, name="other")
    assert conflicts([one, other]) == ([(one, other)] if are_same else [])


def test_a_conflict_needs_a_common_host_and_is_told_once(make_route: MakeRoute) -> None:
    one = make_route("/a", hosts=("x", "y", "z"))
    other = make_route("/a", hosts=("y", "z"))
    assert conflicts([one, other]) == [(one, other)]
    assert conflicts([one, make_route("/a"), make_route("/a", hosts=("*.x",))]) == []
