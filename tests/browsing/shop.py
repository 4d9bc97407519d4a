"""The shop: a backend that takes its time, says how long its pages live, and writes down who asked for what.

`python -m tests.browsing.shop` is the process. Every response names itself: its ETag is target, version and coding, and
its content begins with the same words, so whoever reads it knows whether it is the right one. A POST makes a new
version.
`GET /book` gives what arrived since the last look, and is not in it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zlib
from collections import defaultdict, deque
from typing import cast

from tests.browsing.visits import is_coded
from tests.line.client import ask
from tests.line.process import ROOT

TAKES_S = 0.01  # for every answer
_LIFETIMES = {
    b"item": b"Cache-Control: max-age=10, stale-while-revalidate=20\r\n",
    b"asset": b"Cache-Control: max-age=3600\r\n",
    b"me": b"Cache-Control: private\r\n",
    b"live": b"",  # the route has to say it
}


class Shop:
    """The process. With a `defect` it does what a bad cache in front of it would do: the load has to notice."""

    def __init__(self, defect: str = "") -> None:
        command = [sys.executable, "-m", "tests.browsing.shop", defect]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def book(self) -> list[tuple[str, str]]:
        """(method, target) in order of arrival, since the last look."""
        return [(method, target) for method, target in ask(self.url, "GET", "/book").json()]

    def close(self) -> None:
        self._process.kill()
        self._process.wait(5)
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Stock:
    def __init__(self, defect: str) -> None:
        self._defect = defect
        self.book: list[tuple[str, str]] = []
        self.versions: defaultdict[bytes, int] = defaultdict(int)

    def answer(self, method: bytes, target: bytes, fields: dict[bytes, bytes]) -> bytes:
        if method == b"POST":
            self.versions[target] += 1
        may_code = is_coded(target.decode())
        coding = b"gzip" if may_code and b"gzip" in fields.get(b"accept-encoding", b"") else b"plain"
        version = self.versions[target]
        if self._defect == "forgets" and method == b"GET":
            version = 0
        name = b"%b %d %b" % (b"/asset/0" if self._defect == "confuses" else target, version, coding)
        head = b'ETag: "%b"\r\n' % name + (b"Vary: Accept-Encoding\r\n" if may_code else b"")
        head += _LIFETIMES[target.split(b"/")[1]] if method != b"POST" else b"Cache-Control: no-store\r\n"
        if fields.get(b"if-none-match") == b'"%b"' % name and method != b"POST":
            return b"HTTP/1.1 304 Not Modified\r\n%b\r\n" % head
        if coding == b"gzip":
            head += b"Content-Encoding: gzip\r\n"  # nobody on the way may look into it, so it need not be
        content = name + b"\n" + b"." * (200 + zlib.crc32(target) % 8000)
        head += b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % len(content)
        if self._defect == "mixes up":
            content = content.upper()
        return b"HTTP/1.1 200 OK\r\n%b\r\n" % head + (b"" if method == b"HEAD" else content)


class _Connection(asyncio.Protocol):
    """Requests one after the other; each is answered TAKES_S after it came, or later."""

    def __init__(self, stock: _Stock) -> None:
        self._stock = stock
        self._data = b""
        self._answers: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._data[:end].split(b"\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
            length = end + 4 + int(fields.get(b"content-length", b"0"))
            if len(self._data) < length:
                return
            self._data = self._data[length:]
            method, target, _ = first.split(b" ")
            self._take(method, target, fields)

    def _take(self, method: bytes, target: bytes, fields: dict[bytes, bytes]) -> None:
        if target == b"/book":
            content = json.dumps(self._stock.book).encode()
            self._stock.book = []
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
            return
        self._stock.book.append((method.decode(), target.decode()))
        self._answers.append(self._stock.answer(method, target, fields))
        asyncio.get_running_loop().call_later(TAKES_S, self._answer)

    def _answer(self) -> None:
        self._transport.write(self._answers.popleft())


async def _main(defect: str) -> None:
    stock = _Stock(defect)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(stock), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main(sys.argv[1]))
