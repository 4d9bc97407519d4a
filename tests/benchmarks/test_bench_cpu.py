"""Processor time of a process tree."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from benchmarks import cpu
from benchmarks.cpu import CpuTime

linux_only = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")


@pytest.mark.parametrize(
    "name",
    ["nginx", "nginx: worker process", "a) b (c", ")"],
    ids=["plain", "with spaces", "with brackets", "only a bracket"],
)
def test_times_and_parent_are_found_whatever_the_process_is_called(name: str) -> None:
    line = f"4242 ({name}) S 17 4242 4242 0 -1 4194560 100 0 0 0 123 45 6 7 20 0 1 0 100 0 0"

    assert cpu.parse_stat(line) == (123, 45)
    assert cpu.parse_parent(line) == 17


def test_a_core_waiting_for_a_disk_is_not_busy() -> None:
    user, nice, system, idle, iowait, irq, softirq, steal, guest = 1, 2, 4, 1000, 2000, 8, 16, 32, 4000
    ticks = [str(each) for each in (user, nice, system, idle, iowait, irq, softirq, steal, guest)]

    assert cpu.parse_busy(ticks) == 1 + 2 + 4 + 8 + 16 + 32


@pytest.mark.parametrize(
    ("before", "after", "total_s"),
    [
        ({1: 1_000_000_000}, {1: 1_250_000_000, 2: 30_000_000}, 0.28),
        ({1: 1_000_000_000, 2: 5}, {1: 1_250_000_000}, 0.5),
        ({}, {}, 0.5),
    ],
    ids=["nanoseconds where the kernel has them", "ticks when a thread has ended", "ticks where it has not"],
)
def test_the_total_is_as_precise_as_the_kernel_allows(
    before: dict[int, int], after: dict[int, int], total_s: float
) -> None:
    found = cpu.spent(CpuTime(1.0, 2.0, before), CpuTime(1.2, 2.3, after))

    assert found.total_s == pytest.approx(total_s)
    assert found.user_s == pytest.approx(0.2)
    assert found.system_s == pytest.approx(0.3)


@linux_only
def test_the_time_of_a_grandchild_counts() -> None:
    inner = "end = __import__('time').process_time() + 0.1\nwhile __import__('time').process_time() < end: pass\n"
    outer = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {inner + 'print(flush=True); input()'!r}])\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the grandchild has used its tenth of a second, and waits
        found = cpu.spent(CpuTime(0, 0, {}), cpu.read_tree(process.pid))
        process.communicate(b"\n")

    assert found.total_s >= 0.1


@linux_only
def test_the_core_this_test_runs_on_gets_busier() -> None:
    core = min(os.sched_getaffinity(0))
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        before = cpu.core_busy_s(core)
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        assert cpu.core_busy_s(core) > before
    finally:
        os.sched_setaffinity(0, allowed)
