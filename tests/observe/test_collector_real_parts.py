"""The collector reads attributes of other features; here are the real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from proxy.core.errors import ErrorKind
from proxy.core.units import Rate
from proxy.limits.controls import Controls
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.redis_store import RedisStore
from proxy.observe import queues
from proxy.observe.collector import Collector, Sources
from proxy.observe.exposition import expose
from proxy.observe.observe import Observe
from proxy.upstreams.adaptive import AdaptiveRules
from proxy.upstreams.address import parse_address
from proxy.upstreams.queue import PRIORITIES
from proxy.upstreams.queue_stats import WAIT_BOUNDS_S
from proxy.upstreams.registry import Registry
from proxy.upstreams.shed import ShedRules
from proxy.upstreams.upstream import PoolNumbers, Upstream
from proxy.wire.host import Host
from proxy.wire.limits import WireLimits
from proxy.wire.timers import Timers


async def read(sources: Sources, name: str) -> list[tuple[dict[str, str], float]]:
    text = (await expose(Collector(sources))).decode()
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]


async def test_endpoints_of_the_registry(observe: Observe) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("nobody connects here")

    registry: Registry[Any] = Registry(never, clock=lambda: 10.0)
    addresses = (parse_address("http://127.0.0.1:3000"), parse_address("unix:/run/app.sock"))
    registry.apply({"app": Upstream("app", addresses)}, 10.0)
    registry.endpoints[0].failed(ErrorKind.CONNECT_REFUSED, 10.0)
    sources = Sources(observe, endpoints=lambda: registry.endpoints)
    assert await read(sources, "weir_endpoint_healthy") == [
        ({"upstream": "app", "endpoint": "127.0.0.1:3000"}, 0),
        ({"upstream": "app", "endpoint": "unix:/run/app.sock"}, 1),
    ]
    assert [number for _, number in await read(sources, "weir_endpoint_failures_total")] == [1, 0]
    for name in ("connections", "requests_total", "connects_total", "reuses_total", "ejections_total", "share"):
        assert await read(sources, f"weir_endpoint_{name}")


async def test_queues_of_upstreams(observe: Observe) -> None:
    async def never(*_: object) -> Any:
        raise AssertionError("nobody connects here")

    registry: Registry[Any] = Registry(never, clock=lambda: 10.0)
    registry.apply({"app": Upstream("app", (parse_address("http://127.0.0.1:3000"),))}, 10.0)
    gate = registry.gates["app"]
    gate.stats.classes[0].waited(0.003)
    gate.stats.classes[2].refused["no_chance"] = 4
    gate.stats.classes[1].left = 5
    gate.stats.classes[1].displaced = 6
    sources = Sources(observe, gates=lambda: registry.gates)
    assert await read(sources, "weir_upstream_slots") == [({"upstream": "app"}, 64)]
    assert await read(sources, "weir_upstream_in_use") == [({"upstream": "app"}, 0)]
    assert [labels["class"] for labels, _ in await read(sources, "weir_upstream_waiting")] == list(PRIORITIES)
    waits = [number for labels, number in await read(sources, "weir_upstream_wait_seconds_bucket") if number]
    assert len(waits) == len(WAIT_BOUNDS_S) + 1 - WAIT_BOUNDS_S.index(0.005)
    refused = {
        (labels["class"], labels["reason"]): n for labels, n in await read(sources, "weir_upstream_refused_total")
    }
    assert refused[("background", "no_chance")] == 4
    assert len(refused) == 12
    assert [n for _, n in await read(sources, "weir_upstream_left_total")] == [0, 5, 0]
    assert [n for _, n in await read(sources, "weir_upstream_displaced_total")] == [0, 6, 0]
    assert await read(sources, "weir_upstream_served_per_second") == [({"upstream": "app"}, 0)]
    assert not await read(sources, "weir_upstream_service_seconds")  # nothing was seen yet
    for name in ("waiting_bytes", "oldest_wait_seconds", "newest_first"):
        assert await read(sources, f"weir_upstream_{name}")


async def test_limits_that_adapt_and_classes_that_are_refused(observe: Observe) -> None:
    async def never(*_: object) -> Any:
        raise AssertionError("nobody connects here")

    registry: Registry[Any] = Registry(never, clock=lambda: 10.0)
    address = (parse_address("http://127.0.0.1:3000"),)
    numbers = PoolNumbers(adaptive=AdaptiveRules(True), shed=ShedRules())
    registry.apply({"app": Upstream("app", address, pool=numbers), "plain": Upstream("plain", address)}, 10.0)
    registry.tick(10.05)
    gate = registry.gates["app"]
    assert gate.adaptive is not None
    sources = Sources(observe, gates=lambda: registry.gates)
    app = {"upstream": "app"}
    assert await read(sources, "weir_upstream_adaptive_limit") == [({**app, "mode": "enforce"}, 64)]
    assert not await read(sources, "weir_upstream_adaptive_p90_seconds")  # nothing was seen yet
    assert not await read(sources, "weir_upstream_adaptive_usual_seconds")
    gate.adaptive.held_back, gate.adaptive.measured, gate.adaptive.p90_s, gate.adaptive.usual_s = 5, 6, 0.25, 0.125
    gate.adaptive.cuts["database"] = 7
    assert await read(sources, "weir_upstream_adaptive_held_back_total") == [(app, 5)]
    assert await read(sources, "weir_upstream_adaptive_measured_total") == [(app, 6)]
    assert await read(sources, "weir_upstream_adaptive_p90_seconds") == [(app, 0.25)]
    assert await read(sources, "weir_upstream_adaptive_usual_seconds") == [(app, 0.125)]
    cuts = {labels["reason"]: n for labels, n in await read(sources, "weir_upstream_adaptive_cuts_total")}
    assert cuts == {"latency": 0, "timeout": 0, "database": 7}
    assert [n for _, n in await read(sources, "weir_upstream_shedding")] == [0] * 6


def test_what_metrics_say_of_queues_is_what_queues_count() -> None:
    assert queues.CLASSES == PRIORITIES
    assert queues.WAIT_BOUNDS_S == WAIT_BOUNDS_S


async def test_upstreams_of_the_registry(observe: Observe) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("nobody connects here")

    registry: Registry[Any] = Registry(never, clock=lambda: 10.0)
    app = Upstream("app", (parse_address("http://127.0.0.1:3000"),))
    registry.apply({"app": app}, 10.0)
    registry.endpoints[0].failed(ErrorKind.CONNECT_REFUSED, 10.0)
    assert registry.wait_back(app, False, 0, 20.0) is not None
    assert registry.spend_retry(app, 10.0)
    sources = Sources(observe, upstreams=lambda: registry.groups)
    assert await read(sources, "weir_upstream_held") == [({"upstream": "app"}, 1)]
    assert [number for _, number in await read(sources, "weir_upstream_holds_total")] == [1, 0]
    assert [number for _, number in await read(sources, "weir_upstream_retries_total")] == [1, 0]


async def test_limits_and_their_store(observe: Observe) -> None:
    policy = compile_limit("per-ip", LimitSettings(rate=Rate(5, 60.0), by="ip"), "t.yaml:1")
    policy.stats.allowed, policy.stats.denied = 3, 2
    store = MemoryStore(max_keys=100)
    store.decide((policy,), [b"key"], 10.0)
    snapshot: Any = SimpleNamespace(version="0", loaded_at_wall=0.0, limits=[policy])
    sources = Sources(observe, snapshot=lambda: snapshot, limit_store=store)
    decisions = await read(sources, "weir_limit_decisions_total")
    assert decisions[:2] == [
        ({"policy": "per-ip", "decision": "allowed"}, 3),
        ({"policy": "per-ip", "decision": "denied"}, 2),
    ]
    assert not any(number for _, number in decisions[2:])
    for name in ("near_total", "settled_total", "deny_cache_hits_total", "leased_units_total", "merged_units_total"):
        assert await read(sources, f"weir_limit_{name}")
    assert await read(sources, "weir_limit_store_mode") == [({"mode": "shared"}, 0), ({"mode": "local"}, 1)]
    assert await read(sources, "weir_limit_keys") == [({}, 1)]
    assert await read(sources, "weir_limit_store_degraded") == [({}, 0)]


async def test_what_operators_decided(observe: Observe) -> None:
    controls = Controls(lambda: 10.0)
    controls.ban("per-ip", b"key", 60.0, "10 denials within 1m")
    read_kinds = await read(Sources(observe, controls=controls), "weir_limit_controls")
    counted = {labels["kind"]: number for labels, number in read_kinds}
    assert counted == {"ban": 0, "penalty": 1, "allow": 0, "override": 0, "kill": 0}


async def test_a_shared_store_that_is_not_there(observe: Observe) -> None:
    store = RedisStore("redis://127.0.0.1:1/0", LimiterSettings(), lambda why: None)
    assert await read(Sources(observe, limit_store=store), "weir_limit_store_degraded") == [({}, 1)]


async def test_connections_of_the_wire(observe: Observe) -> None:
    nobody: Any = None
    host = Host(limits=WireLimits(), timers=Timers(1.0), serve=nobody, refuse=nobody, welcome=nobody)
    host.accepted = 7
    sources = Sources(observe, connections=host)
    assert await read(sources, "weir_connections_accepted_total") == [({}, 7)]
    assert await read(sources, "weir_connections") == [({}, 0)]
