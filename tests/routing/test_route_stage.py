"""The route stage: what it sets on an exchange, what it answers itself, what it adds to responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.errors import ErrorKind
from proxy.exchange import Exchange
from proxy.http.message import Request, Response
from proxy.routing.cors import compile_cors
from proxy.routing.field_rules import compile_field_rules
from proxy.routing.route import Route
from proxy.routing.settings import CorsSettings, FieldRulesSettings
from proxy.routing.stage import decorate, match_route

SHOP = "https://shop.test"
CORS = compile_cors(CorsSettings(origins=(SHOP,)))
PREFLIGHT = (("Origin", SHOP), ("Access-Control-Request-Method", "PUT"))
Make = Callable[..., Any]


def test_a_request_gets_its_route_and_params(make_route: Make, make_request: Make, make_exchange: Make) -> None:
    route = make_route("/items/{id}")
    exchange: Exchange = make_exchange(make_request("GET", "/items/7?x=1"), route)
    assert match_route(exchange) is None
    assert exchange.route is route
    assert exchange.params == {"id": "7"}
    assert exchange.error is None


def test_a_request_that_comes_again_gets_the_route_that_is_in_force_now(
    make_route: Make, make_request: Make, make_exchange: Make
) -> None:
    request = make_request("GET", "/a/1")
    before, after = make_route("/a/{id}", name="before"), make_route("/a/{number}", name="after")
    first = make_exchange(request, before)
    again = make_exchange(request, before)
    again.snapshot = first.snapshot
    reloaded = make_exchange(request, after)
    for exchange, route, params in (
        (first, before, {"id": "1"}),
        (again, before, {"id": "1"}),
        (reloaded, after, {"number": "1"}),
    ):
        assert match_route(exchange) is None
        assert (exchange.route, exchange.params) == (route, params)


@pytest.mark.parametrize(
    ("method", "target", "host", "kind", "status"),
    [
        pytest.param("GET", "/none", "a.test", ErrorKind.NO_ROUTE, 404, id="no-route"),
        pytest.param("DELETE", "/items", "a.test", ErrorKind.METHOD_NOT_ALLOWED, 405, id="method"),
        pytest.param("GET", "/items", "b.test", ErrorKind.MISDIRECTED, 421, id="host"),
        pytest.param("GET", "/items%2F..%2Fopen", "a.test", ErrorKind.REQUEST_MALFORMED, 400, id="ambiguous"),
    ],
)
def test_a_request_without_a_route_is_refused(
    make_route: Make,
    make_request: Make,
    make_exchange: Make,
    method: str,
    target: str,
    host: str,
    kind: ErrorKind,
    status: int,
) -> None:
    routes = [make_route("/items", "GET", "POST", hosts=("a.test",)), make_route("/*", "GET", hosts=("a.test",))]
    if kind is ErrorKind.NO_ROUTE:
        routes = routes[:1]
    exchange: Exchange = make_exchange(make_request(method, target, host=host), *routes)
    response = match_route(exchange)
    assert response is not None
    assert response.status == status
    assert response.error is kind
    assert exchange.error is kind
    assert exchange.route is None
    assert isinstance(response.content, bytes)
    document = json.loads(response.content)
    assert document["reason"] == kind.value
    assert (response.get(b"allow") is not None) is (status == 405)


def test_the_methods_that_are_allowed_are_named(make_route: Make, make_request: Make, make_exchange: Make) -> None:
    response = match_route(make_exchange(make_request("PUT", "/a"), make_route("/a", "GET", "POST")))
    assert response is not None
    assert response.get(b"allow") == b"GET, HEAD, POST"


def test_a_preflight_is_answered_at_once_for_the_route_of_the_coming_request(
    make_route: Make, make_request: Make, make_exchange: Make
) -> None:
    route = make_route("/a", "PUT", cors=CORS, requires_user=True)
    exchange: Exchange = make_exchange(make_request("OPTIONS", "/a", *PREFLIGHT), route, make_route("/**", name="rest"))
    response = match_route(exchange)
    assert response is not None
    assert response.status == 204
    assert response.get(b"access-control-allow-origin") == SHOP.encode()
    assert exchange.route is route
    assert response.error is None


def test_a_preflight_for_a_route_without_cors_is_an_ordinary_request(
    make_route: Make, make_request: Make, make_exchange: Make
) -> None:
    rest = make_route("/**")
    exchange: Exchange = make_exchange(make_request("OPTIONS", "/a", *PREFLIGHT), make_route("/a", "PUT"), rest)
    assert match_route(exchange) is None
    assert exchange.route is rest


def test_a_preflight_of_an_ambiguous_path_is_refused(make_route: Make, make_request: Make, make_exchange: Make) -> None:
    request = make_request("OPTIONS", "/x%2F..%2Fa", *PREFLIGHT)
    response = match_route(make_exchange(request, make_route("/a", cors=CORS), make_route("/**", cors=CORS)))
    assert response is not None
    assert response.status == 400


@pytest.fixture(name="decorated")
def _decorated(make_route: Make, make_request: Make, make_exchange: Make) -> Make:
    """Decorate a response on a route with everything; `origin` is the page's."""

    def run(
        response: Response, origin: str | None = None, route: Route | None = None, scheme: str = "http"
    ) -> Response:
        rules = FieldRulesSettings(set={"X-Set": "1", "Referrer-Policy": "no-referrer"}, remove=("Server",))
        route = route or make_route(cors=CORS, security_headers=True, response_rules=compile_field_rules(rules))
        lines = [("Origin", origin)] if origin else []
        request: Request = make_request("GET", "/", *lines, scheme=scheme)
        exchange: Exchange = make_exchange(request, route)
        assert match_route(exchange) is None
        return decorate(exchange, response)

    return run


def _response() -> Response:
    fields = [
        (b"server", b"Server", b"x"),
        (b"set-cookie", b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"Set-Cookie", b"b=2"),
    ]
    return Response(200, b"OK", fields, b"")


def _stored() -> Response:
    response = Response(200, b"OK", [], b"")
    response.block = b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    return response


def _lines(response: Response) -> list[bytes]:
    if response.block is not None:
        status, *lines, last = response.block.split(b"\r\n")
        assert (status, last) == (b"HTTP/1.1 200 OK", b"")
        return lines
    return [b"%b: %b" % (name, value) for _, name, value in response.fields]


@pytest.mark.parametrize("make_response", [_response, _stored], ids=["fields", "rendered block"])
def test_a_response_gets_preset_cors_and_rules(decorated: Make, make_response: Callable[[], Response]) -> None:
    lines = _lines(decorated(make_response(), SHOP))
    assert b"Server: x" not in lines
    assert lines.count(b"Set-Cookie: a=1") == lines.count(b"Set-Cookie: b=2") == 1
    assert b"X-Set: 1" in lines
    assert b"X-Content-Type-Options: nosniff" in lines
    assert b"Access-Control-Allow-Origin: " + SHOP.encode() in lines
    # the operator's own rule has the last word over the preset
    assert [line for line in lines if line.startswith(b"Referrer-Policy")] == [b"Referrer-Policy: no-referrer"]


def test_a_stored_head_is_decorated_for_each_origin_and_scheme_on_its_own(decorated: Make, make_route: Make) -> None:
    route = make_route(cors=CORS, security_headers=True)
    for _ in range(2):
        assert not any(b"Allow-Origin" in line for line in _lines(decorated(_stored(), "https://evil.test", route)))
        assert any(b"Allow-Origin" in line for line in _lines(decorated(_stored(), SHOP, route)))
        assert not any(b"Strict-Transport" in line for line in _lines(decorated(_stored(), None, route)))
        assert any(b"Strict-Transport" in line for line in _lines(decorated(_stored(), None, route, "https")))
    assert len(route.decorations) == 3


def test_the_memory_of_decorated_heads_is_bounded(decorated: Make, make_route: Make) -> None:
    route = make_route(security_headers=True)
    for number in range(1000):
        response = _stored()
        response.block = b"HTTP/1.1 200 OK\r\nAge: %d\r\n" % number
        assert b"Age: %d" % number in _lines(decorated(response, None, route))
    assert len(route.decorations["http", None]._recent) <= 64


def test_a_head_of_any_length_is_decorated(decorated: Make, make_route: Make) -> None:
    route = make_route(security_headers=True)
    for _ in range(2):
        response = _stored()
        response.block = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000 + b"\r\n"
        assert b"X-Frame-Options: SAMEORIGIN" in _lines(decorated(response, None, route))
    assert not route.decorations["http", None]._recent


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Server: x"],
        ["vary: accept"],
        ["VARY:  Origin ", "x-frame-options:DENY", "Access-Control-Allow-Origin: *"],
        ["X-Set: a", "x-set: b", "Set-Cookie: Server: x"],
        ["X-Note: vary: none", "Vary-By: me"],
    ],
)
@pytest.mark.parametrize("origin", [None, SHOP])
def test_fields_and_rendered_heads_get_the_same(decorated: Make, lines: list[str], origin: str | None) -> None:
    block = Response(200, b"OK", [], b"")
    block.block = b"HTTP/1.1 200 OK\r\n" + b"".join(line.encode() + b"\r\n" for line in lines)
    pairs = [line.partition(":")[::2] for line in lines]
    fields = [(name.lower().encode(), name.encode(), value.strip().encode()) for name, value in pairs]

    def normal(response: Response) -> list[bytes]:
        return [line.replace(b": ", b":", 1).replace(b": ", b":").strip() for line in _lines(response)]

    assert normal(decorated(block, origin)) == normal(decorated(Response(200, b"OK", fields, b""), origin))


def test_a_route_that_says_nothing_changes_nothing(decorated: Make, make_route: Make) -> None:
    response = _response()
    fields = response.fields
    assert decorated(response, SHOP, make_route()).fields is fields
