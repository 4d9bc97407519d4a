"""Servers that leave and return, databases that nobody reaches, and reads that replicas cannot answer."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable

import pytest

from proxy.replicas.cookie import LENGTH, Mark, sign
from proxy.replicas.lsn import History
from tests.line.client import ask, at_once
from tests.line.process import Weir, eventually
from tests.ports import free_port
from tests.replicas.conftest import StartWeir
from tests.replicas.histories import play
from tests.replicas.postgres import Cluster, Server
from tests.replicas.stand import TOKEN, Instance, Stand, in_rotation

pytestmark = pytest.mark.long  # servers that stop, fall behind and come back take their time

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


def rotation_of(weir: Weir, server: Server) -> float:
    return weir.metric("weir_replica_in_rotation", replica=server.dsn.rpartition("@")[2])


def component(weir: Weir, beginning: str) -> dict[str, object]:
    parts = weir.healthz().json()["components"]
    return next(part for part in parts if part["name"].startswith(beginning))


def results(weir: Weir) -> dict[str, float]:
    reads = weir.metrics()["weir_consistent_reads_total"]
    return {dict(labels)["result"]: count for labels, count in reads.items() if count}


def test_a_database_that_nobody_reaches_stops_nothing(stand: Stand, start_weir: StartWeir) -> None:
    nowhere = f"postgresql://weir@127.0.0.1:{free_port()}/postgres"
    weir = start_weir(stand.config().replace(stand.cluster.primary.dsn, nowhere))
    for number in range(1, 6):
        assert weir.ask("POST", "/counters/nowhere", ANN).content == b"%d" % number
        answer = weir.get("/counters/nowhere", ANN)
        assert (answer.content, answer.get("x-instance")) == (b"%d" % number, "primary")
        assert weir.get("/counters/nowhere").get("x-instance") == "primary"
    assert set(results(weir)) == {"unknown"}
    eventually(lambda: weir.events("database_lost"))
    health = weir.healthz()
    assert (health.status, health.json()["status"], health.json()["ready"]) == (503, "degraded", True)
    assert component(weir, "database")["healthy"] is False
    assert component(weir, "upstream")["healthy"] is True


@pytest.mark.parametrize("fault", ["frozen", "crashed"])
def test_a_replica_that_does_not_answer_leaves_the_rotation_and_returns(
    stand: Stand, start_weir: StartWeir, fault: str
) -> None:
    server = stand.cluster.replicas[0]
    weir = start_weir(stand.config())
    in_rotation(weir, 2)
    out, back = (server.freeze, server.thaw) if fault == "frozen" else (server.stop, server.start)
    out()
    try:
        eventually(lambda: rotation_of(weir, server) == 0, 10.0)
        eventually(lambda: weir.events("replica_out"), 10.0)
        for _ in range(10):
            answer = weir.get("/counters/faults", ANN)
            assert (answer.status, answer.get("x-instance")) == (200, "replica2")
        assert component(weir, "database")["healthy"] is False
    finally:
        back()
    in_rotation(weir, 2)
    eventually(lambda: weir.events("replica_back"))
    eventually(lambda: weir.healthz().status == 200, 5.0)
    assert eventually(lambda: weir.get("/counters/faults").get("x-instance") == "replica1")


def test_a_replica_that_falls_behind_leaves_the_rotation_and_returns(stand: Stand, start_weir: StartWeir) -> None:
    server = stand.cluster.replicas[1]
    weir = start_weir(stand.config("max_lag: 300ms"))
    in_rotation(weir, 2)
    server.pause()

    def writes_until(count: int) -> Callable[[], bool]:
        def write() -> bool:
            assert weir.ask("POST", "/counters/behind", ANN).status == 200
            return rotation_of(weir, server) == count

        return write

    eventually(writes_until(0), 10.0)
    assert weir.get("/counters/behind", BOB).get("x-instance") != "replica2"
    server.resume()
    eventually(writes_until(1), 10.0)
    events = eventually(lambda: weir.events("replica_back") and weir.events("replica_out"))
    assert {event["reason"] for event in events} == {"too far behind"}


def test_a_replica_that_was_promoted_leaves_the_rotation_and_returns_as_a_standby(
    stand: Stand, cluster: Cluster, start_weir: StartWeir
) -> None:
    server = cluster.replica("promoted")
    instance = Instance(server, "promoted").ready()
    try:
        config = stand.config()
        begin, end = config.index("replicas: ["), config.index("]\n", config.index("replicas: ["))
        weir = start_weir(f"{config[:begin]}replicas: [{{url: {instance.url}, database: {server.dsn}}}{config[end:]}")
        in_rotation(weir, 1)
        server.run("SELECT pg_promote()")
        eventually(lambda: rotation_of(weir, server) == 0, 10.0)
        server.run("INSERT INTO counters VALUES ('lost', 99)")  # of a history that nobody else has
        assert weir.ask("POST", "/counters/lost", ANN).content == b"1"
        assert weir.get("/counters/lost", ANN).content == b"1"
        assert weir.get("/counters/lost").get("x-instance") == "primary"
        server.stop()
        shutil.rmtree(server.data)
        cluster.replicas.remove(server)
        again = cluster.replica("promoted", port=server.port)
        server = again
        in_rotation(weir, 1)
        assert eventually(lambda: weir.get("/counters/lost", ANN).get("x-instance") == "promoted")
        assert weir.get("/counters/lost", ANN).content == b"1"
    finally:
        instance.stop()
        server.stop()
        cluster.replicas[:] = cluster.replicas[:2]


def test_a_primary_that_restarts_is_found_again_and_nobody_misses_a_write(stand: Stand, start_weir: StartWeir) -> None:
    weir = start_weir(stand.config())
    in_rotation(weir, 2)
    before = int(weir.ask("POST", "/counters/restart", ANN).content)
    stand.cluster.caught_up()
    eventually(lambda: weir.get("/counters/restart", ANN).get("x-instance") != "primary")
    stand.cluster.primary.stop()
    eventually(lambda: weir.metric("weir_database_known") == 0, 5.0)
    for fields in (ANN, BOB, {}):  # an old answer is better than none, as long as it has what this client wrote
        answer = weir.get("/counters/restart", fields)
        assert (answer.status, int(answer.content) >= before) == (200, True)
        assert answer.get("x-instance") != "primary"
    assert results(weir)["last_resort"] == 3
    assert weir.ask("POST", "/counters/restart", ANN).status == 500
    assert weir.get("/counters/restart", ANN).status == 500  # that may have been written, and nobody knows where
    assert weir.get("/counters/restart", BOB).status == 200
    stand.cluster.primary.start()
    in_rotation(weir, 2)
    assert int(weir.get("/counters/restart", ANN).content) >= before
    tally = play(int(weir.url.rpartition(":")[2]), users=8, reads=300, seed=91)
    assert (tally.errors, tally.own_write_missed, tally.went_back) == ([], [], [])
    eventually(lambda: weir.events("database_back"))


def forgeries(each: int) -> list[str]:
    """Cookies that somebody might try: noise, other secrets, positions that nobody will reach."""
    rng = random.Random(5)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    tries = ["".join(rng.choices(letters, k=rng.choice([0, 1, LENGTH - 1, LENGTH, LENGTH, 4000]))) for _ in range(each)]
    for number in range(each):
        mark = Mark(History(rng.getrandbits(64), 1), rng.getrandbits(64)) if number % 3 else Mark(None, 0, 4e9)
        tries.append(sign(mark, b"guess %d" % number, rng.randbytes(32), 4e9).decode())
    return tries


@pytest.mark.parametrize("each", [150, pytest.param(5000, marks=pytest.mark.long)])
def test_forged_cookies_park_nobody(stand: Stand, configure: StartWeir, each: int) -> None:
    weir = configure(stand.config("wait: 5s"))
    in_rotation(weir, 2)
    own = weir.ask("POST", "/counters/forged").get("set-cookie")
    assert own is not None
    name, _, value = own.partition(";")[0].partition("=")
    mutated = [value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :] for at in range(0, LENGTH - 1, 3)]
    stand.cluster.caught_up()
    with weir.client() as client:
        for forged in [*forgeries(each), *mutated]:
            answer = client.ask("GET", "/counters/forged", {"Cookie": f"{name}={forged}"})
            assert answer.status == 200
            assert answer.get("x-instance") != "primary"
    assert set(results(weir)) == {"replica"}  # nobody waited, and nobody was sent to the primary


def test_a_get_that_writes_is_answered_by_the_primary_and_its_route_is_learned(
    stand: Stand, start_weir: StartWeir
) -> None:
    weir = start_weir(stand.config())
    in_rotation(weir, 2)
    for number in (1, 2, 3):
        answer = weir.get("/visits/page", BOB)
        assert (answer.status, answer.content, answer.get("x-instance")) == (200, b"%d" % number, "primary")
        stand.cluster.caught_up()
        in_rotation(weir, 2)
        eventually(lambda: weir.get("/counters/page", BOB).get("x-instance") != "primary")
    assert results(weir)["replayed"] == 3
    [event] = eventually(lambda: weir.events("route_pinned"))
    assert (event["route"], event["status"]) == ("visits", 500)
    assert weir.get("/visits/page", BOB).content == b"4"
    assert results(weir)["replayed"] == 3
    assert results(weir)["route"] == 1
    assert weir.metric("weir_pinned_routes") == 1
    said = ask(weir.admin, "GET", "/v1/replicas", {"Authorization": f"Bearer {TOKEN}"}).json()
    [route] = said["routes"]
    assert (route["route"], route["answered_by_primary_instead"], route["last_status"]) == ("visits", 3, 500)
    assert 3500 < route["pinned_for_s"] <= 3600
    assert {server["is"] for server in said["databases"][0]["servers"]} == {"primary", "standby"}


def test_what_fails_everywhere_is_nobody_s_lesson(stand: Stand, configure: StartWeir) -> None:
    weir = configure(stand.config())
    in_rotation(weir, 2)
    for _ in range(4):
        answer = weir.get("/broken")
        assert (answer.status, answer.get("x-instance")) == (500, "primary")
    assert weir.metric("weir_pinned_routes") == 0


def test_a_strict_route_reads_from_the_primary(stand: Stand, configure: StartWeir) -> None:
    weir = configure(stand.config())
    in_rotation(weir, 2)
    assert {weir.get("/strict/x").get("x-instance") for _ in range(6)} == {"primary"}
    assert {weir.get("/counters/x").get("x-instance") for _ in range(6)} == {"replica1", "replica2"}


def test_a_stored_response_is_none_for_who_wrote_since(stand: Stand, configure: StartWeir) -> None:
    for server in stand.cluster.replicas:
        server.lag("300ms")
    weir = configure(stand.config("max_lag: 10s"))
    in_rotation(weir, 2)
    assert weir.ask("POST", "/counters/cached", ANN).status == 200
    eventually(lambda: weir.get("/counters/cached", ANN).get("x-instance") != "primary")
    assert weir.get("/cached/cached", BOB).content == b"1"
    assert weir.get("/cached/cached", ANN).get("cache-status").startswith("weir; hit")
    assert weir.ask("POST", "/counters/cached", ANN).content == b"2"
    assert weir.get("/cached/cached", BOB).content == b"1"  # a minute's freshness is what the route allows
    answer = weir.get("/cached/cached", ANN)
    assert answer.content == b"2"
    assert "fwd=request" in answer.get("cache-status")
    assert (weir.get("/cached/cached", BOB).content, weir.get("/cached/cached", ANN).content) == (b"2", b"2")
    assert weir.get("/cached/cached", ANN).get("cache-status").startswith("weir; hit")


def test_users_share_a_fetch_and_who_wrote_since_fetches_alone(stand: Stand, configure: StartWeir) -> None:
    weir = configure(stand.config())
    in_rotation(weir, 2)
    for user in (ANN, BOB):
        assert weir.get("/counters/shared-fetch", user).status == 200  # both have seen something
    stand.cluster.primary.run("INSERT INTO counters VALUES ('slow', 1)")
    stand.cluster.caught_up()
    users = [{"X-User": f"reader-{number}"} for number in range(4)]
    asks = [lambda user=user: weir.get("/slow/slow", user) for user in (ANN, BOB, *users)]
    answers = at_once(*asks)
    assert {answer.status for answer in answers} == {200}
    assert sum("collapsed" in answer.get("cache-status") for answer in answers) >= 4
    weir.ask("POST", "/counters/slow-2", ANN)
    before, after = at_once(lambda: weir.get("/slow/slow-2", BOB), lambda: weir.get("/slow/slow-2", ANN))
    assert after.content == b"1"
    assert "collapsed" not in after.get("cache-status")
    assert before.status == 200


def test_where_no_position_is_known_time_decides(stand: Stand, configure: StartWeir) -> None:
    for server in stand.cluster.replicas:
        server.lag("300ms")
    weir = configure(stand.config("pin: 1s", databases=False))
    assert weir.ask("POST", "/counters/pin", ANN).content == b"1"
    answer = weir.get("/counters/pin", ANN)
    assert (answer.content, answer.get("x-instance")) == (b"1", "primary")
    assert weir.get("/counters/pin", BOB).get("x-instance") != "primary"
    assert eventually(lambda: weir.get("/counters/pin", ANN).get("x-instance") != "primary")
    cookie = weir.ask("POST", "/counters/pin").get("set-cookie").partition(";")[0]
    answer = weir.get("/counters/pin", {"Cookie": cookie})
    assert (answer.content, answer.get("x-instance")) == (b"2", "primary")
    assert eventually(lambda: weir.get("/counters/pin", {"Cookie": cookie}).get("x-instance") != "primary")
    assert set(results(weir)) == {"pinned", "replica"}


def test_too_many_reads_that_fall_back_are_refused_where_that_is_asked_for(stand: Stand, start_weir: StartWeir) -> None:
    config = stand.config("primary_share: 25%", extra="    pool: {max_in_flight: 4}")
    weir = start_weir(config.replace(stand.cluster.primary.dsn, f"postgresql://weir@127.0.0.1:{free_port()}/x"))
    tally = play(int(weir.url.rpartition(":")[2]), users=12, reads=300, writes=0.0, seed=92, most_s=10.0)
    assert tally.reads > 50
    assert {error[:3] for error in tally.errors} == {"503"}
    assert results(weir)["refused"] == len(tally.errors)
    assert weir.get("/counters/after").status == 200


def test_a_reload_takes_databases_in_and_lets_them_go(stand: Stand, configure: StartWeir) -> None:
    weir = configure(stand.config(databases=False))
    assert weir.reload(stand.config()) == "reload_ok"
    in_rotation(weir, 2)
    assert weir.ask("POST", "/counters/reload", ANN).status == 200
    assert weir.reload(stand.config("max_lag: 2s")) == "reload_ok"
    assert weir.get("/counters/reload", ANN).content == b"1"
    assert weir.reload(stand.config(databases=False)) == "reload_ok"
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'weir'"
    eventually(lambda: stand.cluster.primary.run(count) == 0)
    assert weir.get("/counters/reload", ANN).status == 200
