"""Active checks against a real HTTP server, over TCP and over a unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import Address, parse_address
from proxy.upstreams.endpoint import Endpoint
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.prober import Prober
from proxy.upstreams.upstream import HealthRules, PoolNumbers, Upstream

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


class Site:
    """Answers checks as it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.fields: dict[str, str] = {}
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.seen: list[web.BaseRequest] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request)
        await self.may_answer.wait()
        return web.Response(status=self.status, headers=self.fields)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def serve(site: Site) -> AsyncIterator[Callable[..., Awaitable[Address]]]:
    runner = web.ServerRunner(web.Server(site.answer), shutdown_timeout=1.0)
    await runner.setup()

    async def start(unix_path: Path | None = None) -> Address:
        if unix_path is not None:
            await web.UnixSite(runner, str(unix_path)).start()
            return parse_address(f"unix:{unix_path}")
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return parse_address("http://127.0.0.1:{1}".format(*runner.addresses[-1]))

    yield start
    site.may_answer.set()
    await runner.cleanup()


@pytest.fixture
async def prober(clock: Any) -> AsyncIterator[Prober[Any]]:
    prober: Prober[Any] = Prober(clock)
    yield prober
    await prober.stop()


def endpoint_at(
    address: Address, clock: Any, rules: HealthRules | None, connect: Any = None, changes: list[Any] | None = None
) -> Endpoint[Any]:
    upstream = Upstream("app", (address,), health=rules)
    pool: EndpointPool[Any] = EndpointPool(address, PoolNumbers(max_in_flight=1), connect, clock=clock)
    changed = (lambda endpoint: changes.append(endpoint.healthy)) if changes is not None else (lambda endpoint: None)
    return Endpoint(upstream, address, pool, clock(), lambda: 1.0, changed)


async def check(prober: Prober[Any], endpoint: Endpoint[Any], clock: Any, eventually: Eventually) -> Any:
    """Let the next check come due and end; its record."""
    before = endpoint.last_check
    clock.now = max(clock.now, endpoint.health.check_at)

    def has_ended() -> bool:
        prober.tick([endpoint], clock())  # the first tick may find the check before still being taken off the list
        return endpoint.last_check is not before

    await eventually(has_ended)
    return endpoint.last_check


RULES = HealthRules("/healthz?deep=%2F1", interval_s=2.0, timeout_s=0.5, rise=2, fall=3)


async def test_the_path_is_asked_as_it_was_written(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually
) -> None:
    address = await serve()
    endpoint = endpoint_at(address, clock, RULES)
    result = await check(prober, endpoint, clock, eventually)
    assert (result.status, result.error) == (200, "")
    request = site.seen[0]
    assert (request.method, request.raw_path) == ("GET", "/healthz?deep=%2F1")
    assert request.headers["Host"].encode() == address.authority
    assert request.headers["User-Agent"] == "weir-health-check"
    assert not request.keep_alive


async def test_a_unix_socket_is_asked_in_the_same_way(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually, tmp_path: Path
) -> None:
    endpoint = endpoint_at(await serve(tmp_path / "app.sock"), clock, RULES)
    result = await check(prober, endpoint, clock, eventually)
    assert (result.status, result.error) == (200, "")
    assert site.seen[0].headers["Host"] == "localhost"


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, ""), (204, ""), (302, ""), (399, ""), (400, "status 400"), (404, "status 404"), (503, "status 503")],
)
async def test_a_status_from_200_to_399_is_healthy(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually, status: int, error: str
) -> None:
    site.status = status
    site.fields = {"Location": "/elsewhere"} if status == 302 else {}
    endpoint = endpoint_at(await serve(), clock, RULES)
    result = await check(prober, endpoint, clock, eventually)
    assert (result.status, result.error) == (status, error)
    assert len(site.seen) == 1  # redirects are not followed


async def test_it_goes_out_after_fall_checks_and_comes_back_after_rise(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually
) -> None:
    changes: list[bool] = []
    endpoint = endpoint_at(await serve(), clock, RULES, changes=changes)
    await check(prober, endpoint, clock, eventually)
    site.status = 500
    for _ in range(2):
        await check(prober, endpoint, clock, eventually)
    assert endpoint.healthy
    assert changes == []
    await check(prober, endpoint, clock, eventually)
    assert not endpoint.healthy
    assert endpoint.last_error == "status 500"
    site.status = 200
    await check(prober, endpoint, clock, eventually)
    assert not endpoint.healthy
    await check(prober, endpoint, clock, eventually)
    assert endpoint.healthy
    assert changes == [False, True]


async def test_an_exchange_that_passes_does_not_overrule_the_checks(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually
) -> None:
    site.status = 503
    endpoint = endpoint_at(await serve(), clock, RULES)
    for _ in range(3):
        await check(prober, endpoint, clock, eventually)
    endpoint.succeeded(clock())
    assert not endpoint.healthy


async def test_a_check_that_gets_no_answer_fails_in_time(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually
) -> None:
    site.may_answer.clear()
    endpoint = endpoint_at(await serve(), clock, HealthRules("/", timeout_s=0.05))
    result = await check(prober, endpoint, clock, eventually)
    assert (result.status, result.error) == (0, "no answer in time")


async def test_a_check_that_is_refused_says_so(
    prober: Prober[Any], backend: Any, clock: Any, eventually: Eventually
) -> None:
    await backend.refuse()
    endpoint = endpoint_at(backend.address, clock, RULES)
    result = await check(prober, endpoint, clock, eventually)
    assert result.status == 0
    assert "Connect call failed" in result.error or "Cannot connect" in result.error


async def test_an_answer_that_is_not_http_fails_the_check(
    prober: Prober[Any], backend: Any, clock: Any, eventually: Eventually
) -> None:
    result = await check(prober, endpoint_at(backend.address, clock, RULES), clock, eventually)
    assert result.status == 0
    assert result.error


async def test_one_check_at_a_time(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually
) -> None:
    site.may_answer.clear()
    endpoint = endpoint_at(await serve(), clock, HealthRules("/", timeout_s=60.0))
    for _ in range(5):
        prober.tick([endpoint], clock.advance(10.0))
    await eventually(lambda: len(site.seen) == 1)
    prober.tick([endpoint], clock.advance(10.0))
    await asyncio.sleep(0.01)
    assert len(site.seen) == 1
    await prober.stop()
    assert endpoint.last_check is None


async def test_the_interval_is_kept_with_some_jitter(
    prober: Prober[Any], serve: Any, clock: Any, eventually: Eventually
) -> None:
    endpoint = endpoint_at(await serve(), clock, RULES)
    await check(prober, endpoint, clock, eventually)
    assert endpoint.health.check_at == pytest.approx(clock() + 2.0 * 1.1)


async def test_the_operator_sees_the_last_check(
    prober: Prober[Any], site: Site, serve: Any, clock: Any, eventually: Eventually
) -> None:
    site.status = 503
    endpoint = endpoint_at(await serve(), clock, RULES)
    await check(prober, endpoint, clock, eventually)
    assert endpoint.status(clock() + 1.5)["check"] == {
        "status": 503,
        "error": "status 503",
        "latency_s": 0.0,
        "age_s": 1.5,
    }


async def test_a_plain_connect_that_cannot_be_made_says_nothing(
    prober: Prober[Any], backend: Any, clock: Any, open_line: Any, eventually: Eventually
) -> None:
    endpoint = endpoint_at(backend.address, clock, None, lambda: open_line(backend.address, clock()))
    endpoint.pool.resize(PoolNumbers(max_in_flight=1, queue=0))
    lease = await endpoint.pool.lease(clock() + 60.0, clock())
    endpoint.failed(ErrorKind.CONNECT_REFUSED, clock())
    due_at = clock.now = endpoint.health.check_at
    prober.tick([endpoint], clock())  # the only slot is taken
    await eventually(lambda: endpoint.health.check_at > due_at)
    assert endpoint.last_check is None
    assert not endpoint.healthy
    lease.release(True)
    assert (await check(prober, endpoint, clock, eventually)).error == ""
    assert endpoint.healthy


async def test_an_error_that_nobody_expected_is_a_failed_check_and_the_next_one_still_comes(
    prober: Prober[Any], backend: Any, clock: Any, eventually: Eventually
) -> None:
    async def connect() -> Any:
        raise LookupError("a bug")

    endpoint = endpoint_at(backend.address, clock, None, connect)
    endpoint.failed(ErrorKind.CONNECT_REFUSED, clock())
    for _ in range(2):
        assert (await check(prober, endpoint, clock, eventually)).error == "a bug"
    assert endpoint.health.check_at > clock()


async def test_a_plain_connect_that_fails_is_tried_less_and_less_often(
    prober: Prober[Any], backend: Any, clock: Any, eventually: Eventually
) -> None:
    async def connect() -> Any:
        raise ProxyError(ErrorKind.CONNECT_TIMEOUT)

    endpoint, waits = endpoint_at(backend.address, clock, None, connect), []
    endpoint.failed(ErrorKind.CONNECT_TIMEOUT, clock())
    for _ in range(6):
        waits.append(endpoint.health.check_at - clock())
        await check(prober, endpoint, clock, eventually)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]
