"""The backend that keeps the book: when each request arrived, on the clock that all processes of a machine share.

`python -m tests.fleet.recorder` is the process; `Recorder` starts one and reads what it wrote. A request carries its
number in X-Number. X-Wait is how many seconds its response takes. `GET /book` gives the book, and closes it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import cast

from tests.line.client import ask
from tests.line.process import ROOT

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """The process. `book()` gives (request's number, monotonic seconds) in order of arrival."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fleet.recorder"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def book(self) -> list[tuple[int, float]]:
        """Everything since the last look."""
        return [(number, at_ns / 1e9) for number, at_ns in ask(self.url, "GET", "/book").json()]

    def held(self) -> int:
        """Requests that it has not answered yet and whose connection is still there."""
        return int(ask(self.url, "GET", "/held").content)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(5)
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Book:
    def __init__(self) -> None:
        self.lines: list[tuple[int, int]] = []
        self.held = 0


class _Connection(asyncio.Protocol):
    """Requests without content, one after the other."""

    def __init__(self, book: _Book) -> None:
        self._book = book
        self._data = b""
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._book.held -= 1

    def data_received(self, data: bytes) -> None:
        at_ns = time.monotonic_ns()
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head, self._data = self._data[:end], self._data[end + 4 :]
            self._take(head, at_ns)

    def _take(self, head: bytes, at_ns: int) -> None:
        first, *lines = head.split(b"\r\n")
        path = first.split(b" ")[1]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if path == b"/book":
            self._say(json.dumps(self._book.lines).encode())
            self._book.lines = []
        elif path == b"/held":
            self._say(b"%d" % self._book.held)
        else:
            self._book.lines.append((int(fields.get(b"x-number", b"-1")), at_ns))
            wait_s = float(fields.get(b"x-wait", b"0"))
            if wait_s:
                self._book.held += 1
                self._waiting = asyncio.get_running_loop().call_later(wait_s, self._answer_late)
            else:
                self._transport.write(_OK)

    def _answer_late(self) -> None:
        self._waiting = None
        self._book.held -= 1
        self._transport.write(_OK)

    def _say(self, content: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


async def _main(arguments: Sequence[str]) -> None:
    book = _Book()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(book), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main(sys.argv[1:]))
