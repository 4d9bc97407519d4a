"""`python -m benchmarks.wheel`: the compiled wheel of this very tree, installed into an environment of its own.

It prints the Python that has it; without a C compiler it says so, and prints the one that runs this, for the tree.
Nothing of it touches the tree or the environment of the development set: a compiled file hides the source beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

from benchmarks.machine import REPOSITORY

ENVIRONMENT = REPOSITORY / ".venv-compiled"
_PYTHON = ENVIRONMENT / "bin" / "python"
_MARK = ENVIRONMENT / "built-from"


class WheelError(Exception):
    """It could not be built or installed; the message holds the end of what was said."""


def compiled_python() -> Path:
    """The Python that has the compiled wheel; building it takes two minutes when a source has changed.

    Raises WheelError. Other packages are those of the Python that runs this.
    """
    source = _digest()
    if not (_MARK.exists() and _MARK.read_text() == source):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT, with_pip=False)
        _install(_build(ENVIRONMENT / "dist"))
        _MARK.write_text(source)
    return _PYTHON


def _build(directory: Path) -> Path:
    """Build the compiled wheel in `directory`, with the compiler and the mypy of the development set."""
    _run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"),
        *("--no-build-isolation", "--wheel-dir", str(directory), str(REPOSITORY)),
        env={**os.environ, "WEIR_COMPILE": "1"},
    )
    (wheel,) = directory.glob("*.whl")
    return wheel


def _install(wheel: Path) -> None:
    """Install it beside the packages that this Python has: nothing is downloaded."""
    paths = _run(str(_PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    ours = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    # a .pth in a folder that a .pth names is not read: the editable install of this tree is not seen there
    (Path(paths) / "others.pth").write_text("".join(f"{path}\n" for path in ours))
    _run(
        *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(_PYTHON)),
        *("install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)),
    )


def _digest() -> str:
    """Of everything that the wheel is made of."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    settings = project["project"], project["tool"]["hatch"], project["tool"]["mypy"]
    digest = hashlib.sha256(f"{sys.executable} {platform.python_version()} {json.dumps(settings)}".encode())
    for file in sorted([*(REPOSITORY / "proxy").rglob("*"), REPOSITORY / "hatch_build.py"]):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(b"%b\0%b\0" % (str(file.relative_to(REPOSITORY)).encode(), file.read_bytes()))
    return digest.hexdigest()


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=REPOSITORY.anchor, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WheelError("\n".join((done.stdout + done.stderr).strip().splitlines()[-20:]))
    return done.stdout


def has_compiler() -> bool:
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shutil.which(command.split()[0]) is not None


def main() -> int:
    if not has_compiler():
        print("there is no C compiler: what is measured is pure Python", file=sys.stderr)
        print(sys.executable)
        return 0
    try:
        print("building the compiled wheel, unless it is there (two minutes)", file=sys.stderr)
        print(compiled_python())
    except WheelError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
