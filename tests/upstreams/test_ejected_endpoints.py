"""Ejection among the endpoints of an upstream: the others, the trial, panic, the last one, the slow start."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import Address, parse_address
from proxy.upstreams.ejection import EjectionRules, State
from proxy.upstreams.hold import HoldRules
from proxy.upstreams.registry import Registry
from proxy.upstreams.upstream import HealthRules, Upstream

A, B, C, D = (parse_address(f"http://127.0.0.{host}:3000") for host in (1, 2, 3, 4))
RESET = ErrorKind.CONNECTION_RESET


class Draws:
    """Random numbers that a test chooses."""

    def __init__(self) -> None:
        self.next = 1.0

    def __call__(self) -> float:
        return self.next


@pytest.fixture
def draws() -> Draws:
    return Draws()


@pytest.fixture
def changes() -> list[tuple[Address, bool]]:
    return []


@pytest.fixture
async def registry(
    clock: Any, open_line: Any, draws: Draws, changes: list[tuple[Address, bool]]
) -> AsyncIterator[Registry[Any]]:
    async def open_connection(upstream: Upstream, address: Address) -> Any:
        return await open_line(address, clock())

    registry: Registry[Any] = Registry(
        open_connection, clock=clock, rng=draws, on_change=lambda e: changes.append((e.address, e.healthy))
    )
    yield registry
    await registry.stop()


def upstream(*primary: Address, replicas: tuple[Address, ...] = (), **rest: Any) -> Upstream:
    return Upstream("app", primary, replicas, **{"slow_start_s": 0.0, **rest})


def apply(registry: Registry[Any], app: Upstream) -> Upstream:
    registry.apply({"app": app}, registry._clock())
    return app


def endpoint_of(registry: Registry[Any], address: Address) -> Any:
    return next(endpoint for endpoint in registry.endpoints if endpoint.address == address)


def picks(registry: Registry[Any], app: Upstream, count: int = 12, *, is_safe: bool = True) -> dict[Address, int]:
    return Counter(registry.select(app, False, None, is_safe).address for _ in range(count))


def fail(registry: Registry[Any], address: Address, times: int = 5, kind: ErrorKind = RESET) -> None:
    for _ in range(times):
        endpoint_of(registry, address).failed(kind, registry._clock())


@pytest.mark.parametrize("kind", [RESET, ErrorKind.RESPONSE_TIMEOUT, ErrorKind.RESPONSE_MALFORMED])
def test_one_that_gives_no_answers_is_skipped(
    registry: Registry[Any], kind: ErrorKind, changes: list[tuple[Address, bool]]
) -> None:
    app = apply(registry, upstream(A, B, C))
    fail(registry, A, 5, kind)
    assert picks(registry, app) == {B: 6, C: 6}
    assert changes == [(A, False)]
    said = registry.status()["app"]["endpoints"][0]
    assert said["error"] == f"5 failures in a row, the last one: {kind.value}"
    assert said["ejection"] == {"state": "out", "ends_in_s": 12.0}


@pytest.mark.parametrize(("status", "is_ejected"), [(500, False), (502, True), (503, True), (504, True), (501, False)])
def test_some_statuses_are_failures(registry: Registry[Any], clock: Any, status: int, is_ejected: bool) -> None:
    app = apply(registry, upstream(A, B))
    for _ in range(5):
        endpoint_of(registry, A).answered(status, clock())
    assert picks(registry, app) == ({B: 12} if is_ejected else {A: 6, B: 6})


def test_which_statuses_is_configured(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, B, eject=EjectionRules(statuses=frozenset({500}))))
    for _ in range(5):
        endpoint_of(registry, A).answered(500, clock())
        endpoint_of(registry, B).answered(503, clock())
    assert picks(registry, app) == {B: 12}


@pytest.mark.parametrize("kind", [ErrorKind.QUEUE_FULL, ErrorKind.QUEUE_TIMEOUT, ErrorKind.OUT_OF_SOCKETS])
def test_what_is_our_own_doing_never_ejects(registry: Registry[Any], kind: ErrorKind) -> None:
    app = apply(registry, upstream(A, B))
    fail(registry, A, 100, kind)
    assert picks(registry, app) == {A: 6, B: 6}
    assert endpoint_of(registry, A).failures == 0


def test_eject_off_leaves_everybody_in(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, B, eject=None))
    fail(registry, A, 100)
    assert picks(registry, app) == {A: 6, B: 6}


def test_switching_it_off_lets_in_who_was_out(registry: Registry[Any]) -> None:
    apply(registry, upstream(A, B))
    fail(registry, A)
    app = apply(registry, upstream(A, B, eject=None))
    assert picks(registry, app) == {A: 6, B: 6}


def test_after_its_time_one_exchange_tries_it_and_the_rest_keep_away(
    registry: Registry[Any], clock: Any, changes: list[tuple[Address, bool]]
) -> None:
    app = apply(registry, upstream(A, B))
    fail(registry, A)
    registry.tick(clock.advance(12.1))
    a = endpoint_of(registry, A)
    assert a.ejection.state is State.TRIAL
    assert picks(registry, app, is_safe=False) == {B: 12}
    a.pool.in_use = 1  # the trial, under way
    assert picks(registry, app) == {A: 1, B: 11}
    registry.tick(clock.advance(0.1))
    assert picks(registry, app) == {B: 12}
    a.pool.in_use = 0
    a.succeeded(clock())
    assert picks(registry, app) == {A: 6, B: 6}
    assert changes == [(A, False), (A, True)]


def test_a_trial_that_fails_is_made_again_later(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, B))
    fail(registry, A)
    registry.tick(clock.advance(12.1))
    assert registry.select(app, False).address == A
    fail(registry, A, 1)
    assert picks(registry, app) == {B: 12}
    registry.tick(clock.advance(20.0))
    assert picks(registry, app) == {B: 12}
    registry.tick(clock.advance(4.1))
    assert registry.select(app, False).address == A


def test_a_retry_is_no_trial(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, B, C))
    fail(registry, A)
    registry.tick(clock.advance(12.1))
    b = endpoint_of(registry, B)
    assert {registry.select(app, False, b).address for _ in range(4)} == {C}


def test_with_too_few_left_all_are_used(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, B, C))
    fail(registry, A)
    assert picks(registry, app) == {B: 6, C: 6}
    fail(registry, B)
    assert picks(registry, app) == {A: 4, B: 4, C: 4}, "one of three is fewer than half"


def test_half_of_them_is_enough(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, B, C, D))
    fail(registry, A)
    fail(registry, B)
    assert picks(registry, app) == {C: 6, D: 6}


def test_panic_leaves_out_those_that_refuse(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, B, C, D))
    fail(registry, A, 1, ErrorKind.CONNECT_REFUSED)
    fail(registry, B)
    fail(registry, C)
    assert picks(registry, app) == {B: 4, C: 4, D: 4}


def test_checks_that_find_nobody_well_are_not_believed(registry: Registry[Any], clock: Any) -> None:
    from proxy.upstreams.endpoint import Check

    app = apply(registry, upstream(A, B, health=HealthRules("/healthz", fall=1)))
    for address in (A, B):
        endpoint_of(registry, address).checked(Check(clock(), 0.1, 500, "status 500"))
    assert picks(registry, app) == {A: 6, B: 6}
    assert registry.status()["app"]["available"] is False


# The last one


def test_the_last_endpoint_stays_for_failures_in_a_row(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A))
    fail(registry, A, 19)
    assert picks(registry, app) == {A: 12}


def test_when_nothing_of_the_last_comes_back_its_breaker_opens(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    fail(registry, A, 20)
    with pytest.raises(ProxyError) as caught:
        registry.select(app, False)
    assert caught.value.kind is ErrorKind.NO_ENDPOINT
    assert caught.value.retry_after_s == pytest.approx(6.0)
    assert "20 of 20 requests failed" in caught.value.detail

    registry.tick(clock.advance(6.1))
    assert registry.select(app, False).address == A, "one to try it"
    with pytest.raises(ProxyError):
        registry.select(app, False)
    endpoint_of(registry, A).succeeded(clock())
    assert picks(registry, app) == {A: 12}


def test_statuses_never_open_the_breaker(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    for _ in range(500):
        endpoint_of(registry, A).answered(503, clock())
    assert picks(registry, app) == {A: 12}


def test_the_last_of_two_is_the_last(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, B, eject=EjectionRules(panic=0.0)))
    fail(registry, A)
    fail(registry, B)
    assert picks(registry, app) == {B: 12}
    fail(registry, B, 15)
    with pytest.raises(ProxyError):
        registry.select(app, False)


def test_a_replica_may_be_ejected_when_it_is_the_only_one(registry: Registry[Any]) -> None:
    app = apply(registry, upstream(A, replicas=(B,)))
    fail(registry, B)
    assert registry.select(app, True).address == A


def test_an_endpoint_that_refuses_has_no_breaker_besides(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    fail(registry, A, 19)
    fail(registry, A, 40, ErrorKind.CONNECT_REFUSED)
    assert registry.select(app, False).address == A, "tried, for it may be back"
    endpoint_of(registry, A).succeeded(clock())
    fail(registry, A, 1)
    assert picks(registry, app) == {A: 12}, "a new process begins with a clean sheet"


# Slow start


def test_one_that_is_back_gets_a_share_that_grows(registry: Registry[Any], clock: Any, draws: Draws) -> None:
    app = apply(registry, upstream(A, B, slow_start_s=30.0))
    fail(registry, A, 1, ErrorKind.CONNECT_REFUSED)
    endpoint_of(registry, A).succeeded(clock())
    taken = []
    for _ in range(4):
        count = 0
        for step in range(1000):
            draws.next = (step % 100) / 100
            count += registry.select(app, False).address == A
        taken.append(count)
        registry.tick(clock.advance(10.0))
    assert taken[0] == pytest.approx(50, abs=15)  # a tenth of its half
    assert taken[1] == pytest.approx(1000 / 6, abs=20)
    assert taken[2] == pytest.approx(1000 / 3, abs=20)
    assert taken[3] == 500


def test_an_endpoint_that_a_reload_adds_starts_slowly_and_the_first_ones_do_not(
    registry: Registry[Any], clock: Any
) -> None:
    apply(registry, upstream(A, B, slow_start_s=30.0))
    assert {endpoint.share for endpoint in registry.endpoints} == {1.0}
    app = apply(registry, upstream(A, B, C, slow_start_s=30.0))
    assert endpoint_of(registry, C).share == 0.1
    assert C not in picks(registry, app)
    registry.tick(clock.advance(30.1))
    assert picks(registry, app) == {A: 4, B: 4, C: 4}


def test_the_only_endpoint_takes_everything_from_the_start(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, slow_start_s=30.0))
    fail(registry, A, 1, ErrorKind.CONNECT_REFUSED)
    endpoint_of(registry, A).succeeded(clock())
    assert endpoint_of(registry, A).share < 1.0
    assert picks(registry, app) == {A: 12}


# Waiting for somebody to be back


async def test_who_waits_goes_on_when_a_connect_succeeds(
    registry: Registry[Any], clock: Any, backend: Any, eventually: Any
) -> None:
    app = apply(registry, upstream(backend.address))
    endpoint = endpoint_of(registry, backend.address)
    endpoint.failed(ErrorKind.CONNECT_REFUSED, clock())
    held = [registry.wait_back(app, False, 10, clock() + 60.0) for _ in range(3)]
    assert registry.status()["app"]["held"] == 3
    registry.tick(clock.advance(0.25))  # sooner than it would be checked without them
    await eventually(lambda: endpoint.healthy)
    assert [await each.signal for each in held if each is not None] == [True] * 3
    assert registry.status()["app"]["held"] == 0


async def test_who_waits_goes_on_as_the_pool_has_room(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    a = endpoint_of(registry, A)
    a.failed(ErrorKind.CONNECT_REFUSED, clock())
    held = [registry.wait_back(app, False, 0, clock() + 60.0) for _ in range(2)]
    a.pool.in_use = a.pool.numbers.max_in_flight
    a.succeeded(clock())
    assert not any(each.signal.done() for each in held if each is not None)
    a.pool.in_use -= 1
    registry.release_held(app)
    assert all(each.signal.done() for each in held if each is not None)  # nobody here takes a slot


@pytest.mark.parametrize(
    ("rules", "after_s", "waits"),
    [(HoldRules(15.0), 14.9, True), (HoldRules(15.0), 15.1, False), (HoldRules(0.0), 0.0, False)],
    ids=["a short outage", "one that lasts", "switched off"],
)
def test_only_a_short_outage_is_waited_for(
    registry: Registry[Any], clock: Any, rules: HoldRules, after_s: float, waits: bool
) -> None:
    app = apply(registry, upstream(A, hold=rules))
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    clock.advance(after_s)
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    assert (registry.wait_back(app, False, 0, clock() + 60.0) is not None) == waits


def test_nobody_waits_while_somebody_can_be_asked(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A, B))
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    assert registry.wait_back(app, False, 0, clock() + 60.0) is None


async def test_the_wait_ends_with_the_outages_time_and_with_the_requests(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    short, whole = registry.wait_back(app, False, 0, clock() + 3.0), registry.wait_back(app, False, 0, clock() + 60.0)
    assert short is not None
    assert whole is not None
    registry._groups["app"].tick(clock.advance(3.0))
    assert await short.signal is False
    assert not whole.signal.done()
    registry._groups["app"].tick(clock.advance(12.0))
    assert await whole.signal is False


async def test_at_the_end_of_weir_nobody_waits_on(registry: Registry[Any], clock: Any) -> None:
    app = apply(registry, upstream(A))
    endpoint_of(registry, A).failed(ErrorKind.CONNECT_REFUSED, clock())
    held = registry.wait_back(app, False, 0, clock() + 60.0)
    assert held is not None
    await registry.stop()
    assert await held.signal is False
