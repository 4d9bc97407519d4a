"""What is known of a server: roles, samples, and sights that wait for a position."""

from __future__ import annotations

import pytest

from proxy.replicas.node import MAX_SIGHTS, Node, Role, Sight
from tests.replicas.knowledge import HISTORY, primary, replica, sample

P, S = Role.PRIMARY, Role.STANDBY


def test_a_server_is_unknown_until_it_was_asked() -> None:
    node = Node("db", S)
    assert node.sample is None
    assert node.role is None
    assert not node.knows(0.0)


@pytest.mark.parametrize(
    ("roles", "role", "flips"),
    [
        pytest.param([S], S, 0, id="the first answer counts"),
        pytest.param([S, P], S, 0, id="one other answer does not"),
        pytest.param([S, P, P], P, 1, id="two in a row do"),
        pytest.param([S, P, S, P], S, 0, id="two apart do not"),
        pytest.param([S, P, P, S, S], S, 2, id="and back"),
    ],
)
def test_a_role_flips_when_two_answers_agree(roles: list[Role], role: Role, flips: int) -> None:
    node = Node("db", S)
    for at, said in enumerate(roles):
        node.observe(sample(float(at), said, 100 + at))
    assert node.role is role
    assert node.epoch == flips


def test_an_answer_in_another_role_leaves_the_position_as_it_was() -> None:
    node = replica(500)
    node.observe(sample(10.1, P, 9000))
    assert node.sample is not None
    assert node.sample.lsn == 500


def test_a_sample_grows_stale() -> None:
    node = replica(at=10.0)
    assert node.knows(11.0)
    assert not node.knows(11.001)


def test_a_sight_is_told_the_first_position_that_was_asked_for_after_it() -> None:
    node = primary(1000)
    before, during = Sight(node, is_write=True), Sight(node, is_write=True)
    node.note(before)
    node.begin()
    node.note(during)  # the question is on its way: its answer may be older than this
    assert node.observe(sample(10.1, P, 1100)) == [before]
    assert (before.lsn, before.history, during.lsn) == (1100, HISTORY, 0)
    node.begin()
    assert node.observe(sample(10.2, P, 1200)) == [during]


def test_a_primary_that_comes_back_tells_what_it_was_asked_before() -> None:
    node = primary(1000)
    asked, noted = Sight(node, is_write=True), Sight(node, is_write=False)
    node.note(asked)
    node.begin()
    node.note(noted)
    assert node.lost("gone") == []
    assert not node.knows(10.0)
    node.begin()
    assert set(node.observe(sample(12.0, P, 1300))) == {asked, noted}


def test_what_a_lost_replica_showed_is_asked_of_the_primary() -> None:
    boss, node = primary(1000), replica(900)
    sight = Sight(node, is_write=False)
    node.note(sight)
    boss.adopt(node.lost("gone"))
    assert (sight.node, sight.lsn) == (boss, 0)
    assert node.epoch == 1
    boss.begin()
    boss.observe(sample(10.1, P, 1050))
    assert sight.lsn == 1050  # a replica is never ahead of its primary


def test_a_primary_that_says_it_is_a_standby_resolves_nothing() -> None:
    node = primary(1000)
    sight = Sight(node, is_write=True)
    node.note(sight)
    for at in (10.1, 10.2):
        node.begin()
        assert node.observe(sample(at, S, 5000)) == []
    assert not node.is_as_expected
    assert sight.lsn == 0


def test_sights_do_not_pile_up_while_a_primary_is_away() -> None:
    node = primary(1000)
    sights = [Sight(node, is_write=True) for _ in range(MAX_SIGHTS + 1)]
    for sight in sights:
        node.note(sight)
    node.begin()
    node.observe(sample(10.1, P, 1100))
    assert (sights[0].lsn, sights[-1].lsn) == (0, 1100)
    assert sum(1 for sight in sights if sight.lsn) == MAX_SIGHTS // 2 + 1
