"""What a crowd gets from the cache: how often the backend is asked, and how long the slowest waits. One test a row.

The backend takes `ORIGIN_S` for an answer. A client that waited for nobody's sake but its own is back after about that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.cache.flights import BARREN
from tests.conformance.weir import Weir

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORIGIN_S = 0.5
SLACK_S = 0.35  # of a machine that does other things too
LARGE_BYTES = 30 * 1024 * 1024
_CONFIG = """\
version: 1
listen: 127.0.0.1:{port}
admin: "off"
cache: {{memory: 64MiB, max_entry: 32MiB}}
upstreams:
  app:
    primary: http://127.0.0.1:{backend}
    pool: {{max_in_flight: 512, max_idle: 512, queue: 1024}}
access_log: {{path: "off"}}
routes:
  - {{name: rest, upstream: app, timeout: 10s, cache: {{}}}}
  - {{name: barren, match: {{path: /barren/**}}, upstream: app, cache: {{}}}}
"""
MAX_AGE = b"Cache-Control: max-age=60\r\n"


class CachingWeir(Weir):
    """The same process with a route that caches."""

    def __init__(self, folder: Path, backend_port: int) -> None:
        super().__init__(folder, backend_port)
        self._config.write_text(_CONFIG.format(port=self.port, backend=backend_port))


Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """Answers each path by a handler of its own, and counts."""

    def __init__(self) -> None:
        self.handlers: dict[bytes, Handler] = {}
        self.asked: dict[bytes, int] = {}
        self.idle = 0  # connections that wait for a request
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    def count(self, path: bytes) -> int:
        return self.asked.get(path, 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.idle += 1
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                finally:
                    self.idle -= 1
                path = head.split(b" ", 2)[1]
                self.asked[path] = self.asked.get(path, 0) + 1
                await self.handlers[path](head, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass
class Got:
    """What a client got, and when."""

    status: int
    head: bytes
    content: bytes
    first_s: float  # until the first byte of content, or of the head when there is none
    total_s: float
    is_whole: bool


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin() -> AsyncIterator[Origin]:
    made = Origin()
    await made.start()
    yield made
    made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def weir(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Weir]:
    made = CachingWeir(tmp_path_factory.mktemp("weir"), origin.port)
    await asyncio.to_thread(made.start)
    yield made
    await asyncio.to_thread(made.stop)
    assert made.defects() == []


async def get(weir: Weir, path: bytes, *fields: bytes) -> Got:
    """One request on a connection of its own. Content that is cut short is told by `is_whole`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", weir.port, limit=2**20)
    started_at = time.monotonic()
    try:
        lines = b"".join(line + b"\r\n" for line in fields)
        writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%b\r\n" % (path, lines))
        head = await reader.readuntil(b"\r\n\r\n")
        first_s = time.monotonic() - started_at
        pieces: list[bytes] = []
        try:
            while piece := await reader.read(2**18):
                if not pieces:
                    first_s = time.monotonic() - started_at
                pieces.append(piece)
        except ConnectionError:
            pass
        content, is_whole = _content(head.lower(), b"".join(pieces))
        return Got(int(head[9:12]), head, content, first_s, time.monotonic() - started_at, is_whole)
    finally:
        writer.close()


def _content(head: bytes, raw: bytes) -> tuple[bytes, bool]:
    if b"\r\ntransfer-encoding: chunked" not in head:
        _, _, rest = head.partition(b"\r\ncontent-length: ")
        return raw, not rest or len(raw) == int(rest.partition(b"\r\n")[0])
    content = b""
    while True:
        size, found, rest = raw.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return content, False
        if int(size, 16) == 0:
            return content, True
        content += rest[: int(size, 16)]
        raw = rest[int(size, 16) + 2 :]


async def crowd(weir: Weir, count: int, path: bytes, *fields: bytes) -> list[Got]:
    return list(await asyncio.gather(*[get(weir, path, *fields) for _ in range(count)]))


def slowest(found: list[Got]) -> float:
    return max(got.total_s for got in found)


def says(
    content: bytes = b"content", fields: bytes = MAX_AGE, status: bytes = b"200 OK", after_s: float = ORIGIN_S
) -> Handler:
    """A handler that says the same each time."""

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after_s)
        writer.write(b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(content), content))

    return handler


def drips(pieces: int, pause_s: float, fields: bytes = MAX_AGE) -> Handler:
    """A handler that says a head, and then content in pieces of ten bytes."""

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (fields, pieces * 10))
        for _ in range(pieces):
            writer.write(b"0123456789")
            await asyncio.sleep(pause_s)

    return handler


async def test_fifty_clients_on_a_cold_url(weir: Weir, origin: Origin) -> None:
    origin.handlers[b"/cold"] = says()
    found = await crowd(weir, 50, b"/cold")
    assert {(got.status, got.content) for got in found} == {(200, b"content")}
    assert origin.count(b"/cold") == 1
    assert slowest(found) < ORIGIN_S + SLACK_S


async def test_twenty_clients_and_what_is_not_for_all(weir: Weir, origin: Origin) -> None:
    origin.handlers[b"/own"] = says(fields=b"Cache-Control: no-store\r\n")
    first = await crowd(weir, 20, b"/own")
    again = await crowd(weir, 20, b"/own")
    assert origin.count(b"/own") == 40
    assert slowest(first) < 2 * ORIGIN_S + SLACK_S  # one is asked to learn it, and then all at once
    assert slowest(again) < ORIGIN_S + SLACK_S


async def test_twenty_clients_and_what_is_not_for_all_on_a_route_where_nothing_is(weir: Weir, origin: Origin) -> None:
    before = [b"/barren/before/%d" % number for number in range(BARREN)]
    for path in before:
        origin.handlers[path] = says(fields=b"Cache-Control: no-store\r\n", after_s=0.0)
    for at in range(0, BARREN, 32):
        await asyncio.gather(*[get(weir, path) for path in before[at : at + 32]])
    origin.handlers[b"/barren/own"] = says(fields=b"Cache-Control: no-store\r\n")
    first = await crowd(weir, 20, b"/barren/own")
    again = await crowd(weir, 20, b"/barren/own")
    assert origin.count(b"/barren/own") == 40
    assert slowest(first) < ORIGIN_S + SLACK_S
    assert slowest(again) < ORIGIN_S + SLACK_S
    origin.handlers[b"/barren/but"] = origin.handlers[b"/barren/for-this"] = says()
    await get(weir, b"/barren/but")
    assert {got.content for got in await crowd(weir, 50, b"/barren/for-this")} == {b"content"}
    assert origin.count(b"/barren/for-this") == 1


async def test_a_second_client_joins_a_fill(weir: Weir, origin: Origin) -> None:
    origin.handlers[b"/joined"] = drips(40, 0.05)
    first = asyncio.ensure_future(get(weir, b"/joined"))
    await asyncio.sleep(0.5)
    second = await get(weir, b"/joined")
    assert second.first_s < 0.2
    assert second.total_s < 2.0 - 0.5 + SLACK_S + 0.5
    assert second.content == (await first).content == b"0123456789" * 40
    assert origin.count(b"/joined") == 1


async def leave(weir: Weir, path: bytes, after_s: float) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", weir.port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    await asyncio.sleep(after_s)
    writer.transport.abort()


@pytest.mark.parametrize("when", ["head", "content"])
async def test_the_only_client_leaves(weir: Weir, origin: Origin, when: str) -> None:
    path = b"/left-before-the-" + when.encode()
    origin.handlers[path] = says() if when == "head" else drips(10, 0.05)
    await leave(weir, path, 0.15)
    await asyncio.sleep(ORIGIN_S + 0.3)
    got = await get(weir, path)
    assert b"weir; hit" in got.head
    assert got.is_whole
    assert origin.count(path) == 1


@pytest.mark.parametrize("when", ["head", "content"])
async def test_the_leader_of_five_leaves(weir: Weir, origin: Origin, when: str) -> None:
    path = b"/five-and-the-" + when.encode()
    origin.handlers[path] = says() if when == "head" else drips(10, 0.05)
    leader = asyncio.ensure_future(leave(weir, path, 0.2))
    await asyncio.sleep(0.1)
    found = await crowd(weir, 4, path)
    await leader
    assert {(got.status, got.is_whole) for got in found} == {(200, True)}
    assert slowest(found) < ORIGIN_S + SLACK_S
    assert origin.count(path) == 1


async def test_fifty_clients_on_what_just_expired(weir: Weir, origin: Origin) -> None:
    origin.handlers[b"/expired"] = says(fields=b"Cache-Control: max-age=1\r\n")
    await get(weir, b"/expired")
    await asyncio.sleep(1.2)
    found = await crowd(weir, 50, b"/expired")
    assert {got.content for got in found} == {b"content"}
    assert origin.count(b"/expired") == 2
    assert slowest(found) < ORIGIN_S + SLACK_S


async def test_fifty_clients_inside_stale_while_revalidate(weir: Weir, origin: Origin) -> None:
    origin.handlers[b"/window"] = says(fields=b"Cache-Control: max-age=1, stale-while-revalidate=60\r\n")
    await get(weir, b"/window")
    await asyncio.sleep(1.2)
    found = await crowd(weir, 50, b"/window")
    assert {got.content for got in found} == {b"content"}
    assert slowest(found) < min(SLACK_S, ORIGIN_S)
    assert origin.count(b"/window") == 2


@pytest.mark.parametrize("pool", ["fresh", "reused"])
async def test_fifty_clients_and_a_backend_that_hangs_up(weir: Weir, origin: Origin, pool: str) -> None:
    async def hangs_up(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(ORIGIN_S)
        writer.close()

    async def says_and_closes(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    path = b"/hangs-up-on-a-connection-that-is-" + pool.encode()
    origin.handlers[path] = hangs_up
    origin.handlers[b"/before"] = says(fields=b"Cache-Control: no-store\r\n", after_s=0.1)
    await crowd(weir, 3, b"/before")
    if pool == "fresh":  # whatever is idle is used up
        origin.handlers[b"/before"] = says_and_closes
        while origin.idle:
            await crowd(weir, 3, b"/before")
    assert bool(origin.idle) is (pool == "reused")
    found = await crowd(weir, 50, path)
    assert {got.status for got in found} == {502}
    assert origin.count(path) == 1
    assert slowest(found) < ORIGIN_S + SLACK_S


async def test_fifty_clients_and_a_backend_that_hangs_up_at_once(weir: Weir, origin: Origin) -> None:
    async def hangs_up(head: bytes, writer: asyncio.StreamWriter) -> None:
        if origin.count(b"/stumbles") == 1:
            writer.close()
        else:
            await says()(head, writer)

    origin.handlers[b"/stumbles"] = hangs_up
    found = await crowd(weir, 50, b"/stumbles")
    assert {got.status for got in found} == {200}  # nothing was lost by asking again
    assert origin.count(b"/stumbles") == 2
    assert slowest(found) < ORIGIN_S + SLACK_S


@pytest.mark.parametrize("how", ["503", "close"])
async def test_a_stale_response_stands_in(weir: Weir, origin: Origin, how: str) -> None:
    path = b"/stands-in-" + how.encode()
    origin.handlers[path] = says(fields=b"Cache-Control: max-age=1, stale-if-error=60\r\n", after_s=0.0)
    await get(weir, path)
    await asyncio.sleep(1.2)

    async def closes(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    origin.handlers[path] = closes if how == "close" else says(b"sorry", MAX_AGE, b"503 No", 0.0)
    found = await crowd(weir, 10, path)
    assert {(got.status, got.content) for got in found} == {(200, b"content")}


async def test_two_variants(weir: Weir, origin: Origin) -> None:
    async def varies(head: bytes, writer: asyncio.StreamWriter) -> None:
        content = b"de" if b"Accept-Language: de" in head else b"en"
        await says(content, MAX_AGE + b"Vary: Accept-Language\r\n")(head, writer)

    origin.handlers[b"/variants"] = varies
    origin.handlers[b"/variants/before"] = varies
    await get(weir, b"/variants/before")  # of another page, so that it is known what this route varies on
    german, english = await asyncio.gather(
        crowd(weir, 5, b"/variants", b"Accept-Language: de"), crowd(weir, 5, b"/variants", b"Accept-Language: en")
    )
    assert ({got.content for got in german}, {got.content for got in english}) == ({b"de"}, {b"en"})
    assert origin.count(b"/variants") == 2
    assert slowest(german + english) < ORIGIN_S + SLACK_S


async def test_a_small_range_on_a_cold_url(weir: Weir, origin: Origin) -> None:
    origin.handlers[b"/film"] = drips(100, 0.01)
    part = await get(weir, b"/film", b"Range: bytes=0-4")
    assert (part.status, part.content) == (206, b"01234")
    assert b"content-range: bytes 0-4/1000" in part.head.lower()
    assert part.total_s < SLACK_S
    await asyncio.sleep(1.5)
    other = await get(weir, b"/film", b"Range: bytes=995-")
    assert (other.status, other.content) == (206, b"56789")
    assert b"weir; hit" in other.head
    assert origin.count(b"/film") == 1


async def test_a_far_range_on_a_cold_url_does_not_wait_for_what_is_before_it(weir: Weir, origin: Origin) -> None:
    whole = drips(100, 0.02)

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"Range: " in head:
            writer.write(b"HTTP/1.1 206 Part\r\nContent-Range: bytes 995-999/1000\r\nContent-Length: 5\r\n\r\n56789")
        else:
            await whole(head, writer)

    origin.handlers[b"/far"] = answer
    part = await get(weir, b"/far", b"Range: bytes=995-999")
    assert (part.status, part.content) == (206, b"56789")
    assert part.total_s < SLACK_S
    assert origin.count(b"/far") == 2
    await asyncio.sleep(2.5)
    assert b"weir; hit" in (await get(weir, b"/far")).head


async def test_thirty_megabytes_are_stored_within_the_budget(weir: Weir, origin: Origin) -> None:
    block = bytes(range(256)) * 4096

    async def large(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (MAX_AGE, LARGE_BYTES))
        for _ in range(LARGE_BYTES // len(block)):
            writer.write(block)
            await writer.drain()

    origin.handlers[b"/large"] = large
    before = weir.rss_bytes
    found = await crowd(weir, 3, b"/large")
    assert {(len(got.content), got.is_whole) for got in found} == {(LARGE_BYTES, True)}
    hit = await get(weir, b"/large")
    assert b"weir; hit" in hit.head
    assert hit.content == block * (LARGE_BYTES // len(block))
    assert origin.count(b"/large") == 1
    assert weir.rss_bytes - before < 64 * 1024 * 1024


async def test_a_client_that_does_not_read_delays_nobody_who_reads_the_same(weir: Weir, origin: Origin) -> None:
    block = bytes(range(256)) * 4096

    async def large(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % MAX_AGE)
        for _ in range(16):
            writer.write(b"%x\r\n%b\r\n" % (len(block), block))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    origin.handlers[b"/slow-reader"] = large
    reader, writer = await asyncio.open_connection("127.0.0.1", weir.port, limit=2**16)
    writer.write(b"GET /slow-reader HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")  # it leads, and now it does not read
    found = await crowd(weir, 3, b"/slow-reader")
    assert {got.content for got in found} == {block * 16}
    content, is_whole = _content(head.lower(), await reader.read(-1))
    assert is_whole
    assert content == block * 16
    assert origin.count(b"/slow-reader") == 1
    writer.close()


async def test_what_is_cut_short_at_any_byte_is_never_stored(weir: Weir, origin: Origin) -> None:
    framed = {
        b"length": b"HTTP/1.1 200 OK\r\n%bContent-Length: 12\r\n\r\nhello, world" % MAX_AGE,
        b"chunks": b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"
        % MAX_AGE,
    }

    def cut_at(data: bytes) -> Handler:
        async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(data)
            await writer.drain()
            writer.close()

        return handler

    for name, data in framed.items():
        for at in range(len(data)):
            path = b"/cut/%b/%d" % (name, at)
            origin.handlers[path] = cut_at(data[:at])
            got = await get(weir, path)
            assert got.status == 502 or not got.is_whole, (path, got)
            origin.handlers[path] = cut_at(data)
            whole = await get(weir, path)
            assert (whole.status, whole.content, whole.is_whole) == (200, b"hello, world", True), path
            assert b"weir; hit" not in whole.head, path
            assert b"weir; hit" in (await get(weir, path)).head, path


async def test_an_error_in_the_background_replaces_nothing(weir: Weir, origin: Origin) -> None:
    origin.handlers[b"/good"] = says(fields=b"Cache-Control: max-age=1, stale-while-revalidate=60\r\n", after_s=0.0)
    await get(weir, b"/good")
    await asyncio.sleep(1.2)
    for number, status in enumerate((b"500 No", b"503 No", b"599 No", b"429 No"), 2):
        origin.handlers[b"/good"] = says(b"sorry", b"" if status[:3] == b"429" else MAX_AGE, status, 0.0)
        assert (await get(weir, b"/good")).content == b"content"
        await asyncio.sleep(1.1)
        assert origin.count(b"/good") == number
    assert (await get(weir, b"/good")).content == b"content"
