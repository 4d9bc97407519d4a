"""Purges that the others have not heard of: folded, bounded, never lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.purges import queue as module
from proxy.cache.purges.purge import Purge
from proxy.cache.purges.queue import BATCH, DOUBT, EVERYTHING, MAX_WRITES, PurgeQueue
from proxy.cache.purges.records import (
    BEGINNING,
    Record,
    decode_purges,
    encode_purges,
    is_after,
    number_of,
)


def url(number: int, size: int = 0) -> Purge:
    return Purge("url", b"http://a/%d" % number + b"x" * size)


def emptied(queue: PurgeQueue) -> list[Purge]:
    found = []
    while batch := queue.take():
        found += batch
        queue.sent()
    return found


def test_the_same_write_goes_once() -> None:
    queue = PurgeQueue()
    for number in (1, 2, 1, 1):
        queue.add(url(number), is_order=False)
    assert queue.take() == [url(1), url(2)]
    queue.add(url(1), is_order=False)
    queue.sent()
    assert queue.take() == [url(1)], "a write that came after the message went out is a new one"


def test_what_was_taken_and_did_not_arrive_goes_again() -> None:
    queue = PurgeQueue()
    queue.add(url(1), is_order=False)
    queue.add(Purge("tag", b"t"), is_order=True)
    assert queue.take() == [Purge("tag", b"t"), url(1)], "an operator waits, so that goes first"
    assert queue.has_orders
    queue.add(url(1), is_order=False)
    queue.back()
    assert len(queue) == 2
    assert emptied(queue) == [Purge("tag", b"t"), url(1)]
    assert not queue.has_orders
    assert len(queue) == 0


def test_a_message_is_small_and_holds_one_purge_at_least() -> None:
    queue = PurgeQueue()
    for number in range(1000):
        queue.add(url(number), is_order=False)
    queue.add(url(0, 20_000), is_order=False)
    sizes = []
    while batch := queue.take():
        sizes.append((len(batch), len(encode_purges(batch))))
        queue.sent()
    assert sum(count for count, _ in sizes) == 1001
    assert all(count <= BATCH for count, _ in sizes)
    assert max(size for count, size in sizes if count > 1) < 2 * module.BATCH_BYTES
    assert sizes[-1][0] == 1


def test_writes_that_are_too_many_become_one_word() -> None:
    queue = PurgeQueue()
    queue.add(Purge("tag", b"t"), is_order=True)
    for number in range(MAX_WRITES + 10):
        queue.add(url(number), is_order=False)
    assert emptied(queue) == [Purge("tag", b"t"), DOUBT], "what an operator ordered is not blurred"


def test_writes_that_are_too_large_become_one_word() -> None:
    queue = PurgeQueue()
    for number in range(200):
        queue.add(url(number, 8000), is_order=False)
    assert emptied(queue) == [DOUBT]


def test_orders_that_are_too_many_become_a_purge_of_everything() -> None:
    queue = PurgeQueue()
    queue.add(url(1), is_order=False)
    for number in range(module.MAX_ORDERS + 1):
        queue.add(url(number), is_order=True)
    queue.add(url(2), is_order=False)
    queue.add(url(3), is_order=True)
    assert emptied(queue) == [EVERYTHING]


def test_a_purge_of_everything_swallows_what_waits() -> None:
    queue = PurgeQueue()
    queue.add(url(1), is_order=False)
    queue.add(url(2), is_order=True)
    queue.add(EVERYTHING, is_order=True)
    queue.add(url(3), is_order=False)
    assert emptied(queue) == [EVERYTHING]
    queue.add(Purge("all", is_soft=True), is_order=True)
    queue.add(url(3), is_order=False)
    assert len(queue) == 2, "a soft one does not"


def test_what_is_waiting_or_on_its_way_covers_what_it_is_about() -> None:
    queue = PurgeQueue()
    assert not queue.may_cover(b"http://a/1", ())
    queue.add(url(1), is_order=False)
    assert queue.may_cover(b"http://a/1", ())
    assert not queue.may_cover(b"http://a/2", ())
    queue.take()
    assert queue.may_cover(b"http://a/1 3 -", ())
    queue.sent()
    assert not queue.may_cover(b"http://a/1", ())
    for number in range(100):
        queue.add(url(number + 10), is_order=False)
    assert queue.may_cover(b"http://b/", ()), "too many to look through"


NAMES = st.sampled_from([url(number) for number in range(6)] + [Purge("tag", b"t"), Purge("prefix", b"http://a/")])


@given(st.lists(st.tuples(st.sampled_from(["write", "order", "take", "sent", "back"]), NAMES), max_size=40))
def test_nothing_that_was_added_is_lost(steps: list[tuple[str, Purge]]) -> None:
    """Each purge is announced at least once after it was added, unless something that covers it is."""
    queue = PurgeQueue()
    owed: dict[Purge, int] = {}
    told: list[tuple[int, Purge]] = []
    taken: list[Purge] = []
    taken_at = 0
    for at, (step, purge) in enumerate(steps):
        if step in ("write", "order"):
            queue.add(purge, is_order=step == "order")
            owed[purge] = at
        elif step == "take" and not taken:
            taken, taken_at = queue.take(), at
        elif step == "sent":
            told += [(taken_at, each) for each in taken]
            queue.sent()
            taken = []
        elif step == "back":
            queue.back()
            taken = []
    queue.back()
    told += [(len(steps), each) for each in emptied(queue)]
    for purge, at in owed.items():
        assert any(when > at and each == purge for when, each in told)


EVERY_PURGE = st.one_of(
    st.builds(Purge, st.sampled_from(["url", "prefix", "tag"]), st.binary(max_size=20), st.booleans(), st.binary()),
    st.sampled_from([EVERYTHING, DOUBT, Purge("all", is_soft=True)]),
)


@given(st.lists(EVERY_PURGE))
def test_a_message_says_what_was_put_into_it(purges: list[Purge]) -> None:
    assert decode_purges(encode_purges(purges)) == purges


@pytest.mark.parametrize(
    "data",
    [b"", b"\x91", b"no", b"\x93\x01\x02\x03", b"\x91\x93\xa1z\xc4\x00\xc4\x00", b"\x91\x93\xa2ux\xc4\x00\xc4\x00"],
    ids=["empty", "cut", "text", "numbers", "a kind of tomorrow", "a hardness of tomorrow"],
)
def test_what_is_not_understood_may_be_anything(data: bytes) -> None:
    assert decode_purges(data) == [DOUBT]


@pytest.mark.parametrize(
    ("position", "other", "is_later"),
    [
        (b"10-1", b"9-5", True),
        (b"9-5", b"10-1", False),
        (b"9-10", b"9-9", True),
        (b"9-9", b"9-9", False),
        (b"1-0", BEGINNING, True),
        (BEGINNING, b"1-0", False),
    ],
)
def test_positions_are_ordered_as_numbers(position: bytes, other: bytes, is_later: bool) -> None:
    assert is_after(position, other) is is_later


def test_a_record_knows_its_number_and_its_lot() -> None:
    record = Record(b"1795273590400061-77", b"1795273590400060-5", [])
    assert (record.number, record.lot) == (1795273590400061, 77)
    assert number_of(BEGINNING) == 0
