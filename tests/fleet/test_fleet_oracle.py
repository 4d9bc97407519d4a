"""The judges of the fleet's tests see each kind of fault in a transcript that is right but for it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fleet.load import Shot
from tests.fleet.monitor import EPOCH_2025, Call, calls_in
from tests.fleet.oracle import (
    Fixed,
    Gcra,
    Rule,
    Sliding,
    falsely_refused,
    fullest,
    ledger,
    over_admitted,
    over_in_windows,
    replay,
)

GCRA, FIXED, SLIDING = Gcra(10, 1.0, 3), Fixed(3, 1.0), Sliding(3, 1.0)


def call(at_s: float, asked: int, state: str | None = None) -> Call:
    return Call(at_s - 0.0001, at_s, Counter({"k": asked}), {} if state is None else {"k": state})


# three at once, then one refused, then what the time has brought back
RIGHT: dict[str, tuple[Rule, list[Call]]] = {
    "gcra": (GCRA, [call(100.0, 3, "100.3"), call(100.0, 1), call(100.15, 1, "100.4"), call(100.16, 1)]),
    "fixed": (FIXED, [call(100.0, 4, "101 3"), call(100.9, 1), call(101.2, 2, "102.2 2")]),
    "sliding": (SLIDING, [call(100.0, 4, "100.0625 3"), call(101.0, 1), call(101.07, 2, "101.125 2")]),
}
# index of the call to change, the call instead, and the word for what is wrong with it
WRONG: list[tuple[str, int, Call, str]] = [
    ("gcra", 1, call(100.0, 1, "100.4"), "over-admitted"),
    ("gcra", 0, call(100.0, 3, "100.2"), "falsely refused"),
    ("gcra", 2, call(100.15, 1), "falsely refused"),
    ("gcra", 2, call(100.15, 1, "100.42"), "wrongly written"),
    ("fixed", 0, call(100.0, 4, "101 4"), "over-admitted"),
    ("fixed", 2, call(101.2, 2, "102.2 1"), "falsely refused"),
    ("fixed", 1, call(100.9, 1, "101.9 1"), "over-admitted"),
    ("fixed", 2, call(101.2, 2, "102.7 2"), "wrongly written"),
    ("sliding", 1, call(101.0, 1, "101.0625 1"), "over-admitted"),
    ("sliding", 0, call(100.0, 4, "100.0625 2"), "falsely refused"),
    ("sliding", 2, call(101.07, 2, "101.5 2"), "wrongly written"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_transcript_passes(name: str) -> None:
    rule, calls = RIGHT[name]
    history = replay(calls, "k", rule)
    assert history.wrong == []
    assert history.asked == sum(each.keys["k"] for each in calls)
    assert history.charged == {"gcra": 4, "fixed": 5, "sliding": 5}[name]


@pytest.mark.parametrize(("name", "at", "changed", "word"), WRONG, ids=[f"{w[0]}: {w[3]} at {w[1]}" for w in WRONG])
def test_one_wrong_decision_is_found(name: str, at: int, changed: Call, word: str) -> None:
    rule, calls = RIGHT[name]
    history = replay([*calls[:at], changed, *calls[at + 1 :]], "k", rule)
    assert history.wrong
    assert history.wrong[0].startswith(word)


@pytest.mark.parametrize(
    ("rule", "right", "one_more"),
    [
        (GCRA, [0.0, 0.0, 0.0, 0.1, 0.2], 0.25),
        (SLIDING, [0.0, 0.4, 0.9, 1.2], 1.1),
        (FIXED, [0.9, 0.9, 0.9, 1.0, 1.0, 1.0], 1.05),
    ],
    ids=["gcra", "sliding", "fixed"],
)
def test_one_arrival_too_many_is_found(rule: Rule, right: list[float], one_more: float) -> None:
    assert over_admitted(right, rule, 0.01) == []
    assert over_admitted([*right, one_more], rule, 0.01) != []


def test_the_fullest_span_is_found_wherever_it_begins() -> None:
    assert fullest([0.0, 0.95, 1.0, 1.05, 1.9, 2.2], 1.0) == 4
    assert fullest([], 1.0) == 0


def test_an_aligned_window_that_holds_too_many_is_found() -> None:
    history = replay(RIGHT["fixed"][1], "k", FIXED)
    shots = [Shot(0.0, 1, "/", "k", number=n, sent_at=100.01 + n / 10, status=200) for n in range(4)]
    arrivals = {shot.number: shot.sent_at + 0.01 for shot in shots}
    assert over_in_windows(shots[:3], arrivals, history, FIXED, 0.0) == []
    assert over_in_windows(shots, arrivals, history, FIXED, 0.0) != []


@pytest.mark.parametrize(("sent_at", "is_false"), [(99.5, True), (100.05, False), (101.2, True)])
def test_a_refusal_at_a_time_that_had_room_is_found(sent_at: float, is_false: bool) -> None:
    history = replay(RIGHT["fixed"][1][:2], "k", FIXED)
    shot = Shot(0.0, 1, "/", "k", sent_at=sent_at, answered_at=sent_at + 0.01, status=429)
    assert bool(falsely_refused([shot], history, FIXED, 0.0)) is is_false


def test_what_is_given_back_is_in_the_ledger() -> None:
    calls = [call(100.0, 1, "101 3"), call(100.2, 0, "101 1"), call(100.3, 0, ""), call(100.4, 1, "101.4 2")]
    assert [write.units for write in ledger(calls, "k", FIXED)] == [3, -2, 2]


def test_a_transcript_is_read() -> None:
    text = (
        b"+OK\r\n"
        b'+1763725541.000100 [0 unix:/s] "EVALSHA" "abc" "2" "k" "k" "1 1" "gcra 1" "gcra 1"\r\n'
        b'+1763725541.000200 [0 lua] "TIME"\r\n'
        b'+1763725541.000210 [0 lua] "GET" "k"\r\n'
        b'+1763725541.000220 [0 lua] "SET" "k" "123.5" "PX" "17"\r\n'
        b'+1763725541.000300 [0 unix:/s] "EVALSHA" "abc" "1" "k" "1" "gcra 1"\r\n'
        b'+1763725541.000400 [0 unix:/s] "EVAL" "redis.call(\\"TIME\\")" "1" "k" "1" "gcra 1"\r\n'
        b'+1763725541.000500 [0 lua] "TIME"\r\n'
        b'+1763725541.000600 [0 127.0.0.1:1] "INFO"\r\n'
    )
    first, second = calls_in(text)
    assert first.keys == {"k": 2}
    assert first.writes == {"k": "123.5"}
    assert abs(first.from_s + EPOCH_2025 - 1763725541.0001) < 1e-6
    assert (second.keys, second.writes) == ({"k": 1}, {})
