"""Wrong configurations and what people read about them: the text above the line, the diagnostics below.

To accept new wording, run with WEIR_UPDATE_GOLDEN=1 and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.config.diagnostics import render
from proxy.config.load import load

GOLDEN = Path(__file__).parent / "golden"
LINE = "=" * 20 + "\n"
CASES = sorted(path.stem for path in GOLDEN.glob("*.txt"))


@pytest.mark.parametrize("case", CASES)
def test_diagnostics_read_as_they_did(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = GOLDEN / f"{case}.txt"
    written, _, expected = path.read_text().partition(LINE)
    monkeypatch.chdir(tmp_path)
    for name, text in _files(written):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    shown = render(load("proxy.yaml", environment={"SECRET": "canary-7b1f"}).diagnostics)
    assert "canary" not in shown
    if os.environ.get("WEIR_UPDATE_GOLDEN"):
        path.write_text(written + LINE + shown)
    assert shown == expected


def _files(written: str) -> list[tuple[str, str]]:
    """`# file: NAME` starts another file; the first one is proxy.yaml."""
    parts = ("# file: proxy.yaml\n" + written).split("# file: ")[1:]
    return [(name, text) for name, _, text in (part.partition("\n") for part in parts)]
