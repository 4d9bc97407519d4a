"""Preflights and the fields that let pages of other origins read responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.http.message import Field, Request, Response
from proxy.routing.cors import apply_cors, compile_cors, is_preflight, preflight_response
from proxy.routing.route import Cors
from proxy.routing.settings import CorsSettings

SHOP = "https://shop.test"
MakeRequest = Callable[..., Request]


def _cors(*route_methods: bytes, **settings: Any) -> Cors:
    cors = compile_cors(CorsSettings.model_validate({"origins": [SHOP], **settings}), route_methods)
    assert cors is not None
    return cors


def _preflight(make_request: MakeRequest, cors: Cors, origin: str = SHOP, asks: str = "") -> Response:
    lines = [("Origin", origin), ("Access-Control-Request-Method", "PUT")]
    if asks:
        lines.append(("Access-Control-Request-Headers", asks))
    return preflight_response(cors, make_request("OPTIONS", "/", *lines))


def _get(fields: list[Field], name: str) -> list[bytes]:
    return [value for lower, _, value in fields if lower == name.encode()]


def test_a_preflight_of_an_allowed_origin_learns_what_it_may_do(make_request: MakeRequest) -> None:
    cors = _cors(methods=["GET", "PUT"], headers=["Authorization", "X-A"], credentials=True, max_age="5m")
    response = _preflight(make_request, cors, asks="x-other")
    assert response.status == 204
    assert response.content is None
    assert {lower: value for lower, _, value in response.fields} == {
        b"vary": b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        b"access-control-allow-origin": SHOP.encode(),
        b"access-control-allow-methods": b"GET, PUT",
        b"access-control-allow-headers": b"Authorization, X-A",
        b"access-control-allow-credentials": b"true",
        b"access-control-max-age": b"300",
    }


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "https://shop.test.evil.test", "http://shop.test", "null", "*"]
)
def test_a_preflight_of_another_origin_is_told_nothing(make_request: MakeRequest, origin: str) -> None:
    response = _preflight(make_request, _cors(), origin)
    assert response.status == 204
    assert [lower for lower, _, _ in response.fields] == [b"vary"]


def test_any_origin_is_a_star_and_never_with_credentials(make_request: MakeRequest) -> None:
    response = _preflight(make_request, _cors(origins=["*"]), "https://whoever.test")
    assert response.get(b"access-control-allow-origin") == b"*"
    assert response.get(b"access-control-allow-credentials") is None


@pytest.mark.parametrize(
    ("asks", "allowed"),
    [
        ("x-a, content-type", b"x-a, content-type"),
        ("", None),
        ('x-a"<script>', None),
        ("x-a" * 400, None),
    ],
)
def test_without_a_list_the_names_asked_for_are_allowed(
    make_request: MakeRequest, asks: str, allowed: bytes | None
) -> None:
    assert _preflight(make_request, _cors(), asks=asks).get(b"access-control-allow-headers") == allowed


@pytest.mark.parametrize(
    ("settings", "route_methods", "methods"),
    [
        ({"methods": ["GET"]}, (b"PUT",), b"GET"),
        ({}, (b"PUT", b"DELETE"), b"DELETE, PUT"),
        ({}, (), b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    ],
)
def test_methods_come_from_the_rule_then_from_the_route(
    settings: dict[str, Any], route_methods: tuple[bytes, ...], methods: bytes
) -> None:
    assert _cors(*route_methods, **settings).methods == methods


@pytest.mark.parametrize(
    ("method", "lines", "is_one"),
    [
        ("OPTIONS", [("Origin", SHOP), ("Access-Control-Request-Method", "PUT")], True),
        ("OPTIONS", [("Origin", SHOP)], False),
        ("OPTIONS", [("Access-Control-Request-Method", "PUT")], False),
        ("GET", [("Origin", SHOP), ("Access-Control-Request-Method", "PUT")], False),
    ],
)
def test_a_preflight_is_known_by_method_and_fields(
    make_request: MakeRequest, method: str, lines: list[tuple[str, str]], is_one: bool
) -> None:
    assert is_preflight(make_request(method, "/", *lines)) is is_one


def test_a_response_to_an_allowed_origin_may_be_read() -> None:
    fields = apply_cors([], _cors(expose=["Retry-After", "X-A"], credentials=True), SHOP.encode())
    assert _get(fields, "access-control-allow-origin") == [SHOP.encode()]
    assert _get(fields, "access-control-allow-credentials") == [b"true"]
    assert _get(fields, "access-control-expose-headers") == [b"Retry-After, X-A"]
    assert _get(fields, "vary") == [b"Origin"]


@pytest.mark.parametrize("origin", [None, b"https://evil.test"])
def test_other_responses_say_only_that_they_vary(origin: bytes | None) -> None:
    assert apply_cors([], _cors(), origin) == [(b"vary", b"Vary", b"Origin")]


def test_the_backends_own_answer_is_replaced() -> None:
    own: list[Field] = [
        (b"access-control-allow-origin", b"Access-Control-Allow-Origin", b"*"),
        (b"access-control-allow-credentials", b"Access-Control-Allow-Credentials", b"true"),
        (b"x-a", b"X-A", b"1"),
    ]
    fields = apply_cors(own, _cors(), SHOP.encode())
    assert _get(fields, "access-control-allow-origin") == [SHOP.encode()]
    assert _get(fields, "access-control-allow-credentials") == []
    assert _get(fields, "x-a") == [b"1"]
    assert len(own) == 3
    assert _get(apply_cors(own, _cors(), None), "access-control-allow-origin") == []


@pytest.mark.parametrize(
    ("own", "vary"),
    [
        (b"Accept-Encoding", [b"Accept-Encoding", b"Origin"]),
        (b"accept, ORIGIN", [b"accept, ORIGIN"]),
        (b"*", [b"*"]),
        (b"X-Origin", [b"X-Origin", b"Origin"]),
    ],
)
def test_vary_is_added_once(own: bytes, vary: list[bytes]) -> None:
    assert _get(apply_cors([(b"vary", b"Vary", own)], _cors(), None), "vary") == vary


def test_any_origin_makes_no_response_vary() -> None:
    assert _get(apply_cors([], _cors(origins=["*"]), None), "vary") == []


@pytest.mark.parametrize(
    ("origin", "stored"),
    [
        ("https://Shop.Test", b"https://shop.test"),
        ("https://shop.test:443", b"https://shop.test"),
        ("http://shop.test:80/", b"http://shop.test"),
        ("https://shop.test:8443", b"https://shop.test:8443"),
        ("http://[::1]:3000", b"http://[::1]:3000"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(origin: str, stored: bytes) -> None:
    assert _cors(origins=[origin]).origins == {stored}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"origins": ["null"]}, "cannot be allowed"),
        ({"origins": ["shop.test"]}, "is not an origin"),
        ({"origins": ["https://*.test"]}, "is not an origin"),
        ({"origins": ["https://a@shop.test"]}, "is not an origin"),
        ({"origins": ["https://shop.test/path"]}, "more than an origin"),
        ({"origins": ["https://shop.test:x"]}, "is not an origin"),
        ({"origins": ["*", SHOP]}, "is every origin"),
        ({"origins": ["*"], "credentials": True}, "list the origins"),
        ({"origins": []}, "at least 1"),
        ({"origins": [SHOP], "headers": ["*"]}, "list each one"),
        ({"origins": [SHOP], "methods": ["put"]}, "write PUT"),
    ],
)
def test_a_wrong_rule_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CorsSettings.model_validate(settings)
