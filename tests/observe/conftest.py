"""Exchanges that have ended, as the last stage finds them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.clients.client import Client
from proxy.exchange import Exchange
from proxy.http.message import Request
from proxy.observe.metrics import RouteStats
from proxy.observe.observe import Observe
from proxy.routing.route import Route
from tests.snapshots import a_snapshot

IDENTIFIER = b"0192f0c1-2b3a-7000-9b1c-4dd7f0a1b2c3"

ExchangeMaker = Callable[..., Exchange]


@pytest.fixture
def observe() -> Iterator[Observe]:
    made = Observe()
    yield made
    made.stop()


@pytest.fixture
def stalled_pipe(tmp_path: Path) -> Iterator[str]:
    """The path of a pipe that is open for reading and never read."""
    path = tmp_path / "stalled"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield str(path)
    os.close(reader)


@pytest.fixture
def make_exchange() -> ExchangeMaker:
    """An exchange that was received at 100.0 and answered 200 by an endpoint, apart from what is said."""

    def make(
        *,
        stats: RouteStats | None = None,
        route: str | None = "search",
        method: bytes = b"GET",
        path: str = "/api/search",
        query: bytes = b"",
        host: str = "shop.example",
        fields: tuple[tuple[bytes, bytes, bytes], ...] = (),
        identifier: bytes = IDENTIFIER,
        client: Client | None = None,
        endpoint: str | None = "127.0.0.1:3000",
        **written: Any,
    ) -> Exchange:
        request = Request(method, path.encode(), 1, list(fields), {lower: value for lower, _, value in fields})
        request.path, request.query, request.host = path, query, host
        client = client or Client("203.0.113.7", b"203.0.113.7", b"203.0.113.7")
        exchange = Exchange(request, a_snapshot(), None, client, False, identifier, 100.0)
        if route is not None:
            exchange.route = Route(route, 0, "t.yaml:1", (), frozenset(), "/**", None, stats=stats)
        if endpoint is not None:
            exchange.endpoint = SimpleNamespace(address=SimpleNamespace(label=endpoint))
            exchange.attempts, exchange.upstream_s = 1, 0.001
        exchange.status = 200
        for name, value in written.items():
            setattr(exchange, name, value)
        return exchange

    return make
