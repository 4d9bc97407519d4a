"""Hedged reads over real sockets: the slow are overtaken, little is asked twice, and the loser leaves nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest

from proxy.core.clock import monotonic
from proxy.upstreams.address import parse_address
from proxy.upstreams.hedging import HedgeRules
from tests.faults.conftest import Origin
from tests.faults.fetching import Fetcher


@pytest.fixture
async def origins() -> AsyncIterator[list[Origin]]:
    made = [Origin() for _ in range(3)]
    for origin in made:
        await origin.start()
    yield made
    for origin in made:
        await origin.stop()


def fetcher_for(origins: list[Origin], hedge: HedgeRules | None) -> Fetcher:
    return Fetcher(*[parse_address(f"http://127.0.0.1:{origin.port}") for origin in origins], hedge=hedge)


def teach(fetcher: Fetcher, latency_s: float = 0.002, requests: int = 10_000) -> None:
    """As if so many requests had been answered that fast."""
    hedging = fetcher.registry.hedging(fetcher.upstream)
    assert hedging is not None
    hedging.requests += requests
    for _ in range(requests):
        hedging.latencies.note(latency_s)
    hedging.tick(monotonic() + 2.0)


def slow_first(origins: list[Origin], wait_s: float) -> None:
    """Whoever is asked first takes long, the others do not."""
    asked = iter([wait_s])
    for origin in origins:
        origin.wait_s = lambda: next(asked, 0.0)


async def test_a_slow_read_is_overtaken_by_a_second_one(origins: list[Origin]) -> None:
    async with fetcher_for(origins, HedgeRules()) as fetcher:
        teach(fetcher)
        slow_first(origins, 3.0)
        began_at = time.monotonic()
        _, outcome = await fetcher.ask()
        assert outcome.word == "200"
        assert time.monotonic() - began_at < 1.5
        hedging = fetcher.registry.hedging(fetcher.upstream)
        assert hedging is not None
        assert (hedging.sent, hedging.won) == (1, 1)
        assert sum(origin.executed.total() for origin in origins) == 2
        await fetcher.settled()


@pytest.mark.parametrize("case", ["a write", "no other endpoint", "off", "nothing learned", "the route says no"])
async def test_what_is_not_hedged_waits_for_its_answer(origins: list[Origin], case: str) -> None:
    several = origins[:1] if case == "no other endpoint" else origins
    async with fetcher_for(several, None if case == "off" else HedgeRules()) as fetcher:
        if case not in ("off", "nothing learned"):
            teach(fetcher)
        if case == "the route says no":
            object.__setattr__(fetcher.route, "may_hedge", False)
        slow_first(several, 0.3)
        began_at = time.monotonic()
        _, outcome = await fetcher.ask(
            b"POST" if case == "a write" else b"GET", b"/", b"x" if case == "a write" else b""
        )
        assert outcome.word == "200"
        assert time.monotonic() - began_at >= 0.3
        assert sum(origin.executed.total() for origin in origins) == 1


async def test_an_endpoint_that_fails_while_the_other_works_is_no_failure(origins: list[Origin]) -> None:
    pair = origins[:2]
    async with fetcher_for(pair, HedgeRules()) as fetcher:
        teach(fetcher)
        asked: list[Origin] = []

        def waits_for(origin: Origin) -> float:
            asked.append(origin)
            if len(asked) == 1:
                asyncio.get_running_loop().call_later(0.1, origin.cut)
                return 1.0
            return 0.3

        for origin in pair:
            origin.wait_s = partial(waits_for, origin)
        _, outcome = await fetcher.ask()
        assert outcome.word == "200"
        assert len(asked) == 2
        assert asked[0] is not asked[1]
        await fetcher.settled()


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in the loop's next turn"])
async def test_a_hedged_request_may_be_left_at_any_of_its_waits(origins: list[Origin], later: bool) -> None:
    for wait_s in (0.0, 0.1):
        cut_at, most = 0, 0
        while cut_at <= most:
            cut_at += 1
            async with fetcher_for(origins, HedgeRules()) as fetcher:
                teach(fetcher)
                slow_first(origins, wait_s)
                run, _ = await fetcher.ask(cut_at=cut_at, later=later)
                most = max(most, run.waits)
                await fetcher.settled()
    async with fetcher_for(origins, HedgeRules()) as fetcher:
        teach(fetcher)
        for origin in origins:
            origin.wait_s = lambda: 3.0
        run, outcome = fetcher.start()
        hedging = fetcher.registry.hedging(fetcher.upstream)
        assert hedging is not None
        while not hedging.sent:
            await asyncio.sleep(0.005)
        run.cancel()  # both are under way
        assert outcome.was_cancelled
        await fetcher.settled()


@pytest.mark.long
async def test_hedging_halves_the_slowest_hundredth_for_two_percent_more_requests(origins: list[Origin]) -> None:
    draw = random.Random(7)
    origins[1].wait_s = lambda: 0.5 if draw.random() < 0.05 else 0.0

    async def slowest_hundredth(hedge: HedgeRules | None) -> tuple[float, int, int]:
        took: list[float] = []
        before = sum(origin.executed.total() for origin in origins)
        async with fetcher_for(origins, hedge) as fetcher:

            async def client() -> None:
                for _ in range(100):
                    began_at = time.monotonic()
                    _, outcome = await fetcher.ask()
                    assert outcome.word == "200"
                    took.append(time.monotonic() - began_at)
                    await asyncio.sleep(draw.uniform(0, 0.03))

            await asyncio.gather(*[client() for _ in range(10)])
            took.clear()  # what is learned is learned
            before = sum(origin.executed.total() for origin in origins)
            await asyncio.gather(*[client() for _ in range(20)])
            await fetcher.settled()
        asked = sum(origin.executed.total() for origin in origins) - before
        return sorted(took)[int(len(took) * 0.99)], asked, len(took)

    plain_s, asked, requests = await slowest_hundredth(None)
    assert asked == requests
    hedged_s, asked, requests = await slowest_hundredth(HedgeRules(least_s=0.03))
    print(
        f"\np99 {plain_s * 1000:.0f} ms -> {hedged_s * 1000:.0f} ms, {asked - requests} more than {requests} requests"
    )
    assert hedged_s <= 0.5 * plain_s
    assert asked - requests <= 0.02 * requests + 5
