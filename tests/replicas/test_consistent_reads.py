"""What users see through a real Weir, in front of a real primary and two real replicas."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from tests.line.process import Weir, eventually
from tests.replicas.conftest import StartWeir
from tests.replicas.histories import Tally, play
from tests.replicas.stand import Stand, in_rotation


def port_of(weir: Weir) -> int:
    return int(weir.url.rpartition(":")[2])


def assert_nobody_saw_the_past(tally: Tally) -> None:
    assert tally.errors == []
    assert tally.own_write_missed == []
    assert tally.went_back == []


def lagging(stand: Stand, *delays: str) -> None:
    for server, delay in zip(stand.cluster.replicas, delays, strict=True):
        server.lag(delay)


@pytest.mark.parametrize(
    ("delays", "consistency"),
    [
        pytest.param(("0", "0"), "", id="no lag"),
        pytest.param(("100ms", "20ms"), "", id="100 ms and 20 ms"),
        pytest.param(("1s", "300ms"), "max_lag: 10s", id="1 s and 300 ms, all in rotation"),
        pytest.param(("1s", "0"), "mode: inline", id="one of them out of rotation"),
    ],
)
def test_nobody_misses_a_write_or_goes_back(
    stand: Stand, configure: StartWeir, delays: tuple[str, str], consistency: str
) -> None:
    lagging(stand, *delays)
    weir = configure(stand.config(consistency))
    in_rotation(weir, 1 if "inline" in consistency else 2)
    tally = play(port_of(weir), users=16, reads=600, think_s=0.02, seed=len(consistency))
    assert_nobody_saw_the_past(tally)
    assert tally.on_replicas > 0.02  # it was a test of replicas at all
    assert tally.writes > 70


def test_a_replica_whose_replay_is_paused_shows_nobody_the_past(stand: Stand, configure: StartWeir) -> None:
    first, second = stand.cluster.replicas
    weir = configure(stand.config("max_lag: 20s"))
    in_rotation(weir, 2)

    def pauses() -> None:
        for server in (first, second, first):
            server.pause()
            server.run("SELECT pg_sleep(0.5)")
            server.resume()

    tally = play(port_of(weir), users=16, reads=700, think_s=0.04, seed=77, meanwhile=pauses)
    assert_nobody_saw_the_past(tally)
    assert tally.on_replicas > 0.02


def test_a_time_pin_shows_the_past_where_the_lag_is_longer(stand: Stand, configure: StartWeir) -> None:
    """So the other tests could have failed."""
    lagging(stand, "1s", "1s")
    weir = configure(stand.config("pin: 200ms", databases=False))
    tally = play(port_of(weir), users=16, reads=500, think_s=0.08, seed=78)
    assert tally.errors == []
    assert tally.own_write_missed
    assert tally.on_replicas > 0.1


def test_clients_without_a_name_see_their_own_writes(stand: Stand, configure: StartWeir) -> None:
    lagging(stand, "100ms", "100ms")
    weir = configure(stand.config())
    in_rotation(weir, 2)
    tally = play(port_of(weir), users=24, reads=500, think_s=0.1, named=False, seed=79)
    assert tally.errors == []
    assert tally.own_write_missed == []
    assert tally.on_replicas > 0.3
    known = weir.metric("weir_write_positions_total", result="known")
    assert known + weir.metric("weir_write_positions_total", result="unknown") == tally.writes
    assert known >= 0.9 * tally.writes


@pytest.mark.parametrize("reads", [500, pytest.param(6000, marks=pytest.mark.long)])
def test_most_reads_stay_on_replicas_although_a_fifth_of_the_requests_write(
    stand: Stand, configure: StartWeir, reads: int
) -> None:
    lagging(stand, "100ms", "100ms")
    weir = configure(stand.config())
    in_rotation(weir, 2)
    tally = play(port_of(weir), users=150, reads=reads, think_s=1.0, seed=80)
    assert_nobody_saw_the_past(tally)
    assert tally.on_replicas >= 0.8, tally.by_instance


@pytest.mark.long
@pytest.mark.parametrize(
    ("delays", "consistency", "reads", "think_s"),
    [
        pytest.param(("0", "0"), "", 25_000, 0.0, id="no lag"),
        pytest.param(("100ms", "100ms"), "", 25_000, 0.05, id="100 ms"),
        pytest.param(("1s", "1s"), "max_lag: 10s", 25_000, 0.05, id="1 s"),
        pytest.param(("10s", "10s"), "max_lag: 50s", 25_000, 0.05, id="10 s"),
    ],
)
def test_a_hundred_thousand_reads_show_nobody_the_past(
    stand: Stand, configure: StartWeir, delays: tuple[str, str], consistency: str, reads: int, think_s: float
) -> None:
    lagging(stand, *delays)
    weir = configure(stand.config(consistency))
    in_rotation(weir, 2)
    tally = play(port_of(weir), users=40, reads=reads, think_s=think_s, seed=reads + len(delays[0]), most_s=200.0)
    assert_nobody_saw_the_past(tally)
    assert tally.reads >= reads


@pytest.mark.long
def test_a_pin_of_two_seconds_shows_the_past_at_ten_seconds_of_lag(stand: Stand, configure: StartWeir) -> None:
    lagging(stand, "10s", "10s")
    weir = configure(stand.config("pin: 2s", databases=False))
    tally = play(port_of(weir), users=40, reads=4000, think_s=0.5, seed=90, most_s=120.0)
    assert tally.errors == []
    assert tally.own_write_missed


@pytest.mark.long
def test_an_idle_primary_keeps_its_replicas(stand: Stand, configure: StartWeir) -> None:
    weir = configure(stand.config())
    stand.cluster.primary.run("SELECT pg_switch_wal()")  # then the insert position stands behind a header
    in_rotation(weir, 2)
    for _ in range(20):
        answer = weir.get("/counters/idle", {"X-User": "idle"})
        assert answer.get("x-instance") != "primary"
    assert weir.metric("weir_consistent_reads_total", result="behind") == 0


@pytest.mark.long
async def test_what_is_not_committed_yet_takes_no_replica_out(stand: Stand, configure: StartWeir) -> None:
    """Its log is flushed up to a page's end, in the middle of a record: no replica gets there before the next flush,
    which may be a quarter of a minute away."""
    weir = await asyncio.to_thread(configure, stand.config())
    await asyncio.to_thread(in_rotation, weir, 2)
    connection = await asyncpg.connect(stand.cluster.primary.dsn)
    await connection.execute("BEGIN")
    until = time.monotonic() + 60.0  # who writes the log sleeps for five seconds after a quiet time
    in_the_middle = turns = 0
    while in_the_middle < 15 and time.monotonic() < until:
        if turns % 50 == 0:  # again after a while: the end of what is flushed may have been that of a record
            rows = f"SELECT 'open-{turns}-' || each || repeat('x', 200), each FROM generate_series(1, 500) AS each"
            await connection.execute(f"INSERT INTO counters {rows}")
        turns += 1
        await asyncio.sleep(0.1)
        end = await connection.fetchval("SELECT pg_current_wal_flush_lsn() - '0/0'")
        here = [
            await asyncio.to_thread(server.run, "SELECT pg_last_wal_replay_lsn() - '0/0'")
            for server in stand.cluster.replicas
        ]
        in_the_middle += end % 8192 == 0 and max(here) < end
        assert await asyncio.to_thread(weir.metric, "weir_replica_in_rotation") == 2, weir.healthz().content
    await connection.execute("ROLLBACK")
    await connection.close()
    assert in_the_middle == 15  # it was a test at all


@pytest.mark.long
def test_the_lag_that_is_told_is_the_true_one(stand: Stand, configure: StartWeir) -> None:
    lagging(stand, "1s", "0")
    weir = configure(stand.config("max_lag: 10s"))
    in_rotation(weir, 2)
    slow = stand.cluster.replicas[0].dsn.rpartition("@")[2]

    def told() -> bool:
        stand.cluster.primary.run("INSERT INTO counters VALUES ('w', 1) ON CONFLICT (key) DO UPDATE SET value = 2")
        return 0.9 <= weir.metric("weir_replica_lag_seconds", replica=slow) <= 1.3

    eventually(told, 10.0)
