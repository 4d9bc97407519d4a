"""A limit of requests in flight: a place is never lost, whoever aborts, and a Weir that dies keeps its places for one
lease at most.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest

from tests.fleet.conftest import PATIENT, StartFleet, settings
from tests.fleet.load import Shot, fire
from tests.fleet.member import Member
from tests.fleet.recorder import Recorder
from tests.line.process import eventually
from tests.line.store import Store

pytestmark = pytest.mark.long  # processes that are started, killed and waited for

PLACES = 40
LEASE_S = 1.0
ABORTS = 1000
ROUTES = """
limits:
  places: {algorithm: inflight, limit: 40, lease: 1s, by: "header:X-Key"}
routes:
  - {name: all, limits: [places]}
"""
_runs = count(1)


@pytest.fixture(scope="module")
def trio(start_fleet: StartFleet, store: Store, recorder: Recorder) -> list[Member]:
    return start_fleet(3, settings(store, recorder, PATIENT) + ROUTES, is_skewed=True)


@contextmanager
def held(members: list[Member], key: str, number: int) -> Iterator[None]:
    """So many requests are on their way through these Weirs, and are aborted at the end."""
    with ExitStack() as stack:
        for n in range(number):
            client = stack.enter_context(members[n % len(members)].client())
            client.send("GET", "/", {"X-Key": key, "X-Wait": "30"})
        yield


def free_places(members: list[Member], key: str) -> int:
    """How many of more requests than there are places pass at the same time."""
    ports = [member.port for member in members]
    shots = [Shot(0.0, ports[n % len(ports)], "/", key, wait_s=0.5) for n in range(PLACES + 10)]
    statuses = [shot.status for shot in fire(shots).wait()]
    assert set(statuses) <= {200, 429}
    return statuses.count(200)


def test_a_place_is_kept_for_longer_than_a_lease_by_who_still_uses_it(trio: list[Member], recorder: Recorder) -> None:
    key = f"places{next(_runs)}"
    with held(trio, key, PLACES):
        eventually(lambda: recorder.held() == PLACES)
        time.sleep(1.5 * LEASE_S)
        assert free_places(trio, key) == 0
    eventually(lambda: recorder.held() == 0)
    assert eventually(lambda: free_places(trio, key)) == PLACES


def test_no_place_is_lost_by_a_thousand_aborts_and_a_weir_that_is_killed(
    trio: list[Member], recorder: Recorder
) -> None:
    key = f"places{next(_runs)}"
    assert free_places(trio, key) == PLACES
    for _ in range(ABORTS // PLACES):
        with held(trio, key, PLACES):
            eventually(lambda: recorder.held() == PLACES)
        eventually(lambda: recorder.held() == 0)
        time.sleep(0.02)  # the releases are on their way
    assert free_places(trio, key) == PLACES, "at once, without waiting for a lease to end"
    *others, victim = trio
    with held([victim], key, PLACES // 2):
        eventually(lambda: recorder.held() == PLACES // 2)
        victim.signal(signal.SIGKILL)
        victim.wait()
        killed_at = time.monotonic()
        assert free_places(others, key) == PLACES // 2, "they are held until their lease ends"
    time.sleep(max(0.0, killed_at + LEASE_S + 0.1 - time.monotonic()))
    assert free_places(others, key) == PLACES
