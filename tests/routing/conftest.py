"""Builders for routes, requests and exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.clients.addresses import connection_client
from proxy.exchange import Exchange
from proxy.http.message import Field, Request, index_fields
from proxy.http.targets import canonical_path, split_target
from proxy.routing.route import Route
from proxy.routing.table import RouteTable
from tests.snapshots import a_snapshot


@pytest.fixture(scope="session")
def make_route() -> Callable[..., Route]:
    def make(pattern: str = "/**", *methods: str, hosts: tuple[str, ...] = (), name: str = "", **more: Any) -> Route:
        words = frozenset(method.encode() for method in methods)
        return Route(name or pattern, 0, "proxy.yaml:1", hosts, words, pattern, None, **more)

    return make


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Request]:
    def make(
        method: str = "GET", target: str = "/", *lines: tuple[str, str], host: str = "a.test", scheme: str = "http"
    ) -> Request:
        fields: list[Field] = [(name.lower().encode(), name.encode(), value.encode()) for name, value in lines]
        request = Request(method.encode(), target.encode(), 1, fields, index_fields(fields), scheme=scheme)
        _, path, request.query = split_target(request.target)
        request.path = canonical_path(path)
        request.host = host
        return request

    return make


@pytest.fixture(scope="session")
def make_exchange() -> Callable[..., Exchange]:
    def make(request: Request, *routes: Route) -> Exchange:
        snapshot = a_snapshot(routes=RouteTable(routes))
        peer = connection_client(("203.0.113.7", 4711))
        return Exchange(request, snapshot, None, peer, False, b"01890000-0000-7000-8000-000000000000", 0.0)

    return make
