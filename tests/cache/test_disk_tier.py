"""Content that is too large for memory: in files, found again, never wrong, and never why a request fails."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest
import pytest_asyncio

from proxy.cache.cache import Cache
from proxy.cache.disk.handle import BLOCK_BYTES
from proxy.cache.disk.store import BACK, DAMAGED, LOST, StoredFile
from proxy.cache.disk.stream import FileStream
from proxy.cache.purges.purge import Purge
from proxy.cache.settings import CacheSettings
from proxy.core.errors import ErrorKind, ProxyError

KIB, MIB = 1024, 1024 * 1024
IN_MEMORY = 256 * KIB  # the most
LARGE = 3 * BLOCK_BYTES + 12_345
KEY = Purge("url", b"http://example.com/a")
MakeLine = Callable[..., Any]


def content(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


async def until(holds: Callable[[], bool], what: str = "") -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.002)


class Told:
    """What the operator hears."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.reasons: list[str | None] = []

    def __call__(self, word: str, why: str | None) -> None:
        self.words.append(word)
        self.reasons.append(why)


@pytest_asyncio.fixture
async def disk_line(new_line: MakeLine, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[Any] = []

    async def make(settings: dict[str, Any] | None = None, *, size: int = 16 * MIB, **disk: Any) -> Any:
        folder = disk.pop("path", str(tmp_path / "disk"))
        line = new_line(
            settings, memory=2 * MIB, max_entry=IN_MEMORY, disk={"path": folder, "size": size, "threads": 2, **disk}
        )
        line.told = line.cache.disk.tell = Told()
        await line.cache.start()
        made.append(line)
        return line

    yield make
    for line in made:
        await until(lambda line=line: not len(line.cache.disk.threads))  # type: ignore[misc]
        line.cache.stop()


@pytest_asyncio.fixture
async def line(disk_line: Callable[..., Any]) -> Any:
    return await disk_line()


def bodies(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.body"))


def folder_of(line: Any) -> Path:
    return Path(line.cache.disk.path)


async def settled(line: Any) -> None:
    await until(lambda: not len(line.cache.disk.threads))


async def store(
    line: Any, kit: Any, data: bytes, target: str = "/a", *, is_declared: bool = True, **fields: str
) -> Any:
    """Ask for `data` once; it is stored when this returns."""
    body = kit.body(len(data) if is_declared else None)
    more = {"Cache-Control": "max-age=60", **{name.replace("_", "-"): value for name, value in fields.items()}}
    line.origin.answers(kit.reply(fields=more, content=body))
    asking = asyncio.ensure_future(line.ask(target))
    await body.started.wait()
    await feed(body, data)
    body.finish()
    reply = await asking
    assert reply.content == data
    await settled(line)
    return reply


async def feed(body: Any, data: bytes, piece: int = 50_000) -> None:
    for at in range(0, len(data), piece):
        while body.is_paused:
            await asyncio.sleep(0.001)
        if body.is_cancelled:
            return
        body.feed(data[at : at + piece])
        await asyncio.sleep(0)


def file_of(line: Any, target: str = "/a") -> StoredFile:
    (entry,) = line.entries(target)
    assert isinstance(entry.body, StoredFile)
    return entry.body


@pytest.mark.parametrize("is_declared", [True, False], ids=["length-known", "length-unknown"])
@pytest.mark.parametrize(
    "size",
    [IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, 3 * BLOCK_BYTES - 1, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1, 3 * MIB],
)
async def test_what_is_too_large_for_memory_is_in_a_file_and_comes_out_as_it_went_in(
    line: Any, kit: Any, size: int, is_declared: bool
) -> None:
    data = content(size)
    await store(line, kit, data, is_declared=is_declared)
    (entry,) = line.entries()
    assert isinstance(entry.body, StoredFile) is (size > IN_MEMORY)
    assert len(entry.body) == size
    assert len(bodies(folder_of(line))) == (size > IN_MEMORY)
    if size > IN_MEMORY:
        assert line.cache.bytes < 32 * KIB
        assert bodies(folder_of(line))[0].read_bytes() == data
        assert bodies(folder_of(line))[0].stat().st_mode & 0o077 == 0
    for _ in range(2):
        hit = await line.ask()
        assert hit.content == data
        assert hit.cache.startswith("hit")
    assert len(line.origin.asked) == 1
    assert line.cache.stats.hits == 2


async def test_what_is_too_large_for_the_disk_is_passed_on(disk_line: Callable[..., Any], kit: Any) -> None:
    line = await disk_line(max_entry=MIB)
    data = content(MIB + 1)
    for is_declared in (True, False):
        body = kit.body(len(data) if is_declared else None)
        line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
        asking = asyncio.ensure_future(line.ask(f"/{is_declared}"))
        await body.started.wait()
        await feed(body, data)
        body.finish()
        assert (await asking).content == data
        await settled(line)
        assert line.entries(f"/{is_declared}") == []
    assert bodies(folder_of(line)) == []
    assert (line.cache.disk.used_bytes, line.cache.bytes) == (0, 0)


async def test_a_route_may_keep_its_responses_off_the_disk(disk_line: Callable[..., Any], kit: Any) -> None:
    line = await disk_line({"max_entry": IN_MEMORY})
    data = content(LARGE)
    body = kit.body(None)
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    asking = asyncio.ensure_future(line.ask())
    await body.started.wait()
    await feed(body, data)
    body.finish()
    assert (await asking).content == data
    assert line.entries() == []


RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=5-9", 5, 10),
    (f"bytes={BLOCK_BYTES - 1}-{BLOCK_BYTES}", BLOCK_BYTES - 1, BLOCK_BYTES + 1),
    (f"bytes={BLOCK_BYTES}-", BLOCK_BYTES, LARGE),
    (f"bytes=3-{LARGE - 2}", 3, LARGE - 1),
    ("bytes=-1", LARGE - 1, LARGE),
    (f"bytes=-{LARGE * 2}", 0, LARGE),
]


@pytest.mark.parametrize(("value", "start", "end"), RANGES, ids=[row[0] for row in RANGES])
async def test_a_range_is_read_from_where_it_begins(line: Any, kit: Any, value: str, start: int, end: int) -> None:
    data = content(LARGE)
    await store(line, kit, data)
    part = await line.ask(fields={"Range": value})
    assert (part.status, part.content) == (206, data[start:end])
    assert part.index["content-range"] == f"bytes {start}-{end - 1}/{LARGE}"


async def test_a_range_beyond_the_end_is_416(line: Any, kit: Any) -> None:
    await store(line, kit, content(LARGE))
    assert (await line.ask(fields={"Range": f"bytes={LARGE}-"})).status == 416


async def test_head_and_304_need_no_file(line: Any, kit: Any) -> None:
    await store(line, kit, content(LARGE), ETag='"1"')
    bodies(folder_of(line))[0].unlink()
    assert (await line.ask(fields={"If-None-Match": '"1"'})).status == 304
    exchange = line.exchange(method="HEAD")
    response = await line.answer(exchange)
    assert (response.status, response.content.length) == (200, LARGE)
    response.content.cancel()
    assert len(line.origin.asked) == 1
    assert file_of(line)._holds == 1


# -- many readers --


@pytest.mark.parametrize("is_declared", [True, False], ids=["length-known", "length-unknown"])
async def test_readers_join_content_that_goes_to_a_file_and_fall_behind_and_catch_up(
    line: Any, kit: Any, is_declared: bool
) -> None:
    data = content(2 * MIB)
    body = kit.body(len(data) if is_declared else None)
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    leader = asyncio.ensure_future(line.ask())
    await body.started.wait()
    first = line.exchange()
    slow, pace = None, Random(7)
    joined = []
    for at in range(0, len(data), 40_000):
        while body.is_paused:
            await asyncio.sleep(0.001)
        body.feed(data[at : at + 40_000])
        if slow is None:
            slow = await line.answer(first)  # reads nothing until all is there
            slow_client = kit.collector()
            slow.content.start(slow_client)
            slow.content.pause()
        if pace.random() < 0.2:
            joined.append(asyncio.ensure_future(line.ask()))
        await asyncio.sleep(0)
    body.finish()
    assert (await leader).content == data
    assert len(joined) > 3
    for reply in await asyncio.gather(*joined):
        assert reply.content == data
        assert "collapsed" in reply.cache or reply.cache.startswith("hit")
    assert slow is not None
    slow.content.resume()
    await slow_client.done.wait()
    assert bytes(slow_client.data) == data
    assert len(line.origin.asked) == 1
    await settled(line)
    assert file_of(line)._holds == 1
    assert line.cache.fill_bytes == 0


async def test_a_joined_range_comes_from_the_file(line: Any, kit: Any) -> None:
    data = content(2 * MIB)
    body = kit.body(len(data))
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    leader = asyncio.ensure_future(line.ask())
    await body.started.wait()
    await feed(body, data[:MIB])
    part = await line.ask(fields={"Range": "bytes=1000-200000"})
    assert (part.status, part.content) == (206, data[1000:200001])
    await feed(body, data[MIB:])
    body.finish()
    assert (await leader).content == data
    assert len(line.origin.asked) == 1


async def test_a_slow_disk_holds_up_the_origin_and_not_the_memory(line: Any, kit: Any) -> None:
    hold = Event()
    for _ in range(2):
        line.cache.disk.threads.run(lambda: hold.wait(20), lambda _: None)
    data = content(8 * MIB)
    body = kit.body(len(data))
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    leader = asyncio.ensure_future(line.ask())
    await body.started.wait()
    fed = 0
    while not body.is_paused:
        body.feed(data[fed : fed + 64 * KIB])
        fed += 64 * KIB
    assert fed < 1.5 * MIB
    assert line.cache.fill_bytes < 1.5 * MIB
    hold.set()
    await feed(body, data[fed:])
    body.finish()
    assert (await leader).content == data
    await settled(line)
    assert (await line.ask()).content == data


async def test_a_reader_of_a_stored_file_is_given_it_at_its_pace(line: Any, kit: Any) -> None:
    data = content(2 * MIB)
    await store(line, kit, data)
    response = await line.answer(line.exchange())
    client = kit.collector()
    response.content.start(client)
    response.content.pause()
    await settled(line)
    assert len(client.data) <= 2 * BLOCK_BYTES
    while not client.done.is_set():
        response.content.resume()
        response.content.pause()
        await asyncio.sleep(0.001)
    assert bytes(client.data) == data


@pytest.mark.parametrize("how", ["purge", "write", "eviction"])
async def test_who_reads_what_is_ended_meanwhile_gets_it_whole_and_then_the_file_goes(
    line: Any, kit: Any, how: str
) -> None:
    data = content(2 * MIB)
    await store(line, kit, data)
    response = await line.answer(line.exchange())
    client = kit.collector()
    response.content.start(client)
    response.content.pause()
    file = file_of(line)
    if how == "purge":
        assert await line.cache.purge(KEY) == 1
    elif how == "write":
        line.cache.invalidate(KEY.value)
    else:
        line.cache.store.evict(file.entry)
    assert line.entries() == []
    await settled(line)
    assert len(bodies(folder_of(line))) == 1
    assert line.cache.disk.used_bytes >= 2 * MIB  # it still takes its room
    response.content.resume()
    await client.done.wait()
    assert bytes(client.data) == data
    await settled(line)
    assert bodies(folder_of(line)) == []
    assert (line.cache.disk.used_bytes, len(line.cache.disk)) == (0, 0)


async def test_a_purge_while_it_is_written_leaves_nothing(line: Any, kit: Any) -> None:
    data = content(2 * MIB)
    body = kit.body(len(data))
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    leader = asyncio.ensure_future(line.ask())
    await body.started.wait()
    await feed(body, data[:MIB])
    await line.cache.purge(KEY)
    await feed(body, data[MIB:])
    body.finish()
    assert (await leader).content == data
    await settled(line)
    assert line.entries() == []
    assert bodies(folder_of(line)) == []
    assert (line.cache.disk.used_bytes, line.cache.bytes) == (0, 0)


async def test_a_client_that_leaves_a_stored_file_lets_go_of_it(line: Any, kit: Any) -> None:
    await store(line, kit, content(LARGE))
    response = await line.answer(line.exchange())
    client = kit.collector()
    response.content.start(client)
    response.content.cancel()
    response.content.cancel()
    await settled(line)
    assert file_of(line)._holds == 1
    assert not client.done.is_set()


# -- what is cut short --


@pytest.mark.parametrize("is_declared", [True, False], ids=["length-known", "length-unknown"])
async def test_content_cut_short_at_any_place_is_never_stored(line: Any, kit: Any, is_declared: bool) -> None:
    data = content(LARGE)
    lots = Random(3)
    cuts = {0, 1, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, LARGE - 1, *(lots.randrange(LARGE) for _ in range(12))}
    cuts |= {number * BLOCK_BYTES + off for number in (1, 2, 3) for off in (-1, 0, 1)}
    for cut in sorted(cuts):
        body = kit.body(len(data) if is_declared else None)
        line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
        asking = asyncio.ensure_future(line.ask(f"/{cut}"))
        await body.started.wait()
        await feed(body, data[:cut])
        body.abort()
        with pytest.raises(ProxyError):
            await asking
        await settled(line)
        assert line.entries(f"/{cut}") == []
        assert bodies(folder_of(line)) == []
    assert (line.cache.disk.used_bytes, line.cache.disk.leaving_bytes, line.cache.bytes) == (0, 0, 0)
    assert line.told.words == []


async def test_less_than_declared_is_never_stored(line: Any, kit: Any) -> None:
    data = content(LARGE)
    body = kit.body(LARGE + 1)
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    asking = asyncio.ensure_future(line.ask())
    await body.started.wait()
    await feed(body, data)
    body.finish()
    with pytest.raises(ProxyError) as raised:
        await asking
    assert raised.value.kind is ErrorKind.RESPONSE_TRUNCATED
    await settled(line)
    assert line.entries() == []
    assert bodies(folder_of(line)) == []


# -- updates --


async def test_an_update_keeps_the_file(line: Any, kit: Any) -> None:
    data = content(LARGE)
    await store(line, kit, data, ETag='"1"')
    name = file_of(line).name
    line.passes(100)
    line.origin.answers(kit.reply(304, {"Cache-Control": "max-age=60", "ETag": '"1"', "X-New": "1"}))
    reply = await line.ask()
    assert (reply.status, reply.content, reply.index["x-new"]) == (200, data, "1")
    await settled(line)
    assert (file_of(line).name, file_of(line)._holds) == (name, 1)
    assert (await line.ask()).cache.startswith("hit")
    assert len(line.origin.asked) == 2


async def test_an_update_that_forbids_to_keep_it_gives_it_out_once_more(line: Any, kit: Any) -> None:
    data = content(LARGE)
    await store(line, kit, data, ETag='"1"')
    line.passes(100)
    line.origin.answers(kit.reply(304, {"Cache-Control": "no-store", "ETag": '"1"'}))
    assert (await line.ask()).content == data
    await settled(line)
    assert line.entries() == []
    assert bodies(folder_of(line)) == []


async def test_what_was_ended_while_the_origin_confirmed_it_is_fetched_anew(line: Any, kit: Any) -> None:
    await store(line, kit, content(LARGE), ETag='"1"')
    line.passes(100)

    def confirms_too_late(exchange: Any) -> Any:
        line.cache.store.evict(line.entries()[0])
        return kit.reply(304, {"Cache-Control": "max-age=60", "ETag": '"1"'})

    line.origin.answers(confirms_too_late, kit.reply(fields={"Cache-Control": "max-age=60"}, content=b"anew"))
    assert (await line.ask()).content == b"anew"
    assert len(line.origin.asked) == 3


# -- the budget --


def blocks_of(path: Path) -> int:
    """Bytes on the disk; a thread may just have removed it."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


async def test_a_flood_never_takes_more_than_the_budget_neither_by_the_books_nor_on_the_disk(
    disk_line: Callable[..., Any], kit: Any
) -> None:
    budget = 4 * MIB
    line = await disk_line(size=budget)
    disk, folder = line.cache.disk, folder_of(line)
    most = 0
    is_over = False

    async def watch() -> None:
        nonlocal most
        while not is_over:
            taken = sum(blocks_of(path) for path in bodies(folder))
            most = max(most, taken)
            assert disk.used_bytes <= budget
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(watch())
    lots = Random(5)
    for number in range(40):
        await store(
            line, kit, content(lots.randrange(300, 1800) * KIB, number), f"/{number}", is_declared=number % 3 > 0
        )
    is_over = True
    await watching
    assert budget / 2 < most <= budget
    assert disk.evicted > 10
    assert line.cache.stats.evicted == disk.evicted
    assert len(bodies(folder)) == len(disk) == line.cache.entries
    assert disk.used_bytes == sum(file.room_bytes for file in disk._files)
    last = await line.ask("/39")
    assert last.cache.startswith("hit")


async def test_what_is_used_outlives_what_is_not(disk_line: Callable[..., Any], kit: Any) -> None:
    line = await disk_line(size=4 * MIB)
    await store(line, kit, content(MIB, 0), "/hot")
    for number in range(8):
        assert (await line.ask("/hot")).cache.startswith("hit")
        await store(line, kit, content(MIB, number), f"/{number}")
    assert (await line.ask("/hot")).cache.startswith("hit")


async def test_what_has_no_room_beside_what_is_being_read_is_passed_on(disk_line: Callable[..., Any], kit: Any) -> None:
    line = await disk_line(size=4 * MIB, max_entry=4 * MIB)
    await store(line, kit, content(3 * MIB))
    response = await line.answer(line.exchange())
    client = kit.collector()
    response.content.start(client)
    response.content.pause()
    data = content(2 * MIB, 2)
    for is_declared in (True, False):
        body = kit.body(len(data) if is_declared else None)
        line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
        asking = asyncio.ensure_future(line.ask("/b"))
        await body.started.wait()
        await feed(body, data)
        body.finish()
        assert (await asking).content == data
        await settled(line)
        assert line.entries("/b") == []
    assert line.entries() != []  # nothing went in vain
    response.content.resume()
    await client.done.wait()
    await store(line, kit, data, "/b")
    assert line.entries("/b") != []
    assert line.told.words == []


async def test_a_smaller_budget_after_a_reload_is_kept_at_once(line: Any, kit: Any, tmp_path: Path) -> None:
    for number in range(6):
        await store(line, kit, content(MIB, number), f"/{number}")
    line.cache.apply(
        CacheSettings(
            memory=2 * MIB,
            max_entry=IN_MEMORY,
            disk={"path": str(tmp_path / "disk"), "size": 3 * MIB, "max_entry": MIB},  # type: ignore[arg-type]
        )
    )
    await settled(line)
    assert line.cache.disk.used_bytes <= 3 * MIB
    assert len(bodies(folder_of(line))) == 3
    assert line.cache.largest_bytes == MIB


async def test_the_index_counts_in_memory_and_its_end_is_the_files_end(disk_line: Callable[..., Any], kit: Any) -> None:
    line = await disk_line()
    await store(line, kit, content(LARGE))
    assert line.cache.bytes > 1000
    line.cache.store.resize(0)
    await settled(line)
    assert line.cache.entries == 0
    assert bodies(folder_of(line)) == []


# -- what is not as it was written --


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (octet,) = file.read(1)
        file.seek(at)
        file.write(bytes((octet ^ 1,)))


def shorten(path: Path) -> None:
    os.truncate(path, LARGE - 1)


def lengthen(path: Path) -> None:
    os.truncate(path, LARGE + 1)


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    other.rename(path)  # the same bytes, and yet not what was written


def link_elsewhere(path: Path) -> None:
    other = path.with_suffix(".other")
    path.rename(other)
    path.symlink_to(other)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit": lambda path: flip(path, 100),
    "shorter": shorten,
    "longer": lengthen,
    "another file": replace,
    "a link": link_elsewhere,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
async def test_what_is_not_the_file_that_was_written_is_fetched_anew(
    line: Any, kit: Any, damage: Callable[[Path], None]
) -> None:
    await store(line, kit, content(LARGE))
    damage(bodies(folder_of(line))[0])
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=b"anew"))
    reply = await line.ask()
    assert (reply.status, reply.content) == (200, b"anew")
    assert reply.cache == "fwd=uri-miss; stored"
    assert (await line.ask()).content == b"anew"
    stats = line.cache.stats
    assert (stats.hits, stats.misses) == (1, 2)
    assert line.told.words == [DAMAGED]
    assert line.cache.disk.is_ready


@pytest.mark.parametrize("block", [1, 2, 3])
async def test_who_is_in_the_middle_of_a_damaged_file_is_cut_and_never_gets_a_wrong_byte(
    line: Any, kit: Any, block: int
) -> None:
    data = content(LARGE)
    await store(line, kit, data)
    flip(bodies(folder_of(line))[0], block * BLOCK_BYTES + 5)
    client = kit.collector()
    response = await line.answer(line.exchange())
    response.content.start(client)
    await client.done.wait()
    assert client.error is not None
    assert not client.is_finished
    assert bytes(client.data) == data[: block * BLOCK_BYTES]
    await settled(line)
    assert line.entries() == []  # nobody is sent there again
    assert line.cache.disk.used_bytes == 0


# -- what fails --


async def passes(line: Any, kit: Any, target: str, data: bytes, *, is_declared: bool) -> None:
    """It comes whole, and is not stored."""
    body = kit.body(len(data) if is_declared else None)
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    asking = asyncio.ensure_future(line.ask(target))
    await body.started.wait()
    await feed(body, data)
    body.finish()
    async with asyncio.timeout(20):
        assert (await asking).content == data
    assert line.entries(target) == []


@pytest.mark.parametrize("is_declared", [True, False], ids=["length-known", "length-unknown"])
async def test_a_full_disk_fails_nobody_and_is_said_once(line: Any, kit: Any, is_declared: bool) -> None:
    data = content(2 * MIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await store(line, kit, content(LARGE), "/before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, hard))  # the system takes so much, and then says EFBIG
    try:
        for number in range(3):
            await passes(line, kit, f"/{number}", data, is_declared=is_declared)
            assert not line.cache.disk.is_ready
        await settled(line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert line.told.words == [LOST]
    assert line.cache.disk.status()["error"] == "File too large"
    assert len(bodies(folder_of(line))) == 1
    assert (await line.ask("/before")).cache.startswith("hit")  # what is there can be read
    line.cache.disk._try()
    await until(lambda: line.cache.disk.is_ready)
    assert line.told.words == [LOST]  # not before something was stored
    await store(line, kit, data, "/after")
    assert line.told.words == [LOST, BACK]


async def test_readers_who_are_behind_when_the_disk_fails_get_the_whole(line: Any, kit: Any) -> None:
    data = content(4 * MIB)
    body = kit.body(len(data))
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    response = await line.answer(line.exchange())
    client = kit.collector()
    response.content.start(client)
    response.content.pause()
    await feed(body, data[: 2 * MIB])
    await settled(line)
    assert not body.is_paused
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB + 5000, hard))
    try:
        body.feed(data[2 * MIB : 2 * MIB + 300_000])
        await until(lambda: not line.cache.disk.is_ready)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert body.is_paused  # it waits for the reader now
    response.content.resume()
    await feed(body, data[2 * MIB + 300_000 :])
    body.finish()
    await client.done.wait()
    assert client.error is None
    assert bytes(client.data) == data
    await settled(line)
    assert line.entries() == []
    assert bodies(folder_of(line)) == []
    assert (line.cache.disk.used_bytes, line.cache.bytes) == (0, 0)


async def test_a_directory_that_cannot_be_had_fails_nobody(
    disk_line: Callable[..., Any], kit: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    line = await disk_line(path=str(tmp_path / "file" / "disk"))
    assert line.told.words == [LOST]
    assert line.told.reasons == ["Not a directory"]
    assert line.cache.largest_bytes == IN_MEMORY
    await passes(line, kit, "/a", content(LARGE), is_declared=True)
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=b"small"))
    await line.ask("/small")
    assert (await line.ask("/small")).cache.startswith("hit")
    (tmp_path / "file").unlink()
    line.cache.disk._try()
    await until(lambda: line.cache.disk.is_ready)
    await store(line, kit, content(LARGE))
    assert line.told.words == [LOST, BACK]


async def test_a_directory_that_vanishes_is_made_anew(line: Any, kit: Any) -> None:
    await store(line, kit, content(LARGE), "/before")
    shutil.rmtree(folder_of(line))
    await passes(line, kit, "/a", content(LARGE), is_declared=True)
    await settled(line)
    assert line.told.words == [LOST]
    line.cache.disk._try()
    await until(lambda: line.cache.disk.is_ready)
    await store(line, kit, content(LARGE, 2), "/b")
    line.origin.answers(kit.reply(content=b"anew"))
    assert (await line.ask("/before")).content == b"anew"


async def test_a_disk_that_hangs_is_given_up_and_costs_what_it_had(line: Any, kit: Any) -> None:
    data = content(LARGE)
    await store(line, kit, data)
    disk = line.cache.disk
    disk.threads._patience_s = 0.2
    hold = Event()
    try:
        for _ in range(2):
            disk.threads.run(lambda: hold.wait(30), lambda _: None)
        line.origin.answers(kit.reply(content=b"anew"))
        async with asyncio.timeout(10):
            assert (await line.ask()).content == b"anew"  # a hit that could not be read
        await passes(line, kit, "/b", data, is_declared=True)
        assert line.told.words[0] == LOST
        assert line.told.words.count(LOST) == 1
        assert not disk.is_ready
    finally:
        hold.set()
    await settled(line)
    disk._try()
    await until(lambda: disk.is_ready)
    await settled(line)
    assert bodies(folder_of(line)) == []
    assert (disk.used_bytes, disk.leaving_bytes) == (0, 0)


async def test_a_disk_that_hangs_while_it_is_written_holds_nobody_up_for_long(line: Any, kit: Any) -> None:
    data = content(4 * MIB)
    disk = line.cache.disk
    body = kit.body(len(data))
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}, content=body))
    asking = asyncio.ensure_future(line.ask())
    await body.started.wait()
    await feed(body, data[:MIB])
    await settled(line)
    disk.threads._patience_s = 0.2
    hold = Event()
    try:
        for _ in range(2):
            disk.threads.run(lambda: hold.wait(30), lambda _: None)
        async with asyncio.timeout(10):
            await feed(body, data[MIB:])
            body.finish()
            assert (await asking).content == data
    finally:
        hold.set()
    await settled(line)
    assert line.entries() == []
    assert line.told.words == [LOST]


# -- directories --


async def test_two_weirs_on_one_directory_do_not_hurt_one_another(disk_line: Callable[..., Any], kit: Any) -> None:
    first, second = await disk_line(), await disk_line()
    assert first.cache.disk.is_ready
    assert second.told.words == [LOST]
    assert second.told.reasons == ["another Weir uses this directory"]
    data = content(LARGE)
    await store(first, kit, data)
    await passes(second, kit, "/a", data, is_declared=True)
    second.cache.disk._try()
    await settled(second)
    assert not second.cache.disk.is_ready
    assert (await first.ask()).content == data
    first.cache.stop()
    second.cache.disk._try()
    await until(lambda: second.cache.disk.is_ready)
    assert bodies(folder_of(second)) == []
    await store(second, kit, data)
    assert (await second.ask()).cache.startswith("hit")


async def test_what_is_found_at_the_start_goes_if_it_is_ours(disk_line: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    torn, foreign = folder / f"{'0a' * 8}.body", folder / "notes.body"
    torn.write_bytes(b"half")
    foreign.write_bytes(b"not ours")
    (folder / f"{'0b' * 8}.body").mkdir()
    line = await disk_line()
    assert line.cache.disk.is_ready
    assert not torn.exists()
    assert foreign.read_bytes() == b"not ours"
    assert (folder / f"{'0b' * 8}.body").is_dir()
    assert line.cache.entries == 0


async def test_without_a_disk_nothing_starts(new_line: MakeLine) -> None:
    cache: Cache = new_line().cache
    await cache.start()
    assert cache.disk is None
    assert cache.largest_bytes == cache.max_entry_bytes
    cache.stop()


async def test_a_stream_of_what_is_gone_breaks_and_holds_nothing(line: Any, kit: Any) -> None:
    await store(line, kit, content(LARGE))
    file = file_of(line)
    await line.cache.purge(KEY)
    assert file.is_gone
    client = kit.collector()
    FileStream(file, 0, 5).start(client)
    assert client.error is not None
    assert not await FileStream(file, 0, 5).prepare()
