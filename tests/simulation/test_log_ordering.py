"""Lines out of order are sorted within a window, and sampled lines become the requests that they stand for."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.simulation.entry import Entry
from proxy.simulation.ordering import SPREAD_S, WINDOW_S, Sorter, spread


def entry(at: float, weight: float = 1.0) -> Entry:
    return Entry(at, "192.0.2.1", b"GET", b"/", 200, weight=weight)


def test_lines_within_the_window_are_sorted() -> None:
    sorter = Sorter()
    instants = [100.0, 109.0, 101.0, 105.0, 99.5, 120.0, 111.0]
    assert [one.at_wall for one in sorter.sort(map(entry, instants))] == sorted(instants)
    assert sorter.late == 0


def test_what_comes_too_late_is_counted_and_played_as_if_it_came_now() -> None:
    sorter = Sorter()
    played = [one.at_wall for one in sorter.sort(map(entry, [100.0, 200.0, 201.0, 230.0, 150.0, 231.0]))]
    assert played == [100.0, 200.0, 201.0, 201.0, 230.0, 231.0]
    assert sorter.late == 1


FUTURE = 4e9


@pytest.mark.parametrize(
    ("written", "played", "strays"),
    [
        ([100.0, FUTURE, 101.0, 102.0], [100.0, 101.0, 102.0], 1),
        ([FUTURE, 100.0, 101.0], [100.0, 101.0], 1),
        ([100.0, FUTURE, 101.0, FUTURE, 102.0], [100.0, 101.0, 102.0], 2),
        ([100.0, FUTURE, FUTURE + 1, FUTURE + 2], [100.0, FUTURE, FUTURE + 1, FUTURE + 2], 0),
        ([100.0, FUTURE, FUTURE - 5, FUTURE + 2], [100.0, FUTURE - 5, FUTURE, FUTURE + 2], 0),
        ([100.0, FUTURE, 2 * FUTURE, 2 * FUTURE], [100.0, FUTURE, 2 * FUTURE, 2 * FUTURE], 0),
        ([100.0, FUTURE], [100.0, FUTURE], 0),
        ([FUTURE], [FUTURE], 0),
    ],
    ids=["middle", "first", "twice", "gap", "gap-disordered", "two-gaps", "last", "alone"],
)
def test_a_single_time_in_the_future_does_not_make_all_others_late(
    written: list[float], played: list[float], strays: int
) -> None:
    sorter = Sorter()
    assert [one.at_wall for one in sorter.sort(map(entry, written))] == played
    assert (sorter.strays, sorter.late) == (strays, 0)


def test_lines_of_one_instant_keep_their_order() -> None:
    same = [Entry(5.0, str(number), b"GET", b"/", 200) for number in range(20)]
    assert [one.address for one in Sorter().sort(same)] == [str(number) for number in range(20)]


@given(st.lists(st.floats(0.0, 1000.0), max_size=200), st.integers())
def test_any_shuffle_within_the_window_is_undone(instants: list[float], seed: int) -> None:
    jitter = random.Random(seed)
    written = sorted(instants, key=lambda at: at + jitter.uniform(0.0, WINDOW_S * 0.999))
    sorter = Sorter()
    assert [one.at_wall for one in sorter.sort(map(entry, written))] == sorted(instants)
    assert sorter.late == 0


@given(st.lists(st.tuples(st.floats(0.0, 300.0), st.floats(1.0, 50.0)), max_size=50))
def test_sampled_lines_are_as_many_requests_as_they_stand_for(lines: list[tuple[float, float]]) -> None:
    entries = [entry(at, weight) for at, weight in sorted(lines)]
    played = [at for at, _ in spread(entries)]
    assert all(earlier <= later for earlier, later in pairwise(played))
    wanted = sum(one.weight for one in entries)
    assert abs(len(played) - wanted) <= 1.001 + 1e-6 * len(played)


def test_a_sampled_line_is_spread_over_the_time_after_it() -> None:
    played = [at for at, _ in spread([entry(100.0, 4.0)])]
    assert played == [100.0, 100.0 + SPREAD_S / 4, 100.0 + SPREAD_S / 2, 100.0 + SPREAD_S * 3 / 4]


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.01, 0.7])
def test_fractions_are_carried_on(rate: float) -> None:
    count = 1000
    played = sum(1 for _ in spread([entry(float(at), 1 / rate) for at in range(count)]))
    assert abs(played - count / rate) <= 1
