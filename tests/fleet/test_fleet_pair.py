"""Two Weirs, one limit of 500/s, 800/s offered: between 495 and 500 pass in every second.

Gateways that agree with one another every now and then are off by tens of percent here, first above and then below.
"""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest

from tests.fleet.load import evenly, fire
from tests.fleet.member import Member
from tests.fleet.oracle import Fixed, Gcra, over_admitted
from tests.fleet.recorder import Recorder

pytestmark = pytest.mark.alone

RATE, OFFERED, BURST = 500, 800, 50
_runs = count(1)


@pytest.mark.parametrize("seconds", [pytest.param(4, id="4 s"), pytest.param(30, id="30 s", marks=pytest.mark.long)])
def test_each_second_admits_what_the_limit_says(four: list[Member], recorder: Recorder, seconds: int) -> None:
    ports = [member.port for member in four[:2]]
    run = next(_runs)
    shots = {name: evenly(OFFERED, seconds, ports, f"/pair-{name}", f"pair{run}") for name in ("gcra", "fixed")}
    recorder.book()
    fire([*shots["gcra"], *shots["fixed"]]).wait()
    book = dict(recorder.book())
    arrivals: dict[str, list[float]] = {}
    late_s = {}
    for name, each in shots.items():
        assert {shot.status for shot in each} == {200, 429}
        passed = [shot for shot in each if shot.status == 200]
        assert {shot.number for shot in each if shot.number in book} == {shot.number for shot in passed}
        arrivals[name] = sorted(book[shot.number] for shot in passed)
        late_s[name] = max(shot.took_s for shot in passed)
    began_at = shots["fixed"][0].sent_at
    in_second = Counter(int(at - began_at) for at in arrivals["fixed"])
    assert all(495 <= in_second[n] <= 500 for n in range(seconds)), in_second
    assert over_admitted(arrivals["fixed"][:2000], Fixed(RATE, 1.0), late_s["fixed"]) == []
    # The first second has the burst too, and a moment in which the machine sent nothing is made up for by later ones.
    assert 495 * seconds <= len(arrivals["gcra"]) <= RATE * seconds + BURST
    assert over_admitted(arrivals["gcra"][:2000], Gcra(RATE, 1.0, BURST), late_s["gcra"]) == []
