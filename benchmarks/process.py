"""Child processes: started on one core, ready when they accept a connection, ended by their own id."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

READY_S = 30.0
STOP_S = 10.0
_LAST_LINES = 8


class StartError(Exception):
    """A server did not come up; the message holds the end of what it wrote."""


class Child:
    """A server process, with its output in `<directory>/<name>.log`. Whoever starts it stops it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(
        self, command: Sequence[str | Path], core: int, port: int, cwd: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """Start it bound to one core, and wait until the port accepts. Raises StartError."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env={**os.environ, **env} if env else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # before it makes a thread or a worker
            )
        try:
            self._wait_until_ready(port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask, wait, then insist. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_ready(self, port: int) -> None:
        give_up_at = time.monotonic() + READY_S
        while time.monotonic() < give_up_at:
            if not self.is_running:
                raise StartError(f"{self.name} ended at once: {self._last_words()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise StartError(f"{self.name} did not accept a connection within {READY_S:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-_LAST_LINES:]) or "it wrote nothing"


def free_port() -> int:
    """A port that was free a moment ago; another process may still take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
