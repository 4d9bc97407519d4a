"""Runs of what is fetched ahead, with the real store, flights and stages, and a scripted origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.cache.policy import compile_cache
from proxy.cache.precompute.runner import AT_ONCE, Ahead, Precomputer
from proxy.cache.precompute.settings import PrecomputeSettings
from proxy.cache.precompute.target import Precompute, numbers_of, policy_of, targets_of
from proxy.cache.purges.purge import Purge
from proxy.cache.settings import CacheRouteSettings
from proxy.clients.addresses import connection_client
from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.routing.route import Route
from tests.snapshots import a_snapshot

FRESH_S = 660.0  # every 10m, and a minute for a run


def is_fresh(reply: Any) -> bool:
    return bool(reply.cache.removeprefix("hit; ttl=").isdigit())


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Rig:
    """A line whose route has a `precompute`, and the Precomputer."""

    def __init__(self, line: Any, cache: dict[str, Any] | None = None, **settings: Any) -> None:
        self.line = line
        self.told: list[tuple[str, str]] = []
        self.has_room = True
        self.precompute = self.compile(cache, **settings)
        self.precomputer = Precomputer(
            line.cache,
            snapshot=a_snapshot,
            peer=connection_client(("127.0.0.1", 0)),
            next_id=lambda: b"id",
            has_room=lambda upstream: self.has_room,
            told=lambda ahead, error: self.told.append((ahead.target.url, error)),
        )
        self.precomputer.apply([self.precompute], monotonic())
        self.precomputer.start()

    def compile(self, cache: dict[str, Any] | None = None, **settings: Any) -> Precompute:
        given = {"every": 600.0, "timeout": 60.0, "paths": ("/a",), "jitter": 0.0} | settings
        read = PrecomputeSettings(**given)
        policy = compile_cache(CacheRouteSettings(**(cache or {})))
        assert policy is not None
        numbers = numbers_of(read, 60.0)
        targets = targets_of(policy, read.paths, [("http", "example.com")])
        ahead = policy_of(policy, numbers)
        policy.precomputed.update({target.key: ahead for target in targets})
        self.line.route = Route(
            "r", 0, "test", (), frozenset(), "/**", SimpleNamespace(name="app"), cache=policy, timeout_s=60.0
        )
        params = {target.key: None for target in targets}
        return Precompute("r", self.line.route, numbers, ahead, targets, params, 60.0)

    @property
    def one(self) -> Ahead:
        (found,) = self.precomputer.groups["r"]
        return found

    async def runs(self) -> Ahead:
        """Have it run now; gives it when that is over, or waits for the origin."""
        self.precomputer.order("r")
        await turn()
        return self.one


@pytest.fixture
async def ahead(line: Any) -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(cache: dict[str, Any] | None = None, **settings: Any) -> Rig:
        made.append(Rig(line, cache, **settings))
        return made[-1]

    yield make
    for one in made:
        one.precomputer.stop()


Make = Callable[..., Rig]


async def test_a_run_stores_what_clients_then_get_whatever_it_says_of_its_lifetime(
    line: Any, kit: Any, ahead: Make
) -> None:
    made = ahead()
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=1"}, content=b"figures"))
    one = await made.runs()
    assert (one.runs, one.failed_runs, one.last_error, one.bytes, one.last_status) == (1, 0, "", 7, 200)
    line.passes(FRESH_S - 10)
    assert is_fresh(await line.ask())
    asked = line.origin.asked[0]
    assert asked.request.index[b"user-agent"] == b"weir-precompute (r)"
    assert asked.downstream is None


async def test_it_stays_when_it_is_stale_until_keep_is_over_and_no_client_renews_it(
    line: Any, kit: Any, ahead: Make
) -> None:
    made = ahead()
    line.origin.answers(kit.reply())
    await made.runs()
    line.passes(86400.0 - 100)
    reply = await line.ask()
    await turn()
    assert (reply.status, reply.cache.split(";")[0]) == (200, "hit")
    assert len(line.origin.asked) == 1, "the schedule alone renews it"
    line.passes(200.0)
    line.origin.answers(kit.reply(content=b"new"))
    assert (await line.ask()).content == b"new", "beyond `keep` a client asks itself"


async def test_must_revalidate_is_fresh_for_the_schedule_and_never_stale(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=1, must-revalidate"}))
    await made.runs()
    line.passes(FRESH_S - 10)
    assert is_fresh(await line.ask())
    line.passes(20.0)
    line.origin.answers(ProxyError(ErrorKind.CONNECT_REFUSED))
    with pytest.raises(ProxyError):
        await line.ask()


REFUSED = [
    ("no-store", 200, {"Cache-Control": "no-store"}, "not stored: no-store"),
    ("private", 200, {"Cache-Control": "private, max-age=60"}, "not stored: private"),
    ("a cookie", 200, {"Set-Cookie": "a=b"}, "not stored: set-cookie"),
    ("vary *", 200, {"Vary": "*"}, "not stored: vary-any"),
    ("an error", 503, {}, "status 503"),
    ("gone", 404, {}, "status 404"),
    ("a redirect", 302, {"Location": "/login"}, "status 302"),
]
REFUSED_IDS = [row[0] for row in REFUSED]


@pytest.mark.parametrize(("status", "fields", "error"), [row[1:] for row in REFUSED], ids=REFUSED_IDS)
async def test_what_is_no_success_shows_and_leaves_a_fresh_response_alone(
    line: Any, kit: Any, ahead: Make, status: int, fields: dict[str, str], error: str
) -> None:
    made = ahead()
    line.origin.answers(kit.reply(content=b"good"), kit.reply(status, fields, b"bad"))
    await made.runs()
    one = await made.runs()
    assert (one.failed_runs, one.last_error, one.is_failing) == (1, error, True)
    assert made.told == [("http://example.com/a", error)]
    assert (await line.ask()).content == b"good"
    line.origin.answers(kit.reply(content=b"better"))
    await made.runs()
    assert made.told[-1] == ("http://example.com/a", "")
    assert (await line.ask()).content == b"better"


@pytest.mark.parametrize(("status", "fields", "error"), [row[1:] for row in REFUSED], ids=REFUSED_IDS)
async def test_with_nothing_stored_what_is_no_success_is_not_kept_for_the_schedule(
    line: Any, kit: Any, ahead: Make, status: int, fields: dict[str, str], error: str
) -> None:
    made = ahead()
    line.origin.answers(kit.reply(status, fields, b"bad"))
    one = await made.runs()
    assert (one.failed_runs, one.last_error) == (1, error)
    assert line.entries() == []


async def test_an_answer_that_forbids_storing_ends_what_is_stale(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    line.origin.answers(kit.reply(), kit.reply(fields={"Cache-Control": "no-store"}))
    await made.runs()
    line.passes(FRESH_S + 1)
    await made.runs()
    assert line.entries() == [], "the origin has spoken (RFC 9111 §4.3.3)"


async def test_no_cache_would_be_asked_about_each_time_and_is_an_error(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    line.origin.answers(kit.reply(fields={"Cache-Control": "no-cache", "ETag": '"a"'}))
    one = await made.runs()
    assert one.last_error == "stored, but no-cache: the backend is asked for each use"


async def test_a_304_renews_it_and_a_foreign_one_has_the_whole_fetched(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead(tags=("figures", "sales"))
    line.origin.answers(kit.reply(fields={"ETag": '"a"', "Surrogate-Key": "own"}))
    await made.runs()
    for _ in range(3):
        line.passes(600.0)
        line.origin.answers(kit.reply(304, {"ETag": '"a"', "Surrogate-Key": "own"}))
        one = await made.runs()
        assert (one.last_error, line.origin.conditions()) == ("", {"If-None-Match": '"a"'})
    assert is_fresh(await line.ask())
    (entry,) = line.entries()
    lines = [value for name, _, value in entry.fields if name == b"surrogate-key"]
    assert lines == [b"own", b"figures sales"], "once, however often it is renewed"
    assert set(line.cache.store.tags_of(entry)) == {b"own", b"figures", b"sales"}
    line.origin.answers(kit.reply(304, {"ETag": '"b"'}), kit.reply(fields={"ETag": '"b"'}, content=b"other"))
    one = await made.runs()
    assert (one.last_error, line.origin.conditions()) == ("", {})
    assert (await line.ask()).content == b"other"


async def test_clients_join_the_first_run_and_get_its_content_as_it_comes(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    body = kit.body(14)
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate)
    made.precomputer.order("r")
    waiting = [asyncio.ensure_future(line.ask()) for _ in range(20)]
    await turn()
    gate.set_result(kit.reply(content=body))
    await body.started.wait()
    body.feed(b"figures")
    late = asyncio.ensure_future(line.ask())
    await turn()
    body.feed(b" of now")
    body.finish()
    replies = await asyncio.gather(*waiting, late)
    assert {reply.content for reply in replies} == {b"figures of now"}
    assert len(line.origin.asked) == 1
    assert (made.one.last_error, made.one.bytes) == ("", 14)


async def test_content_that_breaks_is_a_failure_and_replaces_nothing(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    body = kit.body(14)
    line.origin.answers(kit.reply(content=b"good"), kit.reply(content=body))
    await made.runs()
    await made.runs()
    body.feed(b"half")
    assert made.one.run is not None
    body.abort()
    await turn()
    assert (made.one.run, made.one.last_error) == (None, "response_truncated")
    assert (await line.ask()).content == b"good"
    assert line.cache.fill_bytes == 0


async def test_content_that_trickles_is_cut_at_the_deadline_of_the_run(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    line.origin.answers(kit.reply(content=b"good"))
    await made.runs()
    numbers = replace(made.precompute.numbers, timeout_s=0.05)
    object.__setattr__(made.precompute, "numbers", numbers)
    body = kit.body(1_000_000)
    line.origin.answers(kit.reply(content=body))
    await made.runs()
    while made.one.run is not None:
        body.feed(b"x")
        await asyncio.sleep(0.005)
    assert body.is_cancelled
    assert made.one.last_error == "response_timeout: no whole answer within 50ms"
    assert (await line.ask()).content == b"good"
    assert (line.cache.fill_bytes, len(line.cache.flights)) == (0, 0)


async def test_content_that_is_too_large_is_an_error_and_is_not_read_to_its_end(new_line: Any, kit: Any) -> None:
    line = new_line(max_entry=1000)
    made = Rig(line)
    body = kit.body()
    line.origin.answers(kit.reply(content=body), kit.reply(content=b"x" * 2000))
    await made.runs()
    body.feed(b"x" * 2000)
    assert body.is_cancelled
    assert made.one.last_error == "not stored: larger than `max_entry`, or the cache has no room"
    assert (await made.runs()).last_error == "not stored: too-large"
    assert line.cache.fill_bytes == 0
    made.precomputer.stop()


async def test_a_purge_during_a_run_has_it_run_again_with_what_is_new(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate)
    made.precomputer.order("r")
    await turn()
    line.cache.apply_purge(Purge("url", b"http://example.com/a"))
    gate.set_result(kit.reply(content=b"old"))
    await turn()
    one = made.one
    assert (one.runs, one.failed_runs, one.overtaken, one.is_failing) == (1, 0, 1, False)
    assert line.entries() == []
    assert one.schedule.due_at - monotonic() < 2.0


PURGES = [
    ("url", Purge("url", b"http://example.com/a"), True),
    ("another url", Purge("url", b"http://example.com/b"), False),
    ("its tag", Purge("tag", b"sales"), True),
    ("the backend's tag", Purge("tag", b"own"), True),
    ("another tag", Purge("tag", b"other"), False),
    ("prefix", Purge("prefix", b"http://example.com/"), True),
    ("all, soft", Purge("all", is_soft=True), True),
    ("the tag at another origin", Purge("tag", b"own", origin=b"http://other.example"), False),
]


@pytest.mark.parametrize(("purge", "is_meant"), [row[1:] for row in PURGES], ids=[row[0] for row in PURGES])
async def test_whatever_purges_it_has_it_fetched_again_soon(
    line: Any, kit: Any, ahead: Make, purge: Purge, is_meant: bool
) -> None:
    made = ahead(tags=("sales",))
    line.origin.answers(kit.reply(fields={"Surrogate-Key": "own"}))
    one = await made.runs()
    line.cache.apply_purge(purge)
    assert (one.schedule.due_at - monotonic() < 5.0) is is_meant
    line.cache.apply_purge(purge)
    assert (one.schedule.due_at - monotonic() < 5.0) is is_meant, "also when it is gone already"


async def test_what_a_client_brought_after_the_purge_spares_the_run(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    line.origin.answers(kit.reply())
    one = await made.runs()
    line.cache.apply_purge(Purge("url", b"http://example.com/a"))
    line.origin.answers(kit.reply(content=b"brought"))
    assert (await line.ask()).content == b"brought"
    one.schedule.due_at = monotonic()
    made.precomputer._tick()
    await turn()
    assert (one.runs, len(line.origin.asked)) == (1, 2)
    line.passes(FRESH_S - 10)
    assert is_fresh(await line.ask()), "with the lifetime of the schedule"


async def test_a_reload_by_a_client_does_not_shorten_its_life(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead({"ttl": 5.0})
    line.origin.answers(kit.reply(), kit.reply(content=b"reloaded"))
    await made.runs()
    assert (await line.ask(fields={"Cache-Control": "no-cache"})).content == b"reloaded"
    line.passes(FRESH_S - 10)
    assert is_fresh(await line.ask())
    line.origin.answers(kit.reply())
    await line.ask("/b")
    line.passes(6.0)
    line.origin.answers(kit.reply(content=b"anew"))
    assert (await line.ask("/b")).content == b"anew", "the rest of the route has its own"


async def test_no_more_than_a_few_run_at_once_and_all_get_their_turn(line: Any, kit: Any, ahead: Make) -> None:
    paths = tuple(f"/{number}" for number in range(10))
    made = ahead(paths=paths)
    gates: list[asyncio.Future[Any]] = []

    def held(exchange: Any) -> Any:
        gates.append(asyncio.get_running_loop().create_future())
        return gates[-1]

    line.origin.default = held
    made.precomputer.order("r")
    most = 0
    for done in range(10):
        await turn()
        await asyncio.sleep(0.01)
        most = max(most, len(gates) - done)
        gates[done].set_result(kit.reply())
    await turn()
    assert most == AT_ONCE
    assert [one.runs for one in made.precomputer.groups["r"]] == [1] * 10


async def test_a_run_gives_way_while_the_pool_is_busy(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    made.has_room = False
    one = await made.runs()
    assert (one.runs, one.yielded, len(line.origin.asked)) == (0, 1, 0)
    assert 0.0 < one.schedule.due_at - monotonic() <= 0.5
    made.has_room = True
    line.origin.answers(kit.reply())
    assert (await made.runs()).runs == 1


async def test_the_end_tells_those_who_wait_and_leaves_nothing(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    body = kit.body(14)
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate, kit.reply(content=b"alone"))
    made.precomputer.order("r")
    waiting = asyncio.ensure_future(line.ask())
    await turn()
    made.precomputer.stop()
    assert (await waiting).content == b"alone", "who waited leads"
    assert len(line.cache.flights) == 0

    made.precomputer.start()
    line.origin.answers(kit.reply(content=body))
    await made.runs()
    body.feed(b"half")
    made.precomputer.stop()
    assert body.is_cancelled
    assert (line.cache.fill_bytes, len(line.cache.flights)) == (0, 0)
    assert (await line.ask()).content == b"alone"


async def test_who_waits_is_told_after_the_timeout_of_the_route_and_the_run_goes_on(
    line: Any, kit: Any, ahead: Make
) -> None:
    made = ahead()
    object.__setattr__(made.precompute, "patience_s", 0.05)
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate)
    made.precomputer.order("r")
    with pytest.raises(ProxyError) as told:
        await line.ask()
    assert told.value.kind is ErrorKind.RESPONSE_TIMEOUT
    gate.set_result(kit.reply(content=b"late"))
    await turn()
    assert made.one.last_error == ""
    assert (await line.ask()).content == b"late"


async def test_a_defect_of_ours_ends_the_run_and_not_the_schedule(line: Any, kit: Any, ahead: Make) -> None:
    made = ahead()
    line.origin.answers(ZeroDivisionError())
    one = await made.runs()
    assert (one.last_error, one.run, len(line.cache.flights)) == ("ZeroDivisionError", None, 0)
    line.origin.answers(kit.reply())
    assert (await made.runs()).last_error == ""


async def test_a_reload_keeps_the_schedule_of_what_is_the_same_and_starts_what_is_not(
    line: Any, kit: Any, ahead: Make
) -> None:
    made = ahead()
    line.origin.answers(kit.reply())
    one = await made.runs()
    due_at = one.schedule.due_at
    made.precomputer.apply([made.compile()], monotonic())
    assert (made.one is one, one.schedule.due_at, one.runs) == (True, due_at, 1)
    made.precomputer.apply([made.compile(every=300.0)], monotonic())
    assert (made.one is one, one.runs) == (True, 1)
    assert made.one.schedule.due_at - monotonic() <= 2.0
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate)
    await made.runs()
    made.precomputer.apply([], monotonic())
    assert gate.cancelled(), "what is gone is given up in the middle of its run"
    assert made.precomputer.groups == {}
    assert len(line.cache.flights) == 0
