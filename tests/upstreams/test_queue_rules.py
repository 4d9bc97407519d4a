"""A line before an upstream: order, turns, classes, bounds, and who makes room. Pure: `now` is an argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.queue import PRIORITIES, Refusal, WaitQueue
from proxy.upstreams.queue_flow import MAX_RETRY_AFTER_S, Flow, retry_after_s
from proxy.upstreams.queue_overload import INTERVAL_S, TARGET_S, Overload
from proxy.upstreams.queue_shares import Shares

CRITICAL, NORMAL, BACKGROUND = range(3)


class Entry:
    def __init__(
        self,
        share: Hashable = "a",
        *,
        rank: int = NORMAL,
        cost: int = 1,
        size_bytes: int = 0,
        since: float = 0.0,
        expires_at: float = 1000.0,
        name: str = "",
    ) -> None:
        self.share, self.rank, self.cost, self.size_bytes = share, rank, cost, size_bytes
        self.since, self.expires_at, self.name = since, expires_at, name

    def __repr__(self) -> str:
        return f"<{self.name or self.share} {PRIORITIES[self.rank]} since {self.since}>"


def queue_of(*entries: Entry, most: int = 100, most_bytes: int = 1 << 30) -> WaitQueue[Entry]:
    queue: WaitQueue[Entry] = WaitQueue(most, most_bytes)
    for entry in entries:
        queue.push(entry, entry.since)
    return queue


def drained(queue: WaitQueue[Entry], now: float) -> list[Entry]:
    found = []
    while (entry := queue.pop(now)) is not None:
        found.append(entry)
    return found


def overloaded(queue: WaitQueue[Entry], from_: float) -> float:
    """Look until the line counts as too long for too long; gives that instant."""
    queue.observe(from_)
    queue.observe(from_ + INTERVAL_S)
    assert any(queue.is_newest_first(rank) for rank in range(3))
    return from_ + INTERVAL_S


# -- order --


def test_first_come_is_first_served() -> None:
    entries = [Entry(since=at / 100.0) for at in range(5)]
    assert drained(queue_of(*entries), 0.05) == entries


def test_under_sustained_overload_the_newest_is_served_first_and_then_it_is_as_before() -> None:
    entries = [Entry(since=at / 100.0) for at in range(5)]
    queue = queue_of(*entries)
    now = overloaded(queue, 0.25)
    assert queue.pop(now) is entries[4]
    assert queue.pop(now) is entries[3]
    assert drained(queue, now) == [entries[2], entries[1], entries[0]]
    later = [Entry(since=now + at / 100.0) for at in range(3)]
    for entry in later:
        queue.push(entry, entry.since)
    assert drained(queue, now + 0.03) == later  # it was empty for a moment


def test_each_who_comes_and_each_who_goes_is_a_look_at_the_waits() -> None:
    first, second = Entry(since=0.0), Entry(since=2 * TARGET_S)
    queue = queue_of(first)
    queue.push(second, second.since)  # a look: the head has waited for too long
    assert queue.pop(second.since + 1.1 * INTERVAL_S) is second  # and still does half a second later
    assert queue.pop(second.since + 1.1 * INTERVAL_S) is first
    assert not queue.is_newest_first(NORMAL)


def test_under_sustained_overload_the_newest_of_all_tenants_is_first() -> None:
    entries = [Entry(share=at, since=at / 100.0) for at in range(5)]
    queue = queue_of(*entries)
    assert drained(queue, overloaded(queue, 0.25)) == entries[::-1]


def test_a_burst_that_is_over_in_time_stays_first_come_first_served() -> None:
    entries = [Entry(since=0.0, name=str(at)) for at in range(3)]
    queue = queue_of(*entries)
    queue.observe(0.2)
    assert queue.pop(0.2) is entries[0]
    queue.observe(0.65)  # 0.45 s above the target
    assert drained(queue, 0.65) == entries[1:]


@pytest.mark.parametrize(
    ("looks", "sustained"),
    [
        ([(0.0, 0.2), (0.4, 0.2)], False),
        ([(0.0, 0.2), (0.5, 0.2)], True),
        ([(0.0, 0.2), (0.3, 0.05), (0.6, 0.2)], False),
        ([(0.0, 0.2), (0.3, 0.05), (0.4, 0.2), (0.9, 0.2)], True),
        ([(0.0, 0.2), (0.5, 0.2), (0.6, 0.099)], False),
        ([(0.0, TARGET_S), (0.5, TARGET_S)], True),
    ],
    ids=["not for long", "for long", "one short wait", "from then on", "over again", "at the target"],
)
def test_what_counts_as_sustained(looks: list[tuple[float, float]], sustained: bool) -> None:
    overload = Overload()
    for now, wait_s in looks:
        overload.observe(wait_s, now)
    assert overload.is_sustained is sustained


# -- classes --


def test_nobody_of_a_class_is_served_while_a_better_one_waits() -> None:
    ranks = [BACKGROUND, NORMAL, CRITICAL, BACKGROUND, CRITICAL]
    entries = [Entry(rank=rank, since=at / 100.0) for at, rank in enumerate(ranks)]
    assert [entry.rank for entry in drained(queue_of(*entries), 0.05)] == sorted(ranks)


def test_a_class_that_starves_does_not_turn_another_one_round() -> None:
    queue = queue_of(*[Entry(rank=BACKGROUND, since=0.0) for _ in range(3)])
    now = overloaded(queue, 0.25)
    first, second = Entry(rank=CRITICAL, since=now, name="1"), Entry(rank=CRITICAL, since=now, name="2")
    queue.push(first, now)
    queue.push(second, now)
    assert queue.pop(now) is first


# -- turns --


def test_tenants_take_turns() -> None:
    flood = [Entry("flood", since=0.0, name=f"f{at}") for at in range(5)]
    few = [Entry("few", since=0.01, name=f"q{at}") for at in range(2)]
    order = drained(queue_of(*flood, *few), 0.02)
    assert order == [flood[0], few[0], flood[1], few[1], flood[2], flood[3], flood[4]]


def test_a_costly_request_takes_as_many_turns() -> None:
    big = [Entry("big", cost=3, name=f"b{at}") for at in range(2)]
    small = [Entry("small", name=f"s{at}") for at in range(6)]
    served = [entry.share for entry in drained(queue_of(*big, *small), 0.01)]
    assert served == ["small", "small", "big", "small", "small", "small", "big", "small"]


def test_nobody_is_kept_waiting_for_nobody() -> None:
    entries = [Entry("big", cost=8) for _ in range(3)]
    assert drained(queue_of(*entries), 0.0) == entries


@given(
    st.lists(
        st.one_of(st.tuples(st.just("push"), st.integers(0, 4)), st.tuples(st.just("pop"), st.just(0))), max_size=200
    )
)
def test_while_a_tenant_waits_no_other_is_served_twice(steps: list[tuple[str, int]]) -> None:
    """First in, first out: between two turns of one that always waits, any other has at most one."""
    queue = queue_of(most=1000)
    waiting: Counter[int] = Counter()
    since_turn: dict[int, Counter[int]] = {}  # of each tenant that waits: who was served since its last turn
    for step, share in steps:
        if step == "push":
            queue.push(Entry(share), 0.0)
            if not waiting[share]:
                since_turn[share] = Counter()
            waiting[share] += 1
        elif (entry := queue.pop(0.0)) is not None:
            served = entry.share
            waiting[served] -= 1
            for tenant, counts in since_turn.items():
                if tenant != served:
                    counts[served] += 1
                    assert counts[served] <= 1, f"{served} went twice while {tenant} waited"
            if waiting[served]:
                since_turn[served] = Counter()
            else:
                del since_turn[served]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8)), min_size=1, max_size=60), st.booleans())
def test_turns_are_fair_in_what_they_cost(pushes: list[tuple[int, int]], newest_first: bool) -> None:
    """While two tenants both wait, what one was served exceeds the other's by no more than the largest costs."""
    shares: Shares[Entry] = Shares()
    for share, cost in pushes:
        shares.push(Entry(share, cost=cost))
    left = Counter(share for share, _ in pushes)
    served: Counter[Hashable] = Counter()
    while len(shares) and shares.tenants > 1:
        entry = shares.pop(newest_first)
        served[entry.share] += entry.cost
        left[entry.share] -= 1  # type: ignore[index]
        both = [share for share in left if left[share]]
        assert max((served[x] for x in both), default=0) - min((served[x] for x in both), default=0) <= 16


def test_a_backlog_gets_no_second_turn_before_all_others_also_when_the_newest_are_first() -> None:
    queue = queue_of(*[Entry("flood", since=0.0) for _ in range(6)], *[Entry(at, since=0.01) for at in range(4)])
    now = overloaded(queue, 0.25)
    order = [entry.share for entry in drained(queue, now)]
    assert order[:5] == [3, 2, 1, 0, "flood"]


# -- bounds --


def test_a_full_line_refuses() -> None:
    queue = queue_of(Entry(1), Entry(2), most=2)
    assert queue.judge(Entry(3), 0.0, None) is Refusal.FULL
    assert len(queue) == 2


def test_without_room_at_all_nobody_waits() -> None:
    assert queue_of(most=0).judge(Entry(), 0.0, None) is Refusal.FULL


def test_in_a_full_line_the_longest_tenant_makes_room_for_a_shorter_one() -> None:
    flood = [Entry("flood", name=str(at)) for at in range(3)]
    queue = queue_of(*flood, most=3)
    few = Entry("few")
    assert queue.judge(few, 0.0, None) is None
    assert queue.push(few, 0.0) == [flood[2]]  # it has waited least
    assert (len(queue), queue.judge(Entry("flood"), 0.0, None)) == (3, Refusal.FULL)
    assert queue.judge(Entry("few"), 0.0, None) is Refusal.FULL  # two and one: it would be the same the other way round
    third = Entry("third")
    assert queue.push(third, 0.0) == [flood[1]]
    assert drained(queue, 0.0) == [flood[0], few, third]


def test_a_lower_bound_sends_nobody_away_but_one_for_each_who_comes() -> None:
    queue = queue_of(*[Entry("a", rank=BACKGROUND, since=at) for at in (0.0, 1.0, 2.0, 3.0)])
    queue.max_waiting = 2
    comes = Entry("b", since=4.0)
    assert queue.judge(comes, 4.0, None) is None
    assert len(queue.push(comes, 4.0)) == 1
    assert len(queue) == 4


def test_in_a_full_line_the_worst_class_makes_room() -> None:
    entries = [Entry(rank=NORMAL), Entry(rank=BACKGROUND, name="1"), Entry(rank=BACKGROUND, name="2")]
    queue = queue_of(*entries, most=3)
    assert queue.push(Entry(rank=CRITICAL), 0.0) == [entries[2]]
    assert queue.judge(Entry(rank=BACKGROUND), 0.0, None) is Refusal.FULL
    assert queue.push(Entry(rank=CRITICAL), 0.0) == [entries[1]]
    assert queue.push(Entry(rank=CRITICAL), 0.0) == [entries[0]]
    assert queue.judge(Entry(rank=NORMAL), 0.0, None) is Refusal.FULL


def test_content_has_a_bound_of_its_own() -> None:
    queue = queue_of(Entry(size_bytes=60), Entry(rank=BACKGROUND, size_bytes=30), most_bytes=100)
    assert queue.judge(Entry("b", size_bytes=20), 0.0, None) is None  # the one in the background would leave
    assert queue.judge(Entry("b", size_bytes=41), 0.0, None) is Refusal.FULL
    assert queue.judge(Entry("b", rank=BACKGROUND, size_bytes=20), 0.0, None) is Refusal.FULL
    assert [entry.rank for entry in queue.push(Entry("b", size_bytes=20), 0.0)] == [BACKGROUND]
    assert queue.size_bytes == 80


def test_those_whose_time_is_over_are_given_back() -> None:
    entries = [Entry(expires_at=at) for at in (2.0, 1.0, 3.0)]
    queue = queue_of(*entries)
    assert queue.expired(0.5) == []
    assert queue.expired(2.0) == [entries[1], entries[0]]
    assert list(queue) == [entries[2]]


def test_who_left_is_not_there_and_not_given_back() -> None:
    entry = Entry(expires_at=1.0)
    queue = queue_of(entry)
    assert queue.remove(entry)
    assert not queue.remove(entry)
    assert (queue.pop(0.0), queue.expired(2.0), len(queue)) == (None, [], 0)


def test_memory_does_not_grow_with_those_who_have_left() -> None:
    queue = queue_of()
    for at in range(10_000):
        queue.push(Entry(expires_at=1e9), float(at))
        queue.pop(float(at))
    assert len(queue._ends) < 200


def test_those_who_stay_end_in_time_however_many_have_left() -> None:
    ends = [float(number * 37 % 60) for number in range(60)]
    queue = queue_of()
    for number, end in enumerate(ends):
        queue.push(Entry(expires_at=end, name=str(end)), 0.0)
        for leaving in range(20):
            leaver = Entry(expires_at=float((number + 7 * leaving) % 60))
            queue.push(leaver, 0.0)
            queue.remove(leaver)
    assert len(queue._ends) < 400
    for end in sorted(ends):
        assert [entry.name for entry in queue.expired(end)] == [str(end)]


# -- no chance --


@pytest.mark.parametrize(
    ("waiting", "drain_per_s", "left_s", "refused"),
    [(10, 10.0, 2.0, False), (10, 10.0, 0.9, True), (10, None, 0.001, False), (0, 0.001, 0.1, False)],
    ids=["in time", "too late", "nothing is known", "nobody is ahead"],
)
def test_who_would_be_too_late_is_refused_at_once(
    waiting: int, drain_per_s: float | None, left_s: float, refused: bool
) -> None:
    queue = queue_of(*[Entry(since=0.0) for _ in range(waiting)])
    verdict = queue.judge(Entry(expires_at=0.01 + left_s), 0.01, drain_per_s)
    assert verdict is (Refusal.NO_CHANCE if refused else None)


def test_the_wait_is_that_of_the_class_and_of_the_turns() -> None:
    queue = queue_of(*[Entry("flood", since=0.0) for _ in range(50)], Entry(rank=CRITICAL))
    assert queue.ahead_of(Entry("flood")) == 51
    assert queue.ahead_of(Entry("few")) == 2  # the critical one, and one turn of the flood
    assert queue.ahead_of(Entry(rank=CRITICAL, share="x")) == 1
    assert queue.ahead_of(Entry(rank=BACKGROUND)) == 51
    overloaded(queue, 0.25)
    assert queue.ahead_of(Entry("few")) == 1  # only the critical one: the newest are first


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(0, 5), st.integers(0, 2))
def test_how_many_are_ahead_is_how_many_are_served_before(shares: list[int], share: int, rank: int) -> None:
    queue = queue_of(*[Entry(other, rank=other % 3) for other in shares])
    entry = Entry(share, rank=rank)
    ahead = queue.ahead_of(entry)
    queue.push(entry, 0.0)
    order = drained(queue, 0.0)
    # never told too few by more than what the turns under way take: told too many only where lines are uneven
    assert order.index(entry) <= ahead <= len(shares)


# -- how fast --


def test_littles_law_gives_the_time_that_a_slot_is_held() -> None:
    flow = Flow(0.0)
    for tick in range(1, 200):  # 8 in use all the time, 160 begin in a second
        flow.sample(8, tick * 8, tick * 0.05)
    assert flow.mean_s == pytest.approx(0.05, rel=0.02)
    assert flow.per_second == pytest.approx(160.0, rel=0.05)


def test_nothing_is_concluded_from_nothing() -> None:
    flow = Flow(0.0)
    assert (flow.mean_s, flow.per_second) == (None, 0.0)
    flow.sample(3, 0, 1.0)
    assert flow.mean_s is None  # three are at work, and none has come since


def test_a_backend_that_is_quick_again_is_seen_to_be_so_at_once() -> None:
    flow = Flow(0.0)
    for tick in range(1, 200):
        flow.sample(8, tick, tick * 0.05)  # 20 a second
    now, begun = 199 * 0.05, 199
    for _ in range(10):
        now, begun = now + 0.05, begun + 100
        flow.sample(8, begun, now)
    mean_s = flow.mean_s
    assert mean_s is not None
    assert mean_s < 0.03  # 4 ms is the new truth, 400 ms was the old one


def test_what_was_long_ago_is_forgotten() -> None:
    flow = Flow(0.0)
    for tick in range(1, 21):
        flow.sample(8, tick * 8, tick * 0.05)
    flow.sample(0, 160, 60.0)
    assert flow.mean_s is None


@pytest.mark.parametrize(
    ("waiting", "drain_per_s", "seconds"),
    [(10, None, 1.0), (50, 100.0, 1.0), (50, 10.0, 5.0), (129, 1.0, MAX_RETRY_AFTER_S), (5, 0.0, MAX_RETRY_AFTER_S)],
    ids=["nothing known", "fast", "slow", "never more than half a minute", "at a standstill"],
)
def test_retry_after_says_when_the_line_will_be_served(waiting: int, drain_per_s: float | None, seconds: float) -> None:
    assert retry_after_s(waiting, drain_per_s) == seconds


def test_the_longest_line_is_known_at_all_times() -> None:
    shares: Shares[Any] = Shares()
    entries = [Entry(share) for share in "aabbbbcaab"]
    for entry in entries:
        shares.push(entry)
    for entry in entries[::-1]:
        lengths = Counter(other.share for other in shares)
        assert shares.longest == max(lengths.values())
        assert lengths[shares.last_of_the_longest(False).share] == shares.longest
        shares.remove(entry)
    assert shares.longest == 0
