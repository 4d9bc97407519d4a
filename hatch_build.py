"""The compiled wheel: with WEIR_COMPILE=1 the modules of the hot path are in the wheel as C as well, made by mypyc.

Without it, nothing here does anything. It never does for an editable install: a compiled file hides the source beside
it, and whoever edits that would run the old one. For the same reason everything is made in a copy of the tree, so that
no compiled file is ever in the tree itself. Which modules, and what it gives: docs/decisions/0016.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "WEIR_COMPILE"
_GROUP = "weir"  # all modules are one library, so that they call one another as C functions
# setuptools would read the pyproject.toml that mypy needs, and choke on what is hatchling's in it: so it runs elsewhere
_SCRIPT = """
import os, sys
from mypyc.build import mypycify
from setuptools import setup
group, output, *files = sys.argv[1:]
os.makedirs(output)
modules = mypycify(files, opt_level="2", debug_level="0", multi_file=True, group_name=group, target_dir=output + "-c")
os.chdir(output)
sys.argv[1:] = ["--quiet", "build_ext", "--build-lib", output, "--build-temp", output + "-o"]
setup(name=group, packages=[], ext_modules=modules)
"""


class CompiledHotPath(BuildHookInterface):  # type: ignore[type-arg]  # of hatchling's configurations
    """`modules` in pyproject.toml says which: paths of files."""

    def dependencies(self) -> list[str]:
        """For a build in an environment of its own: what compiles, and what Weir imports, for its types."""
        if not _is_asked_for():
            return []
        return [*self.config["requires"], *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what was compiled. Raises RuntimeError when it could not be: a wheel asked for is never another one."""
        if version == "editable" or not _is_asked_for():
            return
        _need_compiler()
        self._copy = Path(tempfile.mkdtemp(prefix="weir-compiled-"))
        try:
            output = self._compile(self._copy)
        except BaseException:
            shutil.rmtree(self._copy)
            raise
        build_data["pure_python"] = False
        build_data["infer_tag"] = True  # of this Python, and of this platform
        for file in output.rglob("*"):
            if file.suffix in (".so", ".pyd"):
                build_data["force_include"][str(file)] = file.relative_to(output).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if (copy := getattr(self, "_copy", None)) is not None:
            shutil.rmtree(copy)

    def _compile(self, copy: Path) -> Path:
        root = Path(self.root)
        shutil.copytree(root / "proxy", copy / "proxy", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd"))
        shutil.copy(root / "pyproject.toml", copy)  # mypy reads its settings there
        output = copy / "compiled"
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, _GROUP, str(output), *self.config["modules"]],
            cwd=copy,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"the hot path could not be compiled:\n{done.stdout}{done.stderr}")
        return output


def _is_asked_for() -> bool:
    return os.environ.get(SWITCH, "") not in ("", "0")


def _need_compiler() -> None:
    """Raise RuntimeError where there is none: setuptools would say it after minutes, and at length."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if os.name != "nt" and shutil.which(command) is None:
        raise RuntimeError(
            f"{SWITCH} is set, and the C compiler that it needs ({command!r}) is not installed: "
            f"install it, name another one in CC, or unset {SWITCH} for the wheel that is pure Python"
        )
