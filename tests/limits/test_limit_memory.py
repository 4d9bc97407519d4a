"""Memory is bounded, and neither a flood of keys nor the bound gives anybody a quota back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.verdict import Verdict

MAX_KEYS = 1000


def policy(name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "5/h", "by": "ip", **settings}), "test.yaml:1")


def ask(store: MemoryStore, limit: LimitPolicy, who: str, now: float = 1000.0) -> Verdict:
    return store.decide((limit,), (limit.prefix + who.encode(),), 1, now)


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding"])
def test_a_flood_of_keys_stays_bounded_and_refills_no_exhausted_key(algorithm: str) -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(algorithm=algorithm)
    exhausted = [f"victim {i}" for i in range(300)]
    for who in exhausted:
        for _ in range(5):
            assert not ask(store, limit, who).denied
    for i in range(20 * MAX_KEYS):
        ask(store, limit, f"flood {i}", 1000.0 + i * 1e-3)
    assert len(store) <= MAX_KEYS + 1024
    assert store.stats.evictions > 0
    assert all(ask(store, limit, who, 1021.0).denied for who in exhausted)


def test_when_every_key_is_exhausted_newcomers_share_entries_and_are_still_limited() -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(rate="1/h")
    for i in range(MAX_KEYS):
        assert not ask(store, limit, f"first {i}").denied
    admitted = sum([not ask(store, limit, f"flood {i}").denied for i in range(50 * MAX_KEYS)])
    assert admitted <= 1024
    assert len(store) <= MAX_KEYS + 1024
    assert store.stats.evictions == 0
    assert store.stats.overflows == 50 * MAX_KEYS
    assert all(ask(store, limit, f"first {i}").denied for i in range(MAX_KEYS))


def test_among_keys_with_something_left_the_least_spent_goes() -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(algorithm="fixed")
    for i in range(MAX_KEYS):
        for _ in range(4 if i % 4 else 1):  # three of four are one request away from exhausted
            ask(store, limit, f"{i}")
    for i in range(MAX_KEYS // 8):
        ask(store, limit, f"new {i}")
    assert all(ask(store, limit, f"{i}").remaining == 0 for i in range(MAX_KEYS) if i % 4)


def test_keys_that_are_full_again_go_first_and_cost_nobody_anything() -> None:
    store = MemoryStore(MAX_KEYS)
    short, long = policy("short", rate="5/s"), policy("long", rate="5/d")
    for i in range(MAX_KEYS // 2):
        ask(store, long, f"{i}")
        ask(store, short, f"{i}")
    for i in range(MAX_KEYS // 2):
        ask(store, long, f"new {i}", 1010.0)
    assert store.stats.evictions == 0
    assert all(ask(store, long, f"{i}", 1010.0).remaining == 3 for i in range(MAX_KEYS // 2))


def test_memory_shrinks_as_new_keys_come_although_nothing_ever_sweeps_it_whole() -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(rate="5/s")
    for i in range(MAX_KEYS):
        ask(store, limit, f"old {i}")
    for i in range(2 * MAX_KEYS):
        ask(store, limit, f"new {i}", 1010.0 + i)
    assert len(store) < 10


def test_a_smaller_bound_after_a_reload_holds_for_new_keys() -> None:
    store, limit = MemoryStore(5 * MAX_KEYS), policy()
    for i in range(3 * MAX_KEYS):
        ask(store, limit, f"{i}")
    store.apply(LimiterSettings.model_validate({"max_keys": MAX_KEYS}))
    for i in range(MAX_KEYS):
        ask(store, limit, f"new {i}")
    assert len(store) <= 3 * MAX_KEYS


def test_peeking_charges_nothing_and_says_what_a_request_would_find() -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(rate="2/h")
    key = limit.prefix + b"a"
    seen = []
    for _ in range(3):
        verdict = store.peek(limit, key, 1000.0)
        seen.append((verdict.denied, verdict.remaining))
        assert store.peek(limit, key, 1000.0).remaining == verdict.remaining
        ask(store, limit, "a")
    assert seen == [(False, 2), (False, 1), (True, 0)]
    assert len(store) == 1


def test_its_status_is_always_fine() -> None:
    assert MemoryStore(MAX_KEYS).status() == {"mode": "local", "latency_s": 0.0, "error": None, "keys": 0}


@given(
    requests=st.lists(
        st.tuples(st.lists(st.integers(0, 25), min_size=1, max_size=3, unique=True), st.integers(0, 5)),
        max_size=150,
    )
)
def test_however_keys_come_and_go_the_ring_and_the_entries_hold_the_same_keys(
    requests: list[tuple[list[int], int]],
) -> None:
    """With so small a bound nearly every request evicts, also keys of requests that are being decided."""
    store = MemoryStore(6)
    limits = [policy(f"p{i}", rate="2/s", algorithm=("gcra", "fixed", "sliding")[i % 3]) for i in range(26)]
    now = 1000.0
    for chosen, gap in requests:
        now += gap * 0.1
        policies = tuple([limits[i] for i in chosen])
        store.decide(policies, [limit.prefix for limit in policies], 1, now)
        assert sorted(key for key, _ in store._ring) == sorted(key for key in store._entries if b"shared" not in key)
        assert len(store._ring) <= 6 + 2  # a request of three limits may find room for one and add three
