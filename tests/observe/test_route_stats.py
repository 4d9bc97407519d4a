from __future__ import annotations

import random
from typing import Any

import pytest

from proxy.core.errors import ErrorKind
from proxy.observe.metrics import (
    DURATION_BOUNDS_S,
    MAX_OUTCOMES,
    MAX_OUTCOMES_PER_ROUTE,
    MAX_ROUTES,
    NO_ROUTE,
    OVERFLOW,
    StatsRegistry,
)
from proxy.observe.observe import Observe
from proxy.observe.stage import record


def test_an_exchange_is_counted_with_all_its_numbers(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("search")
    exchange = make_exchange(stats=stats, bytes_received=10, bytes_sent=2048, queue_s=0.25, upstream_s=0.5, attempts=2)
    record(exchange, observe, 101.0)
    assert stats.outcomes == {(b"GET", 200, "-"): 1}
    assert (stats.bytes_received, stats.bytes_sent) == (10, 2048)
    assert (stats.queued, stats.queue_s) == (1, 0.25)
    assert (stats.upstream_s, sum(stats.upstream_buckets)) == (0.5, 1)
    assert stats.retries == 1
    assert stats.duration_s == pytest.approx(1.0)
    assert stats.cache_hits == 0


def test_exchanges_that_differ_from_the_one_before_are_counted_apart(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("search")
    kinds = [("GET", 200, None), ("GET", 200, None), ("POST", 200, None), ("GET", 404, None), ("GET", 200, None)]
    kinds += [("GET", 429, ErrorKind.RATE_LIMITED), ("GET", 429, None), ("GET", 429, ErrorKind.RATE_LIMITED)]
    for method, status, error in kinds:
        exchange = make_exchange(stats=stats, status=status, error=error)
        exchange.request.method = method.encode()
        record(exchange, observe, 101.0)
    assert stats.outcomes == {
        (b"GET", 200, "-"): 3,
        (b"POST", 200, "-"): 1,
        (b"GET", 404, "-"): 1,
        (b"GET", 429, "rate_limited"): 2,
        (b"GET", 429, "-"): 1,
    }
    assert stats.requests == 8


def test_a_hit_touches_no_upstream_number(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("search")
    record(make_exchange(stats=stats, endpoint=None, cache_status=b"hit; ttl=30"), observe, 100.001)
    assert stats.cache_hits == 1
    assert sum(stats.upstream_buckets) == stats.queued == stats.retries == 0


@pytest.mark.parametrize(
    ("duration_s", "bucket"),
    [
        pytest.param(0.0, 0, id="nothing"),
        pytest.param(0.001, 0, id="a bound is inclusive"),
        pytest.param(0.0011, 1, id="just above it"),
        pytest.param(10.0, len(DURATION_BOUNDS_S) - 1, id="the last bound"),
        pytest.param(3600.0, len(DURATION_BOUNDS_S), id="longer than all"),
    ],
)
def test_a_duration_falls_into_one_bucket(observe: Observe, make_exchange: Any, duration_s: float, bucket: int) -> None:
    stats = observe.routes.for_route("search")
    exchange = make_exchange(stats=stats)
    exchange.received_at = 0.0
    record(exchange, observe, duration_s)
    assert [place for place, count in enumerate(stats.duration_buckets) if count] == [bucket]


def test_a_tunnel_counts_until_it_opened(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("chat")
    record(make_exchange(stats=stats, status=101, queue_s=0.005, upstream_s=0.015), observe, 90_000.0)
    assert stats.duration_s == pytest.approx(0.02)


def test_the_reason_is_the_word_of_the_error(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("search")
    record(make_exchange(stats=stats, status=503, error=ErrorKind.QUEUE_FULL), observe, 100.0)
    record(make_exchange(stats=stats, status=503), observe, 100.0)
    assert stats.outcomes == {(b"GET", 503, "queue_full"): 1, (b"GET", 503, "-"): 1}


def test_a_client_that_left_before_the_head_is_a_499(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("search")
    exchange = make_exchange(stats=stats, status=0, error=ErrorKind.CLIENT_DISCONNECTED)
    record(exchange, observe, 100.0)
    assert stats.outcomes == {(b"GET", 499, "client_disconnected"): 1}
    assert exchange.status == 499


def test_an_exchange_without_a_route_is_counted_too(observe: Observe, make_exchange: Any) -> None:
    record(make_exchange(route=None, status=404, error=ErrorKind.NO_ROUTE), observe, 100.0)
    assert observe.routes.for_route(NO_ROUTE).outcomes == {(b"GET", 404, "no_route"): 1}


def test_ten_thousand_odd_methods_and_statuses_stay_bounded(observe: Observe, make_exchange: Any) -> None:
    rng = random.Random(7)
    stats = observe.routes.for_route("search")
    for number in range(10_000):
        method = rng.choice([b"GET", b"POST", b"M%d" % number])
        exchange = make_exchange(
            stats=stats, method=method, path=f"/{rng.random()}", host=f"h{number}", status=rng.randrange(200, 600)
        )
        record(exchange, observe, 100.0)
    assert len(stats.outcomes) <= MAX_OUTCOMES_PER_ROUTE + 1
    assert {method for method, _, _ in stats.outcomes} <= {b"GET", b"POST", b"OTHER", OVERFLOW.encode()}
    assert stats.requests == 10_000
    assert stats.overflowed == stats.outcomes[OVERFLOW.encode(), 0, OVERFLOW] > 0


def test_an_odd_method_counts_as_other_every_time(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("search")
    for _ in range(3):
        record(make_exchange(stats=stats, method=b"PROPFIND"), observe, 100.0)
    assert stats.outcomes == {(b"OTHER", 200, "-"): 3}


def test_all_routes_together_have_a_bounded_number_of_outcomes() -> None:
    registry = StatsRegistry()
    for route in range(200):
        stats = registry.for_route(f"r{route}")
        for status in range(200, 290):
            stats.count(b"GET", status, "-")
    admitted = sum(len(stats.outcomes) for stats in registry.all())
    assert admitted <= MAX_OUTCOMES + 200
    assert sum(stats.requests for stats in registry.all()) == 200 * 90


def test_a_route_that_keeps_its_name_keeps_its_numbers() -> None:
    registry = StatsRegistry()
    registry.for_route("search").bytes_sent = 5
    registry.retain({"search"})
    assert registry.for_route("search").bytes_sent == 5


def test_a_route_that_is_gone_is_forgotten_and_its_room_is_free() -> None:
    registry = StatsRegistry()
    for reload in range(300):  # each brings other names; without forgetting, the room would be used up
        stats = registry.for_route(f"r{reload}")
        for status in range(200, 260):
            stats.count(b"GET", status, "-")
        assert stats.overflowed == 0
        registry.retain(set())
        for status in range(500, 530):
            stats.count(b"GET", status, "-")  # exchanges that were still under way
    assert [stats.route for stats in registry.all()] == [NO_ROUTE]


def test_routes_beyond_the_cap_share_one_entry() -> None:
    registry = StatsRegistry()
    made = [registry.for_route(f"r{number}") for number in range(MAX_ROUTES + 50)]
    assert len(registry.all()) == MAX_ROUTES + 1
    assert len({id(stats) for stats in made[-50:]}) == 1
    assert made[-1].route == OVERFLOW
