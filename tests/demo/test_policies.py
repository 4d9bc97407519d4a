"""The configuration that everybody copies: `proxy.yaml` and `policies/` say what they are meant to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config.diagnostics import render
from proxy.config.load import Loaded, load
from proxy.routing.table import Match

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(str(ROOT / "proxy.yaml"), environment={})


def route_of(loaded: Loaded, method: str, path: str) -> Any:
    assert loaded.snapshot is not None
    found = loaded.snapshot.routes.match("shop.example.com", method.encode(), path)
    assert isinstance(found, Match)
    return found.route


def test_the_configuration_has_nothing_to_complain_about(loaded: Loaded) -> None:
    assert render(loaded.diagnostics) == ""


ROUTES = [
    ("GET", "/api/products", "catalogue", ["per-ip 200/min by ip"]),
    ("GET", "/api/products/7", "product", ["per-ip 200/min by ip"]),
    ("GET", "/api/stores/3", "store", ["per-ip 200/min by ip", "store 100/min by ip"]),
    ("GET", "/api/search", "search", ["per-ip 200/min by ip", "search 60/min by ip"]),
    ("GET", "/api/dashboard/sales-summary", "dashboard", ["per-ip 200/min by ip"]),
    ("POST", "/api/login", "login", ["auth 5/15min by ip"]),
    ("POST", "/api/buy", "buy", ["per-ip 200/min by ip", "per-user 60/min by user"]),
    ("GET", "/api/orders", "orders", ["per-ip 200/min by ip", "per-user 60/min by user"]),
    ("POST", "/api/ai/describe", "ai", ["per-ip 200/min by ip", "ai 20/min by user"]),
    ("POST", "/api/ocr", "ocr", ["per-ip 200/min by ip", "ocr 50/h by user"]),
    ("GET", "/ws", "live", ["per-ip 200/min by ip"]),
    ("GET", "/download/catalogue.bin", "download", ["per-ip 200/min by ip"]),
    ("POST", "/upload", "upload", ["per-ip 200/min by ip"]),
    ("PATCH", "/anything/else", "rest", ["per-ip 200/min by ip"]),
    ("DELETE", "/api/products", "rest", ["per-ip 200/min by ip"]),
]


@pytest.mark.parametrize(("method", "path", "name", "limits"), ROUTES, ids=[f"{row[0]} {row[1]}" for row in ROUTES])
def test_every_page_of_the_shop_has_its_route_and_its_limits(
    loaded: Loaded, method: str, path: str, name: str, limits: list[str]
) -> None:
    route = route_of(loaded, method, path)
    found = [f"{limit.name} {limit.rate} by {'+'.join(limit.by)}" for limit in route.limits]
    assert (route.name, found) == (name, limits)


def test_logins_are_counted_over_a_window_that_slides(loaded: Loaded) -> None:
    assert route_of(loaded, "POST", "/api/login").limits[0].algorithm == "sliding"


CACHED = [
    ("/api/products", 60.0, None, 600.0),
    ("/api/products/7", None, None, None),
    ("/api/search", 60.0, 30.0, None),
    ("/api/dashboard/sales-summary", 120.0, 30.0, 600.0),
]


@pytest.mark.parametrize(("path", "ttl_s", "revalidate_s", "error_s"), CACHED, ids=[row[0] for row in CACHED])
def test_hot_reads_are_stored(
    loaded: Loaded, path: str, ttl_s: float | None, revalidate_s: float | None, error_s: float | None
) -> None:
    cache = route_of(loaded, "GET", path).cache
    assert (cache.ttl_s, cache.stale_while_revalidate_s, cache.stale_if_error_s) == (ttl_s, revalidate_s, error_s)


def test_the_sales_summary_is_computed_before_anybody_asks(loaded: Loaded) -> None:
    assert loaded.snapshot is not None
    (ahead,) = loaded.snapshot.precomputes
    assert (ahead.name, ahead.numbers.every_s, ahead.numbers.timeout_s) == ("dashboard", 120.0, 10.0)
    assert [target.url for target in ahead.targets] == ["http://127.0.0.1:8080/api/dashboard/sales-summary"]


def test_orders_are_read_from_the_primary_and_never_stored(loaded: Loaded) -> None:
    route = route_of(loaded, "GET", "/api/orders")
    assert (route.read_primary, route.cache) == (True, None)


BELIEVING = [("POST", "/api/buy"), ("GET", "/api/orders"), ("POST", "/api/login"), ("POST", "/api/ai/x"), ("GET", "/x")]


@pytest.mark.parametrize(("method", "path"), BELIEVING)
def test_no_client_can_tell_the_shop_who_it_is(loaded: Loaded, method: str, path: str) -> None:
    rules = route_of(loaded, method, path).request_rules
    assert ("remove", b"x-user") in [rule[:2] for rule in rules]


def test_whoever_spends_money_is_known(loaded: Loaded) -> None:
    assert loaded.snapshot is not None
    names = {route.name for route in loaded.snapshot.routes.routes if route.requires_user}
    assert names == {"ai", "buy", "ocr", "orders"}


def test_addresses_and_the_secret_come_from_the_environment() -> None:
    environment = {
        "WEIR_LISTEN": "127.0.0.1:18080",
        "WEIR_ADMIN": "127.0.0.1:19901",
        "APP_PRIMARY": "http://10.0.0.1:80",
        "APP_REPLICA_1": "http://10.0.0.2:80",
        "APP_REPLICA_2": "http://10.0.0.3:80",
        "SHOP_TOKEN_SECRET": "a-secret-of-some-length-that-nobody-knows",
    }
    settings = load(str(ROOT / "proxy.yaml"), environment=environment).settings
    assert settings is not None
    dumped = settings.model_dump_json()
    assert [value for name, value in environment.items() if name != "SHOP_TOKEN_SECRET" and value not in dumped] == []
    assert settings.identity is not None
    assert environment["SHOP_TOKEN_SECRET"] not in dumped
