"""The small languages of a limit: outcomes, ladders, lists of clients, and the penalty box."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.count_if import parse_count_if
from proxy.limits.ladder import Step, common, parse_ladder
from proxy.limits.penalty import MOST_KEYS, Penalty, PenaltyBox
from proxy.limits.subjects import Subjects, check_subject


@pytest.mark.parametrize(
    ("text", "counts", "does_not"),
    [
        ("status in (401, 403)", [401, 403], [400, 402, 200]),
        ("status in (4xx)", [400, 499], [399, 500]),
        ("status in (401,5xx)", [401, 500, 599], [400]),
        ("status not in (2xx, 304)", [100, 199, 301, 404], [200, 299, 304]),
        ("  status  in ( 401 ) ", [401], [400]),
    ],
    ids=str,
)
def test_an_outcome_counts_or_does_not(text: str, counts: list[int], does_not: list[int]) -> None:
    statuses = parse_count_if(text)
    assert all(status in statuses for status in counts)
    assert not any(status in statuses for status in does_not)


@pytest.mark.parametrize(
    "text", ["", "status", "status in ()", "status in 401", "status in (40)", "status in (6xx)", "code in (401)", "401"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write status in"):
        parse_count_if(text)


@pytest.mark.parametrize(
    ("words", "steps", "delay_s"),
    [
        ("reject", (), 0.0),
        ("stale", (Step.STALE,), 0.0),
        (["stale", "replica", "delay(200ms)", "reject"], (Step.STALE, Step.REPLICA, Step.DELAY), 0.2),
        (("delay(1m)",), None, 0.0),
        ("delay(1s)", (Step.DELAY,), 1.0),
    ],
    ids=str,
)
def test_a_ladder_is_its_steps_without_the_end(words: Any, steps: Any, delay_s: float) -> None:
    if steps is None:
        with pytest.raises(ValueError, match="at most 30s"):
            parse_ladder(words)
    else:
        assert parse_ladder(words) == (steps, delay_s)


@pytest.mark.parametrize(
    "words", [[], ["stale", "stale"], ["reject", "stale"], "delay", "delay()", "delay(0s)", "wait"], ids=str
)
def test_a_ladder_that_does_not_stand_is_refused(words: Any) -> None:
    with pytest.raises(ValueError, match=r"`|duration"):
        parse_ladder(words)


def test_of_several_limits_only_steps_that_are_right_by_all_are_taken() -> None:
    assert common([(Step.STALE, Step.REPLICA)]) == (Step.STALE, Step.REPLICA)
    assert common([(Step.STALE, Step.REPLICA), (Step.REPLICA,)]) == (Step.REPLICA,)
    assert common([(Step.STALE,), ()]) == ()


def who(address: str = "203.0.113.7", **names: str) -> Any:
    return SimpleNamespace(**{"address": address, "user": None, "tenant": None, "api_key": None, **names})


@pytest.mark.parametrize(
    ("client", "entry"),
    [
        (who("10.1.2.3"), "10.0.0.0/8"),
        (who("2001:db8::5"), "2001:db8::/32"),
        (who("192.0.2.7"), "192.0.2.7/32"),
        (who(), None),
        (who("unix"), None),
        (who(user="alice"), "user:alice"),
        (who(user="acme"), None),
        (who(tenant="acme"), "tenant:acme"),
        (who(api_key="ci"), "api_key:ci"),
        (who(user="a:b"), "user:a:b"),
    ],
    ids=str,
)
def test_a_list_finds_who_is_on_it(client: Any, entry: str | None) -> None:
    listed = Subjects(
        ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "user:alice", "tenant:acme", "api_key:ci", "user:a:b"]
    )
    assert listed.find(client) == entry
    assert not Subjects()


@pytest.mark.parametrize(
    "entry", ["", "alice", "user:", "group:x", "10.0.0.1/8", "10.0.0.0/33", "user:\x00", "plan:pro"], ids=repr
)
def test_an_entry_that_names_nobody_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="write"):
        check_subject(entry)


RULE = Penalty(after=3, within_s=60.0, block_s=100.0, growth=2.0, most_s=350.0)


def test_so_many_denials_block_and_each_block_is_longer_until_the_longest() -> None:
    box = PenaltyBox()
    now = 0.0
    blocks = []
    for _ in range(4):
        assert box.denied(RULE, b"k", now) == box.denied(RULE, b"k", now + 1.0) == 0.0
        blocks.append(box.denied(RULE, b"k", now + 2.0))
        now += 2.0 + blocks[-1] + 1.0
    assert blocks == [100.0, 200.0, 350.0, 350.0]


def test_denials_that_are_far_apart_never_block() -> None:
    box = PenaltyBox()
    assert [box.denied(RULE, b"k", 25.0 * n) for n in range(3)] == [0.0, 0.0, 100.0]
    box = PenaltyBox()
    assert [box.denied(RULE, b"k", 61.0 * n) for n in range(50)] == [0.0] * 50


def test_who_keeps_out_of_trouble_for_as_long_as_the_last_block_begins_anew() -> None:
    box = PenaltyBox()
    for at in (0.0, 1.0, 2.0):
        first = box.denied(RULE, b"k", at)
    assert first == 100.0
    for at in (250.0, 251.0, 252.0):  # block over at 102, forgiven at 202
        second = box.denied(RULE, b"k", at)
    assert second == 100.0
    for at in (360.0, 361.0, 362.0):  # over at 352, forgiven at 452
        third = box.denied(RULE, b"k", at)
    assert third == 200.0


def test_keys_do_not_share_their_denials_and_a_key_can_be_let_go() -> None:
    box = PenaltyBox()
    for _ in range(2):
        assert box.denied(RULE, b"a", 0.0) == box.denied(RULE, b"b", 0.0) == 0.0
    box.forget(b"a")
    assert box.denied(RULE, b"a", 0.0) == 0.0
    assert box.denied(RULE, b"b", 0.0) == 100.0


def test_a_flood_of_keys_does_not_grow_the_box() -> None:
    box = PenaltyBox()
    for n in range(MOST_KEYS + 500):
        box.denied(RULE, b"%d" % n, 0.0)
    assert len(box) == MOST_KEYS


@given(st.lists(st.floats(0.0, 50.0), max_size=60))
def test_a_block_never_comes_before_its_denials_and_is_never_longer_than_the_longest(gaps: list[float]) -> None:
    box = PenaltyBox()
    now, since = 0.0, 0
    for gap in gaps:
        now += gap
        since += 1
        block_s = box.denied(RULE, b"k", now)
        assert 0.0 <= block_s <= RULE.most_s
        if block_s:
            assert since >= RULE.after
            since = 0
