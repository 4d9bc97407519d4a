"""Who may answer a read: the whole decision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.replicas.choice import MAX_AHEAD_BYTES, Choice, Out, Reason, Rules, choose, left, why_out
from proxy.replicas.lsn import History
from proxy.replicas.node import Node, Role, Sight
from proxy.replicas.session import NOTHING, Need
from tests.replicas.knowledge import ELSEWHERE, HISTORY, LATER, primary, replica, ring_of, sample

NOW = 10.0
RULES = Rules(max_lag_s=0.5, wait_s=0.05)
RING = ring_of((8.0, 500), (9.0, 900), (9.9, 1000))


def decide(need: Need, *replicas: Node, boss: Node | None = None, now: float = NOW, waited_s: float = 0.0) -> Choice:
    return choose(replicas, boss or primary(), RING, need, RULES, now, waited_s)


def unasked() -> Node:
    return Node("db", Role.STANDBY)


def promoted() -> Node:
    node = replica()
    for at in (9.9, 10.0):
        node.observe(sample(at, Role.PRIMARY, 1000))
    return node


def demoted() -> Node:
    node = primary()
    for at in (9.9, 10.0):
        node.observe(sample(at, Role.STANDBY, 1000))
    return node


@pytest.mark.parametrize(
    ("node", "boss", "out"),
    [
        pytest.param(replica(), primary(), None, id="in rotation"),
        pytest.param(replica(lag_s=0.5), primary(), None, id="as far behind as allowed"),
        pytest.param(replica(lag_s=0.51), primary(), Out.LAG, id="too far behind"),
        pytest.param(unasked(), primary(), Out.UNREACHABLE, id="never asked"),
        pytest.param(replica(at=8.9), primary(), Out.UNREACHABLE, id="not asked for a while"),
        pytest.param(promoted(), primary(), Out.NOT_A_STANDBY, id="promoted"),
        pytest.param(replica(history=LATER), primary(), Out.OTHER_HISTORY, id="of another timeline"),
        pytest.param(replica(history=ELSEWHERE), primary(), Out.OTHER_HISTORY, id="of another cluster"),
        pytest.param(replica(), Node("p", Role.PRIMARY), Out.NO_PRIMARY, id="the primary was never asked"),
        pytest.param(replica(), primary(at=8.9), Out.NO_PRIMARY, id="the primary was not asked for a while"),
        pytest.param(replica(), demoted(), Out.NO_PRIMARY, id="the primary is none any more"),
    ],
)
def test_why_a_replica_is_out_of_rotation(node: Node, boss: Node, out: Out | None) -> None:
    assert why_out(node, boss, RULES, NOW) is out


@pytest.mark.parametrize(
    ("need", "replicas", "reason", "readers", "wait_s"),
    [
        pytest.param(NOTHING, [replica(1)], Reason.REPLICA, 1, 0.0, id="nobody in particular"),
        pytest.param(Need(HISTORY, 900), [replica(900)], Reason.REPLICA, 1, 0.0, id="exactly there"),
        pytest.param(Need(HISTORY, 900), [replica(899), replica(901)], Reason.REPLICA, 1, 0.0, id="one of two"),
        pytest.param(Need(HISTORY, 901), [replica(900)], Reason.BEHIND, 0, 0.05, id="soon there"),
        pytest.param(Need(HISTORY, 1000), [replica(900, lag_s=0.4)], Reason.BEHIND, 0, 0.0, id="not so soon"),
        pytest.param(Need(HISTORY, 1000), [replica(900, lag_s=0.12)], Reason.BEHIND, 0, 0.05, id="it was a while ago"),
        pytest.param(NOTHING, [], Reason.UNKNOWN, 0, 0.0, id="no replica at all is not caught up"),
        pytest.param(NOTHING, [unasked()], Reason.UNKNOWN, 0, 0.0, id="unknown is not caught up"),
        pytest.param(NOTHING, [replica(lag_s=9.0)], Reason.LAGGING, 0, 0.0, id="all too old"),
        pytest.param(Need(LATER, 1), [replica()], Reason.HISTORY, 0, 0.0, id="of a timeline that is not"),
        pytest.param(Need(ELSEWHERE, 1), [replica()], Reason.HISTORY, 0, 0.0, id="of another cluster"),
        pytest.param(Need(HISTORY, 1001 + MAX_AHEAD_BYTES), [replica()], Reason.AHEAD, 0, 0.0, id="beyond belief"),
        pytest.param(Need(HISTORY, 1000 + MAX_AHEAD_BYTES), [replica()], Reason.BEHIND, 0, 0.05, id="just believable"),
        pytest.param(Need(None, 0, pinned_until=10.1), [replica()], Reason.PINNED, 0, 0.0, id="pinned"),
        pytest.param(Need(None, 0, pinned_until=10.0), [replica()], Reason.REPLICA, 1, 0.0, id="no more pinned"),
    ],
)
def test_who_may_answer(need: Need, replicas: list[Node], reason: Reason, readers: int, wait_s: float) -> None:
    choice = decide(need, *replicas)
    assert (choice.reason, len(choice.readers)) == (reason, readers)
    assert choice.wait_s == pytest.approx(wait_s)


def test_a_wait_is_not_longer_than_what_is_left_of_it() -> None:
    need = Need(HISTORY, 1001)
    assert decide(need, replica(1000), waited_s=0.03).wait_s == pytest.approx(0.02)
    assert decide(need, replica(1000), waited_s=0.05).wait_s == 0.0


@pytest.mark.parametrize(
    "boss", [Node("p", Role.PRIMARY), primary(at=8.0), demoted()], ids=["never", "long ago", "gone"]
)
def test_without_the_primary_s_position_no_replica_answers(boss: Node) -> None:
    assert decide(NOTHING, replica(), boss=boss) == Choice(Reason.UNKNOWN)


def test_what_a_replica_showed_a_moment_ago_only_that_replica_has_for_sure() -> None:
    one, other = replica(1000, name="one"), replica(1000, name="other")
    need = Need(HISTORY, 10, sights=(Sight(one, is_write=False),))
    assert decide(need, one, other).readers == (one,)
    two = Need(HISTORY, 10, sights=(Sight(one, is_write=False), Sight(other, is_write=False)))
    assert decide(two, one, other).readers == ()


def test_a_replica_that_restarted_may_have_gone_back() -> None:
    node = replica(1000)
    need = Need(HISTORY, 10, sights=(Sight(node, is_write=False),))
    node.epoch += 1
    assert decide(need, node).readers == ()


def test_a_write_whose_position_is_not_known_is_waited_for() -> None:
    boss = primary()
    need = Need(None, 0, sights=(Sight(boss, is_write=True),))
    choice = decide(need, replica(), boss=boss)
    assert (choice.reason, choice.readers, choice.wait_s) == (Reason.BEHIND, (), 0.05)
    assert decide(need, replica(lag_s=0.3), boss=boss).wait_s == 0.0  # it cannot be there in time


GONE = Node("p", Role.PRIMARY)


@pytest.mark.parametrize(
    ("need", "node", "boss", "history", "answers"),
    [
        pytest.param(NOTHING, replica(lag_s=9.0), GONE, HISTORY, True, id="however old it is"),
        pytest.param(NOTHING, replica(), primary(), HISTORY, False, id="not while the primary can be asked"),
        pytest.param(NOTHING, replica(), GONE, None, False, id="nobody knows which history"),
        pytest.param(NOTHING, replica(history=LATER), GONE, HISTORY, False, id="of another timeline"),
        pytest.param(NOTHING, replica(at=8.0), GONE, HISTORY, False, id="not asked for a while"),
        pytest.param(NOTHING, promoted(), GONE, HISTORY, False, id="promoted"),
        pytest.param(Need(HISTORY, 1000), replica(1000), GONE, HISTORY, True, id="it has what was written"),
        pytest.param(Need(HISTORY, 1001), replica(1000), GONE, HISTORY, False, id="it lacks what was written"),
        pytest.param(Need(LATER, 1), replica(1000), GONE, HISTORY, False, id="written in another history"),
        pytest.param(
            Need(None, 0, sights=(Sight(GONE, is_write=True),)), replica(), GONE, HISTORY, False, id="just written"
        ),
        pytest.param(Need(None, 0, pinned_until=11.0), replica(), GONE, HISTORY, False, id="pinned"),
    ],
)
def test_who_is_left_when_the_primary_is_gone(
    need: Need, node: Node, boss: Node, history: History | None, answers: bool
) -> None:
    assert left([node], boss, history, need, NOW) == ((node,) if answers else ())


lsns = st.integers(0, 2000)
nodes = st.builds(
    replica,
    lsns,
    st.floats(8.0, 10.0),
    st.floats(0.0, 1.0),
    st.sampled_from([HISTORY, LATER, ELSEWHERE]),
)


@given(st.lists(nodes, max_size=4), lsns, st.sampled_from([HISTORY, LATER, ELSEWHERE]), st.floats(8.0, 10.0))
def test_whoever_may_answer_has_what_is_needed(replicas: list[Node], lsn: int, history: object, at: float) -> None:
    boss = primary(1500, at=at)
    need = Need(history, lsn) if lsn else NOTHING  # type: ignore[arg-type]
    choice = choose(replicas, boss, RING, need, RULES, NOW)
    for node in choice.readers:
        assert node.sample is not None
        assert node.sample.lsn >= lsn
        assert node.sample.history == HISTORY
        assert node.lag.most_s <= RULES.max_lag_s
        assert NOW - node.sample.asked_at <= 1.0
        assert NOW - at <= 1.0
    if choice.readers:
        assert choice.wait_s == 0.0
    if lsn and history != HISTORY:
        assert choice.readers == ()
        assert choice.wait_s == 0.0  # nobody waits for what will never be
