"""A connection to an endpoint, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def _forward(proxy: Any) -> None:
    proxy.answer = proxy.forward


async def test_a_connection_is_reused_for_the_next_exchange(proxy: Any, backend: Any, connect: Any) -> None:
    backend.replies(OK, OK, OK)
    client = await connect()
    for _ in range(3):
        await client.says(GET)
        assert (await client.response())[2] == b"ok"
    assert backend.connections == 1
    assert proxy.released == [True, True, True]


CONTENT = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True, "sized"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True, "empty"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n",
        b"hello",
        True,
        "chunked",
    ),
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False, "close"),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False, "1.0"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True, "204"),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b"", True, "304"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", True, "after-a-100"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"z" * 200000, b"z" * 200000, True, "large"),
]


@pytest.mark.parametrize(("reply", "content", "clean"), [row[:3] for row in CONTENT], ids=[row[3] for row in CONTENT])
async def test_content_comes_through_whole_and_the_connection_is_kept_if_it_can_be(
    proxy: Any, backend: Any, connect: Any, until: Any, reply: bytes, content: bytes, clean: bool
) -> None:
    backend.replies(reply)
    client = await connect()
    await client.says(GET)
    assert (await client.response())[2] == content
    await until(lambda: proxy.released == [clean])


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(("reply", "content"), [row[:2] for row in CONTENT[:8]], ids=[row[3] for row in CONTENT[:8]])
async def test_a_reply_in_pieces_is_the_same_reply(
    backend: Any, connect: Any, reply: bytes, content: bytes, size: int
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(reply), size):
            writer.write(reply[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    backend.script = script
    client = await connect()
    await client.says(GET)
    assert (await client.response())[2] == content


async def test_a_head_answer_keeps_its_length_and_the_connection_goes_on(
    proxy: Any, backend: Any, connect: Any
) -> None:
    backend.replies(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", OK)
    client = await connect()
    await client.says(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Content-Length: 99\r\n" in await client.head()
    await client.says(GET)
    assert (await client.response())[2] == b"ok"
    assert backend.connections == 1


BAD = [
    (b"NONSENSE\r\n\r\n", "response_malformed", "nonsense"),
    (b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "response_malformed", "rtsp"),
    (b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n", "response_malformed", "control-in-the-reason"),
    (b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n", "response_malformed", "control-in-a-value"),
    (b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", "response_malformed", "status-600"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "response_malformed", "unasked-101"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "response_malformed", "gzip-chunked"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "response_malformed", "cl-te"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n", "response_malformed", "large-head"),
    (b"HTTP/1.1 102 Processing\r\n\r\n" * 9, "response_malformed", "nine-1xx"),
    (b"HTTP/1.1 200 OK\r\nX-", "response_truncated", "cut-in-the-head"),
    (b"", "connection_reset", "nothing"),
]


@pytest.mark.parametrize(("reply", "outcome"), [row[:2] for row in BAD], ids=[row[2] for row in BAD])
async def test_a_broken_reply_is_a_502_and_the_connection_is_gone(
    proxy: Any, backend: Any, connect: Any, until: Any, reply: bytes, outcome: str
) -> None:
    backend.replies(reply, close=True)
    client = await connect()
    await client.says(GET)
    status, _, content = await client.response()
    while status < 200:
        status, _, content = await client.response()
    assert status == 502
    assert outcome.encode() in content
    assert proxy.outcomes[0] == outcome
    await until(lambda: proxy.released == [False])


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", id="sized"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n", id="broken-chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"x" * 70000, id="large"),
    ],
)
async def test_a_reply_cut_short_cuts_the_client_and_never_ends_cleanly(
    proxy: Any, backend: Any, connect: Any, reply: bytes
) -> None:
    backend.replies(reply, close=True)
    client = await connect()
    await client.says(GET)
    data = b""
    try:
        while piece := await client.reader.read(65536):
            data += piece
    except ConnectionError:
        pass
    assert not data.endswith(b"0\r\n\r\n")
    assert b"HTTP/1.1 502" not in data.partition(b"\r\n\r\n")[2]
    assert proxy.released == [False]
    assert proxy.outcomes[-1] == "cut response_truncated"


async def test_bytes_on_an_idle_connection_condemn_it(proxy: Any, backend: Any, connect: Any, until: Any) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await reader.read()

    backend.script = script
    client = await connect()
    await client.says(GET)
    assert (await client.response())[2] == b"ok"
    await until(lambda: not proxy.idle[0].is_clean)
    await client.says(GET)
    assert (await client.response())[2] == b"ok"
    assert backend.connections == 2


async def test_bytes_behind_a_reply_condemn_the_connection(proxy: Any, backend: Any, connect: Any, until: Any) -> None:
    backend.replies(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    client = await connect()
    await client.says(GET)
    assert (await client.response())[2] == b"ok"
    await until(lambda: not (proxy.idle and proxy.idle[0].is_clean))
    await client.says(GET)
    assert (await client.response())[2] == b"ok"


async def test_a_reply_that_does_not_come_is_a_504(proxy: Any, backend: Any, connect: Any, until: Any) -> None:
    client = await connect()
    await client.says(GET)
    await until(lambda: backend.connections == 1)
    for timed in list(proxy.up_timers._timed):
        timed.expired(timed.deadline_at + 1.0)
    status, _, content = await client.response()
    assert status == 504
    assert b"response_timeout" in content


async def test_103_goes_on_to_the_client(backend: Any, connect: Any) -> None:
    backend.replies(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK)
    client = await connect()
    await client.says(GET)
    assert await client.head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    assert (await client.response())[2] == b"ok"


async def test_a_large_upload_is_streamed_with_its_framing(backend: Any, connect: Any) -> None:
    async def count(reader: asyncio.StreamReader, head: bytes) -> int:
        if b"chunked" not in head:
            return len(await reader.readexactly(3_000_000))
        total = 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
            total += size
        await reader.readexactly(2)
        return total

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            backend.received += head
            reply = b"%d" % await count(reader, head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(reply), reply))

    backend.script = script
    content = b"u" * 3_000_000
    client = await connect()
    await client.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + content)
    assert (await client.response())[2] == b"3000000"
    await client.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(content), 100_000):
        await client.says(b"%x;ext=1\r\n%b\r\n" % (100_000, content[at : at + 100_000]))
    await client.says(b"0\r\nTrailer: x\r\n\r\n")
    assert (await client.response())[2] == b"3000000"
    assert b"ext=" not in backend.received


async def test_a_client_that_leaves_in_mid_upload_closes_the_backends_connection(
    proxy: Any, backend: Any, connect: Any, until: Any
) -> None:
    client = await connect()
    await client.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 100_000)
    await until(lambda: backend.connections == 1)
    client.writer.transport.abort()
    async with asyncio.timeout(1):
        await backend.closed.wait()
    assert proxy.released == [False]


async def test_a_client_that_leaves_in_mid_download_closes_the_backends_connection(
    proxy: Any, backend: Any, connect: Any, until: Any
) -> None:
    backend.replies(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 1000)
    client = await connect()
    await client.says(GET)
    await client.head()
    client.writer.transport.abort()
    async with asyncio.timeout(1):
        await backend.closed.wait()
    assert proxy.released == [False]


async def test_a_slow_reader_stops_the_backend_and_not_the_memory(proxy: Any, backend: Any, connect: Any) -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        for _ in range(2000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    backend.script = script
    client = await connect()
    client.writer.transport.pause_reading()
    await client.says(GET)
    before = -1
    while before != sent or not sent:
        before = sent
        await asyncio.sleep(0.1)
    assert 0 < sent < 40_000_000  # what kernels hold on both connections, not the 200 MB
    connection = next(iter(proxy.host.connections))
    assert connection.transport.get_write_buffer_size() < 1_000_000


async def test_a_websocket_is_a_tunnel_of_bytes_both_ways(proxy: Any, backend: Any, connect: Any, until: Any) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly")
        while data := await reader.read(65536):
            writer.write(data.upper())

    backend.script = script
    client = await connect()
    await client.says(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\nfirst"
    )
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    assert await client.reader.readexactly(10) == b"earlyFIRST"
    await client.says(b"GET / HTTP/1.1\r\n\r\n")
    assert await client.reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"
    client.writer.close()
    async with asyncio.timeout(1):
        await backend.closed.wait()
    await until(lambda: proxy.released == [False])


async def test_a_refused_connection_is_told_apart_from_a_slow_one(proxy: Any, connect: Any) -> None:
    proxy.backend_port = 1
    client = await connect()
    await client.says(GET)
    status, _, content = await client.response()
    assert status == 502
    assert b"connect_refused" in content
    assert b"127.0.0.1" not in content
