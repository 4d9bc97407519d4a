"""An open loop: every request is sent at its time, whether or not the ones before it were answered.

`python -m tests.fleet.load PLAN RESULT` is the process, so that nothing in a test delays a request. A plan names the
ports and, for each request, when it is sent, where to and with which target and key. Connections are kept alive; where
all are busy, another is opened, up to `MOST`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.line.process import ROOT

MOST = 512  # connections to one port
PATIENCE_S = 8.0  # for the answers, after the last request was sent
LEAD_S = 0.4  # from the start of the process to the first request

_numbers = itertools.count(1)


@dataclass(slots=True)
class Shot:
    """One request: planned by the test, and what came of it. Instants are monotonic, and the machine's."""

    at_s: float  # after the start of the run
    port: int
    target: str
    key: str
    wait_s: float = 0.0  # how long the backend takes
    number: int = 0
    sent_at: float = 0.0
    answered_at: float = 0.0
    status: int = 0  # 0: no answer in time; -1: the connection broke
    head: str = ""  # of the response, where the run keeps them

    @property
    def took_s(self) -> float:
        return self.answered_at - self.sent_at


@dataclass(slots=True)
class Run:
    """A load that is under way. `wait` gives its shots in the order of the plan."""

    began_at: float  # when the first second of the plan begins
    ends_at: float
    _process: subprocess.Popen[bytes]
    _folder: tempfile.TemporaryDirectory[str]
    _shots: list[Shot]

    def sleep_until(self, at_s: float) -> None:
        """Until this many seconds of the plan have passed."""
        time.sleep(max(0.0, self.began_at + at_s - time.monotonic()))

    def wait(self) -> list[Shot]:
        try:
            assert self._process.wait(max(1.0, self.ends_at - time.monotonic()) + PATIENCE_S + 10.0) == 0
            results: list[Any] = json.loads((Path(self._folder.name) / "result").read_text())
        finally:
            self.close()
        for shot, (sent_ns, answered_ns, status, head) in zip(self._shots, results, strict=True):
            shot.sent_at, shot.answered_at, shot.status, shot.head = sent_ns / 1e9, answered_ns / 1e9, status, head
        return self._shots

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(5)
        self._folder.cleanup()


def fire(shots: Iterable[Shot], *, keep_heads: bool = False) -> Run:
    """Start the load and return. Numbers are never used twice in a session."""
    ordered = sorted(shots, key=lambda shot: shot.at_s)
    for shot in ordered:
        shot.number = next(_numbers)
    folder: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory(prefix="weir-load-")
    plan, result = Path(folder.name) / "plan", Path(folder.name) / "result"
    began_at = time.monotonic() + LEAD_S
    rows = [(shot.at_s, shot.port, shot.target, shot.key, shot.wait_s, shot.number) for shot in ordered]
    plan.write_text(json.dumps({"began_at": began_at, "keep_heads": keep_heads, "shots": rows}))
    process = subprocess.Popen([sys.executable, "-m", "tests.fleet.load", str(plan), str(result)], cwd=ROOT)
    return Run(began_at, began_at + ordered[-1].at_s, process, folder, ordered)


def evenly(
    rate: float,
    seconds: float,
    ports: Sequence[int],
    target: str,
    key: str,
    *,
    phase: float = 0.0,
    begin_s: float = 0.0,
) -> list[Shot]:
    """`rate` requests a second, over the ports in turn. `phase`: by how many intervals the first one is late."""
    count = int(rate * seconds)
    return [Shot(begin_s + (n + phase) / rate, ports[n % len(ports)], target, key) for n in range(count)]


class _Connection(asyncio.Protocol):
    def __init__(self, home: _Port) -> None:
        self._home = home
        self._data = b""
        self._missing = -1  # bytes of the content still to come; -1: the head is not here
        self._shot = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._home.lost(self, self._shot)
        self._shot = -1

    def send(self, shot: int, request: bytes) -> None:
        self._shot = shot
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._missing < 0:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head, self._data = self._data[:end], self._data[end + 4 :]
            self._missing = _length(self._head)
        if len(self._data) >= self._missing:
            shot, self._shot, self._missing, self._data = self._shot, -1, -1, b""
            is_kept = b"\r\nconnection: close" not in self._head.lower()
            if not is_kept:
                self._transport.close()
            self._home.answered(shot, self._head, self if is_kept else None)


class _Port:
    """The connections to one port."""

    def __init__(self, port: int, results: list[list[Any]], keep_heads: bool) -> None:
        self._port = port
        self._results = results
        self._keep_heads = keep_heads
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._open = 0
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, shot: int, request: bytes) -> None:
        if self._idle:
            self._results[shot][0] = time.monotonic_ns()
            self._idle.pop().send(shot, request)
            return
        self._waiting.append((shot, request))
        if self._open < MOST:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def answered(self, shot: int, head: bytes, connection: _Connection | None) -> None:
        result = self._results[shot]
        result[1], result[2] = time.monotonic_ns(), int(head[9:12])
        if self._keep_heads:
            result[3] = head.decode("latin-1")
        if connection is not None:
            self._ready(connection)

    def lost(self, connection: _Connection, shot: int) -> None:
        self._open -= 1
        if shot >= 0:
            self._results[shot][1:3] = time.monotonic_ns(), -1
        if connection in self._idle:
            self._idle.remove(connection)

    def _ready(self, connection: _Connection) -> None:
        if self._waiting:
            shot, request = self._waiting.popleft()
            self._results[shot][0] = time.monotonic_ns()
            connection.send(shot, request)
        else:
            self._idle.append(connection)

    async def _connect(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            self._open -= 1
            if self._waiting:
                shot, _ = self._waiting.popleft()
                self._results[shot][:3] = time.monotonic_ns(), time.monotonic_ns(), -1
        else:
            self._ready(connection)


def _length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    return int(lowered[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _request(port: int, target: str, key: str, wait_s: float, number: int) -> bytes:
    wait = f"X-Wait: {wait_s}\r\n" if wait_s else ""
    return (
        f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Key: {key}\r\nX-Number: {number}\r\n{wait}\r\n".encode()
    )


async def _main(plan_path: str, result_path: str) -> None:
    plan = json.loads(Path(plan_path).read_text())
    shots = plan["shots"]
    results: list[list[Any]] = [[0, 0, 0, ""] for _ in shots]
    ports = {port: _Port(port, results, plan["keep_heads"]) for port in {shot[1] for shot in shots}}
    requests = [_request(*shot[1:]) for shot in shots]
    began_at = plan["began_at"]
    for number, shot in enumerate(shots):
        ahead_s = began_at + shot[0] - time.monotonic()
        if ahead_s > 0.0:
            await asyncio.sleep(ahead_s)
        ports[shot[1]].send(number, requests[number])
    give_up_at = time.monotonic() + PATIENCE_S
    while any(result[2] == 0 for result in results) and time.monotonic() < give_up_at:
        await asyncio.sleep(0.02)
    Path(result_path).write_text(json.dumps(results))


if __name__ == "__main__":
    import gc

    import uvloop

    gc.disable()
    uvloop.run(_main(sys.argv[1], sys.argv[2]))
