"""The line against an oracle that keeps one list and works everything out anew each time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.upstreams.queue import PRIORITIES, Refusal, WaitQueue
from proxy.upstreams.queue_overload import INTERVAL_S, TARGET_S

RANKS = range(len(PRIORITIES))


class Item:
    def __init__(self, rank: int, share: str, cost: int, size_bytes: int, since: float, expires_at: float) -> None:
        self.rank, self.share, self.cost, self.size_bytes = rank, share, cost, size_bytes
        self.since, self.expires_at = since, expires_at


class Oracle:
    """Says what a line has to do, as slowly as it likes."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most, self.most_bytes = most, most_bytes
        self.items: list[Item] = []  # by arrival
        self.rings: dict[int, list[str]] = {rank: [] for rank in RANKS}  # whose turn comes when
        self.saved: dict[tuple[int, str], int] = {}
        self.looks: dict[int, list[tuple[float, float]]] = {rank: [] for rank in RANKS}

    def of(self, rank: int, share: str | None = None) -> list[Item]:
        return [item for item in self.items if item.rank == rank and share in (None, item.share)]

    def look(self, rank: int, now: float) -> None:
        line = self.of(rank)
        self.looks[rank].append((now, now - line[0].since if line else 0.0))

    def newest_first(self, rank: int) -> bool:
        """All looks of the last half second and more were at a wait above the target."""
        run: list[float] = []
        for at, wait_s in reversed(self.looks[rank]):
            if wait_s < TARGET_S:
                break
            run.append(at)
        return bool(run) and run[0] - run[-1] >= INTERVAL_S

    def leave(self, item: Item) -> None:
        self.items.remove(item)
        if not self.of(item.rank, item.share):
            self.rings[item.rank].remove(item.share)
            self.saved.pop((item.rank, item.share), None)

    def lengths(self, rank: int) -> dict[str, int]:
        return {share: len(self.of(rank, share)) for share in self.rings[rank]}

    def may_displace(self, item: Item) -> list[Item]:
        """Any of these may be the one that makes room."""
        for rank in reversed(RANKS):
            if rank <= item.rank:
                break
            if self.of(rank):
                return self.last_of_longest(rank)
        lengths = self.lengths(item.rank)
        if max(lengths.values(), default=0) > lengths.get(item.share, 0) + 1:
            return self.last_of_longest(item.rank)
        return []

    def last_of_longest(self, rank: int) -> list[Item]:
        lengths = self.lengths(rank)
        longest = [share for share, length in lengths.items() if length == max(lengths.values())]
        return [self.of(rank, share)[0 if self.newest_first(rank) else -1] for share in longest]

    def refuses(self, item: Item) -> bool:
        worse = sum(other.size_bytes for other in self.items if other.rank > item.rank)
        held = sum(other.size_bytes for other in self.items)
        if held - worse + item.size_bytes > self.most_bytes:
            return True
        return len(self.items) >= self.most and not self.may_displace(item)

    def enter(self, item: Item, now: float) -> None:
        if not self.of(item.rank, item.share):
            self.rings[item.rank].append(item.share)
        self.items.append(item)
        self.look(item.rank, now)

    def next(self, now: float) -> Item | None:
        ranks = [item.rank for item in self.items]
        if not ranks:
            return None
        rank = min(ranks)
        self.look(rank, now)
        newest = self.newest_first(rank)
        ring = self.rings[rank]
        while True:
            share = ring[-1 if newest else 0]
            item = self.of(rank, share)[-1 if newest else 0]
            key = (rank, share)
            self.saved[key] = self.saved.get(key, 0) + 1
            alone = len(ring) == 1
            if alone:
                self.saved[key] = item.cost
            ring.remove(share)
            ring.insert(0 if newest else len(ring), share)
            if self.saved[key] >= item.cost:
                self.saved[key] -= item.cost
                self.leave(item)
                self.look(rank, now)
                return item


class QueueMachine(RuleBasedStateMachine):
    @initialize(most=st.integers(0, 7), most_bytes=st.sampled_from([0, 50, 10_000]))
    def build(self, most: int, most_bytes: int) -> None:
        self.now = 100.0
        self.queue: WaitQueue[Item] = WaitQueue(most, most_bytes)
        self.oracle = Oracle(most, most_bytes)

    @rule(
        rank=st.sampled_from(RANKS),
        share=st.sampled_from("abcd"),
        cost=st.sampled_from([1, 1, 1, 2, 5]),
        size_bytes=st.sampled_from([0, 0, 10, 40]),
        patience_s=st.sampled_from([0.05, 0.3, 2.0, 60.0]),
    )
    def somebody_comes(self, rank: int, share: str, cost: int, size_bytes: int, patience_s: float) -> None:
        item = Item(rank, share, cost, size_bytes, self.now, self.now + patience_s)
        refusal = self.queue.judge(item, self.now, None)
        assert (refusal is Refusal.FULL) == self.oracle.refuses(item)
        if refusal is not None:
            return
        displaced = self.queue.push(item, self.now)
        for other in displaced:
            assert other in self.oracle.may_displace(item)
            self.oracle.leave(other)
        if len(displaced) > 1:
            assert all(other.rank > rank for other in displaced)  # only for bytes
        self.oracle.enter(item, self.now)

    @rule()
    def a_slot_is_free(self) -> None:
        assert self.queue.pop(self.now) is self.oracle.next(self.now)

    @rule(place=st.integers(0, 20))
    def a_client_leaves(self, place: int) -> None:
        if self.oracle.items:
            item = self.oracle.items[place % len(self.oracle.items)]
            assert self.queue.remove(item)
            self.oracle.leave(item)

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.25, 0.6]), looks=st.booleans())
    def time_passes(self, seconds: float, looks: bool) -> None:
        self.now += seconds
        late = self.queue.expired(self.now)
        assert set(late) == {item for item in self.oracle.items if item.expires_at <= self.now}
        for item in late:
            self.oracle.leave(item)
        if looks:
            self.queue.observe(self.now)
            for rank in RANKS:
                self.oracle.look(rank, self.now)

    @rule()
    def everybody_is_sent_away(self) -> None:
        assert set(self.queue.clear()) == set(self.oracle.items)
        for item in list(self.oracle.items):
            self.oracle.leave(item)

    @invariant()
    def both_hold_the_same(self) -> None:
        if not hasattr(self, "queue"):
            return
        queue, oracle = self.queue, self.oracle
        assert set(queue) == set(oracle.items)
        assert (len(queue), queue.size_bytes) == (len(oracle.items), sum(item.size_bytes for item in oracle.items))
        assert len(queue) <= oracle.most
        assert queue.size_bytes <= oracle.most_bytes
        for rank in RANKS:
            line = oracle.of(rank)
            assert queue.depth(rank) == len(line)
            assert queue.oldest_since(rank) == (line[0].since if line else None)
            assert queue.is_newest_first(rank) == oracle.newest_first(rank)
        ranks = [item.rank for item in oracle.items]
        assert queue.next_rank[0] == min(ranks, default=len(RANKS))


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
