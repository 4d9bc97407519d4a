"""The Weir that is measured: that of this tree, or the one that another Python has installed (WEIR_PYTHON)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.machine import REPOSITORY

VARIABLE: Final = "WEIR_PYTHON"


class Subject:
    """How it is run. It is found where it is installed, or in the tree, whatever the working directory is."""

    def __init__(self, python: str | None) -> None:
        """`python` None or "" means this one, and the tree."""
        self._is_of_tree = not python or python == sys.executable
        self._python = os.path.abspath(python or sys.executable)  # it is started from other directories

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """`weir` with these arguments."""
        return [self._python, "-P", "-m", "proxy", *arguments]  # -P: the working directory may be the tree

    def script(self, file: Path) -> list[str | Path]:
        """A file of ours that imports Weir."""
        return [self._python, "-P", file]

    @property
    def env(self) -> Mapping[str, str]:
        """What differs from the environment that we have."""
        return {"PYTHONPATH": str(REPOSITORY) if self._is_of_tree else ""}

    def version(self) -> str:
        """As it prints it; it says whether it is compiled. Raises OSError where there is none."""
        done = subprocess.run(
            self.command("version"), env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(f"{self._python} has no Weir: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()


def subject() -> Subject:
    return Subject(os.environ.get(VARIABLE))


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--python PATH`, which is what `subject` goes by from then on."""

    def choose(path: str) -> str:
        os.environ[VARIABLE] = path
        return path

    parser.add_argument(
        "--python", type=choose, metavar="PATH", help=f"measure the Weir that this Python has (or {VARIABLE})"
    )
