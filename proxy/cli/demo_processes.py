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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Final, Self

import proxy
from proxy.core.clock import monotonic

__all__ = ["Children", "DemoError", "choose_port", "find_project", "free_ports"]

STOP_TIMEOUT_S: Final = 5.0
LOG_LINES_SHOWN: Final = 15

# Lines "+pid signal" and "-pid" come in; at the end of the input, whoever is still listed is asked to go, the last one
# first, and then made to. A folder that is named as an argument is removed at last.
_GUARD: Final = """
import os, shutil, signal, sys, time
pids = {}
for line in sys.stdin:
    pid, _, number = line[1:].partition(" ")
    if line[0] == "+":
        pids[int(pid)] = int(number)
    else:
        pids.pop(int(pid), None)
def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pids.pop(pid, None)
for pid in reversed(list(pids)):
    send(pid, pids[pid])
for _ in range(60):
    for pid in list(pids):
        send(pid, 0)
    if not pids:
        break
    time.sleep(0.05)
for pid in list(pids):
    send(pid, signal.SIGKILL)
for folder in sys.argv[1:]:
    shutil.rmtree(folder, ignore_errors=True)
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

    def __init__(self, project: Path, logs: Path, *, remove: Path | None = None) -> None:
        """`remove` is a folder that is gone at the end, whatever the end was."""
        self._project = project
        self._logs = logs
        self._remove = remove
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stop_signals: dict[str, int] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", "-c", _GUARD, *([str(self._remove)] if self._remove else [])]
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
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self.start_command(name, [sys.executable, *arguments], environment=environment)

    def start_command(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        """Run any command, as another user (by number, with the group of that number) if asked."""
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self._project if user is None else "/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )
        self._running[name] = process
        self._stop_signals[name] = stop_signal
        self._tell_guard(f"+{process.pid} {stop_signal}\n")

    def finish(self, name: str, timeout_s: float) -> None:
        """Wait for one that ends by itself. Raises DemoError, with the end of its log, when that was no success."""
        process = self._running[name]
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{name} was not done after {timeout_s:.0f} s\n{self._log_end(name)}") from None
        del self._running[name], self._stop_signals[name]
        self._tell_guard(f"-{process.pid}\n")
        if status:
            raise DemoError(f"{name} failed with status {status}\n{self._log_end(name)}")

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
        process.send_signal(self._stop_signals.pop(name))
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
