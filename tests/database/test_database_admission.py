"""Clients that wait for the database, told by a real PgBouncer, and the adaptive limit of the upstreams that use it."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from proxy.database.exporter import Exporter
from proxy.database.settings import DatabaseSettings, PgBouncerSettings
from proxy.upstreams.adaptive import AdaptiveRules
from proxy.upstreams.address import parse_address
from proxy.upstreams.registry import Registry
from proxy.upstreams.upstream import PoolNumbers, Upstream
from tests.database.conftest import StartPgBouncer
from tests.database.contention import somebody_waits
from tests.line.process import Weir, eventually


def make_registry() -> Registry[object]:
    """`held` and `seen` with an adaptive limit, enforced and observed, `plain` without; 64 slots each."""

    async def connect(*_: object) -> object:
        raise AssertionError("nothing is sent")

    registry: Registry[object] = Registry(connect, clock=lambda: 0.0)  # type: ignore[type-var, arg-type]
    rules = {"held": AdaptiveRules(True, least=8), "seen": AdaptiveRules(False, least=8), "plain": None}
    address = (parse_address("http://127.0.0.1:1"),)
    registry.apply(
        {name: Upstream(name, address, pool=PoolNumbers(adaptive=each)) for name, each in rules.items()}, 0.0
    )
    registry.tick(0.05)
    return registry


async def test_each_reading_with_clients_that_wait_takes_half_until_one_is_better(
    start_pgbouncer: StartPgBouncer,
) -> None:
    pooler = start_pgbouncer(size=1, max_wait=0.2)
    registry = make_registry()
    exporter = Exporter(lambda: registry.hold_back(exporter.share_of), lambda: registry.database_said(exporter.is_late))
    exporter.use(pooler.settings, {"main": pooler.database})
    gates = registry.gates
    await exporter.read_once()
    assert ([gate.slots for gate in gates.values()], exporter.is_late("held")) == ([64, 64, 64], False)
    async with somebody_waits(pooler.url):
        async with asyncio.timeout(20):
            while not exporter.late:
                await asyncio.sleep(0.05)
                await exporter.read_once()
        registry.tick(0.1)
        assert {name: gate.slots for name, gate in gates.items()} == {"held": 32, "seen": 32, "plain": 32}
        await exporter.read_once()
        await exporter.read_once()
        registry.tick(0.15)
        assert {name: gate.slots for name, gate in gates.items()} == {"held": 8, "seen": 32, "plain": 32}
    held, seen = gates["held"].adaptive, gates["seen"].adaptive
    assert held is not None
    assert seen is not None
    assert held.is_database_late
    assert (held.cuts["database"], seen.cuts["database"], seen.bound) == (3, 3, 8)
    for _ in range(4):
        await exporter.read_once()
    registry.tick(0.2)
    assert not held.is_database_late
    assert {name: gate.slots for name, gate in gates.items()} == {
        "held": 8,
        "seen": 64,
        "plain": 64,
    }  # it grows with use
    await exporter.stop()


LATE = [
    pytest.param(("app",), {"main"}, True, id="its own server"),
    pytest.param(None, {"main"}, True, id="a server for all"),
    pytest.param(("other",), {"main"}, False, id="another one's"),
    pytest.param(("app",), set(), False, id="nobody waits"),
    pytest.param(("app",), {"gone"}, False, id="a server that a reload has dropped"),
]


@pytest.mark.parametrize(("upstreams", "late", "is_late"), LATE)
def test_an_upstream_is_late_with_the_servers_that_it_uses(
    upstreams: tuple[str, ...] | None, late: set[str], is_late: bool
) -> None:
    exporter = Exporter(lambda: None)
    exporter.use(PgBouncerSettings(), {"main": DatabaseSettings(upstreams=upstreams)})
    exporter.late = frozenset(late)
    assert exporter.is_late("app") is is_late


async def test_a_console_that_goes_away_is_a_reading_without_anybody_who_waits() -> None:
    readings: list[bool] = []
    exporter = Exporter(lambda: None, lambda: readings.append(exporter.is_late("app")))
    exporter.use(PgBouncerSettings(console="postgresql://weir@127.0.0.1:1/pgbouncer"), {"main": DatabaseSettings()})
    exporter.late = frozenset({"main"})
    await exporter.read_once()
    assert readings == [False]
    await exporter.stop()


@pytest.mark.long
async def test_a_running_weir_halves_the_limit_while_the_database_keeps_clients_waiting(
    start_pgbouncer: StartPgBouncer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pooler = start_pgbouncer(size=1, query_wait=20.0)
    config = (
        "upstreams: {app: {primary: http://127.0.0.1:1, pool: {adaptive: {mode: enforce}}}}\n"
        "databases: {main: {pools: {app: {database: postgres}}}}\n"
        f"pgbouncer: {{console: '{pooler.settings.console}'}}\n"
        "routes: [{name: all, upstream: app}]\n"
    )
    weir = Weir(tmp_path_factory.mktemp("weir"), config)
    weir.launch()
    cuts = partial(weir.metric, "weir_upstream_adaptive_cuts_total", upstream="app", reason="database")
    try:
        await asyncio.to_thread(weir.ready)
        async with somebody_waits(pooler.url):
            await asyncio.to_thread(eventually, lambda: cuts() >= 3, 15.0)
            assert weir.metric("weir_upstream_adaptive_limit", upstream="app") == 8
        before = await asyncio.to_thread(cuts)
        await asyncio.sleep(5.0)
        assert await asyncio.to_thread(cuts) <= before + 1  # one more reading may have been under way
    finally:
        weir.stop()
