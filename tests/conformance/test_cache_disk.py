"""A real Weir with little memory and a disk: what is large passes through both, and the process stays small."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conformance.weir import Weir
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
BLOCK = bytes(range(256)) * 256  # 64 KiB
_CONFIG = """\
version: 1
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
cache: {cache}
upstreams:
  app:
    primary: http://127.0.0.1:{backend}
    pool: {{max_in_flight: 512, max_idle: 512, queue: 1024}}
    eject: "off"                       # hundreds of answers are cut on purpose
access_log: {{path: "off"}}
routes:
  - {{name: rest, upstream: app, timeout: 60s, cache: {{}}}}
"""


class CachingWeir(Weir):
    """`rss_peak_bytes` is what the process took at most since it started."""

    def __init__(self, folder: Path, backend_port: int, cache: str) -> None:
        super().__init__(folder, backend_port)
        self.admin_port = free_port()
        self._config.write_text(
            _CONFIG.format(port=self.port, admin=self.admin_port, backend=backend_port, cache=cache)
        )

    @property
    def rss_peak_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    async def admin(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(-1)
        writer.close()
        return answer.partition(b"\r\n\r\n")[2]

    async def metric(self, name: str) -> float:
        (line,) = [text for text in (await self.admin("/metrics")).decode().splitlines() if text.startswith(name + " ")]
        return float(line.split()[1])


class WeirWithSmallFiles(CachingWeir):
    """The same, but it lets `max_entry` be small: of a few kilobytes every byte can be tried."""

    program = (
        "-c",
        "from proxy.cache import settings; settings.STREAMED_BYTES = 1024; import proxy.__main__ as weir; weir.main()",
    )


class Origin:
    """`/SIZE/NAME`: so many bytes, chunked if the name begins with c. `/cut/...`: from `cuts`, and then the end."""

    def __init__(self) -> None:
        self.asked: dict[bytes, int] = {}
        self.cuts: dict[bytes, tuple[bytes, bool]] = {}  # path -> bytes, and whether it resets
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
                self.asked[path] = self.asked.get(path, 0) + 1
                if (cut := self.cuts.get(path)) is not None:
                    await _cut(writer, *cut)
                    return
                await _send(writer, int(path.split(b"/")[1]), is_chunked=path.split(b"/")[2][:1] == b"c")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def message(size: int, *, is_chunked: bool) -> bytes:
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % size
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n%b\r\n\r\n" % framing
    pieces = [data(at, min(len(BLOCK), size - at)) for at in range(0, size, len(BLOCK))]
    if is_chunked:
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
    return head + b"".join(pieces)


async def _send(writer: asyncio.StreamWriter, size: int, *, is_chunked: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % size
    writer.write(b'HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nETag: "1"\r\n%b\r\n\r\n' % framing)
    for at in range(0, size, len(BLOCK)):
        piece = data(at, min(len(BLOCK), size - at))
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        await writer.drain()
    if is_chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _cut(writer: asyncio.StreamWriter, data: bytes, resets: bool) -> None:
    head, blank, content = data.partition(b"\r\n\r\n")
    writer.write(head + blank)
    await writer.drain()
    if content:
        await asyncio.sleep(0.002)  # what comes at once with its head, and is whole, is small: it is for memory
        writer.write(content)
        await writer.drain()
    if resets:
        # what was written shall arrive first: a reset throws away what the other side has not read
        while writer.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.002)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


def data(at: int, size: int) -> bytes:
    """What every content of the origin has there; each block says where it is."""
    number, off = divmod(at, len(BLOCK))
    block = number.to_bytes(8, "big") + BLOCK[8:]
    if off + size <= len(BLOCK):
        return block[off : off + size]
    return block[off:] + data((number + 1) * len(BLOCK), size - (len(BLOCK) - off))


class Got:
    """What a client got: not the content, for that may be large."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.status = int(head[9:12])
        self.size = 0
        self.digest = blake2b(digest_size=16)
        self.is_whole = False

    @property
    def is_hit(self) -> bool:
        return b"weir; hit" in self.head


def digest_of(start: int, end: int) -> bytes:
    digest = blake2b(digest_size=16)
    while start < end:
        size = min(len(BLOCK) - start % len(BLOCK), end - start)
        digest.update(data(start, size))
        start += size
    return digest.digest()


async def get(weir: Weir, path: bytes, *fields: bytes, pace_s: float = 0.0) -> Got:
    reader, writer = await asyncio.open_connection("127.0.0.1", weir.port, limit=2**18)
    try:
        lines = b"".join(line + b"\r\n" for line in fields)
        writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%b\r\n" % (path, lines))
        got = Got(await reader.readuntil(b"\r\n\r\n"))
        head = got.head.lower()
        try:
            if b"\r\ntransfer-encoding: chunked" in head:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    piece = await reader.readexactly(size + 2)
                    got.digest.update(piece[:-2])
                    got.size += size
                got.is_whole = await reader.readexactly(2) == b"\r\n"
            else:
                while piece := await reader.read(2**18):
                    got.digest.update(piece)
                    got.size += len(piece)
                    if pace_s:
                        await asyncio.sleep(pace_s)
                got.is_whole = got.size == int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        return got
    finally:
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin() -> AsyncIterator[Origin]:
    made = Origin()
    await made.start()
    yield made
    made.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def start(origin: Origin, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[CachingWeir] = []

    async def begin(cache: str, kind: type[CachingWeir] = CachingWeir) -> CachingWeir:
        folder = tmp_path / f"weir-{len(made)}"
        folder.mkdir()
        weir = kind(folder, origin.port, cache.replace("PATH", str(tmp_path / "disk")))
        made.append(weir)
        await asyncio.to_thread(weir.start)
        return weir

    yield begin
    for weir in made:
        await asyncio.to_thread(weir.stop)
        assert weir.defects() == []


async def until_stored(weir: CachingWeir, path: bytes) -> Got:
    """The first answer to a HEAD that comes from the cache: what was written last may take a moment."""
    async with asyncio.timeout(20):
        while True:
            got = await get(weir, path, b"Range: bytes=0-0")
            if got.is_hit:
                return got
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ["sized", "chunked"])
async def test_three_hundred_megabytes_pass_through_sixteen(
    start: Callable[..., Any], origin: Origin, kind: str
) -> None:
    weir = await start("{memory: 16MiB, max_entry: 1MiB, disk: {path: PATH, size: 400MiB, max_entry: 350MiB}}")
    size = 300 * MIB
    path = b"/%d/%b" % (size, kind.encode())
    before = weir.rss_bytes
    whole = digest_of(0, size)
    slow = asyncio.ensure_future(get(weir, path, pace_s=0.002))  # leads, and is slower than those who join
    await asyncio.sleep(0.2)
    joined = await asyncio.gather(*(get(weir, path) for _ in range(3)))
    for got in (await slow, *joined):
        assert (got.status, got.size, got.is_whole, got.digest.digest()) == (200, size, True, whole)
    await until_stored(weir, path)
    hit = await get(weir, path)
    assert (hit.is_hit, hit.size, hit.digest.digest()) == (True, size, whole)
    for first, last in ((0, 0), (65_530, 140_000), (200 * MIB + 1, 203 * MIB), (size - 10, size - 1)):
        part = await get(weir, path, b"Range: bytes=%d-%d" % (first, last))
        assert (part.status, part.is_hit, part.is_whole) == (206, True, True)
        assert part.digest.digest() == digest_of(first, last + 1)
    assert origin.asked[path] == 1
    assert weir.rss_peak_bytes - before < 48 * MIB
    assert size <= await weir.metric("weir_cache_disk_bytes") <= size + 4096
    assert await weir.metric("weir_cache_bytes") < 64 * 1024


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("kind", ["sized", "chunked"])
async def test_what_is_cut_short_is_never_stored_on_disk(
    start: Callable[..., Any], origin: Origin, kind: str, resets: bool
) -> None:
    weir = await start("{memory: 4MiB, max_entry: 256KiB, disk: {path: PATH, size: 64MiB}}")
    size = 300_000
    sent = message(size, is_chunked=kind == "chunked")
    starts = (sent.find(b"\r\n\r\n") + 4, 131_072, 196_608, 262_144)
    cuts = {len(sent) - back for back in range(1, 12)} | {at + off for at in starts for off in range(-6, 7)}
    cuts |= set(range(0, len(sent), 14_983))
    for number, at in enumerate(sorted(cuts)):
        path = b"/%d/%b-%d-%d" % (size, kind.encode(), resets, number)
        origin.cuts[path] = (sent[:at], resets)
        got = await get(weir, path)
        assert got.status == 502 or not got.is_whole, (at, got.head)
        del origin.cuts[path]
        again = await get(weir, path)
        assert not again.is_hit, at
        assert (again.status, again.is_whole, again.digest.digest()) == (200, True, digest_of(0, size)), at
    assert (await until_stored(weir, path)).status == 206
    assert await weir.metric("weir_cache_disk_up") == 1


SMALL_BYTES = 3000  # with 1 KiB in memory at most: it begins there if its length is not known, and goes to the disk


def framed(kind: str) -> bytes:
    """A response whose content is `data(0, SMALL_BYTES)`, in chunks that end before, in and behind the first KiB."""
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n%b\r\n\r\n"
    if kind == "sized":
        return head % (b"Content-Length: %d" % SMALL_BYTES) + data(0, SMALL_BYTES)
    if kind == "until it closes":
        return head % b"Connection: close" + data(0, SMALL_BYTES)
    ends = (0, 1, 500, 1023, 1024, 1100, 2999, SMALL_BYTES)
    chunks = [b"%x;a=b\r\n%b\r\n" % (end - at, data(at, end - at)) for at, end in pairwise(ends)]
    return head % b"Transfer-Encoding: chunked" + b"".join(chunks) + b"00\r\nX-Sum: 17\r\nX-Of: a, b\r\n\r\n"


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.long)], ids=["here and there", "at every byte"])
async def test_what_is_cut_short_at_any_byte_is_never_stored_on_disk(
    start: Callable[..., Any], origin: Origin, step: int
) -> None:
    weir = await start("{memory: 16MiB, max_entry: 1KiB, disk: {path: PATH, size: 64MiB}}", WeirWithSmallFiles)
    for kind in ("sized", "chunked", "until it closes"):
        sent = framed(kind)
        content_at = sent.find(b"\r\n\r\n") + 4
        for resets in (False, True):
            # content that ends where the connection is closed is whole wherever that is
            end = content_at if kind == "until it closes" and not resets else len(sent)
            places = {*range(0, end, step), *range(content_at - 6, content_at), *range(end - 40, end)}
            await _cut_at(
                weir, origin, sent, {b"/cut/%b-%d-%d" % (kind[:1].encode(), resets, at): at for at in places}, resets
            )


async def _cut_at(weir: CachingWeir, origin: Origin, sent: bytes, places: dict[bytes, int], resets: bool) -> None:
    """`sent` is cut at a place for each path: none of that is stored, but the whole is."""
    before = await weir.metric("weir_cache_disk_files")
    origin.cuts |= {path: (sent[:at], resets) for path, at in places.items()}

    async def is_broken(path: bytes) -> None:
        got = await get(weir, path)
        assert got.status == 502 or not got.is_whole, (path, got.head)

    async def is_not_stored(path: bytes) -> None:
        got = await get(weir, path, b"Cache-Control: only-if-cached")
        assert (got.status, got.is_hit) == (504, False), (path, got.head)

    async def is_stored_when_whole(path: bytes) -> None:
        origin.cuts[path] = (sent, False)
        whole = await get(weir, path)
        assert (whole.status, whole.is_hit, whole.is_whole) == (200, False, True)
        assert (await until_stored(weir, path)).status == 206
        hit = await get(weir, path, b"Cache-Control: only-if-cached")
        assert whole.digest.digest() == hit.digest.digest() == digest_of(0, SMALL_BYTES), path
        assert hit.is_hit

    await _for_each(places, is_broken)
    async with asyncio.timeout(20):  # what was being written is put away
        while await weir.metric("weir_cache_disk_files") != before:
            await asyncio.sleep(0.02)
    await _for_each(places, is_not_stored)
    some = list(places)[:: max(len(places) // 20, 1)]
    await _for_each(some, is_stored_when_whole)
    assert await weir.metric("weir_cache_disk_files") == before + len(some)


async def _for_each(paths: Iterable[bytes], does: Callable[[bytes], Awaitable[None]]) -> None:
    """Eight at a time."""
    waiting = iter(paths)

    async def client() -> None:
        for path in waiting:
            await does(path)

    await asyncio.gather(*(client() for _ in range(8)))


@pytest.mark.parametrize("kind", ["sized", "chunked"])
async def test_what_is_cut_short_by_a_reset_at_any_byte_is_never_stored_in_memory(
    start: Callable[..., Any], origin: Origin, kind: str
) -> None:
    weir = await start("{}")
    sent = message(12, is_chunked=kind == "chunked")
    for at in range(len(sent)):
        path = b"/12/%b-%d" % (kind.encode(), at)
        origin.cuts[path] = (sent[:at], True)
        got = await get(weir, path)
        assert got.status == 502 or not got.is_whole, (at, got.head)
        del origin.cuts[path]
        again = await get(weir, path)
        assert (again.status, again.is_hit, again.is_whole) == (200, False, True), at
        assert (await get(weir, path)).is_hit


async def test_a_directory_that_is_lost_is_seen_in_metrics_and_health_and_fails_no_request(
    start: Callable[..., Any], origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "disk").write_text("in the way")
    weir = await start("{memory: 4MiB, max_entry: 256KiB, disk: {path: PATH, size: 64MiB}}")
    for kind in (b"sized", b"chunked"):
        got = await get(weir, b"/2000000/%b-lost" % kind)
        assert (got.status, got.is_whole, got.digest.digest()) == (200, True, digest_of(0, 2_000_000))
    assert await weir.metric("weir_cache_disk_up") == 0
    health = json.loads(await weir.admin("/healthz"))
    (disk,) = [part for part in health["components"] if part["name"] == "cache disk"]
    assert disk["error"] == "File exists"
    async with asyncio.timeout(20):
        while "cache_disk_lost" not in weir.output:  # lines leave through a thread
            await asyncio.sleep(0.05)
    assert weir.output.count("cache_disk_lost") == 1


async def test_a_second_weir_on_the_same_directory_and_a_restart(start: Callable[..., Any], origin: Origin) -> None:
    settings = "{memory: 4MiB, max_entry: 256KiB, disk: {path: PATH, size: 64MiB}}"
    path = b"/3000000/shared"
    first, second = await start(settings), await start(settings)
    assert await second.metric("weir_cache_disk_up") == 0
    for weir in (first, second):
        assert (await get(weir, path)).digest.digest() == digest_of(0, 3_000_000)
    await until_stored(first, path)
    assert (await get(first, path)).digest.digest() == digest_of(0, 3_000_000)
    first.process.kill()  # nothing is put in order
    await first.wait(10)
    asked = origin.asked[path]
    third = await start(settings)
    assert await third.metric("weir_cache_disk_up") == 1
    assert await third.metric("weir_cache_disk_files") == 0
    got = await get(third, path)
    assert (got.is_hit, got.digest.digest()) == (False, digest_of(0, 3_000_000))
    assert origin.asked[path] == asked + 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("cache", "memory", "disk"),
    [
        ("{memory: 64MiB}", 64 * MIB, 0),
        ("{memory: 64MiB, max_entry: 256KiB, disk: {path: PATH, size: 200MiB}}", 64 * MIB, 200 * MIB),
    ],
    ids=["memory", "disk"],
)
async def test_a_flood_of_large_urls_stays_within_the_budgets(
    start: Callable[..., Any], origin: Origin, tmp_path: Path, cache: str, memory: int, disk: int
) -> None:
    weir = await start(cache)
    before = weir.rss_bytes
    whole = digest_of(0, MIB)
    most_on_disk = 0
    numbers = iter(range(2000))

    async def client() -> None:
        nonlocal most_on_disk
        for number in numbers:
            kind = b"chunked" if number % 2 else b"sized"
            got = await get(weir, b"/%d/%b-%d-%d" % (MIB, kind, number, disk))
            assert (got.size, got.digest.digest()) == (MIB, whole)
            if disk and number % 50 == 0:
                most_on_disk = max(most_on_disk, _taken(tmp_path / "disk"))

    await asyncio.gather(*(client() for _ in range(16)))
    # beyond the budget: what the allocator does not give back, and 64 KiB in each direction for each client
    assert weir.rss_peak_bytes - before < memory * 1.4
    assert await weir.metric("weir_cache_bytes") <= memory
    if disk:
        assert disk / 2 < most_on_disk <= disk
        assert disk / 2 < await weir.metric("weir_cache_disk_bytes") <= disk
        assert await weir.metric("weir_cache_disk_evicted_total") > 1000
    else:
        assert await weir.metric("weir_cache_evicted_total") > 1000


def _taken(folder: Path) -> int:
    taken = 0
    for path in folder.glob("*.body"):
        try:
            taken += path.stat().st_blocks * 512
        except FileNotFoundError:
            pass
    return taken
