"""The browsers, in a process of their own: `python -m tests.browsing.browsers PLAN RESULT`.

An open loop: each request is given to its browser when it is due, however long the ones before it take. A browser
has up to six connections and lets requests wait where all are busy; it remembers what it was given, and asks
conditionally when it reloads. What it waits there counts: a latency begins when the request was due.

Every answer is looked at: its status, whose it is (its ETag and the beginning of its content say so), and that it is no
older than the last write that was answered before the request went out.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, cast

from tests.browsing.visits import ENCODINGS, RANGE_BYTES, Ask, is_coded
from tests.line.process import ROOT

PER_BROWSER = 6  # connections
PATIENCE_S = 10.0  # for the last answers
LEAD_S = 0.2  # from the start of the process to the first request


@dataclass(slots=True)
class Outcome:
    """What came of one request; seconds after it was due."""

    late_s: float = 0.0  # given to its browser
    took_s: float = -1.0  # answered; -1: not at all
    status: int = 0
    is_hit: bool = False
    fault: str = ""  # what is wrong with the answer


def browse(asks: Sequence[Ask], port: int) -> list[Outcome]:
    """Play the plan, and wait for its end. Outcomes are in the order of the plan."""
    with tempfile.TemporaryDirectory(prefix="weir-browsers-") as folder:
        plan, result = Path(folder) / "plan", Path(folder) / "result"
        plan.write_text(json.dumps({"port": port, "asks": [asdict(ask) for ask in asks]}))
        command = [sys.executable, "-m", "tests.browsing.browsers", str(plan), str(result)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=asks[-1].at_s + PATIENCE_S + 30.0)
        return [Outcome(*row) for row in json.loads(result.read_text())]


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, browser: _Browser) -> None:
        self._browser = browser
        self._number = -1
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._browser.lost(self, self._number)

    def send(self, number: int, is_head: bool, request: bytes) -> None:
        self._number, self._is_head, self._data = number, is_head, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._data[:end].split(b"\r\n")
        status = int(first[9:12])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        length = 0 if self._is_head or status == 304 else int(fields.get(b"content-length", b"-1"))
        content = self._data[end + 4 :]
        if length >= 0 and len(content) < length:
            return
        if length != len(content):
            fields[b"x-broken"] = b"content of %d bytes instead of %d" % (len(content), length)
        number, self._number = self._number, -1
        self._browser.answered(self, number, status, fields, content)


class _Browser:
    def __init__(self, crowd: _Crowd, encoding: str) -> None:
        self._crowd = crowd
        self._encoding = encoding
        self._coding = "gzip" if "gzip" in encoding else "plain"
        self._held: dict[str, bytes] = {}  # ETag by target
        self._idle: list[_Connection] = []
        self._waiting: deque[int] = deque()
        self._open = 0
        self._is_leaving = False
        self._opening: set[asyncio.Task[None]] = set()
        self._sent: dict[int, tuple[bytes, int]] = {}  # If-None-Match and the oldest version allowed, by request

    def ask(self, number: int) -> None:
        self._is_leaving = False
        if self._idle:
            self._send(self._idle.pop(), number)
            return
        self._waiting.append(number)
        if self._open < PER_BROWSER:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def answered(
        self, connection: _Connection, number: int, status: int, fields: dict[bytes, bytes], content: bytes
    ) -> None:
        ask, etag = self._crowd.asks[number], fields.get(b"etag", b"")
        condition, oldest = self._sent.pop(number)
        outcome = self._crowd.close(number, status)
        outcome.is_hit = b"; hit" in fields.get(b"cache-status", b"")
        outcome.fault = self._fault(ask, condition, oldest, status, fields, content)
        if not outcome.fault and ask.method == "POST":
            self._crowd.written(ask.target, _version(etag))
        elif not outcome.fault and ask.method == "GET":
            self._held[ask.target] = etag
        self._is_leaving = self._is_leaving or ask.leaves
        if self._waiting:
            self._send(connection, self._waiting.popleft())
            return
        self._idle.append(connection)
        while self._is_leaving and self._idle:
            self._idle.pop().transport.close()

    def lost(self, connection: _Connection, number: int) -> None:
        self._open -= 1
        if number >= 0:
            self._crowd.close(number, -1).fault = "the connection broke"
        elif connection in self._idle:
            self._idle.remove(connection)

    def _fault(
        self, ask: Ask, condition: bytes, oldest: int, status: int, fields: dict[bytes, bytes], content: bytes
    ) -> str:
        etag = fields.get(b"etag", b"")
        usual = {206} if ask.is_part else {200, 304} if condition else {200}
        if status not in usual:
            return f"status {status}"
        if b"x-broken" in fields:
            return fields[b"x-broken"].decode()
        coding = self._coding if is_coded(ask.target) else "plain"
        words = etag.decode().strip('"').split(" ")
        if len(words) != 3 or words[0] != ask.target or words[2] != coding:
            return f"it is {etag!r}, not {ask.target} {coding}"
        if status == 304 and etag != condition:
            return f"304 to {condition!r}: {etag!r}"
        if status != 304 and ask.method == "GET" and not content.startswith(etag.strip(b'"') + b"\n"):
            return f"{etag!r} with the content {content[:60]!r}"
        if ask.is_part and len(content) != RANGE_BYTES:
            return f"{len(content)} bytes of {RANGE_BYTES}"
        return f"{etag!r} after version {oldest} was written" if _version(etag) < oldest else ""

    async def _connect(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._crowd.port)
        except OSError as error:
            self._open -= 1
            if self._waiting:
                self._crowd.close(self._waiting.popleft(), -1).fault = f"no connection: {error}"
        else:
            if self._waiting:
                self._send(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)

    def _send(self, connection: _Connection, number: int) -> None:
        ask = self._crowd.asks[number]
        condition = self._held.get(ask.target, b"") if ask.is_reload else b""
        self._sent[number] = (condition, self._crowd.versions[ask.target])
        lines = [f"{ask.method} {ask.target} HTTP/1.1", "Host: shop.example", "User-Agent: browser/1", "Accept: */*"]
        if self._encoding:
            lines.append(f"Accept-Encoding: {self._encoding}")
        if condition:
            lines.append(f"If-None-Match: {condition.decode()}")
        if ask.is_part:
            lines.append(f"Range: bytes=0-{RANGE_BYTES - 1}")
        content = "change=1" if ask.method == "POST" else ""
        if content:
            lines.append(f"Content-Length: {len(content)}")
        connection.send(number, ask.method == "HEAD", "\r\n".join([*lines, "", content]).encode())


class _Crowd:
    """All browsers, and what they know together: the newest version that was written, by target."""

    def __init__(self, port: int, asks: Sequence[Ask]) -> None:
        self.port = port
        self.asks = asks
        self.outcomes = [Outcome() for _ in asks]
        self.versions: defaultdict[str, int] = defaultdict(int)
        self.missing = len(asks)
        kinds = [encoding for encoding, count in ENCODINGS for _ in range(count)]
        most = max(ask.browser for ask in asks) + 1
        self._browsers = [_Browser(self, kinds[number * 37 % 100]) for number in range(most)]

    async def play(self) -> None:
        self._began_at = time.monotonic() + LEAD_S
        for number, ask in enumerate(self.asks):
            due_at = self._began_at + ask.at_s
            # at least a turn of the loop, so that answers are read however late it is; and timers may end too early
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            while (ahead_s := due_at - time.monotonic()) > 0.0:
                await asyncio.sleep(ahead_s)
            self.outcomes[number].late_s = -ahead_s
            self._browsers[ask.browser].ask(number)
        give_up_at = time.monotonic() + PATIENCE_S
        while self.missing and time.monotonic() < give_up_at:
            await asyncio.sleep(0.02)

    def close(self, number: int, status: int) -> Outcome:
        outcome = self.outcomes[number]
        outcome.took_s = time.monotonic() - self._began_at - self.asks[number].at_s
        outcome.status = status
        self.missing -= 1
        return outcome

    def written(self, target: str, version: int) -> None:
        self.versions[target] = max(self.versions[target], version)


def _version(etag: bytes) -> int:
    return int(etag.split(b" ")[1])


async def _main(plan_path: str, result_path: str) -> None:
    plan: dict[str, Any] = json.loads(Path(plan_path).read_text())
    crowd = _Crowd(plan["port"], [Ask(**each) for each in plan["asks"]])
    await crowd.play()
    Path(result_path).write_text(json.dumps([astuple(each) for each in crowd.outcomes]))


if __name__ == "__main__":
    import gc

    import uvloop

    gc.disable()
    uvloop.run(_main(sys.argv[1], sys.argv[2]))
