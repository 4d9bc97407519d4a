"""How fast bytes have to move: a stall, a trickle, and what is fast enough."""

from __future__ import annotations

import pytest

from proxy.wire.limits import GRACE_S, WireLimits
from proxy.wire.pace import ContentPace, WritePace

LIMITS = WireLimits(min_rate=500.0, body_timeout_s=30.0, write_timeout_s=30.0)


@pytest.mark.parametrize(
    ("looks", "too_slow"),
    [
        pytest.param([(2.0, 0)], False, id="nothing, within the grace"),
        pytest.param([(GRACE_S + 1.0, 499)], True, id="one byte short after the grace"),
        pytest.param([(GRACE_S + 1.0, 500)], False, id="just fast enough"),
        pytest.param([(5.0, 10_000_000), (34.9, 10_000_000)], False, id="fast, then still for less than the timeout"),
        pytest.param([(5.0, 10_000_000), (35.0, 10_000_000)], True, id="fast, then still for the timeout"),
        pytest.param([(5.0, 10_000_000), (34.0, 10_000_001), (60.0, 10_000_001)], False, id="a byte in time"),
    ],
)
def test_content_has_to_keep_moving(looks: list[tuple[float, int]], too_slow: bool) -> None:
    pace = ContentPace()
    pace.restart(100.0, 0)
    verdicts = [pace.is_too_slow(100.0 + at, received, LIMITS) for at, received in looks]
    assert verdicts[-1] == too_slow
    assert not any(verdicts[:-1])


@pytest.mark.parametrize(
    ("looks", "too_slow"),
    [
        pytest.param([(GRACE_S, 1_000_000)], False, id="nothing taken, within the grace"),
        pytest.param([(GRACE_S + 1.0, 1_000_000)], True, id="nothing taken after the grace"),
        pytest.param([(GRACE_S + 1.0, 999_500)], False, id="just fast enough"),
        pytest.param([(3.0, 0), (3.0 + GRACE_S + 1.0, 0)], True, id="what a kernel took at once does not last"),
    ],
)
def test_a_client_has_to_keep_taking(looks: list[tuple[float, int]], too_slow: bool) -> None:
    pace = WritePace()
    pace.restart(100.0, 1_000_000)
    verdicts = [pace.is_too_slow(100.0 + at, outstanding, LIMITS) for at, outstanding in looks]
    assert verdicts[-1] == too_slow
    assert not any(verdicts[:-1])
