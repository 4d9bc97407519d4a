"""Exact limits over a fleet: not one request too many, and none refused that had room.

The machines' calendars differ by up to ten seconds and they booted hours apart, the server forgets its scripts now and
then, and the load is from half the limit to ten times as much, evenly and in bursts that all Weirs get at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from redis import Redis

from tests.fleet.load import Shot, evenly, fire
from tests.fleet.member import Member
from tests.fleet.monitor import Call, Monitor, is_of, server_offset_s
from tests.fleet.oracle import (
    Fixed,
    Gcra,
    History,
    Rule,
    Sliding,
    falsely_refused,
    over_admitted,
    over_in_windows,
    replay,
)
from tests.fleet.recorder import Recorder
from tests.line.store import Store

pytestmark = pytest.mark.alone

LIMIT = 20
RULES: dict[str, Rule] = {"gcra": Gcra(LIMIT, 1.0, LIMIT), "fixed": Fixed(LIMIT, 1.0), "sliding": Sliding(LIMIT, 1.0)}
FACTORS = (0.5, 1.0, 2.0, 10.0)
STREAMS = [(name, f"x{factor:g}") for name in RULES for factor in FACTORS] + [(name, "burst") for name in RULES]
_runs = count(1)


@dataclass
class Trial:
    """One load on some members of the fleet, and all that was seen of it."""

    number: int
    seconds: float
    shots: dict[str, list[Shot]]  # by key
    arrivals: dict[int, float]  # by number of the request, monotonic
    calls: list[Call]
    offset_s: float
    degraded: float

    def key(self, name: str, kind: str) -> str:
        return f"run{self.number}-{name}-{kind}"

    def history(self, name: str, kind: str, rule: Rule) -> History:
        key = self.key(name, kind)
        (stored,) = {k for call in self.calls for k in call.keys if is_of(k, key) and f":{name}:" in k}
        return replay(self.calls, stored, rule)


def long(size: int) -> Any:
    return pytest.param((size, 30.0), marks=pytest.mark.long, id=f"fleet of {size}, long")


@pytest.fixture(
    scope="module",
    params=[*[pytest.param((n, 3.2), id=f"fleet of {n}") for n in (1, 4)], *[long(n) for n in (1, 4, 16)]],
)
def trial(request: pytest.FixtureRequest, store: Store, recorder: Recorder) -> Trial:
    size, seconds = request.param
    fleet: list[Member] = request.getfixturevalue("four" if size <= 4 else "sixteen")
    members = fleet[:size]
    number = next(_runs)
    made = Trial(number, seconds, {}, {}, [], 0.0, 0.0)
    ports = [member.port for member in members]
    for n, name in enumerate(RULES):
        for factor in FACTORS:
            key = made.key(name, f"x{factor:g}")
            made.shots[key] = evenly(LIMIT * factor, seconds, ports, f"/{name}", key, phase=n / 3)
        key = made.key(name, "burst")
        made.shots[key] = bursts(seconds, ports, f"/{name}", key, 0.3 + n / 7)
    key = made.key("three", "x2")
    made.shots[key] = evenly(LIMIT * 2, seconds, ports, "/three", key)
    before = degraded(members)
    recorder.book()
    monitor = Monitor(store.url).start()
    run = fire([shot for shots in made.shots.values() for shot in shots])
    forget_scripts(store, run.ends_at)
    run.wait()
    made.arrivals = dict(recorder.book())
    made.calls = monitor.stop()
    made.offset_s = server_offset_s()
    made.degraded = degraded(members) - before
    return made


def bursts(seconds: float, ports: list[int], target: str, key: str, every_s: float) -> list[Shot]:
    """Twice the limit in one instant, spread over all ports, again and again."""
    instants = [0.1 + every_s * n for n in range(int((seconds - 0.1) / every_s))]
    return [Shot(at_s, ports[n % len(ports)], target, key) for at_s in instants for n in range(2 * LIMIT)]


def degraded(members: list[Member]) -> float:
    return sum(member.metric("weir_limit_store_requests_total", mode="degraded") for member in members)


def forget_scripts(store: Store, until: float) -> None:
    """What an operator or a failover does to a script that somebody relies on."""
    with Redis.from_url(store.url) as admin:
        while time.monotonic() < until:
            time.sleep(0.35)
            admin.script_flush()


def admitted(shots: list[Shot]) -> list[Shot]:
    return [shot for shot in shots if shot.status == 200]


def test_every_request_was_answered_and_the_store_decided_all(trial: Trial) -> None:
    statuses = {shot.status for shots in trial.shots.values() for shot in shots}
    assert statuses == {200, 429}
    assert trial.degraded == 0


@pytest.mark.parametrize(("name", "kind"), STREAMS, ids=[f"{name} {kind}" for name, kind in STREAMS])
def test_no_decision_is_wrong_in_server_order(trial: Trial, name: str, kind: str) -> None:
    history = trial.history(name, kind, RULES[name])
    shots = trial.shots[trial.key(name, kind)]
    # what a Weir knows to be refused it need not ask for; nothing is asked twice
    assert len(admitted(shots)) <= history.asked <= len(shots)
    assert history.wrong == []


@pytest.mark.parametrize(("name", "kind"), STREAMS, ids=[f"{name} {kind}" for name, kind in STREAMS])
def test_the_backend_gets_what_was_charged_and_never_more_than_the_bound(trial: Trial, name: str, kind: str) -> None:
    rule = RULES[name]
    shots = trial.shots[trial.key(name, kind)]
    passed = admitted(shots)
    arrived = {shot.number: trial.arrivals[shot.number] for shot in shots if shot.number in trial.arrivals}
    assert set(arrived) == {shot.number for shot in passed}
    history = trial.history(name, kind, rule)
    assert len(arrived) == history.charged
    late_s = max(arrived[shot.number] - shot.sent_at for shot in passed)
    assert over_admitted(list(arrived.values()), rule, late_s) == []
    if isinstance(rule, Fixed):
        assert over_in_windows(passed, arrived, history, rule, trial.offset_s) == []


@pytest.mark.parametrize(("name", "kind"), STREAMS, ids=[f"{name} {kind}" for name, kind in STREAMS])
def test_no_client_is_refused_at_a_time_that_had_room(trial: Trial, name: str, kind: str) -> None:
    rule = RULES[name]
    refused = [shot for shot in trial.shots[trial.key(name, kind)] if shot.status == 429]
    assert falsely_refused(refused, trial.history(name, kind, rule), rule, trial.offset_s) == []
    if kind == "x0.5":
        assert refused == []


@pytest.mark.parametrize("name", RULES)
def test_the_quota_is_used_up_where_more_is_offered(trial: Trial, name: str) -> None:
    # gcra: the burst, and the drip for as long as it lasted. The others: the quota of every window that was over.
    # sliding may give a unit back a sixteenth of the window late, so its windows follow one another that much slower.
    period_s = 17 / 16 if name == "sliding" else 1.0
    windows = (trial.seconds - 0.1) / period_s
    least = LIMIT * (1 + int(windows)) if name != "gcra" else int(LIMIT * (1 + trial.seconds - 0.1))
    passed = admitted(trial.shots[trial.key(name, "x10")])
    assert least <= len(passed) <= LIMIT * (trial.seconds + 1) + 1


def test_three_limits_are_all_charged_or_none(trial: Trial) -> None:
    key = trial.key("three", "x2")
    passed = admitted(trial.shots[key])
    asked = {k for call in trial.calls for k in call.keys if is_of(k, key)}
    assert len(asked) == 3
    for stored in asked:
        rule = next(rule for name, rule in RULES.items() if f":{name}:" in stored)
        history = replay(trial.calls, stored, rule)
        assert history.charged == len(passed)
        # a refusal for which this limit had room is one of another limit
        assert [word for word in history.wrong if not word.startswith("falsely refused")] == []
