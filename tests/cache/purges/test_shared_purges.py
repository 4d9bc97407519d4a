"""Caches that share a store: what ends at one ends at all, also when the store stalls, dies or loses everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from proxy.cache.cache import Cache
from proxy.cache.entry import Entry, Receipt, draft
from proxy.cache.policy import CachePolicy
from proxy.cache.purges.link import AT_ONCE, LOG, PurgeLink
from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.purges.queue import DOUBT
from proxy.cache.purges.shared import SharedPurges
from proxy.cache.settings import CacheSettings
from proxy.core.clock import monotonic, wall
from proxy.http.message import field
from tests.line.store import Store

ORIGIN = b"http://a"
LONG_S = 20.0  # for a busy machine; what is measured is measured elsewhere


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


class Weir:
    """A cache with its purges."""

    def __init__(self, url: str) -> None:
        self.cache = Cache(CacheSettings())
        self.said: list[str | None] = []
        self.purges = SharedPurges(self.cache, url, self.said.append)

    def stores(self, path: str, tags: str = "") -> Entry:
        key = ORIGIN + path.encode()
        fields = [field("Cache-Control", "max-age=600, stale-while-revalidate=60"), field("Surrogate-Key", tags)]
        made = draft(key, CachePolicy(), Receipt({}, monotonic() - 1.0, wall(), 0.0), 200, b"OK", fields)
        assert isinstance(made, Entry)
        assert self.cache.keep(made.filled(b"x"), {}, self.cache.invalidations.now)
        return made

    def has(self) -> set[str]:
        """The paths of what is fresh."""
        shelves = self.cache.store.shelves
        now = monotonic()
        return {
            key.removeprefix(ORIGIN).decode()
            for key, shelf in shelves.items()
            if any(entry.fresh_s > now - entry.born_at for entry in shelf)
        }


@pytest.fixture
async def start(store: Store) -> AsyncIterator[Callable[..., Any]]:
    """Starts a Weir of the store."""
    started: list[Weir] = []

    async def one(url: str | None = None) -> Weir:
        made = Weir(url or store.url)
        started.append(made)
        await made.purges.start()
        return made

    yield one
    for weir in started:
        await weir.purges.aclose()


async def until(holds: Callable[[], Any], within_s: float = LONG_S) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.002)


async def settled(*weirs: Weir) -> None:
    """All know what there is."""
    await until(lambda: all(weir.purges.is_current and not weir.purges.pending for weir in weirs))
    await until(lambda: len({weir.purges._position for weir in weirs}) == 1)


PURGES = [
    pytest.param(Purge("url", ORIGIN + b"/a"), {"/b", "/a/c"}, id="url"),
    pytest.param(Purge("prefix", ORIGIN + b"/a"), {"/b"}, id="prefix"),
    pytest.param(Purge("tag", b"t"), {"/b"}, id="tag"),
    pytest.param(Purge("tag", b"t", origin=ORIGIN), {"/b"}, id="group"),
    pytest.param(Purge("tag", b"t", origin=b"http://other"), {"/a", "/b", "/a/c"}, id="group of another origin"),
    pytest.param(Purge("all"), set(), id="all"),
]


@pytest.mark.parametrize("is_soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("purge", "left"), PURGES)
async def test_a_purge_is_in_force_everywhere(start: Any, purge: Purge, left: set[str], is_soft: bool) -> None:
    weirs = [await start() for _ in range(3)]
    for weir in weirs:
        for path, tags in (("/a", "t"), ("/a/c", "s t"), ("/b", "u")):
            weir.stores(path, tags)
    ended = await weirs[0].cache.purge(Purge(purge.kind, purge.value, is_soft, purge.origin))
    assert ended == 3 - len(left)
    assert await weirs[0].purges.is_shared()
    await until(lambda: all(weir.purges.stats.received for weir in weirs[1:]))
    await until(lambda: all(weir.has() == left for weir in weirs))
    assert all(weir.cache.entries == (3 if is_soft else len(left)) for weir in weirs)
    assert [weir.cache.stats.purges for weir in weirs] == [1, 0, 0], "ordered once"
    assert [weir.purges.stats.received for weir in weirs] == [0, 1, 1]


async def test_what_was_on_its_way_when_a_purge_came_from_elsewhere_is_not_fresh(start: Any) -> None:
    first, second = await start(), await start()
    entry = second.stores("/a")
    second.cache.store.remove(entry)
    began = second.cache.invalidations.now
    first.cache.invalidate(ORIGIN + b"/a")
    await until(lambda: second.purges.stats.received == 1)
    assert not second.cache.keep(entry, {}, began)
    assert second.cache.keep(entry, {}, second.cache.invalidations.now)


async def test_writes_go_together_and_each_once(start: Any) -> None:
    first, second = await start(), await start()
    for number in range(300):
        second.stores(f"/{number}")
    second.stores("/stays")
    for _ in range(3):
        for number in range(300):
            first.cache.invalidate(ORIGIN + b"/%d" % number)
    await until(lambda: second.purges.stats.received == 300)
    assert second.has() == {"/stays"}
    assert first.purges.stats.announced == 300
    assert first.purges.stats.records == 2, "of 256 purges at most"


async def test_an_announcement_makes_no_write_wait(start: Any, store: Store) -> None:
    weir = await start()
    store.stall()
    began = monotonic()
    for number in range(1000):
        weir.cache.invalidate(ORIGIN + b"/%d" % number)
    assert monotonic() - began < 0.5, "it only goes into a queue"
    assert weir.purges.pending == 1000
    store.go_on()
    await until(lambda: not weir.purges.pending)


async def test_an_operator_hears_within_two_seconds_that_the_others_could_not_be_told(start: Any, store: Store) -> None:
    first, second = await start(), await start()
    second.stores("/a")
    store.stall()
    first.cache.announce(Purge("all"), True)
    async with asyncio.timeout(4.0):
        assert not await first.purges.is_shared()
    assert first.purges.status()["shared"] is False
    await until(lambda: len(first.said) == 1)
    assert first.said[0]
    store.go_on()
    await until(lambda: second.has() == set())
    await until(lambda: first.said[1:] == [None])
    assert await first.purges.is_shared()
    assert first.said[1:] == [None], "said once each"


async def test_a_store_that_stalls_makes_nobody_current_and_nothing_is_missed(start: Any, store: Store) -> None:
    first, second = await start(), await start()
    await settled(first, second)
    for path in ("/a", "/b"):
        second.stores(path)
    store.stall()
    first.cache.invalidate(ORIGIN + b"/a")
    await until(lambda: not first.purges.is_current and not second.purges.is_current)
    assert second.has() == {"/a", "/b"}, "it cannot know"
    store.go_on()
    await until(lambda: second.has() == {"/b"})
    await settled(first, second)
    assert (first.purges.stats.gaps, second.purges.stats.gaps) == (0, 0)


async def test_after_a_store_came_back_empty_everything_is_validated(start: Any, store: Store) -> None:
    first, second = await start(), await start()
    first.cache.invalidate(ORIGIN + b"/z")
    await settled(first, second)
    for weir in (first, second):
        weir.stores("/a")
        weir.stores("/b")
    before = second.purges.seq
    store.kill()
    await until(lambda: not second.purges.is_current)
    first.cache.invalidate(ORIGIN + b"/a")
    assert first.has() == {"/b"}
    store.start()
    await until(lambda: all(weir.purges.stats.gaps == 1 for weir in (first, second)))
    await settled(first, second)
    assert first.has() == second.has() == set()
    assert second.cache.entries >= 1, "what is stored may still be confirmed"
    left = [entry for shelf in second.cache.store.shelves.values() for entry in shelf]
    assert all(entry.revalidate_s == 0.0 for entry in left), "but is not used before"
    assert second.purges.seq > before
    assert second.purges.fate_since(ORIGIN + b"/never", (), before) is Fate.DROP
    assert second.purges.fate_since(ORIGIN + b"/never", (), second.purges.seq) is Fate.KEEP
    second.stores("/c")
    await asyncio.sleep(0.7)
    assert second.has() == {"/c"}, "one loss is one gap"
    assert second.purges.stats.gaps == 1


async def test_a_log_that_is_emptied_while_all_goes_on_is_noticed(start: Any, store: Store) -> None:
    first, second = await start(), await start()
    first.cache.invalidate(ORIGIN + b"/z")
    await settled(first, second)
    second.stores("/a")
    with Redis(unix_socket_path=store.url.removeprefix("unix://")) as admin:
        admin.flushall()
    await until(lambda: second.purges.stats.gaps == 1)
    await until(lambda: second.has() == set())


async def test_after_a_loss_of_the_log_what_one_stamps_is_known_to_all(start: Any, store: Store) -> None:
    weirs = [await start() for _ in range(3)]
    await settled(*weirs)
    with Redis(unix_socket_path=store.url.removeprefix("unix://")) as admin:
        admin.delete(LOG)
    await until(lambda: all(weir.purges.stats.gaps == 1 for weir in weirs))
    await settled(*weirs)
    stamps = {weir.purges.seq for weir in weirs}
    assert {weir.purges.fate_since(ORIGIN + b"/", (), stamp) for weir in weirs for stamp in stamps} == {Fate.KEEP}


async def test_what_was_announced_just_before_the_log_was_lost_is_announced_again(start: Any, store: Store) -> None:
    first = await start()
    await first.cache.purge(Purge("tag", b"t"))
    assert await first.purges.is_shared()
    with Redis(unix_socket_path=store.url.removeprefix("unix://")) as admin:
        admin.flushall()
        await until(lambda: first.purges.stats.gaps == 1)
        await until(lambda: admin.xlen(LOG) == 2)  # that all begin anew, and the purge again
    later = await start()
    await settled(first, later)
    assert later.cache.entries == 0
    assert later.purges.fate_since(ORIGIN + b"/", (b"t",), later.purges.seq - 1) is Fate.DROP


async def test_who_was_away_for_longer_than_the_log_reaches_has_everything_validated(start: Any, store: Store) -> None:
    first, second = await start(), await start()
    first.cache.invalidate(ORIGIN + b"/z")
    await settled(first, second)
    for weir in (first, second):
        weir.stores("/a")
    follower = second.purges._tasks[0]
    while not follower.done():  # redis-py may take a cancellation for the end of its own time
        follower.cancel()
        await asyncio.wait([follower], timeout=0.5)
    for number in range(3):
        first.cache.invalidate(ORIGIN + b"/%d" % number)
        await until(lambda: not first.purges.pending)
    with Redis(unix_socket_path=store.url.removeprefix("unix://")) as admin:
        admin.xtrim(LOG, maxlen=2, approximate=False)
    assert second.purges._reader is not None
    second.purges._tasks[0] = asyncio.ensure_future(second.purges._follow(second.purges._reader))
    await until(lambda: second.purges.stats.gaps == 1)
    await settled(first, second)
    assert second.has() == set()
    assert first.has() == {"/a"}, "who missed nothing keeps all"
    assert first.purges.stats.gaps == 0


async def test_who_starts_reads_back_what_there_is_and_ends_nothing_of_its_own(start: Any, store: Store) -> None:
    first = await start()
    await settled(first)
    oldest = first.purges.seq
    count = 2 * AT_ONCE + 7
    link = PurgeLink(store.url)
    for number in range(count):
        await link.write(number, 0, [Purge("url", ORIGIN + b"/%d" % number)])
    await link.close()
    await until(lambda: first.purges.stats.received == count)
    begun = first.purges.seq
    later = await start()
    later.stores("/3")
    await settled(first, later)
    assert later.has() == {"/3"}, "those purges were before anything was stored here"
    assert later.purges.stats.received == 0
    assert later.purges.seq == begun
    assert later.purges.fate_since(ORIGIN + b"/3", (), oldest) is Fate.DROP
    assert later.purges.fate_since(ORIGIN + b"/x", (), oldest) is Fate.KEEP, "the log reaches back to its beginning"
    assert later.purges.fate_since(ORIGIN + b"/x", (), oldest - 1) is Fate.DROP, "and no further"


async def test_what_is_older_than_the_log_reaches_is_not_known(start: Any, store: Store) -> None:
    link = PurgeLink(store.url)
    positions = [await link.write(number, 0, [Purge("url", ORIGIN + b"/%d" % number)]) for number in range(5)]
    numbers = [int(position.partition(b"-")[0]) for position in positions]
    await link.close()
    with Redis(unix_socket_path=store.url.removeprefix("unix://")) as admin:
        admin.xtrim(LOG, maxlen=3, approximate=False)
    weir = await start()
    await settled(weir)
    assert weir.purges.fate_since(ORIGIN + b"/x", (), numbers[1]) is Fate.KEEP
    assert weir.purges.fate_since(ORIGIN + b"/x", (), numbers[1] - 1) is Fate.DROP
    assert weir.purges.fate_since(ORIGIN + b"/4", (), numbers[3]) is Fate.DROP
    assert weir.purges.fate_since(ORIGIN + b"/4", (), numbers[4]) is Fate.KEEP


async def test_a_purge_counts_from_the_moment_that_it_is_ordered_here(start: Any, store: Store) -> None:
    weir = await start()
    await settled(weir)
    stamp = weir.purges.seq
    assert weir.purges.fate_since(ORIGIN + b"/a", (), stamp) is Fate.KEEP
    weir.cache.invalidate(ORIGIN + b"/a")
    assert weir.purges.fate_since(ORIGIN + b"/a", (), stamp) is Fate.DROP, "although nobody has numbered it yet"
    assert weir.purges.fate_since(ORIGIN + b"/b", (), stamp) is Fate.KEEP
    await until(lambda: weir.purges.stats.lags == 1)
    assert weir.purges.seq > stamp
    assert weir.purges.fate_since(ORIGIN + b"/a", (), stamp) is Fate.DROP
    assert weir.purges.fate_since(ORIGIN + b"/a", (), weir.purges.seq) is Fate.KEEP


async def test_who_starts_without_its_store_has_all_validated_at_the_first_contact(start: Any, store: Store) -> None:
    store.kill()
    weir = await start()
    assert weir.purges.status()["error"] is not None
    assert not weir.purges.is_current
    assert weir.purges.fate_since(ORIGIN + b"/a", (), 0) is Fate.DROP
    weir.stores("/a")
    weir.cache.invalidate(ORIGIN + b"/b")
    store.start()
    await until(lambda: weir.purges.is_current and not weir.purges.pending)
    assert weir.has() == set(), "somebody may have purged it, and nobody could tell"
    assert weir.purges.stats.gaps == 0


async def test_what_a_newer_weir_says_has_everything_validated(start: Any, store: Store) -> None:
    weir = await start()
    await settled(weir)
    weir.stores("/a")
    with Redis(unix_socket_path=store.url.removeprefix("unix://")) as admin:
        before = weir.purges._position or b""
        admin.xadd(LOG, {"before": before, "purges": b"\x91\x93\xa1z\xc4\x00\xc4\x00"}, id="9007199254740000-1")
    await until(lambda: weir.purges.stats.received == 1)
    assert weir.has() == set()
    assert (weir.cache.entries, weir.purges.stats.gaps) == (1, 0)


async def test_a_writer_whose_store_has_an_older_clock_still_counts_on(store: Store) -> None:
    link = PurgeLink(store.url)
    ahead = int((wall() + 3600) * 1_000_000)
    first = await link.write(1, ahead, [DOUBT])
    second = await link.write(2, 0, [DOUBT])
    assert int(first.partition(b"-")[0]) == ahead + 1
    assert int(second.partition(b"-")[0]) == ahead + 2
    records = await link.read(first, waits=False)
    assert [(record.position, record.before, record.lot) for record in records] == [(second, first, 2)]
    assert (await link.look()).last == await link.last() == second
    await link.close()


async def test_what_waits_at_the_end_is_announced_before_it_ends(start: Any) -> None:
    first, second = await start(), await start()
    second.stores("/a")
    first.cache.invalidate(ORIGIN + b"/a")
    await first.purges.aclose()
    await first.purges.aclose()
    await until(lambda: second.has() == set())


async def test_the_end_does_not_wait_for_a_store_that_is_away(start: Any, store: Store) -> None:
    weir = await start()
    store.stall()
    weir.cache.invalidate(ORIGIN + b"/a")
    began = monotonic()
    await weir.purges.aclose()
    assert monotonic() - began < 6.0
    store.go_on()


async def test_in_memory_there_is_nobody_to_tell() -> None:
    weir = Weir("memory")
    await weir.purges.start()
    weir.stores("/a")
    assert weir.cache.announce is None
    assert await weir.cache.purge(Purge("all")) == 1
    assert await weir.purges.is_shared()
    assert (weir.purges.status(), weir.purges.error, weir.purges.is_current) == ({"shared": False}, None, True)
    await weir.purges.aclose()
