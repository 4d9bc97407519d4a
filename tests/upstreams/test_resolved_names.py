"""Names of endpoints that are looked up: each address an endpoint, followed as they come and go."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.core.errors import ErrorKind
from proxy.upstreams.address import Address, is_name, parse_address
from proxy.upstreams.registry import GRACE_S, Registry
from proxy.upstreams.resolver import look_up
from proxy.upstreams.upstream import HealthRules, Upstream

SHOP = parse_address("http://shop.internal:3000")


class Names:
    """What the names stand for now; None: the lookup fails."""

    def __init__(self) -> None:
        self.hosts: list[str] | None = ["127.0.0.2", "127.0.0.1", "127.0.0.2"]
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        assert (host, port) == ("shop.internal", 3000)
        self.asked += 1
        if self.hosts is None:
            raise socket.gaierror(-2, "Name or service not known")
        return self.hosts


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def registry(clock: Any, open_line: Any, names: Names) -> AsyncIterator[Registry[Any]]:
    async def open_connection(upstream: Upstream, address: Address) -> Any:
        return await open_line(address, clock())

    registry: Registry[Any] = Registry(open_connection, clock=clock, rng=lambda: 1.0, lookup=names)
    yield registry
    await registry.stop()


def apply(registry: Registry[Any], *primary: Address, **rest: Any) -> Upstream:
    app = Upstream("app", primary or (SHOP,), **{"slow_start_s": 0.0, "resolve_s": 10.0, **rest})
    registry.apply({"app": app}, registry._clock())
    return app


def hosts(registry: Registry[Any]) -> list[str]:
    return [endpoint.address.host for endpoint in registry.endpoints]


async def ticks(registry: Registry[Any], clock: Any, names: Names, eventually: Any, seconds: float) -> None:
    """Time passes, and the lookup that becomes due ends."""
    asked = names.asked
    registry.tick(clock.advance(seconds))
    await eventually(lambda: names.asked == asked + 1)
    await eventually(lambda: all(each.task is None for each in registry._resolver._names.values()))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://shop.internal:3000", True),
        ("http://localhost", True),
        ("https://app-1_x.example.com.", True),
        ("http://127.0.0.1:3000", False),
        ("http://[::1]:3000", False),
        ("unix:/run/app.sock", False),
    ],
)
def test_what_is_a_name(url: str, expected: bool) -> None:
    assert is_name(parse_address(url)) is expected


async def test_each_address_of_a_name_is_an_endpoint(
    registry: Registry[Any], clock: Any, names: Names, eventually: Any
) -> None:
    app = apply(registry)
    assert hosts(registry) == ["shop.internal"], "until the first lookup the system resolves it"
    await ticks(registry, clock, names, eventually, 0.0)
    assert hosts(registry) == ["127.0.0.1", "127.0.0.2"]
    assert Counter(registry.select(app, False).address.host for _ in range(12)) == {"127.0.0.1": 6, "127.0.0.2": 6}
    address = registry.endpoints[0].address
    assert (address.label, address.authority, address.tls_host) == (
        "127.0.0.1:3000",
        b"shop.internal:3000",
        "shop.internal",
    )


async def test_addresses_that_go_are_drained_and_those_that_stay_keep_their_state(
    registry: Registry[Any], clock: Any, names: Names, eventually: Any
) -> None:
    app = apply(registry)
    await ticks(registry, clock, names, eventually, 0.0)
    stays, goes = registry.endpoints
    stays.failed(ErrorKind.CONNECTION_RESET, clock())
    names.hosts = ["127.0.0.1", "127.0.0.3"]
    await ticks(registry, clock, names, eventually, 10.0)
    assert hosts(registry) == ["127.0.0.1", "127.0.0.3"]
    assert registry.endpoints[0] is stays
    assert stays.failures == 1
    assert goes.address not in {registry.select(app, False).address for _ in range(12)}
    assert not goes.pool.closed
    registry.tick(clock.advance(GRACE_S + 0.1))
    assert goes.pool.closed


async def test_a_new_address_starts_slowly(registry: Registry[Any], clock: Any, names: Names, eventually: Any) -> None:
    apply(registry, slow_start_s=30.0)
    await ticks(registry, clock, names, eventually, 0.0)
    registry.tick(clock.advance(9.0))
    names.hosts = ["127.0.0.1", "127.0.0.3"]
    await ticks(registry, clock, names, eventually, 1.0)
    assert [endpoint.share for endpoint in registry.endpoints] == [pytest.approx(1 / 3), 0.1]


@pytest.mark.parametrize("hosts_now", [None, []], ids=["it fails", "it finds nothing"])
async def test_a_lookup_without_an_answer_changes_nothing(
    registry: Registry[Any], clock: Any, names: Names, eventually: Any, hosts_now: list[str] | None
) -> None:
    apply(registry)
    await ticks(registry, clock, names, eventually, 0.0)
    before = registry.endpoints
    names.hosts = hosts_now
    await ticks(registry, clock, names, eventually, 10.0)
    assert registry.endpoints == before


async def test_it_is_looked_up_on_its_interval_and_sooner_when_an_endpoint_refuses(
    registry: Registry[Any], clock: Any, names: Names, eventually: Any
) -> None:
    apply(registry)
    await ticks(registry, clock, names, eventually, 0.0)
    registry.tick(clock.advance(9.9))
    assert names.asked == 1
    await ticks(registry, clock, names, eventually, 0.2)
    registry.endpoints[0].health.check_at = float("inf")  # nobody listens there; checks are not what is tested
    registry.endpoints[0].failed(ErrorKind.CONNECT_REFUSED, clock())
    registry.endpoints[0].health.check_at = float("inf")
    registry.tick(clock.advance(0.5))
    assert names.asked == 2, "not more than once a second"
    await ticks(registry, clock, names, eventually, 0.6)
    assert names.asked == 3


async def test_a_reload_keeps_what_is_known_and_ends_what_is_not_followed(
    registry: Registry[Any], clock: Any, names: Names, eventually: Any
) -> None:
    apply(registry)
    await ticks(registry, clock, names, eventually, 0.0)
    before = registry.endpoints
    apply(registry)
    assert registry.endpoints == before
    apply(registry, resolve_s=0.0)
    assert hosts(registry) == ["shop.internal"]
    registry.tick(clock.advance(60.0))
    assert names.asked == 1


async def test_checks_go_to_the_address_and_name_the_host(clock: Any, names: Names, eventually: Any) -> None:
    import asyncio

    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def never(*_: Any) -> Any:
        raise AssertionError("checks have connections of their own")

    registry: Registry[Any] = Registry(never, clock=clock, lookup=lookup)
    address = parse_address(f"http://shop.internal:{port}")
    app = Upstream("app", (address,), resolve_s=10.0, health=HealthRules("/healthz"))
    registry.apply({"app": app}, clock())
    registry._resolver.tick(clock())
    await eventually(lambda: hosts(registry) == ["127.0.0.1"])
    registry.tick(clock())
    await eventually(lambda: registry.endpoints[0].last_check is not None)
    assert registry.endpoints[0].last_check.error == ""  # type: ignore[union-attr]
    assert heads[0].startswith(b"GET /healthz HTTP/1.1\r\n")
    assert b"\r\nHost: shop.internal:%d\r\n" % port in heads[0]
    assert heads[0].lower().count(b"\r\nhost:") == 1
    await registry.stop()
    server.close()


async def test_the_systems_resolver_is_asked() -> None:
    assert "127.0.0.1" in await look_up("localhost", 80)
    with pytest.raises(OSError):
        await look_up("nobody.invalid", 80)
