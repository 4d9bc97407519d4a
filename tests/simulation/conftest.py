"""Configurations and logs for simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.config.load import load_text
from proxy.simulation.findings import Findings
from proxy.simulation.simulate import Watcher, Wish, simulate
from proxy.snapshot import Snapshot

HEAD = "version: 1\nupstreams: {app: {primary: http://127.0.0.1:3000, replicas: [http://127.0.0.1:3001]}}\n"
SILENT = Watcher(lambda total: None, lambda size, lines: None, lambda name: None)


def snapshot_of(text: str) -> Snapshot:
    loaded = load_text(HEAD + text)
    assert loaded.snapshot is not None, [str(diagnostic) for diagnostic in loaded.diagnostics]
    return loaded.snapshot


def combined(
    second: float,
    target: str = "/",
    address: str = "192.0.2.1",
    status: int = 200,
    method: str = "GET",
    user: str = "-",
) -> str:
    minutes, seconds = divmod(int(second), 60)
    hours, minutes = divmod(minutes, 60)
    when = f"10/Apr/2026:{hours:02d}:{minutes:02d}:{seconds:02d} +0000"
    return f'{address} - {user} [{when}] "{method} {target} HTTP/1.1" {status} 100 "-" "-"\n'


Simulate = Callable[..., Findings]


@pytest.fixture
def run(tmp_path: Path) -> Simulate:
    """Simulates lines, or files of lines by name, against a configuration given as text."""

    def start(configuration: str, lines: Sequence[str], **wishes: Any) -> Findings:
        log = tmp_path / "access.log"
        log.write_text("".join(lines))
        return simulate(snapshot_of(configuration), Wish("proxy.yaml", [str(log)], **wishes), SILENT)

    return start
