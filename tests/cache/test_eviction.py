"""S3-FIFO against LRU on the same requests, and the budget under everything at once."""

from __future__ import annotations

import gc
import random
import tracemalloc
from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import pytest

from proxy.cache.entry import Entry
from proxy.cache.memory_store import MemoryStore
from proxy.cache.purges.purge import Purge
from proxy.cache.stats import CacheStats
from proxy.cache.tags import MAX_TAGS, UNKNOWN

OBJECTS = 20_000


def key(number: int) -> bytes:
    return b"http://example.com/%d" % number


def size_of(number: int) -> int:
    """Between 1 and 16 KiB, always the same for the same object."""
    return 1024 << (number * 2654435761 % 5)


def zipf(alpha: float, requests: int, seed: int, scans: bool) -> Iterator[int]:
    """Object numbers by popularity; with `scans`, now and then a run of objects that nobody asks for again."""
    draw = random.Random(seed)
    weights = list(accumulate(1 / (rank + 1) ** alpha for rank in range(OBJECTS)))
    places = list(range(OBJECTS))
    draw.shuffle(places)
    fresh = OBJECTS
    for number in range(requests):
        yield places[bisect(weights, draw.random() * weights[-1])]
        if scans and number % 5000 == 4999:
            yield from range(fresh, fresh + 1500)
            fresh += 1500


def hits_of_ours(trace: Iterator[int], budget: int) -> tuple[int, int]:
    store = MemoryStore(budget, CacheStats())
    hits = asked = 0
    for number in trace:
        asked += 1
        name = key(number)
        if (shelf := store.shelves.get(name)) is not None:
            shelf[0].uses += 1
            hits += 1
            continue
        entry = Entry(name, 200, b"OK", [])
        entry.size_bytes = size_of(number)
        assert store.put(entry, {})
        assert store.used_bytes <= budget
    return hits, asked


def hits_of_lru(trace: Iterator[int], budget: int) -> tuple[int, int]:
    kept: OrderedDict[int, int] = OrderedDict()
    hits = asked = used = 0
    for number in trace:
        asked += 1
        if number in kept:
            kept.move_to_end(number)
            hits += 1
            continue
        kept[number] = size = size_of(number)
        used += size
        while used > budget:
            used -= kept.popitem(last=False)[1]
    return hits, asked


@pytest.mark.parametrize("scans", [False, True], ids=["requests alone", "with scans"])
@pytest.mark.parametrize(("alpha", "budget"), [(0.8, 8 << 20), (1.0, 4 << 20), (1.0, 16 << 20)])
def test_more_is_found_than_with_lru(alpha: float, budget: int, scans: bool) -> None:
    def trace() -> Iterator[int]:
        return zipf(alpha, 40_000, 7, scans)

    ours, asked = hits_of_ours(trace(), budget)
    theirs, _ = hits_of_lru(trace(), budget)
    assert ours > theirs * (1.05 if scans else 1.01), f"{ours / asked:.3f} against {theirs / asked:.3f} of LRU"


def test_a_refreshed_response_keeps_its_place(kit: Any) -> None:
    store = MemoryStore(256 * 1024, CacheStats())
    popular = kit.entry(key=b"http://example.com/popular")
    store.put(popular, {})
    number = 0
    while not store.is_proven(popular):
        popular.uses += 1
        store.put(kit.entry(key=key(number)), {})
        number += 1
    newer = kit.entry(key=popular.key)
    store.put(newer, {})
    assert store.is_proven(newer)
    assert newer.uses == popular.uses
    for more in range(300):
        store.put(kit.entry(key=key(number + more)), {})
    assert store.shelves[newer.key] == [newer]


def test_what_was_popular_before_a_refresh_still_goes_in_the_end(kit: Any) -> None:
    store = MemoryStore(128 * 1024, CacheStats())
    entry = kit.entry(key=b"http://example.com/popular")
    store.put(entry, {})
    entry.uses = 10**6
    store.put(kit.entry(key=entry.key), {})
    for number in range(2000):
        other = kit.entry(key=key(number))
        store.put(other, {})
        other.uses += 2
    assert entry.key not in store.shelves


def test_tags_count_towards_the_budget(kit: Any) -> None:
    budget = 256 * 1024
    store = MemoryStore(budget, CacheStats())
    for number in range(2000):
        tags = tuple(b"tag-%d-%d" % (number, other) for other in range(number % 30))
        assert store.put(kit.entry(key=key(number)), {}, tags)
        assert store.used_bytes <= budget
    assert 0 < store.tags_bytes < budget
    for name in list(store.shelves):
        store.remove_key(name)
    assert (store.used_bytes, store.tags, len(store)) == (0, 0, 0)


@pytest.mark.parametrize("is_shared", [False, True], ids=["each its own tags", "the same tags"])
def test_what_tags_really_take_is_counted(kit: Any, is_shared: bool) -> None:
    store = MemoryStore(256 << 20, CacheStats())
    entries = [kit.entry(key=key(number)) for number in range(2000)]
    for entry in entries:
        store.put(entry, {})
    before_bytes = store.used_bytes
    for entry in entries:
        store.remove(entry)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number, entry in enumerate(entries):
        owner = 0 if is_shared else number
        store.put(entry, {}, tuple(bytes(bytearray(b"tag-%06d-%02d" % (owner, other))) for other in range(10)))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # the places of the entries themselves are part of what was counted before, with room to spare
    assert taken <= store.used_bytes - before_bytes + 400 * len(entries)


def test_a_tag_that_most_have_left_takes_no_more_room_than_the_rest_needs(kit: Any) -> None:
    store = MemoryStore(64 << 20, CacheStats())
    entries = [kit.entry(key=key(number)) for number in range(5000)]
    for entry in entries:
        store.put(entry, {}, (b"all",))
    for entry in entries[5:]:
        store.remove(entry)
    assert set(store.covered_by(Purge("tag", b"all"))) == set(entries[:5])
    assert store._tagged[b"all"].__sizeof__() < 10_000


def test_an_untagged_response_takes_no_place_in_the_index(kit: Any) -> None:
    store = MemoryStore(1 << 20, CacheStats())
    store.put(kit.entry(), {})
    assert (store.tags, store.tags_bytes, store._tagged) == (0, 0, {})


def test_a_response_with_more_tags_than_are_kept_is_found_by_every_tag(kit: Any) -> None:
    store = MemoryStore(1 << 20, CacheStats())
    plain, odd = kit.entry(key=key(1)), kit.entry(key=key(2))
    store.put(plain, {}, (b"a",))
    store.put(odd, {}, (b"b", UNKNOWN))
    assert store.covered_by(Purge("tag", b"whatever")) == [odd]
    assert set(store.covered_by(Purge("tag", b"a"))) == {plain, odd}


@pytest.mark.parametrize("tags", [0, MAX_TAGS])
async def test_a_flood_of_large_responses_keeps_to_the_budget(
    new_line: Callable[..., Any], kit: Any, tags: int
) -> None:
    """Many fills at once, each with content that only together with the others is too much."""
    budget = 4 << 20
    line = new_line({"ttl": 60.0}, memory=budget, max_entry=1 << 20)
    names = " ".join(f"t{number}" for number in range(tags))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    worst = 0
    for number in range(12):
        open_fills = []
        for other in range(10):
            body = kit.body()
            fields = {"Surrogate-Key": f"{names} own-{number}-{other}"} if tags else None
            line.origin.answers(kit.reply(content=body, fields=fields))
            exchange = line.exchange(f"/{number}/{other}")
            response = await line.answer(exchange)
            sink = kit.collector()
            sink.feed = lambda data: None  # a client that keeps nothing
            response.content.start(sink)
            open_fills.append(body)
        for _ in range(12):
            for body in open_fills:
                body.feed(bytes(64 * 1024))
                assert line.cache.bytes <= budget
            worst = max(worst, tracemalloc.get_traced_memory()[0] - before)
        for body in open_fills:
            body.finish()
            assert line.cache.bytes <= budget
        del open_fills, body, exchange, response, sink
        line.origin.asked.clear()
        gc.collect()  # bodies and their readers refer to each other here
    tracemalloc.stop()
    assert line.cache.stats.stored > 0
    # content is joined when it is whole: for that moment one of at most `max_entry` is there twice
    assert worst < budget + (3 << 20), worst
    assert line.cache.store.reserved_bytes == 0
