"""What a corpus cannot say: time, order, and who leaves first (W3, W11, W13-W17, W19, W21-W24; S4-S8)."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backend import Backend, Script
from tests.conformance.client import Client
from tests.conformance.corpus import SMUGGLED, chunked, head
from tests.conformance.weir import Weir

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHORT = "{head_timeout: 1s, idle_timeout: 1s, body_timeout: 1s}"
SWEEP_S = 0.7  # a deadline is late by this at most, and then some
WS = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def short(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weir]:
    made = Weir(tmp_path_factory.mktemp("short"), backend.port, wire=SHORT)
    made.start()
    yield made
    made.stop()


async def serve(handler: Handler) -> asyncio.Server:
    """A backend of one test. `handler` may end as it likes."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(guarded, "127.0.0.1", 0, limit=2**20)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def until(condition: Callable[[], Any], timeout_s: float = 3.0) -> float:
    """Seconds until `condition` holds."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < timeout_s, "it never came"
        await asyncio.sleep(0.002)
    return time.monotonic() - started_at


# -- W16: everything has a deadline --


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"GET / HTTP/1.1\r\nHost: a\r\n"], id="a head that stops"),
        pytest.param(
            [b"GET / HTTP/1.1\r\nHost: a\r\n", *[b"X-%d: y\r\n" % number for number in range(30)]],
            id="a head that never ends",
        ),
        pytest.param([head() + b"GET / HT"], id="a second head that stops"),
        pytest.param([b"G"], id="one letter"),
    ],
)
async def test_a_head_is_whole_within_its_time_or_answered_408(short: Weir, pieces: list[bytes]) -> None:
    client = await Client.connect(short.port)
    started_at = time.monotonic()
    for piece in pieces:
        if client.is_over:
            break
        client.says(piece)
        await asyncio.sleep(0.1)
    assert await client.answers(9, until_over=True)
    assert client.finals[-1].status == 408
    assert time.monotonic() - started_at < 1.0 + SWEEP_S + 0.5
    client.close()


async def test_a_connection_without_a_request_is_closed_in_silence(short: Weir, backend: Backend) -> None:
    fresh, used = await Client.connect(short.port), await Client.connect(short.port)
    assert await used.get(b"/", backend) is None
    for client in (fresh, used):
        assert await client.answers(9, until_over=True)
        assert client.unread == b""
        client.close()


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(head(b"POST / HTTP/1.1", b"Content-Length: 100") + b"hel", id="of a given length"),
        pytest.param(
            head(b"POST / HTTP/1.1", b"Content-Length: 200000") + b"a" * 150000, id="that is already going up"
        ),
        pytest.param(head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked") + b"5\r\nhel", id="in chunks"),
        pytest.param(
            head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", b"Expect: 100-continue"), id="that was asked for"
        ),
    ],
)
async def test_content_that_stalls_is_answered_408(short: Weir, backend: Backend, start: bytes) -> None:
    backend.forget()
    client = await Client.connect(short.port)
    client.says(start, b"POST")
    assert await client.answers(1, until_over=True, timeout_s=6)
    assert [answer.status for answer in client.finals] == [408]
    assert not any(backend.by_peer.values()), "the backend took a part for the whole"
    client.close()


async def test_one_byte_now_and_then_is_not_enough_in_either_direction(weir: Weir, backend: Backend) -> None:
    backend.scripts[b"/large"] = Script(
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n" + b"x" * 100_000_000,)
    )  # more than is spooled

    async def drips() -> float:
        client = await Client.connect(weir.port)
        client.says(head(b"POST / HTTP/1.1", b"Content-Length: 100000"), b"POST")
        started_at = time.monotonic()
        while not client.is_over and time.monotonic() - started_at < 14:
            client.says(b"a")
            await asyncio.sleep(0.25)
        assert client.finals or await client.answers(1, until_over=True)
        assert client.finals[0].status == 408
        client.close()
        return time.monotonic() - started_at

    async def takes_nothing() -> float:
        client = await Client.connect(weir.port)
        client.says(head(b"GET /large HTTP/1.1"), b"GET")
        client.transport.pause_reading()
        started_at = time.monotonic()
        await until(lambda: any(b"/large" in connection.data for connection in backend.connections))
        mine = [connection for connection in backend.connections if b"/large" in connection.data]
        await until(lambda: not any(connection.is_open for connection in mine), 14)
        client.close()
        return time.monotonic() - started_at

    assert all(5 < seconds < 12 for seconds in await asyncio.gather(drips(), takes_nothing()))
    backend.scripts.clear()


# -- W11, W13: content that nobody has asked for yet --


async def test_100_continue_is_sent_once_the_request_may_pass_and_not_before(weir: Weir, backend: Backend) -> None:
    client = await Client.connect(weir.port)
    client.says(head(b"POST /a HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5"), b"POST")
    await until(lambda: b"100 Continue" in client.received)
    client.says(b"hello")
    assert await client.answers(1)
    assert client.finals[0].status == 200
    assert [message.status for message in client.interims] == [100]
    client.close()
    client = await Client.connect(weir.port)
    client.says(head(b"POST /admin/a HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5"), b"POST")
    assert await client.answers(1, until_over=True)
    assert [message.status for message in client.finals] == [401]
    assert not client.interims
    client.close()


@pytest.mark.parametrize("size", [10, 60_000, 70_000, 5_000_000])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_content_behind_an_early_answer_never_becomes_a_request(
    weir: Weir, backend: Backend, size: int, is_chunked: bool
) -> None:
    backend.forget()
    content = SMUGGLED * (size // len(SMUGGLED) + 1)
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(content)
    client = await Client.connect(weir.port)
    client.says(head(b"POST /admin/a HTTP/1.1", framing), b"POST")
    await client.answers(1, stays=True)
    client.says(chunked(content) if is_chunked else content)
    assert client.finals[0].status == 401
    if client.finals[0].closes:
        assert await client.answers(9, until_over=True)
        assert len(client.finals) == 1
    else:
        assert size <= 64 * 1024
        assert await client.get(b"/neighbour/same", backend) is None
    assert {message.target for messages in backend.by_peer.values() for message in messages} <= {b"/neighbour/same"}
    client.close()


async def test_an_endpoint_is_not_held_while_a_small_body_comes_slowly(weir: Weir, backend: Backend) -> None:
    backend.forget()
    client = await Client.connect(weir.port)
    client.says(head(b"POST /slow HTTP/1.1", b"Content-Length: 30"), b"POST")
    for _ in range(29):
        client.says(b"a")
        await asyncio.sleep(0.01)
    assert not any(b"/slow" in connection.data for connection in backend.connections)
    client.says(b"a")
    assert await client.answers(1)
    assert client.finals[0].status == 200
    client.close()


# -- W3, W14 --


async def test_coded_content_passes_as_it_is_both_ways(weir: Weir, backend: Backend) -> None:
    packed = gzip.compress(b"a" * 1000)
    for content in (packed, packed[:-5], b"not gzip at all"):
        backend.scripts[b"/coded"] = Script(
            (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content),)
        )
        backend.forget()
        client = await Client.connect(weir.port)
        client.says(
            head(b"POST /coded HTTP/1.1", b"Content-Encoding: gzip", b"Content-Length: %d" % len(content)) + content,
            b"POST",
        )
        assert await client.answers(1)
        assert client.finals[0].body == content
        assert [message.body for message in backend.by_peer[client.peer]] == [content]
        client.close()
    backend.scripts.clear()


async def test_a_tunnel_opens_only_with_the_101_of_the_backend(weir: Weir, backend: Backend) -> None:
    backend.forget()
    backend.scripts[b"/refuses"] = Script((b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",))
    client = await Client.connect(weir.port)
    client.says(head(b"GET /refuses HTTP/1.1", *WS) + SMUGGLED, b"GET")
    assert await client.answers(9, until_over=True)
    assert [answer.status for answer in client.finals] == [403]
    assert all(b"smuggled" not in connection.data for connection in backend.connections)
    client.close()
    client = await Client.connect(weir.port)
    client.says(head(b"GET /ws HTTP/1.1", *WS) + b"early", b"GET")
    await until(lambda: client.received.endswith(b"early"))
    client.says(b"\x00\xff any bytes")
    await until(lambda: client.received.endswith(b"early\x00\xff any bytes"))
    assert client.received.count(b"HTTP/1.1 ") == 1
    client.close()
    await until(
        lambda: not any(connection.is_open for connection in backend.connections if b"any bytes" in connection.data)
    )
    backend.scripts.clear()


# -- W15: the client leaves --


@pytest.mark.parametrize("way", ["closes", "resets"])
@pytest.mark.parametrize("moment", ["before the head", "in the content", "in its own content", "in a tunnel"])
async def test_a_client_that_leaves_frees_its_endpoint_at_once(
    weir: Weir, backend: Backend, way: str, moment: str
) -> None:
    pieces = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 500]
    backend.scripts[b"/long/silent"] = Script()
    backend.scripts[b"/long/content"] = Script(tuple(pieces), pause_s=0.02)
    client = await Client.connect(weir.port)
    match moment:
        case "before the head":
            client.says(head(b"GET /long/silent HTTP/1.1", b"X-Id: leaves"), b"GET")
        case "in the content":
            client.says(head(b"GET /long/content HTTP/1.1", b"X-Id: leaves"), b"GET")
        case "in its own content":
            client.says(
                head(b"POST /long/a HTTP/1.1", b"X-Id: leaves", b"Content-Length: 1000000") + b"a" * 200_000, b"POST"
            )
        case _:
            client.says(head(b"GET /long/ws HTTP/1.1", b"X-Id: leaves", *WS), b"GET")
    backend.forget()

    def mine() -> list[Any]:
        return [connection for connection in backend.connections if b"X-Id: leaves" in connection.data]

    await until(lambda: mine() and (moment == "before the head" or client.received or moment == "in its own content"))
    await asyncio.sleep(0.05)
    assert all(connection.is_open for connection in mine())
    if way == "resets":
        client.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    client.close()
    assert await until(lambda: not any(connection.is_open for connection in mine())) <= 0.1 + 0.1  # a busy machine
    backend.scripts.clear()


async def test_a_client_that_only_stops_talking_still_gets_a_late_answer(weir: Weir, backend: Backend) -> None:
    backend.scripts[b"/late"] = Script((b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), pause_s=0.5)
    client = await Client.connect(weir.port)
    client.says(head(b"GET /late HTTP/1.1"), b"GET")
    client.shuts_its_side()
    assert await client.answers(1, until_over=True)
    assert [answer.body for answer in client.finals] == [b"hello"]
    client.close()
    backend.scripts.clear()


# -- W19, S4: connections that die while idle --


async def test_endpoints_that_close_idle_connections_cost_no_get_and_double_no_post(
    start_weir: Callable[..., Weir],
) -> None:
    executed: Counter[bytes] = Counter()

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        patience_s = 1.0
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    request = await reader.readuntil(b"\r\n\r\n")
            except TimeoutError:
                return
            patience_s = 0.005
            executed[request.split(b" ", 2)[0] + request.split(b" ", 2)[1]] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await serve(impatient)
    weir = start_weir(port_of(server))
    rng = random.Random(4)
    outcomes: Counter[tuple[bytes, int]] = Counter()

    async def ask(method: bytes, numbers: range) -> None:
        client = await Client.connect(weir.port)
        for number in numbers:
            before = len(client.finals)
            client.says(head(b"%b /%d HTTP/1.1" % (method, number), b"Content-Length: 0"), method)
            assert await client.answers(before + 1, stays=True)
            outcomes[method, client.finals[-1].status if len(client.finals) > before else 0] += 1
            if client.is_over:
                client.close()
                client = await Client.connect(weir.port)
            await asyncio.sleep(rng.uniform(0.003, 0.008))
        client.close()

    await asyncio.gather(*[ask(b"GET", range(at, at + 250)) for at in range(0, 2000, 250)])
    await asyncio.gather(*[ask(b"POST", range(at, at + 250)) for at in range(0, 2000, 250)])
    assert outcomes[b"GET", 200] == 2000, outcomes
    # what was on its way when the endpoint closed may have been executed, so it is not sent again (RFC 9110 §9.2.2)
    assert outcomes[b"POST", 200] + outcomes[b"POST", 502] == 2000, outcomes
    assert outcomes[b"POST", 200] >= 1960, outcomes  # the endpoint's patience is learned
    assert max(count for key, count in executed.items() if key.startswith(b"POST")) == 1
    server.close()


# -- W21, W22, S8: what is said about it --


async def test_errors_and_logs_never_repeat_secrets_or_raw_bytes(weir: Weir, backend: Backend) -> None:
    secrets = (b"canary-one", b"canary-two", b"canary-three", b"canary-four", b"canary-five")
    fields = (
        b"Authorization: Bearer canary-one",
        b"Cookie: session=canary-two",
        b"X-API-Key: canary-three",
        b'User-Agent: a\xff\x80"\\ \xc2\x85b',
    )
    requests = [
        head(b"GET /logged/1?token=canary-four&x=1 HTTP/1.1", *fields),
        head(b"GET /admin/logged?api_key=canary-five HTTP/1.1", *fields),
        head(b"GET /logged/#canary-one HTTP/1.1", *fields),
        head(b"CANARY-ONE / HTTP/1.1", *fields),
        head(b"GET / HTTP/1.1", b"canary-two: \x00", *fields),
    ]
    for request in requests:
        client = await Client.connect(weir.port)
        client.says(request, b"GET")
        assert await client.answers(1, stays=True)
        if client.finals[0].status >= 400:
            received = bytes(client.received).lower()
            assert not any(secret in received for secret in secrets)
            assert b"python" not in received
            assert b"aiohttp" not in received
        client.close()
    await until(lambda: weir.access_log.exists() and b"/admin/logged" in weir.access_log.read_bytes())
    logged = weir.access_log.read_bytes()
    assert logged.isascii()
    assert all(isinstance(json.loads(line), dict) for line in logged.splitlines())
    assert not any(secret in logged + weir.output.encode() for secret in secrets)


async def test_a_flood_of_malformed_requests_is_one_line_a_second(weir: Weir) -> None:
    before, started_at = len(weir.output.splitlines()), time.monotonic()

    async def flood() -> None:
        for _ in range(125):
            client = await Client.connect(weir.port, address="127.0.0.1")
            client.says(head(b"GET / HTTP/1.1", b"bad : field"))
            assert await client.answers(1, until_over=True)
            assert client.finals[0].status == 400
            client.close()

    await asyncio.gather(*[flood() for _ in range(16)])
    await asyncio.sleep(0.3)
    lines = len(weir.output.splitlines()) - before
    assert lines <= 2 * (time.monotonic() - started_at) + 3, f"{lines} lines"


# -- S7: memory --


@pytest.mark.parametrize("direction", ["down", "up"])
async def test_a_large_body_with_a_stopped_reader_takes_no_memory(
    start_weir: Callable[..., Weir], direction: str
) -> None:
    block = b"x" * 65536
    taken = 0

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.readuntil(b"\r\n\r\n")
        if direction == "down":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n")
            for _ in range(3200):
                writer.write(block)
                await writer.drain()
                taken += len(block)
        else:
            await asyncio.sleep(8)

    server = await serve(large)
    weir = start_weir(port_of(server))
    client = await Client.connect(weir.port)
    warm = weir.rss_bytes
    if direction == "down":
        client.says(head(b"GET /long/large HTTP/1.1"), b"GET")
        await until(lambda: client.received)
        client.transport.pause_reading()
    else:
        client.says(head(b"POST /long/large HTTP/1.1", b"Content-Length: 209715200"), b"POST")
        for _ in range(3200):
            if client.transport.get_write_buffer_size() > 2**20:
                break
            client.says(block)
            await asyncio.sleep(0.001)
    await asyncio.sleep(2)
    grown = weir.rss_bytes - warm
    assert taken < 50_000_000 + 64 * 2**20  # two kernels, and what is spooled
    assert grown <= 10 * 2**20, f"grew by {grown} bytes"
    client.close()
    server.close()


# -- W23, S6: the orderly end --


async def test_a_drain_loses_nothing_and_is_as_short_as_it_can_be(
    start_weir: Callable[..., Weir], backend: Backend
) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    backend.scripts[b"/late"] = Script((b"", whole), pause_s=0.8)
    content = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 10, b"0\r\n\r\n"]
    backend.scripts[b"/download"] = Script(tuple(content), pause_s=0.1)
    weir = start_weir(backend.port)
    late, download, upload, idle = [await Client.connect(weir.port) for _ in range(4)]
    assert await idle.get(b"/neighbour/before", backend) is None
    late.says(head(b"GET /late HTTP/1.1"), b"GET")
    download.says(head(b"GET /download HTTP/1.1"), b"GET")
    upload.says(head(b"POST /upload HTTP/1.1", b"Content-Length: 100000") + b"a" * 90_000, b"POST")
    await until(lambda: download.received)
    weir.terminate()
    started_at = time.monotonic()
    await asyncio.sleep(0.02)
    assert await idle.get(b"/neighbour/after", backend) is None, "a request that crossed with the end was lost"
    assert idle.finals[-1].closes
    for _ in range(10):
        upload.says(b"a" * 1000)
        await asyncio.sleep(0.05)
    for client in (late, download, upload):
        assert await client.answers(1)
        assert client.finals[0].status == 200
        assert client.finals[0].closes or client is download
    assert download.finals[0].body == b"a" * 10
    finished_at = time.monotonic()
    assert await weir.wait(5) == 0
    assert time.monotonic() - finished_at < 0.7
    assert finished_at - started_at < 2.5
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", weir.port)
    for client in (late, download, upload, idle):
        client.close()
    backend.scripts.clear()


async def test_an_idle_weir_ends_at_once(start_weir: Callable[..., Weir], backend: Backend, tmp_path: Path) -> None:
    weir = start_weir(backend.port)
    clients = [await Client.connect(weir.port) for _ in range(3)]
    assert await clients[0].get(b"/neighbour/a", backend) is None
    weir.terminate()
    started_at = time.monotonic()
    assert await weir.wait(5) == 0
    assert time.monotonic() - started_at < 1.5
    for client in clients:
        client.close()


async def test_what_is_not_done_by_the_end_of_the_drain_is_cut(
    start_weir: Callable[..., Weir], backend: Backend
) -> None:
    backend.scripts[b"/long/silent"] = Script()
    weir = start_weir(backend.port, drain="1s")
    client = await Client.connect(weir.port)
    client.says(head(b"GET /long/silent HTTP/1.1"), b"GET")
    await asyncio.sleep(0.1)
    weir.terminate()
    started_at = time.monotonic()
    assert await weir.wait(5) == 0
    assert 0.8 < time.monotonic() - started_at < 2.0
    assert await client.answers(1, until_over=True)
    assert not client.finals
    client.close()
    backend.scripts.clear()
