"""Group commit: what arrives while a call is in flight goes out together, and what goes out is one plain command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha1
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.group import Question, encode, verdicts
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.redis_store import RedisStore
from proxy.limits.scripts import DECIDE, DECIDE_SHA
from proxy.limits.settings import LimiterSettings, LimitSettings


def policy(name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "1000/h", "by": "ip", **settings}), "test.yaml:1")


@pytest.fixture
async def store(server: Any) -> AsyncIterator[RedisStore]:
    opened = RedisStore(server.url, LimiterSettings.model_validate({"store_timeout": 5.0}), lambda error: None)
    await opened.start()
    yield opened
    await opened.aclose()


async def ask_at_once(store: RedisStore, count: int) -> list[Any]:
    limit = policy()
    waiting = [store.decide((limit,), (limit.prefix + b"a",), 1, monotonic()) for _ in range(count)]
    return [await verdict for verdict in waiting]  # type: ignore[misc]


async def test_requests_of_one_moment_go_out_in_one_call(server: Any, store: RedisStore) -> None:
    before = server.calls("evalsha")
    verdicts_of_all = await ask_at_once(store, 100)
    assert server.calls("evalsha") - before == 1
    assert sorted(verdict.remaining for verdict in verdicts_of_all) == list(range(900, 1000))
    assert (store.stats.calls, store.stats.requests) == (1, 100)


async def test_what_arrives_while_a_call_is_in_flight_goes_out_together_in_the_next(
    server: Any, store: RedisStore
) -> None:
    before = server.calls("evalsha")
    server.stall()
    first = asyncio.ensure_future(ask_at_once(store, 1))
    await asyncio.sleep(0.01)
    later = []
    for _ in range(50):
        later.append(asyncio.ensure_future(ask_at_once(store, 1)))
        await asyncio.sleep(0)
    server.go_on()
    await asyncio.gather(first, *later)
    assert server.calls("evalsha") - before == 2


async def test_a_flood_is_cut_into_calls_of_bounded_size(server: Any, store: RedisStore) -> None:
    before = server.calls("evalsha")
    await ask_at_once(store, 1000)
    assert server.calls("evalsha") - before == 8  # of 128 at most


async def test_a_busy_key_is_read_and_written_once_a_call(server: Any, store: RedisStore) -> None:
    before = server.calls("get"), server.calls("set")
    await ask_at_once(store, 100)
    assert (server.calls("get") - before[0], server.calls("set") - before[1]) == (1, 1)


async def test_refusals_read_and_never_write(server: Any, store: RedisStore) -> None:
    limit = policy(rate="1/h")
    for _ in range(2):
        await store.decide((limit,), (limit.prefix + b"a",), 1, monotonic())  # type: ignore[misc]
    before = server.calls("set")
    for _ in range(10):
        await store.decide((limit,), (limit.prefix + b"a",), 1, monotonic())  # type: ignore[misc]
    assert server.calls("set") == before


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding"])
async def test_every_key_expires_when_it_is_full_again(server: Any, store: RedisStore, algorithm: str) -> None:
    limit = policy(rate="2/10s", algorithm=algorithm)
    verdict = await store.decide((limit,), (limit.prefix + b"a",), 1, monotonic())  # type: ignore[misc]
    left_s = server.admin.pttl(limit.prefix + b"a") / 1000
    assert verdict.reset_s - 1.0 < left_s <= verdict.reset_s + 0.01


def test_a_group_is_one_command_with_every_key_among_the_keys() -> None:
    one, two = policy("one"), policy("two", algorithm="fixed")
    command = encode([Question((one,), (b"k1",), 1), Question((one, two), (b"k1", b"k2"), 3)])
    parts = command.split(b"\r\n")
    assert parts[0] == b"*10"
    assert parts[2::2] == [
        *(b"EVALSHA", DECIDE_SHA, b"3", b"k1", b"k1", b"k2", b"1 1 2 3 "),
        *(b"gcra 3.6 3600.0 3600.028125", b"gcra 3.6 3600.0 3600.028125", b"fixed 1000 3600.0"),
    ]
    assert all(int(length[1:]) == len(part) for length, part in zip(parts[1::2], parts[2::2], strict=False))


def test_the_source_goes_along_only_when_it_was_asked_for() -> None:
    asked = [Question((policy(),), (b"k",), 1)]
    assert DECIDE in encode(asked, with_source=True)
    assert DECIDE not in encode(asked)
    assert sha1(DECIDE).hexdigest().encode() == DECIDE_SHA


def test_a_flat_reply_becomes_a_verdict_for_each_request() -> None:
    one, two = policy("one", rate="10/h"), policy("two", rate="100/h")
    group = [
        Question((one,), (b"a",), 1),
        Question((one, two), (b"a", b"b"), 1),
        Question((one, two), (b"a", b"b"), 1),
        Question((two,), (b"b",), 1),
    ]
    reply = [9, 360_000_000, 0, 8, 1_000_000, 0, 5, 2_000_000, 0, 0, 5_000_000, 5_000_000, 49, 1, 0, 0, 7, -1]
    answers = verdicts(group, reply)
    assert [repr(answer) for answer in answers] == [
        "<Verdict admitted, 9 left by one (shared)>",
        "<Verdict admitted, 5 left by two (shared)>",
        "<Verdict denied for 5.000s by one (shared)>",
        "<Verdict denied for infs by two (shared)>",
    ]
    assert [answer.reset_s for answer in answers] == pytest.approx([360.0, 2.0, 5.0, 7e-6])
