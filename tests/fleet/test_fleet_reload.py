"""New numbers in mid-window, and a new release in mid-window: nothing is refilled, and nothing is lost."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from itertools import count

import pytest

from tests.fleet.conftest import PATIENT, StartFleet, settings
from tests.fleet.load import Shot, evenly, fire
from tests.fleet.member import Member
from tests.fleet.recorder import Recorder
from tests.line.store import Store

pytestmark = pytest.mark.long  # processes that are started, killed and waited for

ROUTES = """
limits:
  window: {{rate: {quota}/h, by: "header:X-Key", algorithm: fixed}}
  slide: {{rate: {quota}/h, by: "header:X-Key", algorithm: sliding}}
  drip: {{rate: {quota}/h, by: "header:X-Key"}}
routes:
  - {{name: window, match: {{path: /window}}, limits: [window]}}
  - {{name: slide, match: {{path: /slide}}, limits: [slide]}}
  - {{name: drip, match: {{path: /drip}}, limits: [drip]}}
"""
PATHS = ("/window", "/slide", "/drip")
_runs = count(1)


Config = Callable[[int], str]
"""The configuration with this quota."""


@pytest.fixture(scope="module")
def config(store: Store, recorder: Recorder) -> Config:
    base = settings(store, recorder, PATIENT)
    return lambda quota: base + ROUTES.format(quota=quota)


@pytest.fixture(scope="module")
def fleet(start_fleet: StartFleet, config: Config) -> list[Member]:
    """All that the tests of this module need, started together: two pairs, and one that counts in memory."""
    return start_fleet(1, *[config(300)] * 4, re.sub("(?m)^store: .*$", "store: memory", config(300)))


@pytest.fixture(scope="module")
def pair(fleet: list[Member]) -> list[Member]:
    return fleet[:2]


def load(members: list[Member], key: str, seconds: float = 4.0) -> list[Shot]:
    ports = [member.port for member in members]
    return [shot for path in PATHS for shot in evenly(240, seconds, ports, path, key + path)]


def passed(shots: list[Shot], book: list[tuple[int, float]], path: str) -> int:
    """How many the backend got."""
    arrived = {number for number, _ in book}
    return sum(shot.number in arrived for shot in shots if shot.target == path)


def all_were_answered(shots: list[Shot]) -> bool:
    return {shot.status for shot in shots} <= {200, 429}


def reload(members: list[Member], config: str) -> None:
    for member in members:
        assert member.reload(config) == "reload_ok"


def test_a_limit_that_is_lowered_in_mid_window_counts_what_was_spent(
    pair: list[Member], config: Config, recorder: Recorder
) -> None:
    reload(pair, config(600))
    recorder.book()
    shots = load(pair, f"lower{next(_runs)}", 2.0)
    run = fire(shots)
    run.sleep_until(1.0)
    reload(pair, config(400))
    run.wait()
    book = recorder.book()
    assert all_were_answered(shots)
    assert {path: passed(shots, book, path) for path in ("/window", "/slide")} == {"/window": 400, "/slide": 400}
    # what stays of a bucket is the time until it is full, so a share of it and not a number
    spent = sum(shot.status == 200 for shot in shots if shot.target == "/drip" and shot.at_s < 1.0)
    assert abs(passed(shots, book, "/drip") - spent - 400 * (1 - spent / 600)) <= 8


def test_a_limit_that_is_raised_in_mid_window_gives_the_difference_at_once(
    pair: list[Member], config: Config, recorder: Recorder
) -> None:
    reload(pair, config(150))
    recorder.book()
    shots = load(pair, f"raise{next(_runs)}", 2.0)
    run = fire(shots)
    run.sleep_until(1.0)  # all is spent, and everybody knows
    reload(pair, config(300))
    run.wait()
    book = recorder.book()
    assert all_were_answered(shots)
    assert {path: passed(shots, book, path) for path in ("/window", "/slide")} == {"/window": 300, "/slide": 300}
    assert passed(shots, book, "/drip") <= 151, "a spent bucket is a spent bucket, whatever its size"


def test_the_same_file_again_and_again_changes_nothing(fleet: list[Member], recorder: Recorder) -> None:
    shared, in_memory = fleet[0], fleet[4]
    text = shared.path.read_text()
    in_memory_text = in_memory.path.read_text()
    reload([shared], text)
    recorder.book()
    shots = {member: load([member], f"same{next(_runs)}", 2.0) for member in (shared, in_memory)}
    run = fire([shot for each in shots.values() for shot in each])
    while time.monotonic() < run.ends_at:
        reload([shared], text)
        reload([in_memory], in_memory_text)
    run.wait()
    book = recorder.book()
    for each in shots.values():
        assert all_were_answered(each)
        assert {path: passed(each, book, path) for path in PATHS} == dict.fromkeys(PATHS, 300)


def test_a_new_release_takes_over_in_mid_window(fleet: list[Member], recorder: Recorder) -> None:
    old, new = fleet[2:4]
    recorder.book()
    key = f"swap{next(_runs)}"
    before = load([old], key, 1.0)
    held = [Shot(0.95, old.port, path, f"{key}{path}", wait_s=0.6) for path in PATHS]
    after = load([new], key, 1.0)
    for shot in after:
        shot.at_s += 1.01
    shots = [*before, *held, *after]
    run = fire(shots)
    run.sleep_until(1.05)
    old.signal(signal.SIGTERM)
    run.wait()
    assert old.wait() == 0
    book = recorder.book()
    assert all_were_answered(shots)
    assert {shot.status for shot in held} == {200}, "what was under way was finished"
    assert {path: passed(shots, book, path) for path in PATHS} == dict.fromkeys(PATHS, 300)
