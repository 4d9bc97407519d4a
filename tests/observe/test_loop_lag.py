from __future__ import annotations

import asyncio
import time

import pytest

from proxy.observe.loop_lag import BOUNDS_S, PERIOD_S, LoopLag


@pytest.mark.parametrize(
    ("late_s", "bucket"),
    [
        pytest.param(0.0, 0, id="in time"),
        pytest.param(-0.001, 0, id="early, as coarse timers may be"),
        pytest.param(0.03, 4, id="thirty milliseconds"),
        pytest.param(7.0, len(BOUNDS_S), id="very late"),
    ],
)
def test_a_late_call_is_counted_by_how_late_it_was(late_s: float, bucket: int) -> None:
    lag = LoopLag()
    lag._expected_at = 10.0
    lag.note(10.0 + late_s)
    assert lag.buckets[bucket] == 1
    assert lag.last_s == pytest.approx(max(late_s, 0.0))
    assert lag._expected_at == pytest.approx(10.0 + late_s + PERIOD_S)


async def test_a_blocked_loop_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.observe.loop_lag.PERIOD_S", 0.01)
    lag = LoopLag()
    lag.start(asyncio.get_running_loop())
    await asyncio.sleep(0)
    time.sleep(0.12)  # what nobody may do
    await asyncio.sleep(0.03)
    lag.stop()
    assert lag.total_s >= 0.1
    assert sum(lag.buckets[6:]) >= 1
    counted = sum(lag.buckets)
    await asyncio.sleep(0.03)
    assert sum(lag.buckets) == counted  # stopped
