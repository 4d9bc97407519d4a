"""Positions, and the ring that turns them into seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.replicas.lsn import end_of_records, format_lsn, parse_lsn
from proxy.replicas.ring import Lag, LsnRing

INF = float("inf")
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "lsn"),
    [
        pytest.param("0/0", 0, id="zero"),
        pytest.param("16/B374D848", 0x16B374D848, id="of the manual"),
        pytest.param("FFFFFFFF/FFFFFFFF", 2**64 - 1, id="the last"),
        pytest.param("a/b", 0xA0000000B, id="lower case"),
    ],
)
def test_a_position_is_read(text: str, lsn: int) -> None:
    assert parse_lsn(text) == lsn


@pytest.mark.parametrize(
    "text", ["", "/", "0", "0/", "/0", "0/0/0", "g/0", "0/-1", "+1/0", " 0/0", "100000000/0", "0x1/0"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        parse_lsn(text)


@given(st.integers(0, 2**64 - 1))
def test_a_position_survives_being_written(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_positions_compare_as_numbers_do(one: int, other: int) -> None:
    assert (parse_lsn(format_lsn(one)) < parse_lsn(format_lsn(other))) == (one < other)


@pytest.mark.parametrize(
    ("lsn", "end"),
    [
        pytest.param(16 * MIB + 40, 16 * MIB, id="behind the header of a segment"),
        pytest.param(16 * MIB + 8192 + 24, 16 * MIB + 8192, id="behind the header of a page"),
        pytest.param(16 * MIB + 24, 16 * MIB + 24, id="within the header of a segment"),
        pytest.param(16 * MIB + 8192 + 40, 16 * MIB + 8192 + 40, id="a record went on for 16 bytes"),
        pytest.param(16 * MIB + 48, 16 * MIB + 48, id="a record"),
        pytest.param(16 * MIB, 16 * MIB, id="at the very start"),
        pytest.param(MIB + 40, MIB + 40, id="a page that begins no segment"),
    ],
)
def test_headers_hold_no_record(lsn: int, end: int) -> None:
    assert end_of_records(lsn, 8192, 16 * MIB) == end


def ring(*entries: tuple[float, int], size: int = 600) -> LsnRing:
    made = LsnRing(size=size)
    for at, lsn in entries:
        made.add(at, lsn)
    return made


@pytest.mark.parametrize(
    ("replayed", "at", "lag"),
    [
        pytest.param(300, 3.0, Lag(0.0, 0.0), id="has everything"),
        pytest.param(999, 3.5, Lag(0.0, 0.5), id="has more than the primary last said"),
        pytest.param(200, 3.0, Lag(0.0, 1.0), id="misses what came after the second"),
        pytest.param(250, 3.0, Lag(0.0, 1.0), id="is on its way to the third"),
        pytest.param(100, 3.5, Lag(1.5, 2.5), id="has only the first"),
        pytest.param(99, 3.0, Lag(2.0, INF), id="is older than what is remembered"),
    ],
)
def test_lag_is_how_long_ago_the_primary_was_there(replayed: int, at: float, lag: Lag) -> None:
    assert ring((1.0, 100), (2.0, 200), (3.0, 300)).lag(replayed, at) == lag


def test_nobody_is_young_for_an_empty_ring() -> None:
    assert ring().lag(2**63, 1.0) == Lag(0.0, INF)


def test_an_idle_primary_makes_no_replica_old() -> None:
    made = ring(*((number / 10, 100) for number in range(6000)))
    assert made.lag(100, 599.9).most_s == 0.0
    made.add(600.0, 200)  # ten minutes later, one write
    assert made.lag(100, 600.0).most_s == pytest.approx(0.1)


def test_the_ring_keeps_one_entry_for_each_interval_and_the_newest() -> None:
    made = ring(*((number / 1000, number) for number in range(10_001)))
    assert len(made) == pytest.approx(100, abs=3)
    assert made.lag(10_000, 10.0).most_s == 0.0
    assert made.reached_at(10_001) is None


def test_the_ring_forgets_what_is_older_than_its_size() -> None:
    made = ring(*((float(number), number) for number in range(1000)), size=10)
    assert 10 <= len(made) <= 20
    assert made.lag(900, 999.0).most_s == INF


def test_a_position_that_went_back_is_another_history() -> None:
    made = ring((1.0, 500), (2.0, 600), (3.0, 50))
    assert made.lag(50, 3.0) == Lag(0.0, 0.0)
    assert len(made) == 1


@given(st.lists(st.tuples(st.floats(0.001, 0.5), st.integers(0, 50)), min_size=2, max_size=60), st.data())
def test_the_true_age_lies_between_the_two_bounds(steps: list[tuple[float, int]], data: st.DataObject) -> None:
    at, lsn, truth = 0.0, 0, []
    made = LsnRing()
    for pause, grown in steps:
        at, lsn = at + pause, lsn + grown
        truth.append((at, lsn))
        made.add(at, lsn)
    replayed_at, replayed = data.draw(st.sampled_from(truth))
    lag = made.lag(replayed, at)
    newest_of_that = max(when for when, position in truth if position == replayed)
    assert lag.least_s <= at - replayed_at + 1e-9
    assert at - newest_of_that <= lag.most_s + 1e-9
