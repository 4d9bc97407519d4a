"""Clients that ask one thing after the other, and remember what became of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from tests.line.process import Weir


class Load:
    """Keep-alive clients that ask one thing after the other, each with a number of its own."""

    def __init__(self, weir: Weir, method: bytes, clients: int, think_s: float) -> None:
        self._port = int(weir.url.rpartition(":")[2])
        self._method = method
        self._clients = clients
        self._think_s = think_s
        self._is_over = False
        self.outcomes: Counter[int] = Counter()
        self.answered_at: list[float] = []
        self.waits_s: list[float] = []

    async def run(self, for_s: float) -> None:
        asyncio.get_running_loop().call_later(for_s, self._end)
        await asyncio.gather(*[self._client(number) for number in range(self._clients)])

    def _end(self) -> None:
        self._is_over = True

    async def _client(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        turn = 0
        while not self._is_over:
            turn += 1
            began_at = time.monotonic()
            content = b"x" if self._method == b"POST" else b""
            writer.write(
                b"%b /%d-%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
                % (self._method, number, turn, len(content), content)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            status = int(head[9:12])
            self.outcomes[status] += 1
            if status == 200:
                self.answered_at.append(time.monotonic())
            self.waits_s.append(time.monotonic() - began_at)
            await asyncio.sleep(self._think_s)
        writer.close()
