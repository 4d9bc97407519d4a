"""How cores are given out, which file a run leaves, and how a missing peer ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.machine import Cores, assign_cores
from benchmarks.process import Child, StartError, free_port


@pytest.mark.parametrize(
    ("available", "expected", "are_apart"),
    [
        ([0], Cores(proxy=0, load=0, backend=0), False),
        ([0, 1], Cores(proxy=0, load=1, backend=1), True),
        ([2, 5, 7, 9], Cores(proxy=2, load=5, backend=7), True),
    ],
    ids=["one", "two", "four"],
)
def test_the_proxy_has_a_core_of_its_own_where_there_are_two(
    available: list[int], expected: Cores, are_apart: bool
) -> None:
    found = assign_cores(available)

    assert found == expected
    assert found.are_apart is are_apart


@pytest.mark.parametrize(
    "words",
    [["--scenario", "nothing"], ["--peer", "apache"], ["--seconds", "0"], ["--rounds", "many"], ["please"]],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words)

    assert ended.value.code == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are bound to cores on Linux only")
def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = Child("broken", tmp_path)

    with pytest.raises(StartError, match="no such option"):
        child.start(["/bin/sh", "-c", "echo no such option; exit 3"], 0, free_port(), cwd=tmp_path)

    assert not child.is_running
