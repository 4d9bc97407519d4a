"""What a client must see at least: merging, forgetting, and sights."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.replicas.lsn import History
from proxy.replicas.node import Role
from proxy.replicas.session import NOTHING, Need, Session, Sessions, both
from tests.replicas.knowledge import ELSEWHERE, HISTORY, LATER, primary, replica, sample

facts = st.tuples(st.integers(0, 100), st.integers(1, 100))


@given(st.lists(facts, max_size=20), st.randoms())
def test_merging_only_raises_and_the_order_does_not_matter(given_facts: list[tuple[int, int]], rng: object) -> None:
    one, other = Session(), Session()
    for wrote, saw in given_facts:
        before = (one.wrote, one.saw)
        one.merge(HISTORY, wrote, saw)
        assert (one.wrote, one.saw) >= before
    shuffled = list(given_facts)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    for wrote, saw in shuffled:
        other.merge(HISTORY, wrote, saw)
    assert (one.wrote, one.saw) == (other.wrote, other.saw)
    assert one.saw >= one.wrote


def merged(*facts: tuple[History, int]) -> tuple[History | None, int]:
    session = Session()
    for history, lsn in facts:
        session.merge(history, lsn, lsn)
    return session.history, session.saw


def test_a_later_timeline_replaces_an_earlier_one_and_never_the_other_way() -> None:
    assert merged((HISTORY, 900), (LATER, 100)) == (LATER, 100)
    assert merged((LATER, 100), (HISTORY, 900)) == (LATER, 100)


def test_of_two_clusters_the_last_one_counts() -> None:
    assert merged((HISTORY, 900), (ELSEWHERE, 100)) == (ELSEWHERE, 100)


def test_a_session_holds_its_sights_until_they_are_told() -> None:
    boss = primary(1000)
    session = Session()
    session.sees(boss, is_write=True)
    assert len(session.need(monotonic=True).sights) == 1
    boss.begin()
    boss.observe(sample(10.1, Role.PRIMARY, 1100))
    need = session.need(monotonic=True)
    assert (need.lsn, need.wrote, need.sights) == (1100, 1100, ())


def test_a_need_learns_what_its_sights_were_told_while_it_waited() -> None:
    boss = primary(1000)
    session = Session()
    session.sees(boss, is_write=True)
    need = session.need(monotonic=True)
    boss.begin()
    boss.observe(sample(10.1, Role.PRIMARY, 1100))
    assert need.lsn == 0
    assert need.settled().lsn == 1100
    assert not need.is_met_by((HISTORY, 1099), 10.2)
    assert need.is_met_by((HISTORY, 1100), 10.2)


def test_sights_of_one_question_are_one() -> None:
    boss, node = primary(1000), replica(900)
    session = Session()
    for _ in range(100):
        session.sees(node, is_write=False)
        session.sees(boss, is_write=True)
        session.sees(boss, is_write=False)
    assert len(session.sights) == 2
    node.begin()
    session.sees(node, is_write=False)
    assert len(session.sights) == 3  # what was seen since needs another answer


def test_without_monotonic_reads_only_writes_count() -> None:
    boss, node = primary(1000), replica(900)
    session = Session()
    session.merge(HISTORY, 500, 800)
    session.sees(node, is_write=False)
    session.sees(boss, is_write=True)
    need = session.need(monotonic=False)
    assert (need.lsn, [sight.node for sight in need.sights]) == (500, [boss])


def test_a_stored_response_needs_what_was_written_and_not_what_was_seen() -> None:
    need = Need(HISTORY, 800, 500)
    assert need.is_met_by((HISTORY, 500), 0.0)
    assert not need.is_met_by((HISTORY, 499), 0.0)
    assert not need.is_met_by((LATER, 900), 0.0)
    assert not need.is_met_by(None, 0.0)
    assert Need(HISTORY, 800, 0).is_met_by(None, 0.0)
    assert not Need(HISTORY, 800, 500, pinned_until=1.0).is_met_by((HISTORY, 900), 0.0)


def test_where_time_decides_a_stored_response_must_be_younger_than_the_write() -> None:
    need = Need(None, 0, pinned_until=12.0, wrote_at=10.0)
    assert need.is_met_by((None, 10.0), 11.0)
    assert not need.is_met_by((None, 9.9), 11.0)
    assert not need.is_met_by((None, 9.9), 50.0)  # also when the pin is over
    assert not need.is_met_by((HISTORY, 10.0), 11.0)


def test_a_session_is_forgotten_after_its_time() -> None:
    sessions = Sessions(60.0)
    sessions.open(("a",), 0.0).merge(HISTORY, 1, 1)
    assert sessions.find(("a",), 59.9) is not None
    assert sessions.find(("a",), 60.0) is None
    assert sessions.open(("a",), 61.0).saw == 0
    sessions.open(("b",), 200.0)
    assert len(sessions) == 1


def test_what_is_evicted_is_asked_of_everybody() -> None:
    sessions = Sessions(60.0, size=2)
    boss = primary(1000)
    first = sessions.open(("a",), 0.0)
    first.merge(HISTORY, 700, 800)
    first.sees(boss, is_write=True)
    assert sessions.floor(1.0) == NOTHING
    sessions.open(("b",), 1.0)
    sessions.open(("c",), 1.0)
    assert len(sessions) == 2
    floor = sessions.floor(1.0)
    assert (floor.history, floor.lsn, len(floor.sights)) == (HISTORY, 800, 1)
    assert sessions.disturbed_until == 61.0
    assert sessions.floor(61.1) == NOTHING


def test_everything_before_the_first_position_is_asked_of_everybody() -> None:
    sessions = Sessions(60.0)
    sessions.begin(0.0, HISTORY, 500)
    assert (sessions.floor(1.0).lsn, sessions.floor(1.0).wrote) == (500, 0)
    assert sessions.disturbed_until == 0.0  # nothing was stored before the start
    sessions.begin(2.0, LATER, 600)
    assert (sessions.floor(3.0).history, sessions.floor(3.0).lsn, sessions.floor(3.0).wrote) == (LATER, 600, 600)
    assert sessions.disturbed_until == 62.0


needs = st.builds(
    Need,
    st.just(HISTORY),
    st.integers(1, 9),
    st.just(0),
    st.just(()),
    st.floats(0, 9),
    st.floats(0, 9),
)


@given(needs | st.just(NOTHING), needs | st.just(NOTHING))
def test_both_asks_for_no_less_than_either(one: Need, other: Need) -> None:
    need = both(one, other)
    for each in (one, other):
        assert need.lsn >= each.lsn
        assert need.pinned_until >= each.pinned_until
        assert need.wrote_at >= each.wrote_at
    assert both(other, one) == need
