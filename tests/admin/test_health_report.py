from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from proxy.admin.health import CachedReport, Component, unready_reason


class Parts:
    """A Weir with parts that a test controls."""

    def __init__(self) -> None:
        self.started = True
        self.draining = False
        self.looks = 0
        self.parts = [Component("store", True, {"latency_ms": 0.4123})]
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    def is_started(self) -> bool:
        return self.started

    def is_draining(self) -> bool:
        return self.draining

    async def components(self) -> Sequence[Component]:
        self.looks += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.parts


@pytest.mark.parametrize(
    ("started", "draining", "reason"),
    [
        pytest.param(True, False, None, id="ready"),
        pytest.param(False, False, "starting", id="starting"),
        pytest.param(True, True, "draining", id="draining"),
    ],
)
def test_ready_is_started_and_not_draining(started: bool, draining: bool, reason: str | None) -> None:
    parts = Parts()
    parts.started, parts.draining = started, draining
    assert unready_reason(parts) == reason


async def test_a_report_is_kept_for_a_second() -> None:
    now = 10.0
    parts = Parts()
    report = CachedReport(parts, clock=lambda: now)
    for _ in range(50):
        assert (await report.get()).is_healthy
    assert parts.looks == 1
    now = 10.9
    await report.get()
    assert parts.looks == 1
    now = 11.0
    await report.get()
    assert parts.looks == 2


async def test_probes_at_the_same_time_share_one_look() -> None:
    parts = Parts()
    parts.gate = asyncio.Event()
    report = CachedReport(parts)
    probes = [asyncio.ensure_future(report.get()) for _ in range(20)]
    await asyncio.sleep(0)
    parts.gate.set()
    assert {id(answer) for answer in await asyncio.gather(*probes)} == {id(probes[0].result())}
    assert parts.looks == 1


async def test_a_probe_that_leaves_does_not_stop_the_look_of_the_others() -> None:
    parts = Parts()
    parts.gate = asyncio.Event()
    report = CachedReport(parts)
    first = asyncio.ensure_future(report.get())
    second = asyncio.ensure_future(report.get())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    parts.gate.set()
    assert (await second).is_healthy
    assert parts.looks == 1


async def test_a_look_that_hangs_is_a_degraded_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.admin.health.TIMEOUT_S", 0.02)
    parts = Parts()
    parts.gate = asyncio.Event()
    answer = await CachedReport(parts).get()
    assert not answer.is_healthy
    assert answer.document["components"][0]["error"] == "the components did not answer in time"


async def test_a_look_that_fails_is_a_degraded_report_and_says_no_more_than_the_class() -> None:
    parts = Parts()
    parts.error = RuntimeError("redis://:CANARY@store")
    answer = await CachedReport(parts).get()
    assert not answer.is_healthy
    assert answer.document["components"] == [{"name": "health", "healthy": False, "error": "RuntimeError"}]


async def test_the_look_after_a_failed_one_is_a_new_one() -> None:
    now = 0.0
    parts = Parts()
    parts.error = RuntimeError()
    report = CachedReport(parts, clock=lambda: now)
    await report.get()
    parts.error = None
    now = 2.0
    assert (await report.get()).is_healthy


async def test_one_unhealthy_component_degrades_the_whole() -> None:
    parts = Parts()
    parts.parts.append(Component("upstream app", False, {"endpoints": [{"error": "http://u:CANARY@x refused\n"}]}))
    answer = await CachedReport(parts).get()
    assert answer.document == {
        "status": "degraded",
        "ready": True,
        "components": [
            {"name": "store", "healthy": True, "latency_ms": 0.412},
            {"name": "upstream app", "healthy": False, "endpoints": [{"error": "http://***@x refused\\x0a"}]},
        ],
    }
