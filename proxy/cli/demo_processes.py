"""The processes of the demo: found, started, watched and stopped.

Nothing that was started here outlives the demo, not even when the demo is killed: a small guard process holds one end
of a pipe, and when the other end closes it ends what is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Final, Self

import proxy
from proxy.core.clock import monotonic

__all__ = ["Children", "DemoError", "choose_port", "find_project", "free_ports"]

STOP_TIMEOUT_S: Final = 5.0
LOG_LINES_SHOWN: Final = 15

# Lines "+pid" and "-pid" come in; at the end of the input, whoever is still listed is asked to go and then made to.
_GUARD: Final = """
import os, signal, sys, time
pids = set()
for line in sys.stdin:
    (pids.add if line[0] == "+" else pids.discard)(int(line[1:]))
for number in (signal.SIGTERM, signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    time.sleep(1.5 if pids and number == signal.SIGTERM else 0)
"""


class DemoError(Exception):
    """The demo cannot go on. The text says why, for the user."""


def find_project() -> Path:
    """The folder that holds both the example shop and `proxy.yaml`: a checkout of the source."""
    for folder in (Path(proxy.__file__).resolve().parent.parent, Path.cwd()):
        if (folder / "examples" / "marketplace" / "__main__.py").is_file() and (folder / "proxy.yaml").is_file():
            return folder
    raise DemoError(
        "the demo needs the example shop (examples/marketplace) and its proxy.yaml, which are not installed with the "
        "package: run it from a checkout of the source, with `make run` or `python -m proxy demo`"
    )


def choose_port(preferred: int) -> tuple[int, bool]:
    """A port on 127.0.0.1, and whether it is the preferred one. Nothing holds it: another process may be quicker."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", preferred))
        except OSError:
            return free_ports(1)[0], False
    return preferred, True


def free_ports(count: int) -> list[int]:
    """Different ports that the system says are free."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


class Children:
    """Started in order, stopped in the opposite order; leaving the block stops all of them.

    Each runs in a session of its own, so that Ctrl-C reaches the demo alone and the order is kept.
    """

    def __init__(self, project: Path, logs: Path) -> None:
        self._project = project
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", "-c", _GUARD]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for name in reversed(list(self._running)):
                self._stop(name)
        finally:
            self._dismiss_guard()

    def start(self, name: str, *arguments: str, environment: Mapping[str, str]) -> None:
        """Run `python *arguments` in the project's folder; what it says goes to `<name>.log`."""
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._project,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[name] = process
        self._tell_guard(f"+{process.pid}\n")

    def wait_until(self, name: str, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Raises DemoError, with the end of the log, when the process dies first or the time is up."""
        deadline = monotonic() + timeout_s
        while not is_ready():
            if self._running[name].poll() is not None:
                raise DemoError(f"{name} stopped with status {self._running[name].returncode}\n{self._log_end(name)}")
            if monotonic() > deadline:
                raise DemoError(f"{name} was not ready after {timeout_s:.0f} s\n{self._log_end(name)}")
            sleep(0.02)

    def watch(self) -> None:
        """Wait for ever; raise DemoError when one of them stops."""
        while True:
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise DemoError(f"{name} stopped with status {process.returncode}\n{self._log_end(name)}")
            sleep(0.2)

    def _stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._tell_guard(f"-{process.pid}\n")

    def _tell_guard(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(line.encode())
                self._guard.stdin.flush()

    def _dismiss_guard(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()

    def _log_end(self, name: str) -> str:
        lines = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])
