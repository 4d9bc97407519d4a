"""What every peer has in common: a configuration file, one process tree, one port."""

from __future__ import annotations

import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.process import Child, free_port

HIGH_PER_S = 1_000_000  # a limit that is counted on every request and never reached
_ADMIN_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"


class Missing(Exception):
    """The peer is not installed here."""


class Peer(ABC):
    """A proxy in front of the backend. Whoever starts it stops it."""

    name: ClassVar[str]
    lacks: ClassVar[dict[str, str]] = {}  # scenario name -> why this peer has no answer to it

    def __init__(self, directory: Path, backend_port: int, redis_url: str | None = None) -> None:
        self.directory = directory
        self.backend_port = backend_port
        self.redis_url = redis_url
        self.port = free_port()
        self._child = Child(self.name, directory)

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.is_running

    def start(self, core: int) -> None:
        """Write its configuration and start it. Raises Missing and StartError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self.directory / self.settings_name
        settings.write_text(self.settings())
        self._child.start(self.command(settings), core, self.port, cwd=self.working_directory, env=self.env)

    def stop(self) -> None:
        self._child.stop()

    @property
    def remark(self) -> str:
        """What a reader of its figures has to know, after its name; or ""."""
        return ""

    @property
    def working_directory(self) -> Path:
        return self.directory

    @property
    def env(self) -> Mapping[str, str] | None:
        """What differs from the environment that we have."""
        return None

    settings_name: ClassVar[str]

    @abstractmethod
    def settings(self) -> str:
        """The text of its configuration file."""

    @abstractmethod
    def command(self, settings: Path) -> Sequence[str | Path]:
        """What starts it in the foreground. Raises Missing."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """As it prints it. Raises Missing."""


def find(name: str) -> str:
    """The path of an installed program. Raises Missing."""
    path = shutil.which(name) or shutil.which(name, path=_ADMIN_PATH)
    if path is None:
        raise Missing(f"{name} is not installed")
    return path


def first_line(*command: str | Path) -> str:
    """The first line that a program prints, on either stream."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"
