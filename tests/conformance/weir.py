"""A Weir of its own: a real process, started from a generated configuration, stopped by its process id."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0

_CONFIG = """\
version: 1
listen: 127.0.0.1:{port}
admin: "off"
upstreams:
  app:
    primary: http://127.0.0.1:{backend}
    pool: {{max_in_flight: 512, max_idle: 512, queue: 1024}}
    eject: off  # its answers are bad on purpose
access_log: {{path: {log}, sample: 100%, slow: 1s}}
drain: {{timeout: {drain}}}
wire: {wire}
identity: {{user: {{api_key: {{header: X-API-Key, keys: {{someone: "sha256:{digest}"}}}}}}}}
routes:
  - {{name: rest, upstream: app, timeout: {timeout}}}
  - {{name: guarded, match: {{path: /admin/**}}, upstream: app, require_user: true}}
  - {{name: small, match: {{path: /small/**}}, upstream: app, max_body: 1000B}}
  - {{name: get-only, match: {{path: /get-only/**, methods: [GET]}}, upstream: app}}
  - {{name: no-upgrade, match: {{path: /no-upgrade/**}}, upstream: app, upgrade: false}}
  - {{name: denied, match: {{path: /denied/**}}, upstream: app, limits: [{{name: never, rate: 1/h, by: route}}]}}
  - {{name: long, match: {{path: /long/**}}, upstream: app, timeout: 60s}}
"""


class Weir:
    """One process. `output` has all that it said."""

    program: tuple[str, ...] = ("-m", "proxy")

    def __init__(
        self, folder: Path, backend_port: int, *, wire: str = "{}", timeout: str = "3s", drain: str = "10s"
    ) -> None:
        self.port = free_port()
        self.access_log = folder / "access.log"
        self.output_path = folder / "output.log"
        self._config = folder / "weir.yaml"
        self._config.write_text(
            _CONFIG.format(
                port=self.port,
                backend=backend_port,
                wire=wire,
                timeout=timeout,
                drain=drain,
                log=self.access_log,
                digest="0" * 64,
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output_path.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *self.program, "run", "-c", str(self._config)], cwd=ROOT, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"Weir did not start:\n{self.output}")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        return self.output_path.read_text("utf-8", "replace")

    @property
    def rss_bytes(self) -> int:
        text = subprocess.run(["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, check=True).stdout
        return int(text) * 1024

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def wait(self, timeout_s: float) -> int:
        """The exit code."""
        async with asyncio.timeout(timeout_s):
            while (code := self.process.poll()) is None:
                await asyncio.sleep(0.01)
        return code

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)

    def defects(self) -> list[str]:
        """Lines of the output that only a defect of Weir can have caused."""
        return [
            line
            for line in self.output.splitlines()
            if "Traceback" in line or "exchange_crashed" in line or '"level":"error"' in line
        ]
