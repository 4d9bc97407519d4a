"""Which Weir is measured: it says so itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.subject import Subject
from proxy.cli import version


@pytest.mark.parametrize("python", [None, "", sys.executable], ids=["none", "empty", "this"])
def test_the_weir_of_this_python_says_its_version(python: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    version.main()
    assert Subject(python).version() == capsys.readouterr().out.strip()


def test_a_python_without_a_weir_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no weir here >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(OSError, match=f"{python} has no Weir: no weir here"):
        Subject("python").version()  # a path, from wherever it is given
