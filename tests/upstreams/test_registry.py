"""Endpoints over their life: chosen, skipped, probed, kept over a reload, drained."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import Address, parse_address
from proxy.upstreams.claims import Bid, Reach
from proxy.upstreams.queue import PRIORITIES
from proxy.upstreams.registry import GRACE_S, Registry
from proxy.upstreams.tls import UpstreamTls
from proxy.upstreams.upstream import HealthRules, PoolNumbers, Upstream

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
A, B, C, D = (parse_address(f"http://127.0.0.{host}:3000") for host in (1, 2, 3, 4))


@pytest.fixture
async def registry(clock: Any, open_line: Any) -> AsyncIterator[Registry[Any]]:
    async def open_connection(upstream: Upstream, address: Address) -> Any:
        return await open_line(address, clock())

    registry: Registry[Any] = Registry(open_connection, clock=clock, rng=lambda: 1.0)
    yield registry
    await registry.stop()


def upstream(*primary: Address, replicas: tuple[Address, ...] = (), name: str = "app", **rest: Any) -> Upstream:
    return Upstream(name, primary, replicas, **{"slow_start_s": 0.0, **rest})


def apply(registry: Registry[Any], *upstreams: Upstream) -> Upstream:
    registry.apply({upstream.name: upstream for upstream in upstreams}, registry._clock())
    return upstreams[0]


def picks(registry: Registry[Any], app: Upstream, use_replicas: bool, count: int = 12) -> dict[Address, int]:
    return Counter(registry.select(app, use_replicas).address for _ in range(count))


# Selection


def test_reads_go_to_the_replicas_and_the_rest_to_the_primary(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, replicas=(B, C)))
    assert picks(registry, app, False) == {A: 12}
    assert picks(registry, app, True) == {B: 6, C: 6}


def test_among_chosen_replicas_the_healthy_ones_answer_and_else_the_primary(
    registry: Registry[Any], clock: Any
) -> None:
    app = apply(registry, upstream(A, replicas=(B, C, D)))

    def answering(*readers: Address) -> set[Address]:
        return {registry.select_among(app, frozenset(readers)).address for _ in range(9)}

    assert answering(B, C) == {B, C}
    assert answering() == {A}
    next(endpoint for endpoint in registry.endpoints if endpoint.address == B).failed(
        ErrorKind.CONNECT_REFUSED, clock()
    )
    assert answering(B, C) == {C}
    assert answering(B) == {A}
    assert registry.select_replica(app, None, frozenset((B,))) is None
    one = registry.select_replica(app, None, frozenset((C, D)))
    assert one is not None
    assert registry.select_among(app, frozenset((C, D)), one).address in {C, D} - {one.address}


def test_without_replicas_reads_go_to_the_primary(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A))
    assert picks(registry, app, True) == {A: 12}


@pytest.mark.parametrize("kind", [ErrorKind.CONNECT_REFUSED, ErrorKind.CONNECT_TIMEOUT, ErrorKind.TLS_FAILED])
def test_an_endpoint_that_cannot_be_reached_is_skipped_at_once(
    registry: Registry[Any], clock: Any, kind: ErrorKind
) -> None:
    app = apply(registry, upstream(A, B, C))
    registry.select(app, False).failed(kind, clock())
    assert len(picks(registry, app, False)) == 2


@pytest.mark.parametrize(
    "kind",
    [
        ErrorKind.QUEUE_FULL,
        ErrorKind.QUEUE_TIMEOUT,
        ErrorKind.REUSED_CONNECTION_CLOSED,
        ErrorKind.CLIENT_DISCONNECTED,
        ErrorKind.INTERNAL,
    ],
)
def test_what_is_not_its_fault_is_not_counted(registry: Registry[Any], clock: Any, kind: ErrorKind) -> None:
    app = apply(registry, upstream(A))
    endpoint = registry.select(app, False)
    endpoint.failed(kind, clock())
    assert (endpoint.healthy, endpoint.requests, endpoint.failures) == (True, 0, 0)


def test_a_bad_answer_is_counted_and_does_not_take_the_endpoint_out(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    endpoint = registry.select(app, False)
    for kind in (ErrorKind.RESPONSE_TIMEOUT, ErrorKind.CONNECTION_RESET, ErrorKind.RESPONSE_MALFORMED):
        endpoint.failed(kind, clock())
    assert (endpoint.healthy, endpoint.requests, endpoint.failures, endpoint.failures_in_a_row) == (True, 3, 3, 3)
    endpoint.succeeded(clock(), 0.25)
    assert (endpoint.requests, endpoint.failures, endpoint.failures_in_a_row) == (4, 3, 0)
    assert endpoint.latency_sum_s == 0.25


def test_reads_go_to_the_primary_when_no_replica_is_healthy(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, replicas=(B, C)))
    for address in (B, C):
        assert registry.select(app, True).address in (B, C)
        endpoint_of(registry, address).failed(ErrorKind.CONNECT_REFUSED, clock())
    assert picks(registry, app, True) == {A: 12}


def test_writes_never_go_to_a_replica(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, replicas=(B, C)))
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    assert picks(registry, app, False) == {A: 12}


def test_when_all_are_out_the_one_that_failed_longest_ago_is_tried(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, replicas=(B, C)))
    for address in (B, A, C):
        endpoint_of(registry, address).failed(ErrorKind.CONNECT_REFUSED, clock.advance(0.1))
    assert picks(registry, app, True) == {B: 12}
    assert picks(registry, app, False) == {A: 12}
    endpoint_of(registry, B).failed(ErrorKind.CONNECT_REFUSED, clock.advance(0.1))
    assert picks(registry, app, True) == {A: 12}


def test_an_exchange_that_passes_brings_it_back(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, B))
    endpoint = endpoint_of(registry, A)
    endpoint.failed(ErrorKind.CONNECT_REFUSED, clock())
    endpoint.succeeded(clock())
    assert picks(registry, app, False) == {A: 6, B: 6}


def test_a_retry_goes_to_another_endpoint(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, B, C))
    first = registry.select(app, False)
    assert first.address not in {registry.select(app, False, first).address for _ in range(6)}


def test_a_retry_of_a_read_may_leave_the_only_replica(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, replicas=(B,)))
    replica = registry.select(app, True)
    assert replica.address == B
    assert registry.select(app, True, replica).address == A


def test_a_retry_stays_where_there_is_no_other_place(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    only = registry.select(app, False)
    assert registry.select(app, False, only) is only
    only.failed(ErrorKind.CONNECT_REFUSED, clock())
    assert registry.select(app, False, only) is only


def test_a_retry_prefers_the_same_endpoint_to_one_that_is_out(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, B))
    endpoint_of(registry, B).failed(ErrorKind.CONNECT_REFUSED, clock())
    a = endpoint_of(registry, A)
    assert registry.select(app, False, a) is a


def test_an_upstream_that_is_not_there_has_no_endpoint(registry: Registry[Any]) -> None:
    with pytest.raises(ProxyError) as caught:
        registry.select(upstream(A), False)
    assert caught.value.kind is ErrorKind.NO_ENDPOINT


async def test_the_least_busy_endpoint_is_chosen(registry: Registry[Any], backend: Any, start_backend: Any) -> None:
    other = await start_backend()
    app = apply(registry, upstream(backend.address, other.address, select="least_requests"))
    busy = registry.select(app, False)
    leases = [await busy.pool.lease(registry._clock() + 60.0, registry._clock()) for _ in range(2)]
    assert (busy.load, busy.in_flight) == (2, 2)
    assert busy.address not in picks(registry, app, False)
    for lease in leases:
        lease.release(True)
    assert len(picks(registry, app, False)) == 2


def test_an_address_in_both_roles_is_one_endpoint(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, replicas=(A, B)))
    assert len(registry.endpoints) == 2
    assert picks(registry, app, True) == {A: 6, B: 6}
    assert registry.status()["app"]["endpoints"][0]["roles"] == ["primary", "replica"]


def test_the_same_address_in_two_upstreams_is_two_endpoints(registry: Registry[Any], clock: Any) -> None:
    app, other = upstream(A, B), upstream(A, B, name="other")
    apply(registry, app, other)
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    assert picks(registry, app, False) == {B: 12}
    assert picks(registry, other, False) == {A: 6, B: 6}


def test_retries_have_a_budget_for_each_upstream_that_a_reload_does_not_fill(registry: Registry[Any]) -> None:
    app, other = upstream(A), upstream(A, name="other")
    apply(registry, app, other)
    assert sum(registry.spend_retry(app, 1000.0) for _ in range(100)) == 30
    apply(registry, app, other)
    assert not registry.spend_retry(app, 1000.0)
    assert registry.spend_retry(other, 1000.0)


def test_the_budget_grows_with_the_exchanges(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    endpoint = registry.select(app, False)
    for _ in range(1000):
        endpoint.succeeded(clock())
    assert sum(registry.spend_retry(app, 1000.0) for _ in range(1000)) == 200


# Refused, and back


async def test_an_endpoint_that_refuses_is_found_again_by_a_plain_connect(
    registry: Registry[Any], clock: Any, start_backend: Any, eventually: Eventually
) -> None:
    first, second = await start_backend(), await start_backend()
    app = apply(registry, upstream(first.address, second.address))
    await first.refuse()
    endpoint = endpoint_of(registry, first.address)
    with pytest.raises(ProxyError) as caught:
        await endpoint.pool.lease(clock() + 60.0, clock())
    endpoint.failed(caught.value.kind, clock())
    assert picks(registry, app, False) == {second.address: 12}

    registry.tick(clock.advance(0.49))
    assert not endpoint.last_check  # not before half a second
    registry.tick(clock.advance(0.02))
    await eventually(lambda: endpoint.last_check is not None)
    assert "connect_refused" in endpoint.last_check.error

    await first.listen()
    registry.tick(clock.advance(0.9))
    assert not endpoint.healthy
    registry.tick(clock.advance(0.2))
    await eventually(lambda: endpoint.healthy)
    assert picks(registry, app, False) == {first.address: 6, second.address: 6}
    assert endpoint.pool.stats() == {"total": 1, "in_use": 0, "idle": 1, "waiting": 0}  # the probe's, ready to be used


async def test_a_healthy_endpoint_without_checks_is_left_alone(
    registry: Registry[Any], backend: Any, clock: Any
) -> None:
    apply(registry, upstream(backend.address))
    for _ in range(20):
        registry.tick(clock.advance(1.0))
    assert registry.endpoints[0].last_check is None
    assert backend.accepted == 0


async def test_a_warm_up_that_is_refused_takes_the_endpoint_out_before_a_client_meets_it(
    registry: Registry[Any], clock: Any, start_backend: Any, eventually: Eventually
) -> None:
    first, second = await start_backend(), await start_backend()
    app = apply(registry, upstream(first.address, second.address, pool=PoolNumbers(min_idle=2)))
    await first.refuse()
    registry.tick(clock())
    await eventually(lambda: not endpoint_of(registry, first.address).healthy)
    await eventually(lambda: endpoint_of(registry, second.address).pool.idle == 2)
    assert picks(registry, app, False) == {second.address: 12}


async def test_an_endpoint_that_is_out_is_not_warmed_up(registry: Registry[Any], backend: Any, clock: Any) -> None:
    apply(registry, upstream(backend.address, pool=PoolNumbers(min_idle=2)))
    endpoint = registry.endpoints[0]
    endpoint.failed(ErrorKind.CONNECT_REFUSED, clock())
    registry.tick(clock())
    assert endpoint.pool.total == 0
    endpoint.succeeded(clock())
    registry.tick(clock())
    assert endpoint.pool.total == 2


async def test_it_ticks_by_itself_once_started(backend: Any, open_line: Any, eventually: Eventually) -> None:
    from proxy.core.clock import monotonic

    async def open_connection(upstream: Upstream, address: Address) -> Any:
        return await open_line(address, monotonic())

    registry: Registry[Any] = Registry(open_connection)
    registry.apply({"app": upstream(backend.address, pool=PoolNumbers(min_idle=3))}, monotonic())
    registry.start()
    await eventually(lambda: backend.accepted == 3)
    backend.open[0].close()
    await eventually(lambda: backend.accepted == 4)
    await registry.stop()
    await eventually(lambda: not backend.open)


# Held back

HELD_BACK = [
    pytest.param(PoolNumbers(max_in_flight=4), 8, 4, id="at each endpoint"),
    pytest.param(PoolNumbers(max_in_flight=4, max_in_flight_total=6), 6, 3, id="at all together"),
    pytest.param(PoolNumbers(max_in_flight=64, max_in_flight_total=6), 6, 3, id="together, with room at each"),
    pytest.param(PoolNumbers(max_in_flight=1, max_in_flight_total=1), 1, 1, id="never less than one"),
]


@pytest.mark.parametrize(("numbers", "all_of_it", "half_of_it"), HELD_BACK)
async def test_an_upstream_that_is_held_back_sends_less_until_it_gets_all_again(
    registry: Registry[Any],
    backend: Any,
    start_backend: Any,
    clock: Any,
    eventually: Eventually,
    numbers: PoolNumbers,
    all_of_it: int,
    half_of_it: int,
) -> None:
    app = apply(registry, upstream(backend.address, (await start_backend()).address, pool=numbers))
    gate = registry.gates["app"]
    bid = Bid(reach=Reach.PRIMARY)
    registry.hold_back(lambda name: 0.5)
    asked = [
        asyncio.ensure_future(registry.select(app, False).pool.lease(clock() + 60.0, clock(), bid=bid))
        for _ in range(20)
    ]

    async def in_flight(leases: int) -> None:
        await eventually(lambda: sum(one.done() for one in asked) == leases)
        assert (gate.in_use, gate.slots, gate.lines.count) == (leases, leases, 20 - leases)

    await in_flight(half_of_it)
    registry.hold_back(lambda name: 1.0)
    await in_flight(all_of_it)
    registry.hold_back(lambda name: 0.5)
    assert gate.in_use == all_of_it, "leases are not interrupted"
    first = [one.result() for one in asked if one.done()]
    for number, lease in enumerate(first, 1):
        lease.release(True)
        assert gate.in_use <= max(half_of_it, all_of_it - number)
    assert gate.in_use == half_of_it, "who waits gets what is left of the half"
    for one in asked:
        if not one.done():
            one.cancel()
    await asyncio.wait(asked)


# Reload


def endpoint_of(registry: Registry[Any], address: Address, name: str = "app") -> Any:
    return next(e for e in registry.endpoints if e.address == address and e.upstream_name == name)


async def test_an_endpoint_that_stays_keeps_connections_and_health(
    registry: Registry[Any], backend: Any, clock: Any
) -> None:
    apply(registry, upstream(backend.address, B))
    kept = endpoint_of(registry, backend.address)
    lease = await kept.pool.lease(clock() + 60.0, clock())
    endpoint_of(registry, B).failed(ErrorKind.CONNECT_REFUSED, clock())
    app = apply(registry, upstream(backend.address, B, C, pool=PoolNumbers(max_in_flight=7)))
    assert endpoint_of(registry, backend.address) is kept
    assert kept.pool.numbers.max_in_flight == 7
    assert not endpoint_of(registry, B).healthy
    assert set(picks(registry, app, False)) == {backend.address, C}
    lease.release(True)
    assert kept.pool.idle == 1


async def test_what_the_reload_changed_is_what_new_connections_get(clock: Any, backend: Any, open_line: Any) -> None:
    seen: list[Upstream] = []

    async def open_connection(upstream: Upstream, address: Address) -> Any:
        seen.append(upstream)
        return await open_line(address, clock())

    registry: Registry[Any] = Registry(open_connection, clock=clock)
    apply(registry, upstream(backend.address))
    changed = apply(registry, upstream(backend.address, pool=PoolNumbers(connect_timeout_s=9.0)))
    lease = await registry.select(changed, False).pool.lease(clock() + 60.0, clock())
    assert seen == [changed]
    lease.release(False)
    await registry.stop()


async def test_an_endpoint_that_goes_is_drained_after_a_grace(
    registry: Registry[Any], backend: Any, start_backend: Any, clock: Any, eventually: Eventually
) -> None:
    other = await start_backend()
    apply(registry, upstream(backend.address, other.address))
    gone = endpoint_of(registry, backend.address)
    idle, used = [await gone.pool.lease(clock() + 60.0, clock()) for _ in range(2)]
    idle.release(True)
    app = apply(registry, upstream(other.address))
    assert picks(registry, app, False) == {other.address: 12}
    assert [endpoint.address for endpoint in registry.endpoints] == [other.address]

    registry.tick(clock.advance(GRACE_S - 0.1))
    late = gone.pool.take_now(clock())  # an exchange that chose it before the reload
    assert late is not None
    late.release(True)
    registry.tick(clock.advance(0.2))
    assert gone.pool.take_now(clock()) is None
    assert gone.pool.stats() == {"total": 1, "in_use": 1, "idle": 0, "waiting": 0}
    assert await used.connection.ask() == b"hello\n"
    used.release(True)
    assert gone.pool.closed
    await eventually(lambda: not backend.open)


async def test_an_endpoint_that_comes_back_within_the_grace_is_the_same(
    registry: Registry[Any], backend: Any, clock: Any
) -> None:
    apply(registry, upstream(backend.address, B))
    endpoint = endpoint_of(registry, backend.address)
    (await endpoint.pool.lease(clock() + 60.0, clock())).release(True)
    apply(registry, upstream(B))
    apply(registry, upstream(backend.address, B))
    assert endpoint_of(registry, backend.address) is endpoint
    registry.tick(clock.advance(GRACE_S + 1.0))
    assert endpoint.pool.idle == 1


async def test_an_exchange_that_began_before_the_reload_finds_its_upstream(registry: Registry[Any], clock: Any) -> None:
    old = apply(registry, upstream(A))
    apply(registry, upstream(B, name="other"))
    assert registry.select(old, False).address == A
    assert list(registry.status()) == ["other"]
    registry.tick(clock.advance(GRACE_S - 0.1))
    assert registry.select(old, False).address == A
    registry.tick(clock.advance(0.1))
    with pytest.raises(ProxyError) as caught:
        registry.select(old, False)
    assert caught.value.kind is ErrorKind.NO_ENDPOINT


def test_an_exchange_that_began_before_the_reload_uses_the_endpoints_of_now(registry: Registry[Any]) -> None:
    old = apply(registry, upstream(A))
    apply(registry, upstream(B))
    assert picks(registry, old, False) == {B: 12}


def test_a_renewed_certificate_begins_new_connections(registry: Registry[Any]) -> None:
    import ssl

    def secure(fingerprint: str) -> Upstream:
        tls = UpstreamTls(ssl.create_default_context(), None, fingerprint)
        return upstream(parse_address("https://127.0.0.1:3000"), A, tls=tls)

    apply(registry, secure("one"))
    before = registry.endpoints
    apply(registry, secure("one"))
    assert registry.endpoints == before
    apply(registry, secure("two"))
    assert registry.endpoints[0] is not before[0]
    assert registry.endpoints[1] is before[1]  # plain http: nothing has changed for it


def test_checks_that_a_reload_brings_begin_and_those_it_drops_end(registry: Registry[Any], clock: Any) -> None:
    rules = HealthRules("/healthz")
    apply(registry, upstream(A, B))
    a, b = registry.endpoints
    b.failed(ErrorKind.CONNECT_REFUSED, clock())
    apply(registry, upstream(A, B, health=rules))
    assert a.health.check_at == b.health.check_at == clock()
    apply(registry, upstream(A, B))
    assert a.health.check_at == float("inf")
    assert b.health.check_at == clock()  # still out: a plain connect finds out


# For the operator


async def test_the_status_tells_everything(registry: Registry[Any], clock: Any) -> None:
    apply(registry, upstream(A, replicas=(B,)))
    b = endpoint_of(registry, B)
    b.failed(ErrorKind.CONNECT_REFUSED, clock())
    pool = {"total": 0, "in_use": 0, "idle": 0, "waiting": 0}
    rest = {"ejection": None, "share": 1.0, "check": None, "pool": pool}
    status = registry.status()
    queue = status["app"].pop("queue")
    assert (queue["slots"], queue["most_waiting"], list(queue["classes"])) == (128, 128, list(PRIORITIES))
    assert status == {
        "app": {
            "available": True,
            "healthy": False,
            "held": 0,
            "pool": pool,
            "endpoints": [
                {"roles": ["primary"], "address": A.label, "healthy": True, "error": None, **rest},
                {
                    "roles": ["replica"],
                    "address": B.label,
                    "healthy": False,
                    "error": "connect_refused",
                    **rest,
                },
            ],
        }
    }
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    assert registry.status()["app"]["available"] is False


def test_a_change_of_health_is_logged_once(registry: Registry[Any], clock: Any, caplog: Any) -> None:
    caplog.set_level("INFO", "weir.upstreams")
    apply(registry, upstream(A, B))
    a = endpoint_of(registry, A)
    for _ in range(3):
        a.failed(ErrorKind.CONNECT_REFUSED, clock())
    a.succeeded(clock())
    assert [record.getMessage() for record in caplog.records] == [
        "endpoint 127.0.0.1:3000 of upstream app is out: connect_refused",
        "endpoint 127.0.0.1:3000 of upstream app is back",
    ]


async def test_stopping_fails_what_waits_and_closes_what_is_idle(
    registry: Registry[Any], backend: Any, clock: Any, eventually: Eventually
) -> None:
    app = apply(registry, upstream(backend.address))
    pool = registry.select(app, False).pool
    idle, used = [await pool.lease(clock() + 60.0, clock()) for _ in range(2)]
    idle.release(True)
    await registry.stop()
    assert pool.stats() == {"total": 1, "in_use": 1, "idle": 0, "waiting": 0}
    used.release(True)
    await eventually(lambda: not backend.open)
