"""A Weir of a fleet: a process of its own, on a machine whose clock is as wrong as the test says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.line.process import ROOT, Weir, eventually

CLOCK = Path(__file__).parent / "clock"


class Member(Weir):
    """`wall_s` and `boot_s`: how far its calendar and its monotonic clock are from this machine's."""

    def __init__(
        self,
        folder: Path,
        config: str,
        policies: Mapping[str, str] | None = None,
        wall_s: float = 0.0,
        boot_s: float = 0.0,
    ) -> None:
        super().__init__(folder, config, policies)
        self._clock = f"{wall_s} {boot_s}"

    def launch(self, arguments: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "proxy", *(arguments or ("run", "-c", str(self.path)))]
        paths = os.pathsep.join([str(CLOCK), str(ROOT)])
        environment = os.environ | {"PYTHONPATH": paths, "WEIR_TEST_CLOCK": self._clock}
        with self.stderr_path.open("ab") as stderr, self.stdout_path.open("ab") as stdout:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=stdout, stderr=stderr, env=environment)

    def ready(self) -> Member:
        # many that start at once on two cores take their time
        eventually(lambda: "admin " in self.stderr or self.process.poll() is not None, 60.0)
        super().ready()
        return self

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def store(self) -> dict[str, Any]:
        """What /healthz says of its store; may be a second old."""
        parts = self.healthz().json()["components"]
        return dict(next(part for part in parts if part["name"] == "store"))

    def rss_bytes(self) -> int:
        """Memory that is resident now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
