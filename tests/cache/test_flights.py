"""One fetch at a time, and nobody waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.cache.fill import Fill
from proxy.cache.flights import BARREN, MAX_FLIGHTS, Failure, Flight, Flights, Outcome, Word
from proxy.cache.landing import Landing
from proxy.cache.memory_store import MemoryStore
from proxy.cache.policy import CachePolicy
from proxy.cache.stats import CacheStats
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import start_now

KEY = b"http://example.com/a"
FRESH = {"Cache-Control": "max-age=60"}


class Crowd:
    """Clients that wait for a flight, each in a task of its own."""

    def __init__(self) -> None:
        self.flights = Flights()
        self.tasks: list[asyncio.Task[Outcome]] = []

    def lead(self, names: tuple[bytes, ...] | None = None, index: dict[bytes, bytes] | None = None) -> Flight:
        flight = self.flights.start(KEY, names, index or {})
        assert flight is not None
        return flight

    async def wait(self, flight: Flight, index: dict[bytes, bytes] | None = None) -> asyncio.Task[Outcome]:
        task = asyncio.ensure_future(flight.wait(index or {}))
        self.tasks.append(task)
        await turn()
        return task


async def turn() -> None:
    """Let everything run that is ready."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    crowd = Crowd()
    yield crowd
    for task in crowd.tasks:
        task.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)


async def test_a_flight_is_found_until_it_ends(crowd: Crowd) -> None:
    flight = crowd.lead()
    assert crowd.flights.find(KEY, {}) is flight
    assert crowd.flights.find(b"other", {}) is None
    flight.complete()
    assert crowd.flights.find(KEY, {}) is None
    assert len(crowd.flights) == 0


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        pytest.param(Flight.complete, Word.LOOK, id="complete"),
        pytest.param(Flight.release, Word.ALONE, id="release"),
    ],
)
async def test_everybody_hears_of_the_end(crowd: Crowd, end: object, outcome: Word) -> None:
    flight = crowd.lead()
    waiting = [await crowd.wait(flight) for _ in range(5)]
    assert not any(task.done() for task in waiting)
    end(flight)  # type: ignore[operator]
    assert await asyncio.gather(*waiting) == [outcome] * 5
    end(flight)  # type: ignore[operator]


async def test_a_failure_is_shared(crowd: Crowd) -> None:
    flight = crowd.lead()
    waiting = [await crowd.wait(flight) for _ in range(3)]
    failure = Failure(ProxyError(ErrorKind.CONNECT_REFUSED))
    flight.fail(failure)
    assert await asyncio.gather(*waiting) == [failure] * 3


async def test_when_the_leader_leaves_the_first_who_waits_leads(crowd: Crowd) -> None:
    flight = crowd.lead()
    first, second, third = [await crowd.wait(flight) for _ in range(3)]
    flight.abandon()
    assert await first is Word.LEAD
    await turn()
    assert not second.done()
    assert crowd.flights.find(KEY, {}) is flight
    flight.complete()
    assert await second is await third is Word.LOOK


async def test_when_the_leader_leaves_and_nobody_waits_the_flight_is_over(crowd: Crowd) -> None:
    flight = crowd.lead()
    flight.abandon()
    flight.abandon()
    assert len(crowd.flights) == 0


async def test_one_who_waits_may_leave(crowd: Crowd) -> None:
    flight = crowd.lead()
    first, second = [await crowd.wait(flight) for _ in range(2)]
    assert repr(flight) == f"<Flight {KEY!r}, 2 waiting>"
    first.cancel()
    await turn()
    assert repr(flight) == f"<Flight {KEY!r}, 1 waiting>"
    flight.abandon()
    assert await second is Word.LEAD


async def test_leadership_is_not_lost_with_one_who_leaves_in_the_moment_of_getting_it(crowd: Crowd) -> None:
    flight = crowd.lead()
    first, second = [await crowd.wait(flight) for _ in range(2)]
    flight.abandon()
    first.cancel()  # its future has its result, and it has not run yet
    assert await second is Word.LEAD
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_all_who_wait_leave_one_by_one_as_leaders(crowd: Crowd) -> None:
    flight = crowd.lead()
    waiting = [await crowd.wait(flight) for _ in range(5)]
    flight.abandon()
    for task in waiting:
        task.cancel()
    await turn()
    assert all(task.cancelled() for task in waiting)
    assert len(crowd.flights) == 0


async def test_variants_that_are_known_fly_apart(crowd: Crowd) -> None:
    english, german = {b"accept-language": b"en"}, {b"accept-language": b"de"}
    flight = crowd.lead((b"accept-language",), english)
    assert crowd.flights.find(KEY, english) is flight
    assert crowd.flights.find(KEY, german) is None
    other = crowd.lead((b"accept-language",), german)
    assert crowd.flights.find(KEY, german) is other
    assert len(crowd.flights) == 2


async def test_what_has_landed_goes_to_those_whom_it_suits_the_others_look_again(crowd: Crowd, kit: Any) -> None:
    english, german = {b"accept-language": b"en"}, {b"accept-language": b"de"}
    flight = crowd.lead(None, english)
    same, other = await crowd.wait(flight, english), await crowd.wait(flight, german)
    entry = kit.entry(FRESH | {"Vary": "Accept-Language"}, request={"Accept-Language": "en"})
    landing = Landing(entry, Fill(kit.body(), MemoryStore(100_000, CacheStats()), 1000, print, print))
    flight.landed(landing)
    assert await other is Word.LOOK
    assert await same is landing
    assert crowd.flights.find(KEY, german) is None
    assert crowd.flights.find(KEY, english) is flight
    assert flight.landing is landing
    flight.complete()
    assert len(crowd.flights) == 0


def test_a_route_is_barren_after_so_many_uris_in_a_row_and_until_one_is_stored() -> None:
    flights = Flights()
    one, other = CachePolicy(), CachePolicy()
    for _ in range(BARREN - 1):
        flights.learn_fruitless(one)
    assert not flights.is_barren(one)
    flights.learn_fruitless(one)
    assert flights.is_barren(one)
    assert not flights.is_barren(other)
    flights.learn(one, ())
    assert not flights.is_barren(one)
    for policy in [CachePolicy() for _ in range(3000)]:
        flights.learn_fruitless(policy)
        assert len(flights._fruitless) <= 1024


def test_the_selecting_fields_of_a_route_are_learned_within_bounds() -> None:
    flights = Flights()
    policies = [CachePolicy() for _ in range(3000)]
    assert flights.guess(policies[0]) is None
    for policy in policies:
        flights.learn(policy, (b"accept-language",))
        assert len(flights._guesses) <= 1024
    assert flights.guess(policies[-1]) == (b"accept-language",)


async def test_after_a_write_nobody_joins_what_was_asked_before(crowd: Crowd) -> None:
    old = crowd.lead()
    waiting = await crowd.wait(old)
    crowd.flights.forget_key(KEY)
    assert crowd.flights.find(KEY, {}) is None
    new = crowd.lead()
    old.complete()
    assert await waiting is Word.LOOK
    assert crowd.flights.find(KEY, {}) is new


async def test_flights_under_one_key_are_bounded(crowd: Crowd) -> None:
    names = (b"user-agent",)
    for number in range(MAX_FLIGHTS):
        crowd.lead(names, {b"user-agent": b"%d" % number})
    assert crowd.flights.start(KEY, names, {b"user-agent": b"one more"}) is None


async def test_an_exchange_that_is_no_task_can_wait_too(crowd: Crowd) -> None:
    flight = crowd.lead()
    heard: list[Outcome] = []

    async def exchange() -> None:
        heard.append(await flight.wait({}))

    run = start_now(exchange())
    assert run is not None
    flight.complete()
    await turn()
    assert heard == [Word.LOOK]


async def test_an_exchange_that_is_no_task_can_leave(crowd: Crowd) -> None:
    flight = crowd.lead()

    async def exchange() -> None:
        await flight.wait({})

    run = start_now(exchange())
    assert run is not None
    second = await crowd.wait(flight)
    run.cancel()
    flight.abandon()
    assert await second is Word.LEAD
