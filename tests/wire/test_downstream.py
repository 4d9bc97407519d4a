"""A client's connection, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from proxy.http.message import Response
from proxy.wire.limits import WireLimits

GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


async def test_a_connection_serves_one_request_after_the_other(proxy: Any, connect: Any) -> None:
    client = await connect()
    for _ in range(3):
        await client.says(GET)
        status, head, content = await client.response()
        assert (status, content) == (200, b"hello")
        assert b"Connection:" not in head
    assert len(proxy.requests) == 3


async def test_pipelined_requests_are_answered_in_their_order(proxy: Any, connect: Any) -> None:
    async def answer(exchange: Any) -> Response:
        if exchange.request.path == "/slow":
            await asyncio.sleep(0.05)
        return Response(200, b"OK", [], exchange.request.path.encode())

    proxy.answer = answer
    client = await connect()
    await client.says(b"".join(b"GET %b HTTP/1.1\r\nHost: shop\r\n\r\n" % path for path in (b"/slow", b"/b", b"/c")))
    assert [(await client.response())[2] for _ in range(3)] == [b"/slow", b"/b", b"/c"]


async def test_a_thousand_pipelined_requests_do_not_deepen_the_stack(proxy: Any, connect: Any) -> None:
    client = await connect()
    await client.says(GET * 1000)
    for _ in range(1000):
        assert (await client.response())[0] == 200


@pytest.mark.parametrize(
    ("request_head", "keeps"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False, id="1.1-close"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", False, id="1.0"),
        pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, id="1.0-keep-alive"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", False, id="1.1-close-in-a-list"),
    ],
)
async def test_persistence_follows_the_version_and_the_connection_field(
    connect: Any, request_head: bytes, keeps: bool
) -> None:
    client = await connect()
    await client.says(request_head)
    _, head, _ = await client.response()
    if keeps:
        assert b"Connection: keep-alive\r\n" in head
        await client.says(request_head)
        assert (await client.response())[0] == 200
    else:
        assert b"Connection: close\r\n" in head
        assert await client.is_closed()


async def test_a_head_that_arrives_byte_by_byte_is_the_same_request(proxy: Any, connect: Any) -> None:
    async def answer(exchange: Any) -> Response:
        await exchange.request.body.prefill(1000)
        return Response(200, b"OK", [], exchange.request.body.whole())

    proxy.answer = answer
    client = await connect()
    client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in b"POST /p?q=1 HTTP/1.1\r\nHost: shop\r\nX-A:  b \r\nContent-Length: 3\r\n\r\nabc":
        await client.says(bytes((octet,)))
        await asyncio.sleep(0)
    assert (await client.response())[2] == b"abc"
    request = proxy.requests[0]
    assert (request.method, request.target, request.get(b"x-a")) == (b"POST", b"/p?q=1", b"b")


async def test_a_response_to_head_has_the_length_and_no_content(connect: Any) -> None:
    client = await connect()
    await client.says(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    head = await client.head()
    assert b"Content-Length: 5\r\n" in head
    assert (await client.response())[2] == b"hello"


async def test_100_continue_is_sent_only_when_somebody_wants_the_content(proxy: Any, connect: Any) -> None:
    async def answer(exchange: Any) -> Response:
        if exchange.request.path == "/refused":
            return Response(403, b"Forbidden", [], b"no")
        await exchange.request.body.prefill(1000)
        return Response(200, b"OK", [], exchange.request.body.whole())

    proxy.answer = answer
    client = await connect()
    await client.says(b"POST /up HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.says(b"hi")
    assert (await client.response())[2] == b"hi"
    await client.says(b"POST /refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    status, head, _ = await client.response()
    assert status == 403
    assert b"Connection: close\r\n" in head  # the content may or may not follow: nobody can know


async def test_a_small_unread_body_is_read_away_and_the_connection_kept(proxy: Any, connect: Any) -> None:
    client = await connect()
    await client.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    _, head, _ = await client.response()
    assert b"Connection: close" not in head
    await client.says(b"0123456789" + GET)
    assert (await client.response())[0] == 200
    assert [request.method for request in proxy.requests] == [b"POST", b"GET"]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"], ids=["large", "of-unknown-length"]
)
async def test_an_unread_body_that_is_too_much_closes_the_connection(proxy: Any, connect: Any, framing: bytes) -> None:
    client = await connect()
    await client.says(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + GET * 2)
    _, head, _ = await client.response()
    assert b"Connection: close\r\n" in head
    assert await client.is_closed()
    assert len(proxy.requests) == 1  # the rest of the content never became a request


async def test_a_streamed_response_of_unknown_length_is_chunked_for_1_1_and_ends_the_connection_for_1_0(
    proxy: Any, backend: Any, connect: Any
) -> None:
    proxy.answer = proxy.forward
    backend.replies(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", close=True)
    client = await connect()
    await client.says(GET)
    status, head, content = await client.response()
    assert (status, content) == (200, b"until the end")
    assert b"Transfer-Encoding: chunked\r\n" in head
    old = await connect()
    await old.says(b"GET / HTTP/1.0\r\n\r\n")
    head = await old.head()
    assert b"Transfer-Encoding" not in head
    assert await old.rest() == b"until the end"


async def test_a_client_that_half_closes_after_a_whole_request_gets_its_answer(proxy: Any, connect: Any) -> None:
    async def answer(exchange: Any) -> Response:
        await asyncio.sleep(0.2)
        return Response(200, b"OK", [], b"late")

    proxy.answer = answer
    client = await connect()
    await client.says(GET)
    client.writer.write_eof()
    data = await client.rest()
    assert data.endswith(b"late")
    assert b"HTTP/1.1 200 OK" in data


async def test_a_client_that_leaves_cancels_its_exchange_at_once(proxy: Any, connect: Any, until: Any) -> None:
    async def answer(exchange: Any) -> Response:
        await asyncio.sleep(30)
        raise AssertionError

    proxy.answer = answer
    client = await connect()
    await client.says(GET)
    await until(lambda: len(proxy.requests) == 1)
    client.writer.close()
    await until(lambda: "cancelled" in proxy.outcomes, 0.5)


async def test_a_head_that_does_not_come_in_time_is_408(proxy: Any, connect: Any) -> None:
    proxy.host.limits = WireLimits(head_timeout_s=0.1)
    client = await connect()
    await client.says(b"GET / HTTP/1.1\r\n")
    status, _, _ = await client.response()
    assert status == 408
    assert proxy.outcomes == ["request_timeout"]


async def test_an_idle_connection_is_closed_without_a_word(proxy: Any, connect: Any) -> None:
    proxy.host.limits = WireLimits(idle_timeout_s=0.1)
    client = await connect()
    await client.says(GET)
    await client.response()
    assert await client.rest() == b""


async def test_content_that_stands_still_is_408(proxy: Any, backend: Any, connect: Any) -> None:
    proxy.answer = proxy.forward
    proxy.host.limits = WireLimits(body_timeout_s=0.1)
    client = await connect()
    await client.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    connection = next(iter(proxy.host.connections))
    while not proxy.requests:
        await asyncio.sleep(0.002)
    connection.expired(connection.deadline_at + 100.0)  # time is moved
    status, head, _ = await client.response()
    assert status == 408
    assert b"Connection: close\r\n" in head
    assert backend.connections == 0  # it never took a connection to the backend


async def test_a_client_that_takes_nothing_is_cut(proxy: Any, connect: Any, until: Any) -> None:
    async def answer(exchange: Any) -> Response:
        return Response(200, b"OK", [], b"x" * 50_000_000)

    proxy.answer = answer
    client = await connect()
    client.writer.transport.pause_reading()
    await client.says(GET)
    await until(lambda: bool(proxy.requests))
    connection = next(iter(proxy.host.connections))
    for _ in range(3):  # the first look may find that the kernels have just taken their fill
        connection.expired(connection.deadline_at + 100.0)
        await asyncio.sleep(0.05)
    await until(lambda: not proxy.host.connections)


async def test_what_comes_after_a_refused_request_is_never_read(proxy: Any, connect: Any) -> None:
    client = await connect()
    await client.says(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + GET)
    assert (await client.response())[0] == 400
    assert await client.is_closed()
    assert proxy.requests == []


async def test_a_bad_request_behind_a_good_one_waits_for_its_turn(proxy: Any, connect: Any) -> None:
    async def answer(exchange: Any) -> Response:
        await asyncio.sleep(0.05)
        return Response(200, b"OK", [], b"first")

    proxy.answer = answer
    client = await connect()
    await client.says(GET + b"NOT HTTP\r\n\r\n")
    assert (await client.response())[2] == b"first"
    assert (await client.response())[0] in (400, 501)


REFUSED = [
    (b"GET / HTTP/1.1\r\n\r\n", 400, "no-host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "two-hosts"),
    (b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, "port-too-large"),
    (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "absolute-target-of-another-host"),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "fragment"),
    (b"GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400, "dot-segments"),
    (b"GET /%2e%2e/etc HTTP/1.1\r\nHost: a\r\n\r\n", 400, "encoded-dot-segments"),
    (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "encoded-nul"),
    (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-escape"),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, "connect"),
    (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "trace"),
    (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "lower-case-method"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http-2.0"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505, "http-2-preface"),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "http-1.2"),
    (b"GET /\r\n\r\n", 400, "http-0.9"),
    (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400, "rtsp"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, "two-lengths"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400, "signed-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, "huge-length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "cl-te"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "gzip-chunked"),
    (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "te-in-1.0"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx", 417, "unknown-expectation"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400, "nul-in-a-value"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400, "space-before-the-colon"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, "obs-fold"),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bare-lf"),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "long-target"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431, "many-fields"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40000 + b"\r\n\r\n", 431, "large-head"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40000, 431, "large-unfinished-head"),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
        400,
        "upgrade-with-content",
    ),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "empty-lines"),
]


@pytest.mark.parametrize(("data", "status"), [row[:2] for row in REFUSED], ids=[row[2] for row in REFUSED])
async def test_what_could_be_read_in_two_ways_is_refused(proxy: Any, connect: Any, data: bytes, status: int) -> None:
    client = await connect()
    await client.says(data)
    got, head, _ = await client.response()
    assert got == status
    assert b"Connection: close\r\n" in head
    assert await client.is_closed()
    assert proxy.requests == []


async def test_an_upgrade_that_is_not_for_websocket_is_an_ordinary_request(proxy: Any, connect: Any) -> None:
    client = await connect()
    await client.says(b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
    assert (await client.response())[0] == 200
    assert (await client.response())[0] == 200
    assert [request.upgrade for request in proxy.requests] == [b"", b""]


@pytest.mark.parametrize("between", [b"", b"\r\n"], ids=["nothing", "an empty line"])
@pytest.mark.parametrize("cut", [0, 3, 5], ids=["one read", "in the content", "behind the content"])
async def test_a_request_behind_content_in_another_read_is_found(
    proxy: Any, connect: Any, until: Any, cut: int, between: bytes
) -> None:
    async def answer(exchange: Any) -> Response:
        if exchange.request.body is not None:
            await exchange.request.body.prefill(1000)
        return Response(200, b"OK", [], b"ok")

    proxy.answer = answer
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    client = await connect()
    await client.says(post + b"12\r\n5"[:cut])
    if cut:
        await until(lambda: bool(proxy.requests))
    await client.says(b"12\r\n5"[cut:] + between + GET)
    assert [(await client.response())[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("between", [b"\n", b"\r\n\r\n", b"\r", b" "], ids=["lf", "two empty lines", "cr", "space"])
@pytest.mark.parametrize("cut", [0, 3, 5], ids=["one read", "in the content", "behind the content"])
async def test_a_request_that_does_not_follow_its_forerunner_is_refused(
    proxy: Any, connect: Any, until: Any, cut: int, between: bytes
) -> None:
    async def answer(exchange: Any) -> Response:
        await exchange.request.body.prefill(1000)
        return Response(200, b"OK", [], b"ok")

    proxy.answer = answer
    client = await connect()
    await client.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n" + b"12\r\n5"[:cut])
    if cut:
        await until(lambda: bool(proxy.requests))
    await client.says(b"12\r\n5"[cut:] + between + GET)
    assert (await client.response())[0] == 200
    assert (await client.response())[0] in (400, 501)
    assert len(proxy.requests) == 1
