"""Hash slots, and groups taken apart by them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimitSettings
from proxy.limits.shared.group import Question, adjusting, releasing
from proxy.limits.shared.slots import Split, put_together, settle, settle_late, slot_of, take_apart


def policy(name: str, **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "10/h", "by": "ip", **settings}), "test.yaml:1")


A, B, C = policy("a"), policy("b"), policy("c")
HELD = compile_limit(
    "h", LimitSettings.model_validate({"algorithm": "inflight", "limit": 2, "by": "ip"}), "test.yaml:1"
)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"", 0),
        (b"123456789", 0x31C3),
        (b"{123456789}tail", 0x31C3),
        (b"head{123456789}tail{other}", 0x31C3),
        (b"{}123456789", key_slot(b"{}123456789")),
        (b"{123456789", key_slot(b"{123456789")),
    ],
)
def test_the_slot_of_a_key(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@given(st.lists(st.sampled_from([b"{", b"}", b"a", b"\xff", b"xyz"]), max_size=8))
def test_the_slot_is_what_other_clients_compute(pieces: list[bytes]) -> None:
    key = b"".join(pieces)
    assert slot_of(key) == key_slot(key)


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), min_size=1, max_size=12))
def test_a_group_taken_apart_and_put_together_is_the_same(requests: list[list[int]]) -> None:
    group = [Question((A,) * len(tags), [b"{%d}" % tag for tag in tags], b"m") for tags in requests]
    parts, splits = take_apart(group)
    assert len({part.slot for part in parts}) == len(parts)
    total = sum(len(asked.keys) for asked in group)
    numbers: list[int | None] = [None] * (3 * total)
    keys = [key for asked in group for key in asked.keys]
    for part in parts:
        asked_here = [key for asked in part.asked for key in asked.keys]
        assert {slot_of(key) for key in asked_here} == {part.slot}
        assert [keys[place] for place in part.places] == asked_here
        assert part.places == sorted(part.places) or len(splits) > 0
        put_together(numbers, part, [each for place in part.places for each in (place, place, 0)])
    assert numbers == [each for place in range(total) for each in (place, place, 0)]
    assert [split.asked for split in splits] == [asked for asked in group if len(set(asked.keys)) > 1]


PASSED, WAITS, NOT_NOW, NEVER, UNKNOWN = 0, -500, 700, -1, None


@pytest.mark.parametrize(
    ("verdicts", "given_back", "is_decided"),
    [
        ((PASSED, PASSED, PASSED), "", True),
        ((PASSED, WAITS, PASSED), "", True),
        ((NOT_NOW, PASSED, PASSED), "bc", True),
        ((PASSED, PASSED, NOT_NOW), "ab", True),
        ((NEVER, WAITS, PASSED), "bc", True),
        ((NOT_NOW, NOT_NOW, PASSED), "c", True),
        ((NOT_NOW, NEVER, NOT_NOW), "", True),
        ((UNKNOWN, PASSED, PASSED), "bc", False),
        ((UNKNOWN, NOT_NOW, PASSED), "c", False),
        ((UNKNOWN, UNKNOWN, UNKNOWN), "", False),
    ],
)
def test_what_is_given_back(verdicts: tuple[int | None, ...], given_back: str, is_decided: bool) -> None:
    limits = (A, B, C)
    asked = Question(limits, (b"{1}a", b"{2}b", b"{3}c"))
    split = Split(asked, 1, [slot_of(key) for key in asked.keys])
    numbers: list[int | None] = [1, 2, 0]  # of another request
    for verdict in verdicts:
        numbers += [None] * 3 if verdict is None else [5, 6, verdict]
    names = {"a": 0, "b": 1, "c": 2}
    expected = [adjusting(limits[names[name]], asked.keys[names[name]], -1, 0.5) for name in given_back]
    assert settle(split, numbers, 0.5) == expected
    assert numbers[:3] == [1, 2, 0]
    assert (None not in numbers[3:]) is is_decided
    assert is_decided or numbers[3:] == [None] * 9


def test_limits_that_share_a_slot_were_refused_together() -> None:
    asked = Question((A, B, C), (b"{1}a", b"{1}b", b"{2}c"))
    split = Split(asked, 0, [slot_of(key) for key in asked.keys])
    # the first slot refused for its second limit, so it has charged nothing at all
    assert settle(split, [1, 1, PASSED, 0, 1, NOT_NOW, 1, 1, PASSED], 0.0) == [adjusting(C, b"{2}c", -1, 0.0)]


def test_a_lease_is_released_and_a_cost_given_back_whole() -> None:
    dear = policy("dear", cost=4)
    asked = Question((A, HELD, dear), (b"{1}", b"{2}", b"{3}"), b"me")
    split = Split(asked, 0, [slot_of(key) for key in asked.keys])
    assert settle(split, [0, 1, NOT_NOW, 1, 1, PASSED, 1, 1, PASSED], 0.25) == [
        releasing(HELD, b"{2}", b"me"),
        adjusting(dear, b"{3}", -4, 0.25),
    ]


def test_what_a_slot_charged_too_late_is_given_back() -> None:
    asked = Question((A, B, C), (b"{1}a", b"{2}b", b"{1}c"))
    parts, (split,) = take_apart([Question((A,), (b"{1}x",)), asked])
    late = next(part for part in parts if part.slot == slot_of(b"{1}"))
    assert settle_late(split, late, [9, 1, PASSED, 8, 1, PASSED, 7, 1, WAITS], 1.5) == [
        adjusting(A, b"{1}a", -1, 1.5),
        adjusting(C, b"{1}c", -1, 1.5),
    ]
    assert settle_late(split, late, [9, 1, PASSED, 8, 1, PASSED, 0, 1, NOT_NOW], 1.5) == []
