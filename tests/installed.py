"""`python -m tests.installed [what pytest takes]`: the suite against the compiled wheel, as it is installed.

It runs in a copy of everything but the sources, where nothing but the wheel can be imported as `proxy`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from benchmarks.machine import REPOSITORY
from benchmarks.wheel import WheelError, compiled_python

# what these test is the tree, or what is made of it
OF_THE_TREE = ("tests/test_architecture.py", "tests/test_compiled_modules.py", "tests/test_wheels.py")
_CHECK = """
import importlib, sys
tree, *names = sys.argv[1:]
for name in names:
    file = importlib.import_module(name).__file__
    assert not file.startswith(tree + "/proxy/"), f"{file} is of the tree"
    assert not file.endswith(".py"), f"{file} is not compiled"
print(f"{len(names)} compiled modules, installed beside {importlib.import_module('proxy').__file__}")
"""


def main() -> int:
    """What pytest returns; 1 when there is no wheel to test."""
    try:
        python = str(compiled_python())
    except WheelError as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="weir-installed-") as directory:
        copy = Path(directory) / "weir"
        unwanted = shutil.ignore_patterns(".git", ".*cache", ".venv*", "__pycache__", "dist", ".demo", ".hypothesis")
        shutil.copytree(REPOSITORY, copy, ignore=lambda folder, names: {*unwanted(folder, names), *_sources(folder)})
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        check = [python, "-P", "-c", _CHECK, str(REPOSITORY), *compiled_modules()]
        if subprocess.run(check, cwd=copy, env=env, check=False).returncode:
            return 1
        command = [python, "-m", "pytest", *[f"--ignore={name}" for name in OF_THE_TREE], *sys.argv[1:]]
        return subprocess.run(command, cwd=copy, env=env, check=False).returncode


def compiled_modules() -> list[str]:
    """Their names, as pyproject.toml has them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    files = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    return [name.removesuffix(".py").replace("/", ".") for name in files]


def _sources(folder: str) -> list[str]:
    return ["proxy"] if Path(folder) == REPOSITORY else []


if __name__ == "__main__":
    sys.exit(main())
