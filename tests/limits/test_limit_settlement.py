"""What is settled after the response, what is held meanwhile, and waiting for one's turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from proxy.clients.client import Client
from proxy.core.errors import ErrorKind
from proxy.core.settings import FromText
from proxy.core.tasks import start_now
from proxy.exchange import Exchange
from proxy.http.message import Request, Response, field
from proxy.limits.held import Held
from proxy.limits.ladder import Step
from proxy.limits.limit import Limit
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.settlement import settle, take_costs
from proxy.limits.stage import UNDECIDED, Limiter, admit, admit_to_replica, divert, refuse, wait_for_turn
from proxy.limits.turns import Turns
from tests.snapshots import a_route, a_snapshot

NOW = 1000.0


def limit(name: str = "api", **settings: Any) -> Limit:
    settings = {"rate": "10/h", "algorithm": "fixed", **settings}
    return Limit(name, LimitSettings.model_validate(settings, context=FromText()), "test.yaml:1")


def gcra(name: str = "api", **settings: Any) -> Limit:
    return limit(name, **{"algorithm": "gcra", **settings})


def inflight(name: str = "busy", **settings: Any) -> Limit:
    return limit(name, **{"rate": None, "algorithm": "inflight", "limit": 2, **settings})


class Moved:
    """Memory whose clock stands at NOW, and that notes what it is told. Not its heir: it may be compiled."""

    def __init__(self) -> None:
        self.counts = MemoryStore(100_000, clock=lambda: NOW)
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.counts, name)

    def decide(self, *asked: Any) -> Any:
        return self.counts.decide(*asked)

    def adjust(self, policy: LimitPolicy, key: bytes, units: int, charged_at: float) -> None:
        self.told.append(("adjust", policy.name, units))
        self.counts.adjust(policy, key, units, charged_at)

    def release(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        self.told.append(("release", policy.name, member))
        self.counts.release(policy, key, member)

    def renew(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        self.told.append(("renew", policy.name, member))
        self.counts.renew(policy, key, member)


class Line:
    def __init__(self, *limits: Limit, **settings: Any) -> None:
        named = tuple(limit.cost_field for limit in limits if limit.cost_field is not None)
        self.route = a_route(limits=limits, cost_fields=named)
        self.store = Moved()
        store: Any = self.store
        self.limiter = Limiter(LimiterSettings(**settings), store, clock=lambda: NOW)
        self.client = Client("203.0.113.7", b"203.0.113.7", b"203.0.113.7")

    def exchange(self) -> Exchange:
        made = Exchange(Request(b"GET", b"/", 1, [], {}), a_snapshot(), None, self.client, False, b"id", NOW)
        made.route = self.route
        return made

    def admit(self) -> tuple[Exchange, Response | None]:
        made = self.exchange()
        refusal = admit(made, self.limiter)
        assert refusal is None or isinstance(refusal, Response)
        return made, refusal

    def run(self, status: int = 200, *, sent: int = 0, **fields: str) -> Exchange:
        """A request that is admitted, answered and settled."""
        made, refusal = self.admit()
        assert refusal is None
        response = Response(status, b"", [field(name.replace("_", "-"), value) for name, value in fields.items()])
        take_costs(made, response)
        made.status, made.bytes_sent = status, sent
        if made.settles is not None:
            settle(made, self.limiter)
        return made

    def left(self, which: int = 0) -> int:
        policy = self.route.limits[which].live
        key = policy.key(self.client, Request(b"GET", b"/", 1, [], {}), self.route)
        assert key is not None
        return self.store.counts.peek(policy, key, NOW).remaining


# -- costs --


def test_a_constant_cost_is_charged_at_admission() -> None:
    line = Line(limit(cost=4))
    made, refusal = line.admit()
    assert (refusal, made.settles, line.left()) == (None, None, 6)


@pytest.mark.parametrize(
    ("value", "left"),
    [("1", 9), ("7", 3), ("0", 10), ("99", 0), (None, 9), ("", 9), ("-3", 9), ("1e3", 9), ("3, 4", 9), ("9" * 13, 9)],
    ids=str,
)
def test_the_backend_says_what_it_cost_and_nonsense_leaves_the_reserve(value: str | None, left: int) -> None:
    line = Line(limit(cost={"response_field": "X-Cost"}))
    line.run(**({} if value is None else {"x_cost": value}))
    assert line.left() == left


def test_the_cost_has_a_most_and_a_reserve() -> None:
    line = Line(limit(cost={"response_field": "X-Cost", "reserve": 3, "most": 4}))
    line.run(x_cost="9")
    assert line.left() == 6
    line.run()
    assert line.left() == 3
    _, refusal = line.admit()
    assert refusal is None
    assert line.left() == 0


def test_the_field_of_the_cost_is_kept_from_the_client() -> None:
    line = Line(limit(cost={"response_field": "X-Cost"}))
    made = line.exchange()
    response = Response(200, b"", [field("X-Cost", "3"), field("X-Other", "a"), field("x-cost", "3")])
    take_costs(made, response)
    assert [name for _, name, _ in response.fields] == [b"X-Other"]


def test_a_field_of_the_request_says_nothing_of_the_cost() -> None:
    line = Line(limit(cost={"response_field": "X-Cost", "reserve": 5}))
    made = line.exchange()
    made.request.index[b"x-cost"] = b"0"
    assert admit(made, line.limiter) is None
    made.status = 200
    settle(made, line.limiter)
    assert line.left() == 5


@pytest.mark.parametrize(("sent", "left"), [(0, 9), (1, 9), (1024, 9), (1025, 8), (4096, 6), (10**9, 0)])
def test_the_size_of_the_content_is_a_cost(sent: int, left: int) -> None:
    line = Line(limit(cost={"response_bytes": "1KiB"}))
    line.run(sent=sent)
    assert line.left() == left


def test_a_budget_of_bytes_is_announced_in_bytes() -> None:
    line = Line(limit(cost={"response_bytes": "1KiB"}))
    made, _ = line.admit()
    text = made.decision.lines(0.0)
    assert b'RateLimit-Policy: "api";q=10240;qu="content-bytes";w=3600\r\n' in text
    assert b'RateLimit: "api";r=9216;t=3600\r\n' in text
    assert b"X-RateLimit-Remaining: 9\r\n" in text


# -- outcomes --


@pytest.mark.parametrize(("status", "left"), [(200, 10), (401, 9), (403, 9), (404, 10), (502, 10)])
def test_only_some_outcomes_count(status: int, left: int) -> None:
    counting = limit(count_if="status in (401, 403)")
    line = Line(counting)
    line.run(status)
    assert line.left() == left
    assert counting.stats.settled == (left == 10)


def test_failed_logins_are_counted_and_good_ones_never_lock_out() -> None:
    line = Line(limit(rate="3/h", count_if="status in (401)"))
    for _ in range(20):
        line.run(200)
    for _ in range(3):
        line.run(401)
    _, refusal = line.admit()
    assert refusal is not None


def test_who_leaves_before_the_answer_is_counted() -> None:
    line = Line(limit(count_if="status in (401)"))
    made, _ = line.admit()
    assert made.status == 0
    settle(made, line.limiter)
    assert line.left() == 9


def test_of_a_cost_that_does_not_count_nothing_is_left() -> None:
    line = Line(limit(cost={"response_field": "X-Cost", "reserve": 2}, count_if="status in (2xx)"))
    line.run(500, x_cost="7")
    assert line.left() == 10
    line.run(200, x_cost="7")
    assert line.left() == 3


def test_nothing_is_settled_twice() -> None:
    line = Line(limit(count_if="status in (401)"))
    made = line.run(200)
    assert made.settles is None
    assert line.store.told == [("adjust", "api", -1)]


def test_what_a_shadow_refused_was_not_charged_and_is_not_given_back() -> None:
    line = Line(limit(rate="1/h", mode="shadow", count_if="status in (401)"))
    line.run(401)
    line.run(200)
    assert line.store.told == []
    assert line.left() == 0


# -- held --


def test_what_is_under_way_is_held_and_released_at_its_end() -> None:
    line = Line(inflight())
    first, _ = line.admit()
    line.admit()
    _, refusal = line.admit()
    assert refusal is not None
    assert refusal.status == 429
    first.status = 200
    settle(first, line.limiter)
    _, refusal = line.admit()
    assert refusal is None
    assert line.limiter.held.count == 2


def test_it_is_released_whatever_became_of_it() -> None:
    line = Line(inflight())
    for _ in range(10):
        made, refusal = line.admit()
        assert refusal is None
        settle(made, line.limiter)  # no status: the client left
    assert line.limiter.held.count == 0


def test_what_is_under_way_is_announced_without_a_time() -> None:
    line = Line(inflight(limit=40))
    made, _ = line.admit()
    assert made.decision.lines(0.0).decode().splitlines() == [
        "X-RateLimit-Limit: 40",
        "X-RateLimit-Remaining: 39",
        'RateLimit-Policy: "busy";q=40;qu="concurrent-requests"',
        'RateLimit: "busy";r=39',
    ]


def test_no_two_admissions_have_one_name_whatever_their_requests_are_called() -> None:
    line = Line(inflight())
    made = [line.admit()[0] for _ in range(2)]
    assert made[0].id == made[1].id
    names = {one.settles[2] for one in made if one.settles is not None}
    assert len(names) == 2
    assert Held().name() != Held().name()


async def test_who_leaves_while_the_store_decides_holds_nothing() -> None:
    class Slow(Moved):
        def decide(self, *asked: Any) -> Any:
            verdict = super().decide(*asked)
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(30.0, future.set_result, verdict)
            return future

    line = Line(inflight())
    line.limiter.store = slow = Slow()
    made = line.exchange()

    async def serve() -> None:
        try:
            refusal = admit(made, line.limiter)
            assert isinstance(refusal, Coroutine)
            await refusal
        finally:
            if made.settles is not None:
                settle(made, line.limiter)

    run = start_now(serve())
    assert run is not None
    assert made.settles is not None
    run.cancel()
    assert [what[:2] for what in slow.told] == [("release", "busy")]


def test_leases_are_renewed_at_a_third_while_the_request_lasts() -> None:
    store, held = Moved(), Held()
    long, short = inflight(lease="30s").live, inflight("short", lease="3s").live
    held.add(long, b"k", b"a", 0.0)
    held.add(short, b"k", b"b", 0.0)
    held.renew(store, 0.9)
    assert store.told == []
    held.renew(store, 1.0)
    held.renew(store, 9.9)
    assert store.told == [("renew", "short", b"b")] * 2
    held.renew(store, 10.0)
    assert store.told[2:] == [("renew", "busy", b"a")]
    held.drop(long, b"k", b"a")
    held.drop(long, b"k", b"a")
    held.drop(short, b"k", b"never")
    held.renew(store, 20.0)
    assert store.told[3:] == [("renew", "short", b"b")]
    assert held.count == 1


async def test_held_ticks_until_it_is_stopped() -> None:
    held = Held()
    held.start(Moved())
    held.stop()
    held.stop()


# -- delay --


async def test_a_request_that_comes_too_early_waits_for_its_turn() -> None:
    delayed = gcra(rate="10/s", burst=1, on_limit=["delay(200ms)"])
    line = Line(delayed)
    assert line.admit()[1] is None
    made, refusal = line.admit()
    assert refusal is UNDECIDED
    assert made.ladder == (Step.DELAY,)
    assert 0.0 < made.decision.delay_s <= 0.101
    began = asyncio.get_running_loop().time()
    assert await wait_for_turn(made, line.limiter)
    assert asyncio.get_running_loop().time() - began >= made.decision.delay_s - 0.002
    assert (delayed.stats.allowed, delayed.stats.delayed, delayed.stats.denied) == (2, 1, 0)


async def test_beyond_the_budget_there_is_a_429_at_once() -> None:
    line = Line(gcra(rate="10/s", burst=1, on_limit=["delay(250ms)"]))
    answers = [line.admit()[1] for _ in range(5)]
    assert answers[0] is None
    assert answers[1] is answers[2] is UNDECIDED
    assert [answer is not None and answer.status == 429 for answer in answers[3:]] == [True, True]
    assert answers[3] is not UNDECIDED


async def test_when_too_many_wait_the_next_is_refused_and_gets_its_units_back() -> None:
    delayed = gcra(rate="10/s", burst=1, on_limit=["delay(1s)"])
    line = Line(delayed, max_delayed=0)
    line.admit()
    made, refusal = line.admit()
    assert refusal is UNDECIDED
    assert not await wait_for_turn(made, line.limiter)
    assert line.store.told == [("adjust", "api", -1)]
    response = refuse(made, line.limiter)
    assert response.status == 429
    assert (delayed.stats.allowed, delayed.stats.denied, delayed.stats.delayed) == (1, 1, 0)
    assert b"Retry-After: 1\r\n" in made.decision.lines(0.0)


async def test_who_leaves_while_waiting_gets_its_units_back_and_leaves_no_timer() -> None:
    line = Line(gcra(rate="10/s", burst=1, on_limit=["delay(1s)"]))
    line.admit()
    made, _ = line.admit()

    async def serve() -> None:
        await wait_for_turn(made, line.limiter)

    run = start_now(serve())
    assert run is not None
    assert line.limiter.turns.waiting == 1
    run.cancel()
    assert line.limiter.turns.waiting == 0
    assert line.store.told == [("adjust", "api", -1)]


async def test_turns_are_bounded_and_each_ends_at_its_own_moment() -> None:
    turns = Turns(2)
    order: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        if await turns.wait(seconds):
            order.append(name)
        else:
            order.append(f"not {name}")

    await asyncio.gather(wait("late", 0.03), wait("early", 0.01), wait("third", 0.0))
    assert order == ["not third", "early", "late"]
    assert turns.waiting == 0


def test_a_limit_in_shadow_delays_nobody() -> None:
    line = Line(gcra(rate="10/s", burst=1, mode="shadow", on_limit=["delay(1s)"]))
    for _ in range(5):
        made, refusal = line.admit()
        assert refusal is None
        assert made.decision.delay_s == 0.0


# -- the second budget, for replicas --


async def test_a_replica_has_a_budget_of_its_own_of_the_same_size() -> None:
    diverting = limit(rate="3/h", on_limit=["replica"])
    line = Line(diverting)
    for _ in range(3):
        assert line.admit()[1] is None
    outcomes = []
    for _ in range(5):
        made, refusal = line.admit()
        assert refusal is UNDECIDED
        outcomes.append(await admit_to_replica(made, line.limiter))
        assert made.replicas_only is outcomes[-1]
    assert outcomes == [True, True, True, False, False]
    assert diverting.stats.diverted == 3


def test_who_gets_something_better_than_a_429_changes_nothing_for_others_with_the_same_verdict() -> None:
    line = Line(limit(rate="1/h"))
    line.admit()
    made, _ = line.admit()
    other = line.exchange()
    other.decision = made.decision
    assert b"Retry-After" in made.decision.lines(0.0)
    divert(made)
    assert b"Retry-After" not in made.decision.lines(0.0)
    assert b"Retry-After" in other.decision.lines(0.0)


async def test_limits_that_did_not_refuse_are_charged_as_ever() -> None:
    tight, wide = limit("tight", rate="1/h", on_limit="replica"), limit("wide", by=["ip", "route"])
    line = Line(tight, wide)
    line.admit()
    made, refusal = line.admit()
    assert refusal is UNDECIDED
    assert await admit_to_replica(made, line.limiter)
    assert line.left(1) == 8
    assert made.error is None
    assert b"Retry-After" not in made.decision.lines(0.0)


def test_where_one_of_the_limits_has_no_such_step_there_is_a_429() -> None:
    first, second = limit("first", rate="1/h", on_limit="replica"), limit("second", rate="1/h", by="global")
    line = Line(first, second)
    line.admit()
    made, refusal = line.admit()
    assert refusal is not None
    assert refusal is not UNDECIDED
    assert made.error is ErrorKind.RATE_LIMITED
    assert json.loads(refusal.content)["violated-policies"] == ["first", "second"]  # type: ignore[arg-type]
