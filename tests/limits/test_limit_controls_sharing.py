"""Several Weirs, one store: what one decides all have, whatever happens to the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.core.clock import wall
from proxy.core.units import Rate
from proxy.limits.controls import PENALTY, Allow, Ban, Controls, Kill, Override
from proxy.limits.shared import controls_link as controls_link_store
from proxy.limits.shared import controls_store
from proxy.limits.shared.controls_link import HASH, LOG, ControlsLink
from proxy.limits.shared.controls_store import ControlsStore

KEY = b"weir:1:gcra:6:per-ip:{i203.0.113.7}"


class Weir:
    """The controls of one, and their store."""

    def __init__(self, url: str) -> None:
        self.controls = Controls(wall)
        self.told: list[bool] = []
        self.controls.changed = self.told.append
        self.store = ControlsStore(self.controls, url)

    def ban(self, key: bytes = KEY, for_s: float = 60.0) -> Ban:
        now = wall()
        ban = Ban(limit="per-ip", key=key, since_wall=now, until_wall=now + for_s, reason="why", who="alice")
        self.controls.decide(ban)
        return ban


@asynccontextmanager
async def weirs(url: str, count: int) -> AsyncIterator[list[Weir]]:
    made = [Weir(url) for _ in range(count)]
    try:
        for weir in made:
            await weir.store.start()
        yield made
    finally:
        for weir in made:
            await weir.store.aclose()


async def until(holds: Callable[[], bool], within_s: float = 5.0) -> float:
    """Seconds until it holds."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s, "it did not come"
        await asyncio.sleep(0.005)
    return time.monotonic() - started


async def test_every_weir_has_a_change_within_half_a_second(server: Any) -> None:
    async with weirs(server.url, 3) as (first, *others):
        ban = first.ban()
        assert await first.store.is_shared()
        took_s = await until(lambda: all(other.controls.ban_of("per-ip", KEY) == ban for other in others))
        assert took_s < 0.5
        before = [other.controls.generation for other in others]
        first.controls.revoke(ban.slot)
        assert await first.store.is_shared()
        took_s = await until(lambda: all(other.controls.is_empty for other in others))
        assert took_s < 0.5
        assert all(other.controls.generation > was for other, was in zip(others, before, strict=True))


async def test_all_kinds_come_over_as_they_are(server: Any) -> None:
    async with weirs(server.url, 2) as (first, second):
        now = wall()
        members: dict[str, Any] = {"since_wall": now, "until_wall": now + 60, "reason": "wäre", "who": "alice"}
        odd = b"weir:1:gcra:1:a:u\x00\xff |\n:"
        for entry in (
            Ban(limit="per-ip", key=odd, **members),
            Allow(limit="per-ip", key=KEY, **members),
            Override(limit="per-ip", key=KEY, rate=Rate(5, 60.0), burst=2, **members),
            Kill(scope="user", name="älice", **members),
            Kill(scope="all", **members),
        ):
            first.controls.decide(entry)
        await first.store.is_shared()
        await until(lambda: len(second.controls) == 5)
        assert second.controls.entries() == first.controls.entries()


async def test_a_weir_that_starts_later_has_what_is_in_force(server: Any) -> None:
    async with weirs(server.url, 1) as (first,):
        ban = first.ban()
        await first.store.is_shared()
        async with weirs(server.url, 1) as (second,):
            assert second.controls.ban_of("per-ip", KEY) == ban


async def test_a_penalty_goes_to_the_others_too(server: Any) -> None:
    async with weirs(server.url, 2) as (first, second):
        first.controls.ban("per-ip", KEY, 60.0, "10 denials within 1m")
        assert await until(lambda: second.controls.ban_of("per-ip", KEY) is not None) < 0.75
        assert second.controls.counts()["penalty"] == 1


async def test_a_reset_elsewhere_makes_remembered_denials_wrong(server: Any) -> None:
    async with weirs(server.url, 2) as (first, second):
        first.told.clear()
        second.told.clear()
        first.store.tell_reset("per-ip", KEY)
        assert await until(lambda: second.told == [True]) < 0.5
        assert second.controls.is_empty
        assert first.told == [True]


async def test_decisions_of_two_weirs_at_once_are_all_kept(server: Any) -> None:
    async with weirs(server.url, 2) as (first, second):
        for number in range(300):
            (first if number % 2 else second).ban(b"%d" % number)
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        await until(lambda: len(first.controls) == len(second.controls) == 300)
        assert first.controls.entries() == second.controls.entries()


async def test_who_missed_more_than_is_logged_reads_everything(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls_link_store, "LOGGED", 10)
    async with weirs(server.url, 2) as (first, second):
        gone = first.ban(b"gone")
        await first.store.is_shared()
        await until(lambda: len(second.controls) == 1)
        first.controls.revoke(gone.slot)
        for number in range(100):
            first.ban(b"%d" % number)
        await first.store.is_shared()
        await until(lambda: len(second.controls) == 100)
        assert second.controls.entries() == first.controls.entries()
        assert server.admin.llen(LOG) == 10


async def test_small_changes_are_read_alone(server: Any) -> None:
    async with weirs(server.url, 2) as (first, second):
        first.ban(b"first")
        await until(lambda: len(second.controls) == 1)
        everything = server.calls("hgetall")
        for number in range(5):
            first.ban(b"%d" % number)
            await until(lambda number=number: len(second.controls) == number + 2)  # type: ignore[misc]
        assert server.calls("hgetall") == everything


async def test_a_store_that_is_away_changes_nothing_that_is_in_force(server: Any) -> None:
    async with weirs(server.url, 2) as (first, second):
        ban = first.ban()
        await first.store.is_shared()
        await until(lambda: len(second.controls) == 1)
        server.kill()
        later = first.ban(b"while it is away")
        assert not await first.store.is_shared()
        assert first.controls.ban_of("per-ip", b"while it is away") is later
        assert first.store.status()["error"]
        assert first.store.status()["pending"] == 1
        assert second.controls.ban_of("per-ip", KEY) == ban
        server.start()  # empty
        await until(lambda: second.controls.ban_of("per-ip", b"while it is away") == later)
        assert first.store.status() == {"shared": True, "in_force": 2, "pending": 0, "error": None}
        async with weirs(server.url, 1) as (third,):
            assert third.controls.entries() == first.controls.entries()


async def test_a_store_that_stalls_holds_up_nobody(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls_link_store, "TIMEOUT_S", 0.1)
    async with weirs(server.url, 1) as (first,):
        server.stall()
        try:
            ban = first.ban()
            assert first.controls.ban_of("per-ip", KEY) is ban
            async with asyncio.timeout(3):
                assert not await first.store.is_shared()
        finally:
            server.go_on()
        await until(lambda: first.store.status()["pending"] == 0)


async def test_a_store_that_is_away_at_the_start_is_read_when_it_comes(server: Any) -> None:
    async with weirs(server.url, 1) as (first,):
        ban = first.ban()
        await first.store.is_shared()
        server.admin.execute_command("RENAME", HASH, "hidden")
        async with weirs("redis://127.0.0.1:1/0", 1) as (lost,):
            assert lost.store.status()["error"]
            lost.store._link = ControlsLink(server.url)  # where it will be found
            assert lost.controls.is_empty
        async with weirs(server.url, 1) as (second,):
            server.admin.execute_command("RENAME", "hidden", HASH)
            await until(lambda: second.controls.ban_of("per-ip", KEY) == ban)


async def test_clocks_that_differ_end_an_entry_together(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with weirs(server.url, 1) as (first,):
        ban = first.ban(for_s=60.0)
        await first.store.is_shared()
        monkeypatch.setattr(controls_link_store, "wall", lambda: wall() + 30.0)  # this machine is half a minute ahead
        link = ControlsLink(server.url)
        news = await link.news(None)
        ((_, entry),) = news.changes
        assert entry is not None
        assert entry.until_wall == pytest.approx(ban.until_wall + 30.0, abs=0.2)
        await link.write({entry.slot: entry})
        await link.close()
        monkeypatch.undo()
        await until(lambda: first.store.status()["error"] is None and first.controls.generation > 1)
        kept = first.controls.ban_of("per-ip", KEY)
        assert kept is not None
        assert kept.until_wall == pytest.approx(ban.until_wall, abs=0.2)


async def test_what_is_over_leaves_the_store(server: Any) -> None:
    link = ControlsLink(server.url)
    now = wall()
    bans = [
        Ban(limit="per-ip", key=b"%d" % n, since_wall=now - 9, until_wall=now - 5, reason="why", who=PENALTY)
        for n in range(100)
    ]
    await link.write({ban.slot: ban for ban in bans})
    fresh = Ban(limit="per-ip", key=KEY, since_wall=now, until_wall=now + 60, reason="why", who="alice")
    await link.write({fresh.slot: fresh})
    await link.close()
    assert server.admin.hlen(HASH) == 3  # the fresh one, the version, and when it was swept
    assert server.admin.pttl(HASH) > 0
    assert server.admin.pttl(LOG) > 0


async def test_what_a_newer_weir_wrote_is_left_out(server: Any) -> None:
    async with weirs(server.url, 1) as (first,):
        ban = first.ban()
        await first.store.is_shared()
        server.admin.hset(HASH, b"curse\0per-ip\0x", b'1 {"kind":"curse"}')
        server.admin.hset(HASH, b"ban\0per-ip\0y", b"rubbish")
        async with weirs(server.url, 1) as (second,):
            assert second.controls.entries() == [ban]


async def test_in_memory_everything_ends_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls_store, "PERIOD_S", 0.01)
    async with weirs("memory", 1) as (only,):
        only.ban(for_s=0.05)
        assert await only.store.is_shared()
        only.store.tell_reset("per-ip", KEY)
        await until(lambda: only.controls.is_empty)
        assert only.store.status() == {"shared": False, "in_force": 0}


async def test_what_waits_is_written_at_the_end(server: Any) -> None:
    async with weirs(server.url, 1) as (first,):
        first.controls.ban("per-ip", KEY, 60.0, "10 denials within 1m")
    async with weirs(server.url, 1) as (second,):
        assert second.controls.ban_of("per-ip", KEY) is not None


@pytest.mark.parametrize("url", ["http://x", "redis+cluster://"])
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the address of the store"):
        ControlsStore(Controls(wall), url)
