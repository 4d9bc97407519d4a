"""How long a request waits for the store at most, and that each one that waited gets its verdict."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import uvloop

from proxy.core.clock import monotonic
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.shared.waiting_line import Ticket, WaitingLine, longest_wait_s
from proxy.limits.verdict import ALLOW, DENY, LOCAL

PATIENCE_S = 0.025


def policy(name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "1000/h", "by": "ip", **settings}), "test.yaml:1")


async def waits(gap_s: float, count: int) -> list[float]:
    """How long each of these waited for nothing, in a loop that has little else to do."""
    loop = asyncio.get_running_loop()
    took: list[float] = []

    def expired(tickets: list[Ticket]) -> None:
        now = monotonic()
        took.extend([now - ticket.asked_at for ticket in tickets])
        for ticket in tickets:
            ticket.cancel()

    line = WaitingLine(PATIENCE_S, expired)
    limit = policy()
    for _ in range(count):
        line.add((limit,), (b"key",), monotonic())
        await asyncio.sleep(gap_s)
    while len(took) < count:
        await asyncio.sleep(0.001)
    line.close()
    assert loop.is_running()
    return took


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("gap_s", [0.0, 0.0003, 0.0017, 0.03])
def test_a_wait_ends_a_little_before_the_deadline_and_not_after_it(run: Any, gap_s: float) -> None:
    took = sorted(run(waits(gap_s, 20 if gap_s > 0.01 else 100)))
    assert took[0] >= PATIENCE_S * 0.79
    assert took[len(took) * 8 // 10] <= PATIENCE_S + 0.0002, "the rest is for a busy machine"


@pytest.mark.parametrize("patience_s", [0.001, 0.005, 0.025, 0.1, 5.0])
def test_what_the_end_of_a_wait_takes_is_a_small_part_of_it(patience_s: float) -> None:
    assert 0.84 * patience_s <= longest_wait_s(patience_s) < patience_s


async def test_a_request_that_cannot_be_decided_keeps_no_other_from_its_verdict(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(server.url, LimiterSettings.model_validate({"store_timeout": 0.05}), lambda error: None)
    await store.start()

    def step(*asked: Any) -> Any:
        raise IndexError("a defect")

    limit, broken = policy(), policy("broken", algorithm="fixed")
    closed = policy("closed", algorithm="fixed", on_store_error="deny")
    broken.step = closed.step = step
    server.stall()
    caplog.set_level(logging.ERROR)
    asked = [(limit, b"a"), (broken, b"bad"), (closed, b"bad"), (limit, b"b"), (limit, b"c")]
    answers: list[Any] = [store.decide((each,), (key,), monotonic()) for each, key in asked]
    async with asyncio.timeout(1.0):
        verdicts = [await answer for answer in answers]
    assert [verdict.mode for verdict in verdicts] == [LOCAL, ALLOW, DENY, LOCAL, LOCAL]
    assert [verdict.denied for verdict in verdicts] == [False, False, True, False, False]
    assert len(caplog.records) == 1
    server.go_on()
    await store.aclose()
