"""The bounded memory."""

from __future__ import annotations

from proxy.clients.recent import Recent


def test_it_remembers_at_least_the_last_ones_and_at_most_twice_as_many() -> None:
    recent: Recent[int, str] = Recent(10)
    for number in range(1000):
        recent.put(number, str(number))
        assert len(recent) <= 20
        assert all(recent._young.get(n) or recent._old.get(n) for n in range(max(0, number - 9), number + 1))
    assert recent.get(0) is None
    assert recent.get(999) == "999"


def test_what_is_asked_for_survives_a_flood() -> None:
    recent: Recent[int, str] = Recent(10)
    recent.put(-1, "kept")
    for number in range(1000):
        recent.put(number, "flood")
        if number % 5 == 0:
            assert recent.get(-1) == "kept"


def test_clear_forgets_everything() -> None:
    recent: Recent[int, str] = Recent(2)
    for number in range(4):
        recent.put(number, "x")
    recent.clear()
    assert len(recent) == 0
    assert recent.get(3) is None
