"""The budget holds whatever comes, and what is used stays."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cache.entry import Entry
from proxy.cache.memory_store import MAX_VARIANTS, MemoryStore
from proxy.cache.stats import CacheStats

BUDGET = 256 * 1024


def make_store(budget: int = BUDGET) -> MemoryStore:
    return MemoryStore(budget, CacheStats())


def check(store: MemoryStore) -> None:
    """What the store says of itself is what is in it."""
    entries = [entry for shelf in store.shelves.values() for entry in shelf]
    assert all(store.shelves.values())
    assert len(entries) == len(store)
    assert sum(entry.size_bytes for entry in entries) == store.stored_bytes
    assert store.used_bytes <= store.budget_bytes


def key(number: int) -> bytes:
    return b"http://example.com/%d" % number


def test_what_is_put_is_there(kit: Any) -> None:
    store = make_store()
    entry = kit.entry()
    assert store.put(entry, {})
    assert store.shelves[entry.key] == [entry]
    check(store)


def test_a_flood_never_takes_more_than_the_budget(kit: Any) -> None:
    store = make_store()
    for number in range(2000):
        assert store.put(kit.entry(key=key(number), body=b"x" * (number % 5000)), {})
        assert store.used_bytes <= BUDGET
    check(store)
    assert store.stats.evicted == 2000 - len(store)
    assert store.stored_bytes > BUDGET * 0.9


def test_the_budget_is_what_the_process_really_takes(kit: Any) -> None:
    fields = {"Cache-Control": "max-age=60", "Vary": "Accept", "ETag": '"a"', "X-A": "b" * 40, "X-C": "d"}
    store = make_store(64 * 1024 * 1024)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(2000):
        # a name, a value and a body of its own for every entry, as the wire makes them
        lines = {bytes(bytearray(name, "ascii")).decode(): value.encode() for name, value in fields.items()}
        entry = kit.entry(lines, key=key(number), body=bytes(bytearray(100)), request={"Accept": f"text/{number}"})
        entry.block(3)
        entry.block_304(3)
        store.put(entry, {b"accept": b"text/%d" % number})
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken <= store.stored_bytes
    assert taken >= store.stored_bytes * 0.5


def test_a_new_response_replaces_only_the_variant_that_its_request_selects(kit: Any) -> None:
    store = make_store()
    fields = {"Cache-Control": "max-age=60", "Vary": "Accept"}
    html = kit.entry(fields, request={"Accept": "text/html"})
    json = kit.entry(fields, request={"Accept": "application/json"})
    newer = kit.entry(fields, request={"Accept": "text/html"})
    store.put(html, {b"accept": b"text/html"})
    store.put(json, {b"accept": b"application/json"})
    store.put(newer, {b"accept": b"text/html"})
    assert store.shelves[html.key] == [newer, json]
    check(store)


def test_variants_of_one_key_are_bounded_and_the_oldest_goes(kit: Any) -> None:
    store = make_store()
    for number in range(MAX_VARIANTS + 5):
        agent = f"agent {number}"
        entry = kit.entry({"Cache-Control": "max-age=60", "Vary": "User-Agent"}, request={"User-Agent": agent})
        store.put(entry, {b"user-agent": agent.encode()})
    (shelf,) = store.shelves.values()
    assert [entry.selection for entry in shelf] == [
        (b"agent %d" % number,) for number in range(MAX_VARIANTS + 4, 4, -1)
    ]
    check(store)


def test_removing_twice_is_harmless(kit: Any) -> None:
    store = make_store()
    entry = kit.entry()
    store.put(entry, {})
    store.remove(entry)
    store.remove(entry)
    store.remove_key(entry.key)
    assert (len(store), store.used_bytes, store.shelves) == (0, 0, {})


def test_an_entry_that_was_used_outlives_a_scan(kit: Any) -> None:
    store = make_store()
    popular = [kit.entry(key=b"http://example.com/popular/%d" % number) for number in range(5)]
    for entry in popular:
        store.put(entry, {})
    for number in range(5000):
        for entry in popular:
            entry.uses += 1
        store.put(kit.entry(key=key(number)), {})
    assert all(entry.key in store.shelves for entry in popular)
    check(store)


def flood(store: MemoryStore, kit: Any, numbers: range, popular: list[Entry]) -> None:
    """Entries that are used twice and never again: they reach the main queue and go from there."""
    for number in numbers:
        for entry in popular:
            entry.uses += 1
        entry = kit.entry(key=key(number))
        store.put(entry, {})
        entry.uses += 2


def test_an_entry_that_is_in_use_outlives_those_that_were_used_once(kit: Any) -> None:
    store = make_store()
    popular = kit.entry(key=b"http://example.com/popular")
    store.put(popular, {})
    flood(store, kit, range(3000), [popular])
    assert popular.key in store.shelves
    check(store)


def test_an_entry_that_is_used_no_more_goes_in_the_end(kit: Any) -> None:
    store = make_store()
    once_popular = kit.entry(key=b"http://example.com/popular")
    store.put(once_popular, {})
    flood(store, kit, range(1000), [once_popular])
    once_popular.uses = 10**6
    flood(store, kit, range(1000, 3000), [])
    assert once_popular.key not in store.shelves
    check(store)


def test_what_comes_back_soon_after_it_went_is_taken_as_proven(kit: Any) -> None:
    store = make_store()
    store.put(kit.entry(key=b"http://example.com/back"), {})
    number = 0
    while b"http://example.com/back" in store.shelves:
        store.put(kit.entry(key=key(number)), {})
        number += 1
    store.put(kit.entry(key=b"http://example.com/back"), {})
    for more in range(300):  # enough to push it out of the small queue again
        store.put(kit.entry(key=key(number + more)), {})
    assert b"http://example.com/back" in store.shelves


def test_what_is_larger_than_the_budget_evicts_nothing(kit: Any) -> None:
    store = make_store()
    small = kit.entry()
    store.put(small, {})
    assert not store.put(kit.entry(key=key(1), body=b"x" * BUDGET), {})
    assert store.shelves == {small.key: [small]}


def test_content_on_its_way_counts_and_makes_room(kit: Any) -> None:
    store = make_store()
    for number in range(200):
        store.put(kit.entry(key=key(number), body=b"x" * 1000), {})
    assert store.reserve(BUDGET // 2)
    check(store)
    assert store.stored_bytes <= BUDGET // 2
    assert not store.reserve(BUDGET // 2 + 1)
    assert not store.put(kit.entry(key=key(1), body=b"x" * (BUDGET // 2)), {})
    store.unreserve(BUDGET // 2)
    assert store.reserve(BUDGET)
    check(store)
    assert len(store) == 0


def test_a_smaller_budget_applies_at_once(kit: Any) -> None:
    store = make_store()
    for number in range(50):
        store.put(kit.entry(key=key(number), body=b"x" * 1000), {})
    store.resize(20_000)
    check(store)
    assert 0 < len(store) < 10


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "use", "remove", "reserve", "unreserve"]), st.integers(0, 9),
              st.integers(0, 6000)),
    max_size=60,
)  # fmt: skip


@settings(max_examples=60)
@given(STEPS)
def test_the_books_balance_after_any_steps(steps: list[Step]) -> None:
    store = make_store(20_000)
    reserved: list[int] = []
    for step, number, size in steps:
        if step == "put":
            entry = Entry(key(number), 200, b"OK", []).filled(b"x" * size)
            assert store.put(entry, {}) == (entry in store.shelves.get(entry.key, []))
        elif step == "use":
            for entry in store.shelves.get(key(number), []):
                entry.uses += size
        elif step == "remove":
            store.remove_key(key(number))
        elif step == "reserve" and store.reserve(size):
            reserved.append(size)
        elif step == "unreserve" and reserved:
            store.unreserve(reserved.pop())
        check(store)
        assert store.used_bytes - store.stored_bytes == sum(reserved)
