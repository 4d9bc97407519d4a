"""Purges and writes against the second tier: what was asked for before an order is not fresh after it, anywhere."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from proxy.cache.purges.known import Purges
from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.shared.orders import OwnOrders, worse
from proxy.cache.tags import Tags

FRESH = {"Cache-Control": "max-age=60, stale-while-revalidate=60", "Surrogate-Key": "tea"}
HERE = b"http://example.com/a"


class Log:
    """The orders of several Weirs in one place, numbered: what `Orders` asks of whoever brings them from afar."""

    def __init__(self) -> None:
        self.orders: list[Purge] = []


class Applied:
    """One Weir's view of it: what it has applied, and whether that is all."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._purges = Purges()
        self.seq = 0
        self.floor = 0
        self.is_current = True

    def catch_up(self) -> None:
        for purge in self._log.orders[self.seq :]:
            self.seq += 1
            self._purges.add(purge, self.seq)

    def fate_since(self, key: bytes, tags: Tags, seq: int) -> Fate:
        return Fate.DROP if seq < self.floor else self._purges.fate(key, tags, seq)


@pytest.fixture
async def fleet(new_weir: Any) -> Any:
    log = Log()

    async def make() -> Any:
        weir = await new_weir(orders=Applied(log))
        weir.orders = weir.tier.orders
        return weir

    made = type("Fleet", (), {})()
    made.log, made.one, made.other = log, await make(), await make()
    return made


async def fill(weir: Any, kit: Any, tools: Any, content: bytes = b"before", **how: Any) -> None:
    weir.origin.answers(kit.reply(200, FRESH, content))
    await weir.ask(**how)
    await tools.written(weir)


ORDERS = {
    "by tag": Purge("tag", b"tea"),
    "by URL": Purge("url", HERE),
    "by prefix": Purge("prefix", b"http://example.com/"),
    "everything": Purge("all"),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
async def test_what_another_weir_ended_is_not_found(fleet: Any, kit: Any, tools: Any, order: Purge) -> None:
    await fill(fleet.one, kit, tools)
    fleet.log.orders.append(order)
    fleet.other.orders.catch_up()
    fleet.other.origin.answers(kit.reply(200, FRESH, b"after"))
    assert (await fleet.other.ask()).content == b"after"
    await tools.written(fleet.other)
    fleet.one.cache.apply_purge(order)  # as it hears of it
    fleet.one.orders.catch_up()
    assert (await fleet.one.ask()).content == b"after"  # what came after it is found again
    assert len(fleet.one.origin.asked) == 1


async def test_what_is_about_others_leaves_it_alone(fleet: Any, kit: Any, tools: Any) -> None:
    await fill(fleet.one, kit, tools)
    fleet.log.orders += [Purge("tag", b"coffee"), Purge("url", b"http://example.com/b"), Purge("prefix", b"http://b/")]
    fleet.other.orders.catch_up()
    assert (await fleet.other.ask()).cache.endswith("detail=shared")


async def test_a_soft_one_leaves_it_stale(fleet: Any, kit: Any, tools: Any) -> None:
    await fill(fleet.one, kit, tools)
    fleet.log.orders.append(Purge("tag", b"tea", is_soft=True))
    fleet.other.orders.catch_up()
    fleet.other.origin.answers(kit.reply(200, FRESH, b"after"))
    first = await fleet.other.ask()
    assert first.content == b"before"
    assert "stale-while-revalidate" in first.cache
    await tools.until(lambda: fleet.other.tier.stats.writes["kept"])
    assert (await fleet.other.ask()).content == b"after"


async def test_what_was_asked_for_before_an_order_and_written_after_it_is_ended_too(
    fleet: Any, kit: Any, tools: Any
) -> None:
    go_on = asyncio.Event()

    async def slowly(_: Any) -> Any:
        await go_on.wait()
        return kit.reply(200, FRESH, b"before")

    fleet.one.origin.default = slowly
    asking = asyncio.ensure_future(fleet.one.ask())
    await tools.until(lambda: fleet.one.origin.asked)
    fleet.log.orders.append(Purge("tag", b"tea"))  # this Weir has not heard of it
    fleet.other.orders.catch_up()
    go_on.set()
    await asking
    await tools.until(lambda: fleet.one.tier.stats.writes["kept"])
    fleet.other.origin.answers(kit.reply(200, FRESH, b"after"))
    assert (await fleet.other.ask()).content == b"after"


async def test_when_it_is_not_known_any_more_what_was_ended_nothing_old_is_used(
    fleet: Any, kit: Any, tools: Any
) -> None:
    await fill(fleet.one, kit, tools)
    fleet.other.orders.floor = 1
    fleet.other.origin.answers(kit.reply(200, FRESH, b"after"))
    assert (await fleet.other.ask()).content == b"after"


async def test_while_orders_are_not_known_nothing_is_read(fleet: Any, kit: Any, tools: Any, keys: Any) -> None:
    await fill(fleet.one, kit, tools)
    fleet.other.orders.is_current = False
    fleet.other.origin.answers(kit.reply(200, FRESH, b"own"))
    assert (await fleet.other.ask()).content == b"own"
    assert fleet.other.tier.stats.lookups["skipped"] == 1
    assert fleet.other.tier.status()["error"]
    assert len(keys.keys("*:v:*")) == 1


async def test_an_order_given_here_counts_before_anybody_has_numbered_it(fleet: Any, kit: Any, tools: Any) -> None:
    await fill(fleet.one, kit, tools)
    fleet.one.cache.invalidate(HERE)  # after a write through this Weir
    fleet.one.origin.answers(kit.reply(200, FRESH, b"after"))
    assert (await fleet.one.ask()).content == b"after"
    await tools.written(fleet.one)
    await asyncio.sleep(0.02)
    assert (await fleet.other.ask()).content == b"after"


async def test_a_look_that_an_order_overtakes_brings_nothing(fleet: Any, kit: Any, tools: Any) -> None:
    await fill(fleet.one, kit, tools)
    fleet.other.origin.answers(kit.reply(200, FRESH, b"after"))
    asking = asyncio.ensure_future(fleet.other.ask())
    await asyncio.sleep(0)
    assert fleet.other.tier._inquiries
    fleet.other.cache.invalidate(HERE)
    assert (await asking).content == b"after"
    assert not [entry for entry in fleet.other.entries() if entry.body == b"before"]


async def test_alone_a_weir_does_not_trust_what_is_older_than_itself(new_weir: Any, kit: Any, tools: Any) -> None:
    """It may have been told to end it in its life before."""
    one = await new_weir()
    await fill(one, kit, tools)
    other = await new_weir()
    other.origin.answers(kit.reply(200, FRESH, b"own"))
    assert (await other.ask()).content == b"own"


def test_orders_given_here_are_judged_by_their_moment() -> None:
    own = OwnOrders(100.0)
    own.add(Purge("tag", b"tea"), 110.0)
    own.add(Purge("tag", b"milk", is_soft=True), 110.0)
    assert own.fate_since(HERE, (b"tea",), 109.0, is_alone=True) is Fate.DROP
    assert own.fate_since(HERE, (b"tea",), 111.0, is_alone=True) is Fate.KEEP
    assert own.fate_since(HERE, (b"milk",), 109.0, is_alone=True) is Fate.EXPIRE
    assert own.fate_since(HERE, (), 109.0, is_alone=True) is Fate.KEEP
    assert own.fate_since(HERE, (), 99.0, is_alone=True) is Fate.DROP
    assert own.fate_since(HERE, (), 99.0, is_alone=False) is Fate.KEEP
    assert worse(Fate.KEEP, Fate.EXPIRE) is Fate.EXPIRE
    assert worse(Fate.DROP, Fate.EXPIRE) is Fate.DROP


@pytest.mark.parametrize("seed", range(4))
async def test_no_weir_ever_gives_what_a_write_has_ended_or_another_variant(
    new_weir: Any, kit: Any, tools: Any, seed: int
) -> None:
    """Writes, purges, restarts of the memory and questions in any order, from three Weirs of one store."""
    random, log, versions = Random(seed), Log(), dict.fromkeys("ab", 0)
    weirs = [await new_weir(orders=Applied(log)) for _ in range(3)]

    async def answer(exchange: Any) -> Any:
        target = exchange.request.target.decode()[1:]
        content = f"{target}{versions[target]}{exchange.request.index[b'x-a'].decode()}"
        await asyncio.sleep(random.random() * 0.004)
        vary = {"Vary": "X-A"} if target == "a" else {"Vary": "X-A, X-B"}
        return kit.reply(200, FRESH | vary, content.encode())

    async def question(weir: Any) -> None:
        target, value = random.choice("ab"), random.choice("xyz")
        before = versions[target]
        said = (await weir.ask(f"/{target}", {"X-A": value, "X-B": "1"})).content.decode()
        assert (said[0], said[-1]) == (target, value)
        assert before <= int(said[1:-1]) <= versions[target]

    def write(weir: Any) -> None:
        target = random.choice("ab")
        versions[target] += 1
        key = f"http://example.com/{target}".encode()
        order = random.choice([Purge("url", key), Purge("prefix", key), Purge("tag", b"tea")])
        log.orders.append(order)
        for each in weirs:
            each.tier.orders.catch_up()
            if each is weir:
                each.tier.ordered(order)
            each.cache.apply_purge(order)

    for weir in weirs:
        weir.origin.default = answer
    for _ in range(60):
        asking = [asyncio.ensure_future(question(random.choice(weirs))) for _ in range(random.randrange(1, 8))]
        await asyncio.sleep(random.random() * 0.003)
        if random.random() < 0.5:
            write(random.choice(weirs))
        if random.random() < 0.3:
            forgetful = random.choice(weirs)
            for target in "ab":
                forgetful.cache.store.remove_key(f"http://example.com/{target}".encode())
        await asyncio.gather(*asking)
    assert sum([weir.tier.stats.lookups["hit"] for weir in weirs]) > 0
    assert not any([weir.tier.tickets for weir in weirs])
