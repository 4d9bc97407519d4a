"""The stage: what it remembers between two answers of a server decides as the whole rule would, and what it sets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.clock import wall
from proxy.http.message import Response
from proxy.replicas.consistency import compile_consistency
from proxy.replicas.cookie import read
from proxy.replicas.lsn import History
from proxy.replicas.monitor import Monitor
from proxy.replicas.node import Role
from proxy.replicas.recalling import concerns
from proxy.replicas.replicas import Replicas
from proxy.replicas.session import NOTHING, Need
from proxy.replicas.settings import ConsistencySettings
from proxy.replicas.stage import choose_readers, note_read
from proxy.replicas.writing import finish_write, note_write
from tests.replicas.knowledge import HISTORY, LATER, sample

PRIMARY, ONE, TWO = "postgresql://p/d", "postgresql://one/d", "postgresql://two/d"
ADDRESSES = {"a1": ONE, "a2": TWO}


class Label(str):
    """An address, as far as it is looked at."""

    __slots__ = ()

    @property
    def label(self) -> str:
        return str(self)


class Scene:
    """One upstream with two replicas. Nothing is asked: the tests say what the servers answer."""

    def __init__(self, primary: str | None = PRIMARY, **settings: Any) -> None:
        self.now = 100.0
        options = {"wait": 0.0} | settings
        consistency = compile_consistency(
            ConsistencySettings(**options), "app", primary, ADDRESSES if primary else {}, 64
        )
        assert consistency is not None
        self.replicas = Replicas(lambda *_: None, clock=lambda: self.now)
        # by host and port, as an address of an endpoint prints
        labelled = replace(
            consistency, databases={Label(address): dsn for address, dsn in consistency.databases.items()}
        )
        self.consistency = labelled
        self.replicas.apply([labelled])
        self.route = SimpleNamespace(consistency=labelled, read_primary=False, name="r")

    @property
    def monitor(self) -> Monitor:
        return self.replicas.monitors[PRIMARY]

    def says(self, dsn: str, lsn: int, *, at: float | None = None, history: History = HISTORY) -> None:
        node = self.monitor.primary if dsn == PRIMARY else self.monitor.replicas[dsn]
        role = Role.PRIMARY if dsn == PRIMARY else Role.STANDBY
        node.begin()
        self.monitor._observed(node, sample(self.now if at is None else at, role, lsn, history))

    def exchange(self, user: str | None = None, *, cookie: bytes = b"", need: Need | None = None) -> Any:
        index = {b"cookie": cookie} if cookie else {}
        return SimpleNamespace(
            route=self.route,
            client=SimpleNamespace(user=user, tenant=None),
            request=SimpleNamespace(index=index, scheme="http"),
            peer_is_trusted=False,
            need=need,
            readers=None,
            as_of=None,
            endpoint=None,
        )

    def choose(self, exchange: Any) -> frozenset[Any] | None:
        work = choose_readers(exchange, self.replicas)
        with pytest.raises(StopIteration):
            work.send(None)
        found: frozenset[Any] | None = exchange.readers
        return found


positions = st.integers(900, 1100)
histories = st.sampled_from([HISTORY, HISTORY, HISTORY, LATER])


@given(
    positions,
    st.tuples(positions, positions),
    st.tuples(histories, histories),
    st.lists(st.tuples(histories, st.integers(0, 1100), st.floats(0.0, 1.5)), min_size=1, max_size=6),
)
def test_what_is_remembered_decides_as_the_whole_rule_does(
    boss: int, lsns: tuple[int, int], of: tuple[History, History], reads: list[tuple[History, int, float]]
) -> None:
    scene = Scene()
    scene.says(PRIMARY, 900)
    scene.says(PRIMARY, boss)
    for dsn, lsn, history in zip((ONE, TWO), lsns, of, strict=True):
        scene.says(dsn, lsn, history=history)
    for history, lsn, later in reads:
        scene.now = 100.0 + later
        need = Need(history, lsn) if lsn else NOTHING
        exchange = scene.exchange(need=need)
        readers = scene.choose(exchange)
        nodes = scene.monitor.choose((ONE, TWO), need, scene.consistency.rules, scene.now).readers
        assert readers == {address for address, dsn in ADDRESSES.items() if scene.monitor.replicas[dsn] in nodes}
        if readers:
            assert exchange.as_of[1] >= lsn


def response(status: int = 200) -> Response:
    return Response(status, b"OK", [], b"")


def run(work: Any) -> None:
    with pytest.raises(StopIteration):
        work.send(None)


def calm() -> Scene:
    scene = Scene()
    scene.says(PRIMARY, 1000)
    scene.says(ONE, 1000)
    scene.says(TWO, 1000)
    scene.now += 0.01
    return scene


def test_a_write_sends_its_user_to_the_primary_until_a_replica_has_it() -> None:
    scene = calm()
    assert scene.choose(scene.exchange("ann")) == {"a1", "a2"}
    writing = scene.exchange("ann")
    sight = note_write(writing, 200, scene.replicas, begun=False)
    run(finish_write(writing, response(), sight, scene.replicas))
    assert scene.choose(scene.exchange("ann")) == set()
    scene.says(PRIMARY, 1100)
    assert scene.choose(scene.exchange("ann")) == set()
    scene.says(TWO, 1100)
    assert scene.choose(scene.exchange("ann")) == {"a2"}
    assert scene.choose(scene.exchange("bob")) == {"a1", "a2"}


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_write_that_failed_may_have_happened(status: int) -> None:
    scene = calm()
    note_write(scene.exchange("ann"), status, scene.replicas, begun=False)
    assert scene.choose(scene.exchange("ann")) == set()


def test_what_a_user_saw_on_one_replica_the_other_must_have() -> None:
    scene = calm()
    scene.says(ONE, 1050, at=scene.now)
    reading = scene.exchange("ann")
    scene.choose(reading)
    reading.endpoint = SimpleNamespace(address="a1")
    note_read(reading, scene.replicas)
    assert scene.choose(scene.exchange("ann")) == {"a1"}  # its position after the answer is not known yet
    scene.says(ONE, 1060)
    assert scene.choose(scene.exchange("ann")) == {"a1"}
    scene.says(TWO, 1060)
    assert scene.choose(scene.exchange("ann")) == {"a1", "a2"}


def test_a_cookie_carries_the_position_of_a_write() -> None:
    scene = calm()
    writing = scene.exchange()
    sight = note_write(writing, 200, scene.replicas, begun=False)
    scene.says(PRIMARY, 1100)
    answer = response()
    run(finish_write(writing, answer, sight, scene.replicas))
    [(_, name, line)] = answer.fields
    assert name == b"Set-Cookie"
    pair, *attributes = line.split(b"; ")
    assert attributes == [b"Path=/", b"Max-Age=61", b"HttpOnly", b"SameSite=Lax"]
    value = pair.partition(b"=")[2]
    assert scene.replicas.secret is not None
    mark = read(value, scene.replicas.secret, scene.consistency.audience, wall(), 60.0)
    assert mark is not None
    assert (mark.history, mark.lsn) == (HISTORY, 1100)
    assert scene.choose(scene.exchange(cookie=b"x=1; " + pair)) == set()
    scene.says(ONE, 1100)
    assert scene.choose(scene.exchange(cookie=pair)) == {"a1"}
    assert concerns(scene.exchange(cookie=pair), scene.replicas)
    assert not concerns(scene.exchange(cookie=b"x=1"), scene.replicas)


def test_where_time_decides_only_writes_that_did_not_fail_pin() -> None:
    scene = Scene(None, pin=2.0)
    note_write(scene.exchange("ann"), 503, scene.replicas, begun=False)
    assert scene.choose(scene.exchange("ann")) is None
    note_write(scene.exchange("ann"), 201, scene.replicas, begun=False)
    reading = scene.exchange("ann")
    assert scene.choose(reading) == set()
    assert reading.as_of == (None, 100.0)
    scene.now = 102.0
    reading = scene.exchange("ann")
    assert scene.choose(reading) is None  # any replica that is up
    assert reading.as_of == (None, 100.0)  # as old as a replica may be, by the operator's own word
    assert not reading.need.is_met_by((None, 99.9), scene.now)
