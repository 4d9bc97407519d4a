"""A connection that has ended is gone at once: what only the collector finds may stay for most of an hour."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.wire.downstream import DownstreamConnection
from proxy.wire.upstream import UpstreamConnection

_GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _alive(proxy: Any, kind: type) -> int:
    proxy.exchanges.clear()  # the record of the test
    proxy.requests.clear()
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        pytest.param(b"", 0, id="said nothing"),
        pytest.param(_GET, 1, id="one request"),
        pytest.param(_GET * 3, 3, id="pipelined"),
        pytest.param(_GET + _POST, 2, id="with content"),
        pytest.param(b"GET / HTTP/1.1\r\nHost", 0, id="half a head"),
        pytest.param(_POST[:-2], 1, id="half the content"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", 1, id="closed by us"),
        pytest.param(b"nonsense\r\n\r\n", 1, id="refused"),
    ],
)
@pytest.mark.usefixtures("without_collector")
async def test_a_client_that_left_leaves_no_connection(
    proxy: Any, connect: Any, until: Any, said: bytes, answered: int
) -> None:
    client = await connect()
    await client.says(said)
    for _ in range(answered):
        await client.head()
    await until(lambda: proxy.host.accepted == 1)
    client.writer.transport.abort()
    await until(lambda: not proxy.host.connections)
    await asyncio.sleep(0)
    assert _alive(proxy, DownstreamConnection) == 0


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", id="whole"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nhi", id="to the end"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
    ],
)
@pytest.mark.usefixtures("without_collector")
async def test_an_endpoint_that_closes_leaves_no_connection(
    proxy: Any, backend: Any, connect: Any, until: Any, reply: bytes
) -> None:
    proxy.answer = proxy.forward
    backend.replies(reply, close=True)
    client = await connect()
    await client.says(_GET)
    await client.head()
    await until(lambda: proxy.outcomes)
    client.writer.transport.abort()
    await until(lambda: not proxy.host.connections and not len(proxy.up_timers))
    proxy.idle.clear()
    await asyncio.sleep(0)
    assert (_alive(proxy, DownstreamConnection), _alive(proxy, UpstreamConnection)) == (0, 0)
