"""A Weir of its own: files in a folder, a real process, stopped by its process id."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from tests.line.client import Answer, Client, Fields, ask

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0
T = TypeVar("T")

_ALWAYS = {
    "version": "version: 1",
    "listen": "listen: 127.0.0.1:0",
    "admin": "admin: 127.0.0.1:0",
    "access_log": "access_log: {path: access.log, sample: 100%, slow: 5s}",
    "drain": "drain: {timeout: 5s}",
}


class Weir:
    """One process. What a configuration does not say of listeners, log and drain is what suits a test."""

    program: Sequence[str] = ("-m", "proxy")

    def __init__(self, folder: Path, config: str, policies: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.path = folder / "proxy.yaml"
        self.stderr_path = folder / "stderr.log"
        self.stdout_path = folder / "stdout.log"
        self.url = self.admin = ""
        self.write(config, policies)
        self._process: subprocess.Popen[bytes] | None = None

    # -- life --

    def write(self, config: str, policies: Mapping[str, str] | None = None) -> None:
        """Write the files; a running Weir sees them at its next reload."""
        lines = [line for key, line in _ALWAYS.items() if not re.search(rf"^{key}:", config, re.MULTILINE)]
        self.path.write_text("\n".join([*lines, config]))
        for name, text in (policies or {}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def launch(self, arguments: Sequence[str] = ()) -> None:
        """Start the process, without waiting for it."""
        command = [sys.executable, *self.program, *(arguments or ("run", "-c", str(self.path)))]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with self.stderr_path.open("ab") as stderr, self.stdout_path.open("ab") as stdout:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=stdout, stderr=stderr, env=environment)

    def ready(self) -> Weir:
        """Wait until it is."""
        if not self.url:
            self.listening = self._said(r"listening +(\S.*)").split(", ")
            self.admin = self._said(r"admin +(\S+)")
            eventually(lambda: self.readyz().status == 200)
            self.url = self.listening[0].removeprefix("http+").replace("unix://", "unix:")
        return self

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout_s: float = 15.0) -> int:
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(5)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def reload(self, config: str, policies: Mapping[str, str] | None = None) -> str:
        """Write the files, send SIGHUP, and wait for the word that Weir says: `reload_ok` or `reload_refused`."""
        before = len(self.events("reload_ok")) + len(self.events("reload_refused"))
        self.write(config, policies)
        self.signal(signal.SIGHUP)
        asked_at = time.monotonic()

        def is_said() -> bool:
            nonlocal asked_at
            if time.monotonic() - asked_at > 2.0:  # events of one kind are held back when there are many: once more
                asked_at = time.monotonic()
                self.signal(signal.SIGHUP)
            return len(self.events("reload_ok")) + len(self.events("reload_refused")) > before

        eventually(is_said, 20.0)
        said = [event["event"] for event in self.events() if event["event"] in ("reload_ok", "reload_refused")]
        return str(said[-1])

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    # -- asking --

    def ask(
        self,
        method: str,
        target: str,
        fields: Fields | None = None,
        content: bytes | None = None,
        *,
        source: str = "",
    ) -> Answer:
        return ask(self.url, method, target, fields, content, source=source)

    def get(self, target: str, fields: Fields | None = None, *, source: str = "") -> Answer:
        return self.ask("GET", target, fields, source=source)

    def client(self, *, source: str = "") -> Client:
        return Client(self.url, source=source)

    # -- what it says --

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text("utf-8", "replace")

    def events(self, word: str | None = None) -> list[dict[str, Any]]:
        """The events of standard error: all, or those with that word."""
        lines = [
            json.loads(line) for line in self.stderr.splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"
        ]
        return [line for line in lines if "event" in line and word in (None, line["event"])]

    def log(self, name: str = "access.log") -> list[dict[str, Any]]:
        """The lines of the access log so far."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def logged(self, answer: Answer) -> dict[str, Any]:
        """The line of this answer; waits for it."""
        identifier = answer.get("x-request-id")
        return eventually(lambda: next((line for line in self.log() if line["request_id"] == identifier), None))

    def healthz(self) -> Answer:
        return ask(self.admin, "GET", "/healthz")

    def readyz(self) -> Answer:
        return ask(self.admin, "GET", "/readyz")

    def metrics(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """All samples, by name and by sorted labels."""
        text = ask(self.admin, "GET", "/metrics").content.decode()
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; 0.0 when there are none. Faster than `metrics`."""
        wanted = set(labels.items())
        total = 0.0
        for line in ask(self.admin, "GET", "/metrics").content.decode().splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and wanted <= set(re.findall(r'(\w+)="([^"]*)"', line)):
                total += float(line.rpartition(" ")[2])
        return total

    def defects(self) -> list[str]:
        """Lines that only a defect of Weir can have caused."""
        words = ("Traceback", "exchange_crashed", "never retrieved", "was never awaited", "Exception in callback")
        return [line for line in self.stderr.splitlines() if any(word in line for word in words)]

    def _said(self, pattern: str) -> str:
        def look() -> str | None:
            found = re.search(rf"^ +{pattern}", self.stderr, re.MULTILINE)
            if found is None and self.process.poll() is not None:
                raise AssertionError(f"Weir did not start:\n{self.stderr}")
            return found and found[1]

        return eventually(look, START_S)


def eventually(look: Callable[[], T | None], timeout_s: float = 5.0) -> T:
    """What `look` gives once it gives something true."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"it did not happen within {timeout_s} s"
        time.sleep(0.01)
    return found


StartWeir = Callable[..., Weir]


def starter(folder: Callable[[], Path]) -> Iterator[StartWeir]:
    """Of Weirs, each in a folder of its own; for a fixture. They must have nothing to complain of at the end."""
    started: list[Weir] = []

    def start(config: str, policies: Mapping[str, str] | None = None, *, wait: bool = True) -> Weir:
        made = Weir(folder(), config, policies)
        started.append(made)
        made.launch()
        return made.ready() if wait else made

    yield start
    try:
        for made in started:
            if made.process.poll() is None:
                assert made.stop() == 0, made.stderr
            assert made.defects() == [], made.stderr
    finally:
        for made in started:
            made.kill()
