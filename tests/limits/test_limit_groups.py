"""Group commit: what arrives while a call is in flight goes out together, and what goes out is one plain command."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from hashlib import sha1
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.clock import monotonic, wall
from proxy.core.tasks import Run, start_now
from proxy.limits.algorithms.calendar import Calendar
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import Kind, LimitPolicy, compile_limit
from proxy.limits.scripts import ERRANDS, NEEDS, SINGLE, script, script_argument, source_of
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.group import (
    Asked,
    Question,
    adjusting,
    encode,
    peeking,
    releasing,
    renewing,
    resetting,
    verdicts,
)
from proxy.limits.shared.redis_store import RedisStore


def policy(name: str = "per-ip", **told: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "1000/h", "by": "ip", **told}), "test.yaml:1")


@pytest.fixture
async def store(server: Any) -> AsyncIterator[RedisStore]:
    opened = RedisStore(server.url, LimiterSettings.model_validate({"store_timeout": 5.0}), lambda error: None)
    await opened.start()
    yield opened
    await opened.aclose()


def decisions(server: Any) -> int:
    """Calls of the script, by its source or by its hash."""
    return int(server.calls("eval") + server.calls("evalsha"))


async def ask_at_once(store: RedisStore, count: int) -> list[Any]:
    limit = policy()
    waiting = [store.decide((limit,), (limit.prefix + b"a",), monotonic()) for _ in range(count)]
    return [await verdict for verdict in waiting]  # type: ignore[misc]


async def test_requests_of_one_moment_go_out_in_one_call(server: Any, store: RedisStore) -> None:
    before = decisions(server)
    verdicts_of_all = await ask_at_once(store, 100)
    assert decisions(server) - before == 1
    assert sorted(verdict.remaining for verdict in verdicts_of_all) == list(range(900, 1000))
    assert (store.stats.calls, store.stats.requests) == (1, 100)


async def test_a_request_behind_others_that_came_alone_does_not_wait_for_the_end_of_the_turn(
    server: Any, store: RedisStore
) -> None:
    limit = policy()
    now = monotonic()
    for n in range(4):
        await store.decide((limit,), (limit.prefix + b"a",), now + 0.01 * n)  # type: ignore[misc]
    before = decisions(server)
    asked: Any = store.decide((limit,), (limit.prefix + b"a",), now + 0.05)
    until = monotonic() + 5.0
    while decisions(server) == before and monotonic() < until:  # this turn goes on
        pass
    assert decisions(server) - before == 1
    assert (await asked).remaining == 995


async def test_a_crowd_behind_requests_that_came_alone_goes_out_in_two_calls(server: Any, store: RedisStore) -> None:
    limit = policy()
    now = monotonic()
    for n in range(8):
        await store.decide((limit,), (limit.prefix + b"a",), now + 0.01 * n)  # type: ignore[misc]
    before = decisions(server)
    waiting = [store.decide((limit,), (limit.prefix + b"a",), now + 0.08) for _ in range(100)]
    assert sorted([(await verdict).remaining for verdict in waiting]) == list(range(892, 992))  # type: ignore[misc]
    assert decisions(server) - before == 2


@pytest.mark.parametrize(("size", "calls"), [(1, 4 + 1), (3, 4 + 1), (4, 1 + 1), (6, 1 + 1)])
async def test_what_arrives_behind_a_large_call_or_several_small_ones_goes_out_together(
    server: Any, store: RedisStore, size: int, calls: int
) -> None:
    before = decisions(server)
    server.stall()
    asked = []
    for _ in range(20):
        asked.append(asyncio.ensure_future(ask_at_once(store, size)))
        await asyncio.sleep(0.002)
    server.go_on()
    answers = await asyncio.gather(*asked)
    assert decisions(server) - before == calls
    remaining = sorted(verdict.remaining for each in answers for verdict in each)
    assert remaining == list(range(1000 - 20 * size, 1000))


async def test_a_request_that_goes_on_at_once_may_ask_again_and_send_another_away(
    server: Any, store: RedisStore
) -> None:
    """As exchanges do: they are carried by the answer itself, in the middle of a call's verdicts."""
    limit = policy()
    key = limit.prefix + b"a"
    told: list[int] = []
    runs: list[Run | None] = []

    async def ask_twice(number: int) -> None:
        for _ in range(2):
            verdict: Any = await store.decide((limit,), (key,), monotonic())  # type: ignore[misc]
            told.append(verdict.remaining)
        victim = runs[number + 50]
        if victim is not None:
            victim.cancel()

    async def wait_in_vain() -> None:
        await store.decide((limit,), (key,), monotonic())  # type: ignore[misc]
        await asyncio.get_running_loop().create_future()

    runs += [start_now(ask_twice(number)) for number in range(50)]
    runs += [start_now(wait_in_vain()) for _ in range(50)]
    async with asyncio.timeout(5.0):
        while not all(run is None or run.is_over for run in runs):
            await asyncio.sleep(0.001)
    assert len(told) == len(set(told)) == 100
    assert set(range(950, 1000)) <= set(told), "those of the first call, in their order"
    assert (await store.decide((limit,), (key,), monotonic())).remaining == 849  # type: ignore[misc]


async def test_a_flood_is_cut_into_calls_of_bounded_size(server: Any, store: RedisStore) -> None:
    before = decisions(server)
    await ask_at_once(store, 1000)
    assert decisions(server) - before == 8  # of 128 at most


async def test_a_busy_key_is_read_and_written_once_a_call(server: Any, store: RedisStore) -> None:
    before = server.calls("get"), server.calls("set")
    await ask_at_once(store, 100)
    assert (server.calls("get") - before[0], server.calls("set") - before[1]) == (1, 1)


class Direct:
    """Groups sent as they are, without a store that may know better."""

    def __init__(self, server: Any) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server.path))
        self._lines = self._socket.makefile("rb")

    def ask(self, *group: Asked) -> list[Any]:
        return verdicts(group, self.numbers(*group))

    def numbers(self, *group: Asked) -> list[int]:
        self._socket.sendall(encode(group, set()))
        count = self._lines.readline()
        assert count.startswith(b"*"), count
        reply = [int(self._lines.readline()[1:]) for _ in range(int(count[1:]))]
        assert len(reply) == 3 * sum(len(asked.keys) for asked in group)
        return reply

    def flush(self) -> None:
        self._socket.sendall(b"FLUSHALL\r\n")
        assert self._lines.readline() == b"+OK\r\n"

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def direct(running_servers: Any) -> Iterator[Direct]:
    running_servers["valkey"].admin.flushall()
    opened = Direct(running_servers["valkey"])
    yield opened
    opened.close()


ALGORITHMS = ["gcra", "fixed", "calendar", "sliding", "log", "inflight"]


def any_policy(algorithm: str, name: str = "per-ip", count: int = 1000, **kind: Any) -> LimitPolicy:
    settings: dict[str, Any] = {"algorithm": algorithm, "rate": f"{count}/h"}
    if algorithm == "calendar":
        settings = {"algorithm": "fixed", "rate": f"{count}/month", "time_zone": "Europe/Berlin"}
    elif algorithm == "inflight":
        settings = {"algorithm": "inflight", "limit": count, "lease": "1h"}
    return compile_limit(name, LimitSettings.model_validate(settings), "test.yaml:1", Kind(**kind))


def question(*policies: LimitPolicy, who: bytes = b"a", member: bytes = b"") -> Question:
    return Question(policies, [limit.prefix + who for limit in policies], member)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_refusals_looks_and_needless_corrections_write_nothing(
    running_servers: Any, direct: Direct, algorithm: str
) -> None:
    limit = any_policy(algorithm, count=1)
    direct.ask(question(limit, member=b"r1"))
    server = running_servers["valkey"]
    key = limit.prefix + b"a"

    def writes() -> list[int]:
        return [server.calls(command) for command in ("set", "zadd", "zremrangebyscore", "pexpire")]

    before = writes()
    told = direct.ask(*[question(limit, member=b"r%d" % i) for i in range(2, 12)], peeking(limit, key))
    assert all(verdict.denied for verdict in told)
    if limit.is_held:
        assert direct.ask(renewing(limit, key, b"r2"))[0].denied
    direct.ask(adjusting(limit, limit.prefix + b"nobody", -1, 0.0), releasing(any_policy("inflight"), b"no", b"r"))
    assert writes() == before


def test_everything_in_a_call_happens_in_order(direct: Direct) -> None:
    limit = policy(rate="3/h", algorithm="fixed")
    held = any_policy("inflight", "held", 1)
    key, held_key = limit.prefix + b"a", held.prefix + b"a"
    told = direct.ask(
        peeking(limit, key),
        *[question(limit)] * 4,
        adjusting(limit, key, -2, 0.0),
        question(limit),
        peeking(limit, key),
        question(limit, held, member=b"r1"),
        question(limit, held, member=b"r2"),
        releasing(held, held_key, b"r1"),
        peeking(held, held_key),
        resetting(limit, key),
        question(limit, held, member=b"r2"),
        peeking(limit, key),
        peeking(held, held_key),
        resetting(held, held_key),
        renewing(held, held_key, b"r2"),
        renewing(held, held_key, b"r3"),
    )
    assert [(verdict.denied, verdict.remaining) for verdict in told] == [
        (False, 3),
        *[(False, 2), (False, 1), (False, 0), (True, 0)],
        (False, 2),
        (False, 1),
        (False, 1),
        (False, 0),
        (True, 0),
        (False, 1),
        (False, 1),
        (False, 3),
        (False, 0),
        (False, 2),
        (True, 0),
        (False, 1),
        (False, 0),
        (True, 0),
    ]
    assert told[9].violated == (limit, held)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "adjust", "peek", "reset", "release", "renew"]),
        st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True),
        st.integers(-4, 4),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_one_call_decides_as_memory_does_one_after_the_other(
    direct: Direct, running_servers: Any, operations: list[tuple[str, list[int], int]]
) -> None:
    """Also where limits are in shadow: which refuses, which would have, what remains, and what is charged."""
    running_servers["valkey"].admin.flushall()
    limits = [
        any_policy(algorithm, f"p{i}", count=6, is_enforced=i % 4 != 3)
        for i, algorithm in enumerate([*ALGORITHMS, "fixed", "inflight"])
    ]
    memory = MemoryStore(1000)
    now = monotonic()
    group: list[Asked] = []
    expected: list[Any] = []
    for at, (what, chosen, units) in enumerate(operations):
        limit = limits[chosen[0]]
        key = limit.prefix + b"a"
        member = b"r%d" % at if what == "ask" else b"r%d" % max(at + units, 0)
        if what == "ask":
            policies = tuple([limits[i] for i in chosen])
            group.append(question(*policies, member=member))
            expected.append(memory.decide(policies, group[-1].keys, now, member))
            continue
        if what == "adjust":
            group.append(adjusting(limit, key, units, 0.0))
            memory.adjust(limit, key, units, now, now)
        elif what == "reset":
            group.append(resetting(limit, key))
            memory.reset(limit, key)
        elif what == "release" and limit.is_held:
            group.append(releasing(limit, key, member))
            memory.release(limit, key, member)
        elif what == "renew" and limit.is_held:
            group.append(renewing(limit, key, member))
            memory.renew(limit, key, member, now)
        else:
            group.append(peeking(limit, key))
        expected.append(memory.peek(limit, key, now))
    for asked, verdict, found in zip(group, expected, direct.ask(*group), strict=True):
        if asked.word[:1] not in b"p":  # what is told of an errand is not what a request would find
            assert found.remaining == verdict.remaining
            continue
        assert (found.denied, found.violated, found.would_deny) == (
            verdict.denied,
            verdict.violated,
            verdict.would_deny,
        )
        assert (found.remaining, found.policy) == (verdict.remaining, verdict.policy)
        assert found.reset_s == pytest.approx(verdict.reset_s, abs=300.0)  # of an hour: the clocks differ, and buckets


class AnHour(Calendar):
    """Windows of a thousand seconds, one of which ends three seconds after the test began.

    `skew_s`: how far the clock of whoever asks is ahead.
    """

    __slots__ = ("_began_at", "skew_s")

    def __init__(self, began_at: float) -> None:
        super().__init__("hour", "UTC")
        self._began_at = began_at
        self.skew_s = 0.0

    def ends(self, wall: float) -> tuple[float, ...]:
        wall += self.skew_s
        first = self._began_at + 3.0 + (wall - self._began_at - 3.0) // 1000.0 * 1000.0
        return tuple([first + i * 1000.0 for i in range(4)])


@pytest.mark.parametrize("first_skew_s", [0.0, 5.0, -5.0, 900.0])
def test_whose_clock_is_off_shares_the_window_that_the_server_has_open(direct: Direct, first_skew_s: float) -> None:
    limit = any_policy("calendar", count=10)
    limit.calendar = hour = AnHour(wall())
    told = []
    for skew_s in (first_skew_s, 5.0, -5.0, 0.0):
        hour.skew_s = skew_s
        told += direct.ask(*[question(limit)] * 4)
    assert [verdict.denied for verdict in told] == [False] * 10 + [True] * 6
    assert all(0.0 < verdict.reset_s <= 3.0 for verdict in told)


def test_the_script_is_portable() -> None:
    for word in ("unpack", "maxn", "cjson", "cmsgpack", "struct.", "bit.", "replicate", "goto"):
        assert word not in source_of(2 * ERRANDS - 1)
        assert word not in source_of(SINGLE)


_ASKED_ALONE = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["gcra", "fixed", "calendar", "sliding", "log"]), min_size=1, max_size=4, unique=True),
        st.integers(1, 4),  # cost
        st.sampled_from([3, 5]),  # quota
        st.lists(st.booleans(), min_size=4, max_size=4),  # enforced
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ASKED_ALONE)
def test_a_request_is_told_the_same_alone_and_in_company(direct: Direct, asked: Any) -> None:
    """They are two scripts to the store."""
    direct.flush()
    beside = question(any_policy("gcra", "beside"))
    for algorithms, cost, count, enforced in asked:
        limits = [any_policy(each, f"{each}-{count}", count) for each in algorithms]
        for limit, is_enforced in zip(limits, enforced, strict=False):
            limit.script_argument = script_argument(limit.algorithm, limit.numbers, cost, is_enforced)
        alone = direct.numbers(question(*limits, who=b"alone"))
        in_company = direct.numbers(question(*limits, who=b"among"), beside)[:-3]
        assert alone[0::3] == in_company[0::3]
        assert alone[1::3] == pytest.approx(in_company[1::3], abs=2e6)  # us: they were not asked at the same instant
        assert [0 if passed == 0 else -1 if passed < 0 else 1 for passed in alone[2::3]] == [
            0 if passed == 0 else -1 if passed < 0 else 1 for passed in in_company[2::3]
        ]


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log"])
async def test_every_key_expires_when_it_is_full_again(server: Any, store: RedisStore, algorithm: str) -> None:
    limit = policy(rate="2/10s", algorithm=algorithm)
    verdict = await store.decide((limit,), (limit.prefix + b"a",), monotonic())  # type: ignore[misc]
    left_s = server.admin.pttl(limit.prefix + b"a") / 1000
    assert verdict.reset_s - 1.0 < left_s <= verdict.reset_s + 0.01


def test_a_group_is_one_command_with_every_key_among_the_keys() -> None:
    one, two = policy("one"), policy("two", algorithm="fixed")
    command = encode(
        [Question((one,), (b"k1",)), Question((one, two), (b"k1", b"k2"))], {NEEDS["gcra"] | NEEDS["fixed"]}
    )
    parts = command.split(b"\r\n")
    assert parts[0] == b"*10"
    assert parts[2::2] == [
        *(b"EVALSHA", script(NEEDS["gcra"] | NEEDS["fixed"]).sha, b"3", b"k1", b"k1", b"k2", b"1 2"),
        *(b"gcra 1 1 3.6 3600.0 3600.028125 0.0", b"gcra 1 1 3.6 3600.0 3600.028125 0.0", b"fixed 1 1 1000 3600.0"),
    ]
    assert all(int(length[1:]) == len(part) for length, part in zip(parts[1::2], parts[2::2], strict=False))


def test_the_source_goes_along_with_the_first_call_of_a_connection() -> None:
    asked = [Question((policy(),), (b"k",))]
    made = script(NEEDS["gcra"] | SINGLE)
    told: set[int] = set()
    assert made.source in encode(asked, told)
    assert made.source not in encode(asked, told)
    assert made.source in encode(asked, told, with_source=True)
    assert sha1(made.source).hexdigest().encode() == made.sha


def test_a_call_carries_only_the_algorithms_that_it_needs() -> None:
    limits = [policy(name, algorithm=name) for name in ("gcra", "sliding")]
    alone = encode([Question((limits[0],), (b"k",))], set())
    some = encode([Question((limits[0],), (b"k",))] * 2, set())
    both = encode([Question((limit,), (b"k",)) for limit in limits], set())
    assert b"function gcra_step" in alone
    assert b"function sliding_step" not in alone
    assert b"function decide" not in alone
    assert b"function decide" in some
    assert b"function sliding_step" in both
    assert b"function others" not in both
    assert b"function others" in encode([peeking(limits[0], b"k")], set())


def test_a_flat_reply_becomes_a_verdict_for_each_request() -> None:
    one, two = policy("one", rate="10/h"), policy("two", rate="100/h")
    group = [
        Question((one,), (b"a",)),
        Question((one, two), (b"a", b"b")),
        Question((one, two), (b"a", b"b")),
        Question((two,), (b"b",)),
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


def test_where_a_part_of_the_store_did_not_answer_there_is_no_verdict() -> None:
    one, two = policy("one"), policy("two")
    group = [Question((one,), (b"a",)), Question((one, two), (b"a", b"b")), Question((two,), (b"b",))]
    answers = verdicts(group, [None] * 3 + [None] * 6 + [5, 1, 0])
    assert [answer and answer.remaining for answer in answers] == [None, None, 5]


def test_a_wait_is_told_apart_from_a_refusal() -> None:
    one, two = policy("one"), any_policy("gcra", "two", is_enforced=False)
    group = [
        *[Question((one,), (b"a",))] * 3,
        *[Question((two,), (b"b",))] * 3,
        *[Question((one, two), (b"a", b"b"))] * 3,
    ]
    numbers = [(0, 1, -1), (0, 1, -2), (0, 1, -250_001)]
    pairs = [((0, 1, -250_001), (0, 1, -2)), ((1, 1, 0), (0, 1, -1)), ((0, 1, 5), (0, 1, -2))]
    flat = [number for each in (*numbers, *numbers, *[line for pair in pairs for line in pair]) for number in each]
    answers = verdicts(group, flat)
    assert [(answer.denied, answer.delay_s, answer.would_deny) for answer in answers if answer] == [
        *[(True, 0.0, ()), (False, 1e-6, ()), (False, pytest.approx(0.25), ())],
        *[(False, 0.0, (two,)), (False, 0.0, ()), (False, 0.0, ())],
        *[(False, pytest.approx(0.25), ()), (False, 0.0, (two,)), (True, 0.0, ())],
    ]
