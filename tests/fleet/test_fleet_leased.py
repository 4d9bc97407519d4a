"""Leased limits: slices of a quota that Weirs spend without asking.

Never more is admitted than was charged before; a trailing window holds at most what all slices together can hold beyond
the limit; and of a quota that is asked for twice over, no more than 2 % stays unused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import pytest

from tests.fleet.load import Shot, evenly, fire
from tests.fleet.member import Member
from tests.fleet.monitor import Call, Monitor, is_of, server_offset_s
from tests.fleet.oracle import CLOCK_S, Fixed, Gcra, Rule, Sliding, fullest, ledger
from tests.fleet.recorder import Recorder
from tests.line.process import eventually
from tests.line.store import Store

pytestmark = pytest.mark.long  # processes that are started, killed and waited for

SIZE = 4
LIMIT = 600
HELD = LIMIT // 4  # N * k: what the slices of all Weirs can hold together
RULES: dict[str, Rule] = {
    "gcra": Gcra(LIMIT, 1.0, LIMIT // 2),
    "fixed": Fixed(LIMIT, 1.0),
    "sliding": Sliding(LIMIT, 1.0),
}
_runs = count(1)


@dataclass
class Trial:
    rule: Rule
    seconds: float
    shots: list[Shot]
    arrivals: list[float]
    calls: list[Call]  # those about the key
    key: str
    offset_s: float


RUNS = [
    pytest.param(("gcra", 2.5), id="gcra"),
    pytest.param(("fixed", 2.5), id="fixed"),
    *[pytest.param((name, 20.0), id=f"{name}, long", marks=pytest.mark.long) for name in RULES],
]


@pytest.fixture(scope="module")
def fleet(four: list[Member]) -> list[Member]:
    eventually(lambda: all(member.store().get("fleet", 0) >= SIZE for member in four), 10.0)
    return four


@pytest.fixture(scope="module", params=RUNS)
def trial(request: pytest.FixtureRequest, fleet: list[Member], store: Store, recorder: Recorder) -> Trial:
    name, seconds = request.param
    key = f"leased{next(_runs)}"
    recorder.book()
    monitor = Monitor(store.url).start()
    run = fire(evenly(2 * LIMIT, seconds, [member.port for member in fleet], f"/leased-{name}", key))
    shots = run.wait()
    calls = [call for call in monitor.stop() if any(is_of(stored, key) for stored in (*call.keys, *call.writes))]
    (stored,) = {stored for call in calls for stored in call.writes if is_of(stored, key)}
    arrivals = [at for _, at in recorder.book()]
    return Trial(RULES[name], seconds, shots, arrivals, calls, stored, server_offset_s())


def test_nothing_is_admitted_that_was_not_charged_before(trial: Trial) -> None:
    assert {shot.status for shot in trial.shots} == {200, 429}
    assert len(trial.arrivals) == sum(shot.status == 200 for shot in trial.shots)
    writes = ledger(trial.calls, trial.key, trial.rule)
    charges = [(write.at_s - CLOCK_S, write.units) for write in writes if write.units > 0]
    at = charged = 0
    for spent, arrived_at in enumerate(sorted(trial.arrivals), 1):
        while at < len(charges) and charges[at][0] <= arrived_at + trial.offset_s:
            charged += charges[at][1]
            at += 1
        assert spent <= charged, f"{spent} admitted and {charged} charged"
    assert len(trial.arrivals) <= sum(write.units for write in writes), "what was given back was not spent"


def test_a_trailing_window_holds_no_more_than_the_slices_beyond_the_limit(trial: Trial) -> None:
    late_s = max(shot.took_s for shot in trial.shots if shot.status == 200)
    assert fullest(trial.arrivals, 1.0 - late_s) <= trial.rule.most(1.0 - 1e-9) + HELD


def test_what_is_there_is_used(trial: Trial) -> None:
    seconds = trial.seconds if isinstance(trial.rule, Gcra) else int(trial.seconds)
    if isinstance(trial.rule, Sliding):
        seconds = int(trial.seconds * 16 / 17)
    allowed = LIMIT * seconds + (trial.rule.quota if isinstance(trial.rule, Gcra) else 0)
    assert len(trial.arrivals) >= 0.98 * allowed, f"{len(trial.arrivals)} of {allowed:.0f}"


def test_a_slice_saves_calls_where_a_quota_is_not_used_up(fleet: list[Member], store: Store) -> None:
    key = f"leased{next(_runs)}-"
    ports = [member.port for member in fleet]
    monitor = Monitor(store.url).start()
    shots = fire(
        shot for name in RULES for shot in evenly(0.8 * LIMIT, 2.0, ports, f"/leased-{name}", key + name)
    ).wait()
    calls = [call for call in monitor.stop() if any(key in stored for stored in (*call.keys, *call.writes))]
    assert {shot.status for shot in shots} == {200}
    assert len(calls) <= 0.5 * len(shots), f"{len(calls)} calls for {len(shots)} requests"
