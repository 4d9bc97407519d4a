"""The same bytes again on one connection: answered without being parsed twice, and never taken for something else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.exchange import Exchange
from proxy.http.message import Response
from proxy.wire.limits import WireLimits

_GET = b"GET /a HTTP/1.1\r\nHost: a\r\nX-Field: 1\r\n\r\n"


async def _echo(exchange: Exchange) -> Response:
    request = exchange.request
    content = b""
    if request.body is not None:
        await request.body.prefill(65536)
        content = request.body.whole()
    return Response(200, b"OK", [], request.method + b" " + request.target + b" " + content)


async def _ask(client: Any, *reads: bytes) -> bytes:
    for read in reads:
        await client.says(read)
        await client.settles()
    return bytes((await client.response())[2])


@pytest.fixture
async def client(proxy: Any, connect: Any) -> Any:
    proxy.answer = _echo
    made = await connect()

    async def settles() -> None:
        """Let what was written be read by itself."""
        for _ in range(20):
            await asyncio.sleep(0)

    made.settles = settles
    return made


async def test_the_second_time_the_same_request_is_served(proxy: Any, client: Any) -> None:
    assert [await _ask(client, _GET) for _ in range(3)] == [b"GET /a "] * 3
    assert proxy.requests[0] is proxy.requests[1] is proxy.requests[2]


async def test_something_else_in_between_is_read_as_what_it_is(proxy: Any, client: Any) -> None:
    other = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    assert [await _ask(client, read) for read in (_GET, other, _GET, _GET)] == [
        b"GET /a ",
        b"GET /b ",
        b"GET /a ",
        b"GET /a ",
    ]


async def test_content_that_looks_like_the_request_before_stays_content(client: Any) -> None:
    post = b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(_GET)
    assert await _ask(client, _GET) == b"GET /a "
    assert await _ask(client, post, _GET) == b"POST /c " + _GET
    assert await _ask(client, _GET) == b"GET /a "


async def test_a_field_value_that_looks_like_it_stays_in_its_head(proxy: Any, client: Any) -> None:
    assert await _ask(client, _GET) == b"GET /a "
    assert await _ask(client, b"GET /d HTTP/1.1\r\nX-Before: ", _GET) == b"GET /d "
    assert b"GET /a HTTP/1.1" in proxy.requests[-1].index[b"x-before"]


async def test_a_head_in_two_reads_teaches_nothing(proxy: Any, client: Any) -> None:
    assert await _ask(client, _GET[:9], _GET[9:]) == b"GET /a "
    await client.says(_GET[9:])
    assert (await client.response())[0] == 501  # the rest of a head is a method that nobody knows


async def test_two_at_once_teach_nothing_and_are_both_served(proxy: Any, client: Any) -> None:
    await client.says(_GET + _GET)
    assert [(await client.response())[2] for _ in range(2)] == [b"GET /a "] * 2
    assert proxy.requests[0] is not proxy.requests[1]
    assert await _ask(client, _GET) == b"GET /a "


async def test_while_an_answer_is_due_the_same_bytes_wait_their_turn(proxy: Any, client: Any, until: Any) -> None:
    assert await _ask(client, _GET) == b"GET /a "
    gate = asyncio.get_running_loop().create_future()

    async def late(exchange: Exchange) -> Response:
        await gate
        return await _echo(exchange)

    proxy.answer = late
    await client.says(_GET)
    await until(lambda: len(proxy.requests) == 2)
    await client.says(_GET)
    await client.settles()
    assert len(proxy.requests) == 2
    proxy.answer = _echo
    gate.set_result(None)
    assert [(await client.response())[2] for _ in range(2)] == [b"GET /a "] * 2


async def test_after_a_reload_the_same_bytes_are_held_against_the_new_limits(proxy: Any, client: Any) -> None:
    assert await _ask(client, _GET) == b"GET /a "
    proxy.host.limits = WireLimits(max_fields=1)
    await client.says(_GET)
    assert (await client.response())[0] == 431


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /a HTTP/1.0\r\n\r\n",
    ],
    ids=["close", "HTTP/1.0"],
)
async def test_the_last_request_of_a_connection_is_the_last(client: Any, request_bytes: bytes) -> None:
    await client.says(request_bytes + request_bytes)
    assert (await client.response())[0] == 200
    assert await client.is_closed()


async def test_a_request_with_content_is_parsed_every_time(proxy: Any, client: Any) -> None:
    post = b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"
    assert [await _ask(client, post) for _ in range(2)] == [b"POST /c abcd"] * 2
    assert proxy.requests[0] is not proxy.requests[1]
