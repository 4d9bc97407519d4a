"""Servers as the tests of the rules need them."""

from __future__ import annotations

from proxy.replicas.lsn import History
from proxy.replicas.node import Node, Role, Sample
from proxy.replicas.ring import Lag, LsnRing

HISTORY = History(7_710_642_748_203_282_563, 1)
LATER = History(HISTORY.system_id, 2)
ELSEWHERE = History(42, 1)


def sample(at: float, role: Role, lsn: int, history: History = HISTORY) -> Sample:
    return Sample(at, at, role, lsn, lsn, history)


def primary(lsn: int = 1000, at: float = 10.0, history: History = HISTORY) -> Node:
    node = Node("db/p", Role.PRIMARY)
    node.begin()
    node.observe(sample(at, Role.PRIMARY, lsn, history))
    return node


def replica(
    lsn: int = 1000, at: float = 10.0, lag_s: float = 0.0, history: History = HISTORY, name: str = "db/r"
) -> Node:
    node = Node(name, Role.STANDBY)
    node.begin()
    node.observe(sample(at, Role.STANDBY, lsn, history))
    node.lag = Lag(lag_s, lag_s)
    return node


def ring_of(*entries: tuple[float, int]) -> LsnRing:
    made = LsnRing()
    for at, lsn in entries:
        made.add(at, lsn)
    return made
