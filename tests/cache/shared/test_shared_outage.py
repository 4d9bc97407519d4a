"""A store that refuses, stalls, dies or comes back: a request pays its deadline once, and then nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from redis import Redis

from proxy.cache.shared import writer
from proxy.cache.shared.form import pack, unpack
from proxy.core.clock import monotonic
from tests.line.store import Store

FRESH = {"Cache-Control": "max-age=60"}
DEADLINE_S = 0.05


async def ask_many(weir: Any, kit: Any, count: int, word: str) -> float:
    """Misses, one after the other. Gives how long they took."""
    weir.origin.default = lambda _: kit.reply(200, FRESH)
    began_at = monotonic()
    for number in range(count):
        assert (await weir.ask(f"/{word}{number}")).status == 200
    return monotonic() - began_at


async def test_a_store_that_is_not_there_costs_nothing(new_weir: Any, kit: Any) -> None:
    weir = await new_weir(url="unix:///nowhere/at/all", waits=False, timeout=1.0)
    assert await ask_many(weir, kit, 50, "a") < 1.0  # not even one deadline
    assert weir.tier.stats.lookups["skipped"] == 50
    assert weir.tier.stats.writes["dropped"] == 0  # who did not look does not write
    await asyncio.sleep(0.2)
    assert "nowhere" in weir.tier.status()["error"]
    assert not weir.tier.is_up


async def test_a_store_that_stalls_costs_its_deadline_a_few_times(
    new_weir: Any, kit: Any, tools: Any, frail_store: Store
) -> None:
    told: list[str | None] = []
    weir = await new_weir(url=frail_store.url, timeout=DEADLINE_S)
    weir.tier._changed = told.append
    frail_store.stall()
    try:
        assert await ask_many(weir, kit, 5, "a") < 5 * DEADLINE_S + 2.0
        assert await ask_many(weir, kit, 100, "b") < 1.0  # the breaker is open
        assert weir.tier.stats.lookups["error"] == 5
        assert weir.tier.status()["error"]
        assert len(told) == 1
        assert told[0] is not None
    finally:
        frail_store.go_on()
    await tools.until(lambda: tools.is_ready(weir.tier))
    assert told[1:] == [None]
    await ask_many(weir, kit, 1, "c")
    assert weir.tier.stats.lookups["miss"] >= 1


async def test_a_crowd_pays_the_deadline_side_by_side(new_weir: Any, kit: Any, frail_store: Store) -> None:
    weir = await new_weir(url=frail_store.url, timeout=0.3)
    weir.origin.default = lambda _: kit.reply(200, FRESH)
    frail_store.stall()
    try:
        began_at = monotonic()
        await asyncio.gather(*[weir.ask(f"/{number}") for number in range(100)])
        assert monotonic() - began_at < 1.5
    finally:
        frail_store.go_on()


async def test_a_store_that_died_and_came_back_empty_is_filled_again(
    new_weir: Any, kit: Any, tools: Any, frail_store: Store
) -> None:
    one = await new_weir(url=frail_store.url)
    other = await new_weir(url=frail_store.url)
    frail_store.kill()
    await ask_many(one, kit, 20, "a")
    frail_store.start()
    await tools.until(lambda: tools.is_ready(one.tier) and tools.is_ready(other.tier))
    await ask_many(one, kit, 3, "b")  # the scripts are told anew
    await tools.written(one)
    for number in range(3):
        assert (await other.ask(f"/b{number}")).cache.endswith("detail=shared")


async def test_those_who_wait_for_another_weir_go_on_when_the_store_dies(
    new_weir: Any, kit: Any, tools: Any, frail_store: Store
) -> None:
    one, other = await new_weir(url=frail_store.url), await new_weir(url=frail_store.url)
    never = asyncio.Event()

    async def hang(_: Any) -> Any:
        await never.wait()

    one.origin.default = hang
    lost = asyncio.ensure_future(one.ask())
    await tools.until(lambda: one.origin.asked)
    other.origin.default = kit.reply(200, FRESH, b"mine")
    asking = asyncio.ensure_future(other.ask())
    await tools.until(lambda: other.tier.stats.waits)
    began_at = monotonic()
    frail_store.kill()
    assert (await asking).content == b"mine"
    assert monotonic() - began_at < 3.5
    lost.cancel()


async def test_a_lock_that_came_too_late_is_given_back(new_weir: Any, kit: Any, tools: Any, frail_store: Store) -> None:
    one = await new_weir(url=frail_store.url, timeout=DEADLINE_S)
    other = await new_weir(url=frail_store.url)
    await ask_many(one, kit, 1, "warm")  # the store knows the script after this
    one.origin.default = kit.reply(200, FRESH, kit.body())
    frail_store.stall()
    asking = asyncio.ensure_future(one.ask())  # its content never comes
    await tools.until(lambda: len(one.origin.asked) == 2)
    frail_store.go_on()
    with Redis.from_url(frail_store.url) as client:
        locks = await tools.until(lambda: len(found := client.keys("*:l:*")) == 2 and found)
        await tools.until(lambda: all([client.hget(lock, "until") == b"0" for lock in locks]))
    began_at = monotonic()
    other.origin.default = kit.reply(200, FRESH, b"mine")
    assert (await other.ask()).content == b"mine"
    assert monotonic() - began_at < 1.0
    asking.cancel()


async def test_what_waits_to_be_written_is_bounded(
    new_weir: Any, kit: Any, tools: Any, frail_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    weir = await new_weir(url=frail_store.url)
    monkeypatch.setattr(writer, "QUEUE_BYTES", 100_000)
    weir.origin.default = lambda _: kit.reply(200, FRESH, bytes(20_000))
    go_on = asyncio.Event()

    async def answer(_: Any) -> Any:
        await go_on.wait()
        return kit.reply(200, FRESH, bytes(20_000))

    weir.origin.default = answer
    asking = [asyncio.ensure_future(weir.ask(f"/{number}")) for number in range(20)]
    await tools.until(lambda: len(weir.origin.asked) == 20)
    frail_store.stall()
    try:
        go_on.set()
        answers = await asyncio.gather(*asking)
        assert {len(answer.content) for answer in answers} == {20_000}
        assert weir.tier.queued_bytes <= 100_000
        assert weir.tier.stats.writes["dropped"] >= 15
    finally:
        frail_store.go_on()
    await tools.until(lambda: weir.tier.queued_bytes == 0)


BROKEN = {
    "another version": b"W\x09....",
    "half of one": None,
    "nothing": b"",
    "text": b"hello",
    "a wrong type": "list",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_value_that_is_not_understood_is_a_miss(
    new_weir: Any, kit: Any, tools: Any, keys: Any, kind: str
) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, FRESH, b"one"))
    await one.ask()
    await tools.written(one)
    name = keys.keys("*:v:*")[0]
    value = BROKEN[kind]
    if value == "list":
        keys.delete(name)
        keys.rpush(name, "a")
    else:
        keys.set(name, keys.get(name)[:-10] if value is None else value)
    other.origin.answers(kit.reply(200, FRESH, b"other"))
    assert (await other.ask()).content == b"other"
    assert other.tier.is_up
    if kind != "a wrong type":  # that one stays until its life ends
        await tools.written(other)
        third = await new_weir()
        third.tier._own._since = 0
        assert (await third.ask()).content == b"other"


async def test_a_store_without_memory_left_costs_nothing_more(
    new_weir: Any, kit: Any, tools: Any, frail_store: Store
) -> None:
    weir = await new_weir(url=frail_store.url)
    with Redis.from_url(frail_store.url) as client:
        client.config_set("maxmemory", "1")
    await ask_many(weir, kit, 20, "a")
    assert weir.tier.stats.writes["kept"] == 0


async def test_a_clock_that_was_set_back_makes_nothing_younger(new_weir: Any, kit: Any, tools: Any, keys: Any) -> None:
    """A store that failed over to a machine whose clock is behind: its age is not known, so it is not used."""
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, FRESH, b"one"))
    await one.ask()
    await tools.written(one)
    name = keys.keys("*:v:*")[0]
    stored = unpack(keys.get(name), 1000)
    assert stored is not None
    keys.set(
        name, pack(msgspec.structs.replace(stored, born_us=stored.born_us + 10**7, asked_us=stored.asked_us + 10**7))
    )
    other.origin.answers(kit.reply(200, FRESH, b"other"))
    assert (await other.ask()).content == b"other"


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_a_connection_that_is_cut_while_somebody_waits_holds_nobody_up(
    new_weir: Any, kit: Any, tools: Any, frail_store: Store, kind: str
) -> None:
    one, other = await new_weir(url=frail_store.url), await new_weir(url=frail_store.url)
    go_on = asyncio.Event()

    async def slowly(_: Any) -> Any:
        await go_on.wait()
        return kit.reply(200, FRESH, b"slow")

    one.origin.default = slowly
    first = asyncio.ensure_future(one.ask())
    await tools.until(lambda: one.origin.asked)
    other.origin.default = kit.reply(200, FRESH, b"mine")
    second = asyncio.ensure_future(other.ask())
    await tools.until(lambda: other.tier.stats.waits)
    began_at = monotonic()
    with Redis.from_url(frail_store.url) as client:
        client.client_kill_filter(_type=kind, skipme=True)
        await asyncio.sleep(0.1)
        go_on.set()
        assert (await first).content == b"slow"
        assert (await second).content in (b"slow", b"mine")
    assert monotonic() - began_at < 4.0
    await tools.until(lambda: tools.is_ready(one.tier) and tools.is_ready(other.tier))
    await one.ask("/later")
    await tools.until(lambda: one.tier.stats.writes["kept"])
    assert (await other.ask("/later")).cache.endswith("detail=shared")
