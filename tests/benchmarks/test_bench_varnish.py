"""Varnish where it is installed: with limits if their module is there, and never without saying so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.fleet import Fleet
from benchmarks.machine import Cores
from benchmarks.peers import varnish
from benchmarks.peers.peer import Missing
from benchmarks.peers.varnish import Varnish
from benchmarks.process import StartError
from benchmarks.scenarios import SCENARIOS

linux_only = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are bound to cores")


@pytest.mark.parametrize("has_limits", [True, False], ids=["with the module", "without"])
def test_limits_are_in_the_configuration_or_their_absence_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_limits: bool
) -> None:
    monkeypatch.setattr(varnish, "has_limits", lambda: has_limits)
    peer = Varnish(tmp_path, 80)

    assert ("vsthrottle.is_denied" in peer.settings()) is has_limits
    assert ("no limits" in peer.remark) is not has_limits
    assert "log" in peer.remark


def test_it_is_asked_for_what_is_cached_alone() -> None:
    assert SCENARIOS.keys() - Varnish.lacks.keys() == {"hit", "varied-hit", "not-modified"}


@linux_only
def test_what_it_wrote_to_memory_is_gone_when_it_does_not_come_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Path] = []

    def command(self: Varnish, settings: Path) -> list[str]:
        self._state = tmp_path / "state"
        self._state.mkdir()
        made.append(self._state)
        return ["/bin/false"]

    monkeypatch.setattr(varnish, "has_limits", lambda: False)
    monkeypatch.setattr(Varnish, "command", command)
    with pytest.raises(StartError):
        Varnish(tmp_path, 80).start(min(os.sched_getaffinity(0)))

    assert [each.exists() for each in made] == [False]


def test_where_it_is_missing_it_is_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def find(name: str) -> str:
        raise Missing(f"{name} is not installed")

    monkeypatch.setattr(varnish, "find", find)
    told: list[str] = []
    fleet = Fleet(tmp_path, Cores(0, 0, 0), told.append)
    fleet._start_peer("varnish", None)

    assert told == ["varnish is left out: varnishd is not installed"]
    assert fleet.find("varnish", SCENARIOS["hit"]) is None
