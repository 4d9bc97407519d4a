"""The machine: which core does what, and the facts without which a figure means nothing."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core runs the proxy, the load generator, and the backend with Redis."""

    proxy: int
    load: int
    backend: int

    @property
    def are_apart(self) -> bool:
        """False on a machine with one core: the figures are then disturbed by the load itself."""
        return self.proxy != self.load


def assign_cores(available: list[int]) -> Cores:
    """The first core is the proxy's alone; load and backend share the second unless there is a third."""
    proxy = available[0]
    load = available[1] if len(available) > 1 else proxy
    backend = available[2] if len(available) > 2 else load
    return Cores(proxy, load, backend)


def this_machines_cores() -> Cores:
    """Raises OSError where a process cannot be bound to a core, or its time not be read: anywhere but on Linux."""
    if not hasattr(os, "sched_getaffinity") or not Path("/proc/self/stat").exists():
        raise OSError("the benchmarks read /proc and bind processes to cores: they need Linux")
    return assign_cores(sorted(os.sched_getaffinity(0)))


def raise_file_limit() -> int:
    """Let the peers have as many open files as the system allows; a thousand connections need twice that. The limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe(cores: Cores) -> dict[str, Any]:
    """What a result file says about where it was made."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "cores_used": {"proxy": cores.proxy, "load": cores.load, "backend": cores.backend},
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit that was measured, with "+changes" when the tree is not clean; "none" outside a repository."""
    revision = _git("rev-parse", "--short=12", "HEAD")
    if not revision:
        return "none"
    return revision + ("+changes" if _git("status", "--porcelain", "--", "proxy", "benchmarks") else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()
