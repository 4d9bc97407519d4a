"""From the console's rows to how much the backend may have at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.database.pressure import HALF, PoolState, next_share, read_pools

ROW = {
    "database": "shop",
    "user": "shop",
    "cl_active": "12",
    "cl_waiting": "3",
    "sv_active": "20",
    "sv_idle": "1",
    "sv_used": "2",
    "maxwait": "1",
    "maxwait_us": "250000",
}
STATS = {"database": "shop", "total_query_count": "900", "total_wait_time": "1500000"}


def test_a_row_of_each_answer_makes_a_pool() -> None:
    assert read_pools([ROW], [STATS]) == {"shop": PoolState(12, 3, 20, 3, 1.25, 900, 1.5)}


def test_several_users_of_a_pool_are_one() -> None:
    other = {**ROW, "user": "ana", "cl_waiting": "1", "maxwait": "0", "maxwait_us": "10"}
    state = read_pools([ROW, other], [STATS])["shop"]
    assert (state.client_waiting, state.max_wait_s, state.queries) == (4, 1.25, 900)


def test_the_console_itself_is_no_pool() -> None:
    assert read_pools([{**ROW, "database": "pgbouncer"}, {"database": None}], []) == {}


def test_a_column_that_is_missing_or_odd_counts_as_nothing() -> None:
    assert read_pools([{"database": "shop", "cl_active": None, "cl_waiting": "-1"}], [{}]) == {"shop": PoolState()}


STEPS = [
    pytest.param(1.0, 0.51, HALF, id="too long: half at once"),
    pytest.param(0.875, 9.0, HALF, id="too long again"),
    pytest.param(1.0, 0.5, 1.0, id="just not too long"),
    pytest.param(HALF, 0.4, HALF, id="better, but not good"),
    pytest.param(HALF, 0.25, HALF, id="half of the bound is not good"),
    pytest.param(HALF, 0.2, 0.625, id="good: a step back"),
    pytest.param(0.9, 0.0, 1.0, id="no more than all"),
    pytest.param(HALF, None, 1.0, id="unknown holds nothing back"),
]


@pytest.mark.parametrize(("share", "waited_s", "expected"), STEPS)
def test_the_share_follows_the_wait(share: float, waited_s: float | None, expected: float) -> None:
    assert next_share(share, waited_s, 0.5) == expected


@given(st.lists(st.none() | st.floats(0, 1000), max_size=50))
def test_the_share_stays_between_half_and_all_and_comes_back_in_four_good_samples(waits: list[float | None]) -> None:
    share = 1.0
    for waited_s in waits:
        share = next_share(share, waited_s, 0.5)
        assert HALF <= share <= 1.0
    for _ in range(4):
        share = next_share(share, 0.0, 0.5)
    assert share == 1.0
