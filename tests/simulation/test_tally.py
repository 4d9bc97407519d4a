"""Counting: spells of denials, and memory that is bounded however long a log is."""

from __future__ import annotations

import pytest

from proxy.simulation import tally as module
from proxy.simulation.tally import LimitTally, Spell


@pytest.mark.parametrize(
    ("course", "longest_s", "longest_at"),
    [
        ("d", 0.0, 0.0),
        ("ddd", 2.0, 0.0),
        ("add", 1.0, 1.0),
        ("dadddaddd", 2.0, 6.0),
        ("ddddad", 3.0, 0.0),
        ("aaa", 0.0, 0.0),
    ],
)
def test_a_spell_lasts_from_the_first_denial_to_the_last_before_an_admission(
    course: str, longest_s: float, longest_at: float
) -> None:
    spell = Spell()
    for second, what in enumerate(course):
        if what == "d":
            spell.denied(float(second))
        else:
            spell.admitted()
    assert (spell.longest_s, spell.longest_at) == (longest_s, longest_at)


def test_only_a_part_of_the_keys_keeps_its_instants_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ARRIVALS", 1000)
    limit = LimitTally()
    for number in range(10_000):
        limit.add(b"key%d" % (number % 500), float(number), 2, is_denied=False, is_good=True)
    kept = [key for key in limit.keys.values() if key.arrivals is not None]
    assert limit.sample_of_keys in (16, 32)
    assert 0 < sum(len(key.arrivals) for key in kept if key.arrivals is not None) <= 1000
    # a key has all of its instants or none, and what each was charged
    assert all(len(key.arrivals) == len(key.units) == key.requests == 20 for key in kept)  # type: ignore[arg-type]
    assert (limit.asked, len(limit.keys)) == (10_000, 500)
