"""Processor time of a whole process tree, every thread and child of it.

The kernel charges loopback traffic to whoever sends it, so a proxy's time holds the receiving half of what it sends
too. That is the same for every peer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")  # 10 ms on almost every Linux: a run must last many of them
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """A reading: seconds since each process began.

    `user_s` and `system_s` come from /proc/<pid>/stat, in whole ticks. `threads_ns` comes from each thread's
    schedstat, in nanoseconds, but forgets a thread that has ended; it is empty where the kernel does not offer it.
    """

    user_s: float
    system_s: float
    threads_ns: dict[int, int]


@dataclass(frozen=True, slots=True)
class CpuSpent:
    """What a tree used between two readings. `total_s` is the precise one; the split is good to a tick."""

    user_s: float
    system_s: float
    total_s: float


def read_tree(pid: int) -> CpuTime:
    user_s = system_s = 0.0
    threads_ns: dict[int, int] = {}
    for process in _tree(pid):
        try:
            user, system = parse_stat((_PROC / str(process) / "stat").read_text())
        except OSError:
            continue  # it ended between the listing and the reading
        user_s += user * TICK_S
        system_s += system * TICK_S
        threads_ns.update(_threads_ns(process))
    return CpuTime(user_s, system_s, threads_ns)


def spent(before: CpuTime, after: CpuTime) -> CpuSpent:
    user_s, system_s = after.user_s - before.user_s, after.system_s - before.system_s
    total_s = user_s + system_s
    if before.threads_ns and before.threads_ns.keys() <= after.threads_ns.keys():
        total_s = (sum(after.threads_ns.values()) - sum(before.threads_ns.values())) / 1e9
    return CpuSpent(user_s, system_s, total_s)


def parse_stat(line: str) -> tuple[int, int]:
    """utime and stime, in ticks (proc(5): fields 14 and 15). The name before them may hold spaces and brackets."""
    fields = line[line.rindex(")") + 2 :].split()
    return int(fields[11]), int(fields[12])


def parse_parent(line: str) -> int:
    """The parent's id (proc(5): field 4)."""
    return int(line[line.rindex(")") + 2 :].split()[1])


def core_busy_s(core: int) -> float:
    """Seconds in which this core was not idle since boot, whoever used it."""
    for line in (_PROC / "stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            return parse_busy(ticks) * TICK_S
    raise ValueError(f"/proc/stat does not list core {core}")


def parse_busy(ticks: list[str]) -> int:
    """Ticks that are neither idle nor iowait (proc(5): user nice system idle iowait irq softirq steal ...)."""
    return sum(int(count) for at, count in enumerate(ticks[:8]) if at not in (3, 4))


def _threads_ns(process: int) -> dict[int, int]:
    found: dict[int, int] = {}
    tasks = _PROC / str(process) / "task"
    for thread in _names(tasks):
        try:
            found[int(thread)] = int((tasks / thread / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue
    return found


def _tree(pid: int) -> Iterator[int]:
    """The process and its descendants. /proc/<pid>/task/*/children would be shorter, but not every kernel has it."""
    children: dict[int, list[int]] = {}
    for name in _names(_PROC):
        if name.isdecimal():
            try:
                parent = parse_parent((_PROC / name / "stat").read_text())
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    waiting = [pid]
    while waiting:
        process = waiting.pop()
        yield process
        waiting.extend(children.get(process, ()))


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
