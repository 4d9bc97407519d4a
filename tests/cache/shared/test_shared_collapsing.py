"""One fetch for all Weirs: who fetches, who waits, and what happens when the one who fetches does not come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.cache.shared.ticket import LOCK_S
from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError

FRESH = {"Cache-Control": "max-age=60"}
SLACK_S = 1.5  # a busy machine


def slowly(kit: Any, go_on: asyncio.Event, reply: Any) -> Any:
    async def answer(_: Any) -> Any:
        await go_on.wait()
        return reply() if callable(reply) else reply

    return answer


async def crowd(tools: Any, weirs: list[Any], each: int = 10, **how: Any) -> list[asyncio.Future[Any]]:
    """Ask, and come back when one Weir is at the origin and all others wait for it."""
    asking = [asyncio.ensure_future(weir.ask(**how)) for weir in weirs for _ in range(each)]
    await tools.until(lambda: sum([len(weir.origin.asked) for weir in weirs]) >= 1)
    await tools.until(lambda: sum([weir.tier.stats.waits for weir in weirs]) >= len(weirs) - 1)
    return asking


async def test_a_cold_url_is_fetched_once_by_all_weirs_together(new_weir: Any, kit: Any, tools: Any) -> None:
    weirs = [await new_weir() for _ in range(3)]
    go_on = asyncio.Event()
    for weir in weirs:
        weir.origin.default = slowly(kit, go_on, lambda: kit.reply(200, FRESH, b"once"))
    asking = await crowd(tools, weirs, 50)
    go_on.set()
    answers = await asyncio.gather(*asking)
    assert {answer.content for answer in answers} == {b"once"}
    assert sum([len(weir.origin.asked) for weir in weirs]) == 1


async def test_those_who_wait_are_told_and_do_not_look_now_and_then(
    new_weir: Any, kit: Any, tools: Any, keys: Any
) -> None:
    weirs = [await new_weir(), await new_weir()]
    go_on = asyncio.Event()
    for weir in weirs:
        weir.origin.default = slowly(kit, go_on, lambda: kit.reply(200, FRESH))
    asking = await crowd(tools, weirs)
    before = keys.info("commandstats")["cmdstat_evalsha"]["calls"]
    await asyncio.sleep(0.5)
    assert keys.info("commandstats")["cmdstat_evalsha"]["calls"] == before
    began_at = monotonic()
    go_on.set()
    await asyncio.gather(*asking)
    assert monotonic() - began_at < 1.0  # and not the life of a lock


async def test_what_is_not_for_others_releases_them_at_the_head(new_weir: Any, kit: Any, tools: Any) -> None:
    weirs = [await new_weir() for _ in range(3)]
    go_on = asyncio.Event()
    for weir in weirs:
        weir.origin.default = slowly(kit, go_on, lambda: kit.reply(200, {"Cache-Control": "no-store"}, b"mine"))
    asking = await crowd(tools, weirs, 5)
    began_at = monotonic()
    go_on.set()
    answers = await asyncio.gather(*asking)
    assert {answer.content for answer in answers} == {b"mine"}
    assert monotonic() - began_at < 1.0
    assert all([weir.cache.is_uncacheable(b"http://example.com/a", monotonic()) for weir in weirs])
    assert [len(weir.origin.asked) for weir in weirs] == [5, 5, 5]
    late = await new_weir()
    late.origin.answers(kit.reply(200, {"Cache-Control": "no-store"}, b"late"))
    await late.ask()  # and who comes next does not hold up anybody


async def test_content_that_is_too_large_to_share_releases_them_at_the_head_too(
    new_weir: Any, kit: Any, tools: Any
) -> None:
    weirs = [await new_weir(max_entry=100) for _ in range(2)]
    bodies = [kit.body(1000), kit.body(1000)]
    for weir, body in zip(weirs, bodies, strict=True):
        weir.origin.default = lambda _, body=body: kit.reply(200, FRESH, body)
    asking = [asyncio.ensure_future(weir.ask()) for weir in weirs]
    await asyncio.gather(*[body.started.wait() for body in bodies])  # before any content came
    for body in bodies:
        body.feed(bytes(1000))
        body.finish()
    answers = await asyncio.gather(*asking)
    assert [len(answer.content) for answer in answers] == [1000, 1000]


async def test_the_failure_of_one_is_no_ones_hang(new_weir: Any, kit: Any, tools: Any) -> None:
    weirs = [await new_weir() for _ in range(2)]
    go_on = asyncio.Event()
    for weir in weirs:
        weir.origin.default = slowly(kit, go_on, ProxyError(ErrorKind.CONNECT_REFUSED))

    async def failed(weir: Any) -> float:
        with pytest.raises(ProxyError):
            await weir.ask()
        return monotonic()

    asking = [asyncio.ensure_future(failed(weir)) for weir in weirs for _ in range(10)]
    await tools.until(lambda: sum([weir.tier.stats.waits for weir in weirs]) == 1)
    began_at = monotonic()
    for weir in weirs:

        async def fail(_: Any) -> Any:
            raise ProxyError(ErrorKind.CONNECT_REFUSED)

        weir.origin.default = fail
    go_on.set()
    ends_at = await asyncio.gather(*asking, return_exceptions=True)
    assert monotonic() - began_at < 1.0
    assert len(ends_at) == 20
    assert sum([len(weir.origin.asked) for weir in weirs]) == 2


async def test_when_the_one_who_fetches_is_gone_the_next_does_after_the_life_of_its_lock(
    new_weir: Any, kit: Any, tools: Any
) -> None:
    one, other = await new_weir(), await new_weir()
    never = asyncio.Event()
    one.origin.default = slowly(kit, never, None)
    lost = asyncio.ensure_future(one.ask())
    await tools.until(lambda: one.origin.asked)
    await one.tier.aclose()  # as if its process had been killed: nothing is given back
    began_at = monotonic()
    other.origin.default = kit.reply(200, FRESH, b"mine")
    assert (await other.ask()).content == b"mine"
    assert monotonic() - began_at < LOCK_S + SLACK_S
    lost.cancel()


async def test_a_lock_is_kept_as_long_as_its_holder_waits_for_the_origin(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    go_on = asyncio.Event()
    one.origin.default = slowly(kit, go_on, lambda: kit.reply(200, FRESH, b"slow"))
    first = asyncio.ensure_future(one.ask())
    await tools.until(lambda: one.origin.asked)
    second = asyncio.ensure_future(other.ask())
    await asyncio.sleep(LOCK_S * 1.5)
    assert not second.done()
    go_on.set()
    assert (await second).content == (await first).content == b"slow"
    assert not other.origin.asked


async def test_who_held_a_lock_too_long_writes_nothing_over_what_came_after(
    new_weir: Any, kit: Any, tools: Any
) -> None:
    """A process that stood still while its lock ran out, and goes on."""
    one, other, third = [await new_weir() for _ in range(3)]
    go_on = asyncio.Event()
    one.origin.default = slowly(kit, go_on, lambda: kit.reply(200, FRESH, b"old"))
    first = asyncio.ensure_future(one.ask())
    await tools.until(lambda: one.origin.asked)
    one.origin.asked[0].flight.ticket._stop()
    other.origin.default = kit.reply(200, FRESH, b"new")
    assert (await other.ask()).content == b"new"
    await tools.written(other)
    go_on.set()
    await first
    await tools.until(lambda: one.tier.stats.writes["fenced"])
    assert (await third.ask()).content == b"new"


async def test_slow_content_holds_others_up_for_the_life_of_a_lock_only(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    body = kit.body()
    one.origin.default = kit.reply(200, FRESH, body)
    first = asyncio.ensure_future(one.ask())
    await body.started.wait()
    body.feed(b"a")
    began_at = monotonic()
    other.origin.default = kit.reply(200, FRESH, b"mine")
    assert (await other.ask()).content == b"mine"
    assert monotonic() - began_at < LOCK_S + SLACK_S
    body.finish()
    assert (await first).content == b"a"


async def test_variants_are_fetched_side_by_side_once_it_is_known_what_selects(
    new_weir: Any, kit: Any, tools: Any
) -> None:
    weirs = [await new_weir(), await new_weir()]
    fields = FRESH | {"Vary": "X-A"}
    for weir in weirs:
        weir.origin.answers(kit.reply(200, fields, b"0"))
        await weir.ask("/first", {"X-A": "0"})
        await tools.written(weir)
    go_on = asyncio.Event()
    seen: list[bytes] = []

    async def answer(exchange: Any) -> Any:
        seen.append(exchange.request.index[b"x-a"])
        await go_on.wait()
        return kit.reply(200, fields, exchange.request.index[b"x-a"])

    for weir in weirs:
        weir.origin.script.clear()
        weir.origin.default = answer
    asking = [
        asyncio.ensure_future(weir.ask("/b", {"X-A": value})) for weir in weirs for value in "12" for _ in range(5)
    ]
    await tools.until(lambda: sum([weir.tier.stats.waits for weir in weirs]) == 2)
    go_on.set()
    answers = await asyncio.gather(*asking)
    assert [answer.content for answer in answers] == ([b"1"] * 5 + [b"2"] * 5) * 2
    assert sorted(seen) == [b"1", b"2"]


STEPS = [
    "before the look is answered",
    "while another Weir fetches",
    "while the origin is asked",
    "while content comes",
]


@pytest.mark.parametrize("step", STEPS)
async def test_a_client_that_leaves_harms_nobody(new_weir: Any, kit: Any, tools: Any, step: str) -> None:
    one, other = await new_weir(), await new_weir()
    go_on, body = asyncio.Event(), kit.body()
    other.origin.default = slowly(kit, go_on, lambda: kit.reply(200, FRESH, b"whole"))
    one.origin.default = slowly(kit, go_on, lambda: kit.reply(200, FRESH, b"whole"))
    asking = []
    if step == "while another Weir fetches":
        asking.append(asyncio.ensure_future(other.ask()))
        await tools.until(lambda: other.origin.asked)
    if step == "while content comes":
        one.origin.default = lambda _: kit.reply(200, FRESH, body)
    leaver = asyncio.ensure_future(one.ask())
    await asyncio.sleep(0)
    if step == "while another Weir fetches":
        await tools.until(lambda: one.tier.stats.waits)
    elif step == "while the origin is asked":
        await tools.until(lambda: one.origin.asked)
    elif step == "while content comes":
        await body.started.wait()
        body.feed(b"who")
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    asking += [asyncio.ensure_future(weir.ask()) for weir in (one, other) for _ in range(3)]
    await asyncio.sleep(0.05)
    if step == "while content comes":
        body.feed(b"le")
        body.finish()
    began_at = monotonic()
    go_on.set()
    answers = await asyncio.gather(*asking)
    assert {answer.content for answer in answers} == {b"whole"}
    assert monotonic() - began_at < 1.0  # no lock was left behind
    assert len(one.origin.asked) + len(other.origin.asked) == 1


async def test_who_leaves_at_any_moment_leaves_no_lock_behind(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    for turns in range(12):
        target = f"/{turns}"
        one.origin.default = slowly(kit, asyncio.Event(), None)
        leaver = asyncio.ensure_future(one.ask(target))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        if one.origin.asked:
            break  # from here on it is a fetch of its own, which goes on
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        if one.origin.asked:
            break
        began_at = monotonic()
        other.origin.default = kit.reply(200, FRESH, b"mine")
        assert (await other.ask(target)).content == b"mine"
        assert monotonic() - began_at < 1.0
    await tools.until(lambda: not one.tier._inquiries)


async def test_who_comes_after_a_write_does_not_wait_for_what_was_asked_before_it(
    new_weir: Any, kit: Any, tools: Any
) -> None:
    one, other = await new_weir(), await new_weir()
    never = asyncio.Event()
    one.origin.default = slowly(kit, never, None)
    lost = asyncio.ensure_future(one.ask())
    await tools.until(lambda: one.origin.asked)
    one.cache.invalidate(b"http://example.com/a")
    one.origin.default = kit.reply(200, FRESH, b"after")
    began_at = monotonic()
    assert (await one.ask()).content == b"after"
    assert monotonic() - began_at < 1.0
    await tools.written(one)
    assert (await other.ask()).content == b"after"
    lost.cancel()
