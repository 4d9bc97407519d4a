"""The wheel that is built without a word, and what is said when the other one cannot be built."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMAND = (
    *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"),
    "--no-build-isolation",
)


def build(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("WEIR_COMPILE", "CC")} | variables
    return subprocess.run(
        [*COMMAND, "--wheel-dir", str(folder), str(ROOT)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("variables", [{}, {"WEIR_COMPILE": "0"}, {"CC": "no-such-compiler"}], ids=str)
def test_a_wheel_is_pure_python_for_any_platform(tmp_path: Path, variables: dict[str, str]) -> None:
    built = build(tmp_path, **variables)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "proxy/pipeline.py" in names
    assert not [name for name in names if not name.startswith(("proxy/", "weir_proxy-"))]
    assert not [name for name in names if name.endswith((".so", ".pyd", ".c"))]


def test_without_a_compiler_there_is_no_compiled_wheel_and_a_sentence_that_says_why(tmp_path: Path) -> None:
    built = build(tmp_path, WEIR_COMPILE="1", CC="no-such-compiler -O2")
    assert built.returncode != 0
    assert "the C compiler that it needs ('no-such-compiler') is not installed" in built.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_compiled_is_in_the_tree() -> None:
    assert not [path for path in ROOT.rglob("*") if path.suffix in (".so", ".pyd") and ".venv" not in str(path)]
