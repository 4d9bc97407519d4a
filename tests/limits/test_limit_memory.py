"""Memory is bounded, and neither a flood of keys nor the bound gives anybody a quota back."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
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


def in_flight(name: str = "per-tenant", **settings: Any) -> LimitPolicy:
    model = LimitSettings.model_validate({"algorithm": "inflight", "limit": 5, "lease": "30s", **settings})
    return compile_limit(name, model, "test.yaml:1")


def ask(store: MemoryStore, limit: LimitPolicy, who: str, now: float = 1000.0) -> Verdict:
    return store.decide((limit,), (limit.prefix + who.encode(),), now)


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log"])
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


def test_a_correction_finds_the_entry_that_newcomers_share() -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(rate="1/h")
    for i in range(MAX_KEYS):
        ask(store, limit, f"first {i}")
    assert not ask(store, limit, "newcomer").denied
    assert ask(store, limit, "newcomer").denied
    assert store.peek(limit, limit.prefix + b"newcomer", 1000.0).denied
    store.adjust(limit, limit.prefix + b"newcomer", -1, 1000.0, 1000.0)
    assert not store.peek(limit, limit.prefix + b"newcomer", 1000.0).denied
    assert not ask(store, limit, "newcomer").denied
    store.adjust(limit, limit.prefix + b"another", 1, 1000.0, 1000.0)
    assert ask(store, limit, "another").denied
    assert len(store) <= MAX_KEYS + 1024


def test_a_lease_is_found_again_where_newcomers_share_an_entry() -> None:
    store, limit, held = MemoryStore(MAX_KEYS), policy(rate="1/h"), in_flight(limit=1)
    for i in range(MAX_KEYS):
        ask(store, limit, f"first {i}")
    key = held.prefix + b"newcomer"
    assert not store.decide((held,), [key], 1000.0, b"r1").denied
    assert store.decide((held,), [key], 1000.0, b"r2").denied
    store.renew(held, key, b"r1", 1020.0)
    assert store.decide((held,), [key], 1040.0, b"r2").denied
    store.release(held, key, b"r1")
    assert not store.decide((held,), [key], 1040.0, b"r2").denied


def test_a_key_that_was_reset_is_dropped_when_it_is_looked_at() -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(rate="1/h")
    for i in range(MAX_KEYS):
        ask(store, limit, f"{i}")
        store.reset(limit, limit.prefix + b"%d" % i)
    for i in range(MAX_KEYS):
        assert not ask(store, limit, f"new {i}").denied
    assert store.stats.evictions == store.stats.overflows == 0
    assert len(store) <= MAX_KEYS


def test_an_exhausted_key_that_was_reset_in_full_memory_passes_again() -> None:
    store, limit = MemoryStore(MAX_KEYS), policy(rate="1/h")
    for i in range(MAX_KEYS):
        ask(store, limit, f"{i}")
    store.reset(limit, limit.prefix + b"7")
    assert not ask(store, limit, "7").denied
    assert ask(store, limit, "8").denied
    assert store.stats.overflows == 0


def test_calendar_windows_end_by_the_wall_clock_whatever_the_monotonic_one_shows() -> None:
    midnight = datetime(2025, 5, 6, tzinfo=UTC).timestamp()
    set_back_s = 0.0
    store = MemoryStore(MAX_KEYS, wall_of=lambda now: now - 5000.0 + midnight - 100.0 - set_back_s)
    limit = policy(rate="2/d", algorithm="fixed", time_zone="UTC")
    told = [ask(store, limit, "a", now) for now in (5000.0, 5050.0, 5099.0, 5100.0)]
    assert [verdict.denied for verdict in told] == [False, False, True, False]
    assert [verdict.reset_s for verdict in told] == pytest.approx([100.0, 50.0, 1.0, 86400.0])
    set_back_s = 3600.0  # the clock is set: windows that open a minute later go by it
    assert ask(store, limit, "b", 5130.0).reset_s == pytest.approx(86400.0 - 30.0)
    assert ask(store, limit, "c", 5170.0).reset_s == pytest.approx(3600.0 - 70.0)


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log"])
def test_a_flood_of_keys_takes_no_more_than_64_mb_with_the_default_bound(algorithm: str) -> None:
    store, limit = MemoryStore(LimiterSettings().max_keys), policy(rate="100/h", algorithm=algorithm)
    tracemalloc.start()
    try:
        for i in range(LimiterSettings().max_keys + 5000):  # beyond it, keys come and go
            store.decide((limit,), [limit.prefix + b"%d.%d.%d.%d" % (10, i >> 16, i >> 8 & 255, i & 255)], 1000.0)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store) == LimiterSettings().max_keys
    assert peak_bytes < 64_000_000


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
    limits = [policy(f"p{i}", rate="2/s", algorithm=("gcra", "fixed", "sliding", "log")[i % 4]) for i in range(24)]
    limits += [in_flight(f"p{i}", limit=2, lease="2s") for i in range(24, 26)]
    now = 1000.0
    for chosen, gap in requests:
        now += gap * 0.1
        policies = tuple([limits[i] for i in chosen])
        store.decide(policies, [limit.prefix for limit in policies], now, b"r%d" % gap)
        limit = policies[0]
        if gap == 1:
            store.adjust(limit, limit.prefix, -1, now, now)
        elif gap == 2:
            store.adjust(limits[25 - chosen[0]], limits[25 - chosen[0]].prefix, 2, now, now)
        elif gap == 3:
            store.reset(limit, limit.prefix)
        elif gap == 4 and limit.is_held:
            store.release(limit, limit.prefix, b"r4")
        elif gap == 5 and limit.is_held:
            store.renew(limit, limit.prefix, b"r1", now)
        assert sorted(key for key, _ in store._ring) == sorted(key for key in store._entries if b"shared" not in key)
        assert len(store._ring) <= 6 + 2  # a request of three limits may find room for one and add three
