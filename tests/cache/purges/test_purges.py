"""Which purges there have been: what is remembered of them, against a list that forgets nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.cache.purges import known as module
from proxy.cache.purges.known import Purges
from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.purges.queue import DOUBT
from proxy.cache.tags import UNKNOWN, Tags

A, B = b"http://a", b"http://b:8080"


@pytest.mark.parametrize(
    ("purge", "fate"),
    [
        pytest.param(Purge("url", A + b"/x"), Fate.DROP, id="its url"),
        pytest.param(Purge("url", A + b"/x", is_soft=True), Fate.EXPIRE, id="its url, soft"),
        pytest.param(Purge("url", A + b"/x?y"), Fate.KEEP, id="another url"),
        pytest.param(Purge("prefix", A + b"/"), Fate.DROP, id="its prefix"),
        pytest.param(Purge("prefix", A + b"/", is_soft=True), Fate.EXPIRE, id="its prefix, soft"),
        pytest.param(Purge("prefix", A + b"/xx"), Fate.KEEP, id="a longer prefix"),
        pytest.param(Purge("prefix", B), Fate.KEEP, id="another prefix"),
        pytest.param(Purge("tag", b"t"), Fate.DROP, id="its tag"),
        pytest.param(Purge("tag", b"u", is_soft=True), Fate.EXPIRE, id="its other tag, soft"),
        pytest.param(Purge("tag", b"v"), Fate.KEEP, id="another tag"),
        pytest.param(Purge("tag", b"t", origin=A), Fate.DROP, id="its tag at its origin"),
        pytest.param(Purge("tag", b"t", origin=B), Fate.KEEP, id="its tag at another origin"),
        pytest.param(Purge("all"), Fate.DROP, id="all"),
        pytest.param(Purge("all", is_soft=True), Fate.EXPIRE, id="all, soft"),
        pytest.param(DOUBT, Fate.DROP, id="to be validated: it was not, so it cannot be used"),
    ],
)
def test_the_fate_of_what_was_asked_for_before_a_purge(purge: Purge, fate: Fate) -> None:
    purges = Purges()
    purges.add(purge, 7)
    for key in (A + b"/x", A + b"/x 3 4:anna"):
        assert purges.fate(key, (b"t", b"u"), 6) is fate
        assert purges.fate(key, (b"t", b"u"), 7) is Fate.KEEP, "asked for after it"


def test_the_hardest_purge_since_it_was_asked_for_decides() -> None:
    purges = Purges()
    purges.add(Purge("tag", b"t", is_soft=True), 1)
    purges.add(Purge("url", A + b"/x"), 2)
    purges.add(Purge("all", is_soft=True), 3)
    assert purges.fate(A + b"/x", (b"t",), 3) is Fate.KEEP
    assert purges.fate(A + b"/x", (b"t",), 2) is Fate.EXPIRE
    assert purges.fate(A + b"/x", (), 1) is Fate.DROP
    assert purges.fate(A + b"/y", (b"t",), 0) is Fate.EXPIRE
    purges.add(Purge("url", A + b"/x"), 4)
    assert purges.fate(A + b"/x", (), 3) is Fate.DROP, "the same purge again"
    purges.add(Purge("url", A + b"/x", is_soft=True), 5)
    assert purges.fate(A + b"/x", (), 3) is Fate.DROP, "a soft one after a hard one"
    assert purges.fate(A + b"/x", (), 4) is Fate.EXPIRE
    assert len(purges) == 2


def test_what_is_before_the_floor_is_not_known() -> None:
    purges = Purges(100)
    assert purges.fate(A + b"/x", (), 99) is Fate.DROP
    assert purges.fate(A + b"/x", (), 100) is Fate.KEEP


@pytest.mark.parametrize("size", [4, 8000], ids=["many", "large"])
def test_urls_that_are_too_many_cost_some_others_and_are_never_forgotten(size: int) -> None:
    purges = Purges()
    count = 20_000 if size == 4 else 1000
    for number in range(1, count + 1):
        purges.add(Purge("url", A + b"/%d" % number + b"x" * size), number)
    assert len(purges) <= module.MAX_EXACT
    assert purges.size_bytes <= module.MAX_BYTES
    for number in range(1, count + 1, 97):
        key = A + b"/%d" % number + b"x" * size
        assert purges.fate(key, (), number - 1) is Fate.DROP
    others = [purges.fate(A + b"/other/%d" % number, (), 0) for number in range(2000)]
    assert others.count(Fate.KEEP) > 500, "most of a log that is much longer than what is remembered one by one"
    assert purges.fate(A + b"/other/1", (), count) is Fate.KEEP


def test_prefixes_that_are_too_many_end_what_is_older_than_they_are() -> None:
    purges = Purges()
    for number in range(1, 301):
        purges.add(Purge("prefix", A + b"/" + b"x" * (number % 50) + b"%d" % number), number)
    assert len(purges) == module.MAX_PREFIXES
    assert len(purges._lengths) <= 60
    assert purges.fate(A + b"/y", (), 0) is Fate.DROP
    assert purges.fate(A + b"/y", (), 300 - module.MAX_PREFIXES) is Fate.KEEP


def test_an_old_answer_does_not_depend_on_how_many_purges_there_were() -> None:
    """A look takes as many steps as there are tags and lengths of prefixes."""
    purges = Purges()
    for number in range(1, 8001):
        purges.add(Purge("url", A + b"/%d" % number), number)
    looks = 0

    class Counting(dict[Any, Any]):
        def get(self, *arguments: Any) -> Any:
            nonlocal looks
            looks += 1
            return super().get(*arguments)

    purges._exact = Counting(purges._exact)  # type: ignore[assignment]
    assert purges.fate(B + b"/", (b"t", b"u"), 0) is Fate.KEEP
    assert looks == 5


URLS = [origin + path for origin in (A, B) for path in (b"/", b"/x", b"/x/y", b"/x?z")]
KEYS = [*URLS, A + b"/x 1 2:me", B + b"/ 0 -"]
TAGS: list[Tags] = [(), (b"t",), (b"t", b"u"), (b"U",), (UNKNOWN,), (b"u", UNKNOWN)]
PURGES = st.builds(
    Purge,
    kind=st.just("url"),
    value=st.sampled_from(URLS),
    is_soft=st.booleans(),
) | st.one_of(
    st.builds(Purge, st.just("prefix"), st.sampled_from([A, B, A + b"/x", A + b"/x/", B + b"/x?"]), st.booleans()),
    st.builds(Purge, st.just("tag"), st.sampled_from([b"t", b"u", b"U"]), st.booleans()),
    st.builds(Purge, st.just("tag"), st.sampled_from([b"t", b"u"]), st.booleans(), st.sampled_from([A, B])),
    st.builds(Purge, st.just("all"), is_soft=st.booleans()),
    st.just(DOUBT),
)


def expected(history: list[tuple[Purge, int]], key: bytes, tags: Tags, began: int) -> Fate:
    """By looking at all of them. Of tags that are not known, any purge by tag counts, whatever its origin."""
    fates = {
        Fate.EXPIRE if purge.is_soft and not purge.must_validate else Fate.DROP
        for purge, number in history
        if number > began and (purge.covers(key, tags) or (purge.kind == "tag" and UNKNOWN in tags))
    }
    return Fate.DROP if Fate.DROP in fates else Fate.EXPIRE if fates else Fate.KEEP


@given(purges=st.lists(PURGES, max_size=12), order=st.randoms(use_true_random=False))
def test_every_fate_is_that_of_the_whole_history_in_whatever_order_it_came(purges: list[Purge], order: Any) -> None:
    history = [(purge, number) for number, purge in enumerate(purges, 1)]
    shuffled = history[:]
    order.shuffle(shuffled)
    known = Purges()
    for purge, number in shuffled:
        known.add(purge, number)
    for key in KEYS:
        for tags in TAGS:
            for began in range(len(history) + 1):
                assert known.fate(key, tags, began) is expected(history, key, tags, began), (key, tags, began)


class Small(RuleBasedStateMachine):
    """With room for next to nothing: what should be dropped is dropped, whatever had to be forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.purges = Purges()
        self.history: list[tuple[Purge, int]] = []

    @rule(purge=PURGES, key=st.sampled_from(KEYS), tags=st.sampled_from(TAGS), back=st.integers(0, 12))
    def somebody_purges(self, purge: Purge, key: bytes, tags: Tags, back: int) -> None:
        number = len(self.history) + 1
        self.history.append((purge, number))
        self.purges.add(purge, number)
        began = max(0, number - back)
        order = (Fate.KEEP, Fate.EXPIRE, Fate.DROP)
        found, right = self.purges.fate(key, tags, began), expected(self.history, key, tags, began)
        assert order.index(found) >= order.index(right), (key, tags, began)
        assert self.purges.fate(key, tags, number) is Fate.KEEP

    @invariant()
    def it_stays_small(self) -> None:
        assert len(self.purges) <= 4
        assert self.purges.size_bytes <= 60
        assert sum(self.purges._lengths.values()) == len(self.purges._prefixes)


class TestSmall(Small.TestCase):  # type: ignore[misc,name-defined]
    @pytest.fixture(autouse=True)
    def next_to_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_EXACT", 2)
        monkeypatch.setattr(module, "MAX_PREFIXES", 2)
        monkeypatch.setattr(module, "MAX_BYTES", 30)
