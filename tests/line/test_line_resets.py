"""A backend that resets, ends and talks nonsense, a hundred thousand times: every client gets an answer or an end.

`WEIR_RESETS` is how many exchanges, and `WEIR_RESETS_SEED` draws other ones. What is looked for is rare: an exception
that is lost on its way leaves a client waiting for ever, and nothing else behind.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest

from tests.line.process import Weir

EXCHANGES = int(os.environ.get("WEIR_RESETS", "100000"))
SEED = int(os.environ.get("WEIR_RESETS_SEED", "1"))
CLIENTS = 160
PATIENCE_S = 20.0
_RESET = struct.pack("ii", 1, 0)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: 5\r\n\r\nwhole"
STORED = WHOLE.replace(b"no-store", b"max-age=0, stale-if-error=1")
NONSENSE = (b"HTTP/1.1 99 no\r\n\r\n", b"\0\1\2\r\n\r\n", b"HTTP/1.1 0\r\n\r\n")
CONFIG = """
access_log: {{path: "off"}}
upstreams:
  alone:
    primary: http://127.0.0.1:{port}
    pool: {{max_in_flight: 128, queue: 256}}
    eject: "off"
    hold_on_refused: 50ms
  two:
    primary: [http://127.0.0.1:{port}, http://127.0.0.1:{other}]
    pool: {{max_in_flight: 128, queue: 256}}
    eject: "off"
    hold_on_refused: 50ms
routes:
  - {{name: alone, match: {{path: /alone}}, upstream: alone, timeout: 2s}}
  - {{name: two, match: {{path: /two}}, upstream: two, timeout: 2s}}
  - {{name: cached, match: {{path: "/cached/**"}}, upstream: alone, timeout: 2s, cache: {{ttl: 10ms}}}}
"""


class Rude(asyncio.Protocol):
    """Answers one request at a time, more or less."""

    def __init__(self, draw: random.Random, done: Counter[str]) -> None:
        self._draw = draw
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._end_at_once("reset on arrival" if self._draw.random() < 0.05 else "")

    def data_received(self, data: bytes) -> None:
        whim = self._draw.random()
        if whim < 0.35:
            self._transport.write(STORED if b"/cached/" in data else WHOLE)
        elif whim < 0.70:
            self._end_at_once("reset before the first byte")
        elif whim < 0.78:
            self._transport.close()
        elif whim < 0.84:
            self._transport.write(WHOLE[: self._draw.randrange(1, len(WHOLE))])
            self._end_at_once("reset in the answer" if self._draw.random() < 0.5 else "")
            self._transport.close()
        elif whim < 0.90:
            self._transport.write(
                self._draw.choice([b"HTTP/1.1 99 no\r\n\r\n", b"\0\1\2\r\n\r\n", b"HTTP/1.1 0\r\n\r\n"])
            )
        elif whim < 0.95:
            self._transport.write(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")
        else:
            self._transport.write(WHOLE)
            self._end_at_once("reset behind the answer")

    def _end_at_once(self, how: str) -> None:
        if how:
            self._done[how] += 1
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()


@pytest.mark.long
async def test_nobody_is_left_without_an_answer_or_an_end(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    draw, done = random.Random(SEED), Counter[str]()
    servers = [await loop.create_server(lambda: Rude(draw, done), "127.0.0.1", 0) for _ in range(2)]
    port, other = (server.sockets[0].getsockname()[1] for server in servers)
    weir = Weir(tmp_path, CONFIG.format(port=port, other=other))
    weir.launch()
    ends: Counter[str] = Counter()
    try:
        await asyncio.to_thread(weir.ready)
        at = int(weir.url.rpartition(":")[2])
        await asyncio.gather(
            *[_client(at, SEED * 1000 + number, EXCHANGES // CLIENTS, ends) for number in range(CLIENTS)]
        )
        assert weir.stop() == 0
    finally:
        weir.kill()
        for server in servers:
            server.close()
    print(f"\n{sum(ends.values())} exchanges: {dict(ends)}; {dict(done)}")
    assert ends["neither"] == 0
    assert ends["502"] > EXCHANGES / 20
    assert ends["200"] > EXCHANGES / 20
    words = ("SystemError", "without setting an exception", "Exception ignored", "exchange_crashed", "Traceback")
    assert not [line for line in weir.stderr.splitlines() if any(word in line for word in words)]


async def _client(port: int, seed: int, count: int, ends: Counter[str]) -> None:
    """Asks one after the other, on a new connection where the last one ended."""
    draw = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        target = draw.choice([b"/alone", b"/alone", b"/two", b"/cached/%d" % draw.randrange(20)])
        method = b"POST" if draw.random() < 0.1 and not target.startswith(b"/cached") else b"GET"
        length = b"Content-Length: 0\r\n" if method == b"POST" else b""
        try:
            writer.write(b"%b %b HTTP/1.1\r\nHost: weir\r\n%b\r\n" % (method, target, length))
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
            ends[head[9:12].decode()] += 1
            is_over = b"\r\nConnection: close" in head
        except TimeoutError:
            ends["neither"] += 1
            is_over = True
        except (asyncio.IncompleteReadError, ConnectionError):
            ends["an end"] += 1
            is_over = True
        if is_over:
            writer.transport.abort()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.abort()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line[15:])
    return 0
