"""Rule 21: which stored response a request selects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.reuse import select
from proxy.cache.selecting import selecting_names, selection

NAMES = st.sampled_from([b"accept", b"accept-language", b"x-a", b"x-b"])
VALUES = st.one_of(st.none(), st.binary(max_size=12).filter(lambda value: value == value.strip(b" \t")))


@pytest.mark.parametrize(
    ("vary", "extra", "names"),
    [
        pytest.param(None, (), (), id="no Vary"),
        pytest.param(b"", (), (), id="empty Vary"),
        pytest.param(b"Accept, accept , X-A", (), (b"accept", b"x-a"), id="each once"),
        pytest.param(None, (b"x-a",), (b"x-a",), id="the route's own"),
        pytest.param(b"X-A, Accept", (b"x-a", b"x-b"), (b"x-a", b"accept", b"x-b"), id="both"),
    ],
)
def test_selecting_names(vary: bytes | None, extra: tuple[bytes, ...], names: tuple[bytes, ...]) -> None:
    assert selecting_names(vary, extra) == names


@pytest.mark.parametrize(
    ("name", "one", "other", "is_same"),
    [
        pytest.param(b"x", b"1", b"1", True, id="equal"),
        pytest.param(b"x", b"1", b"2", False, id="different"),
        pytest.param(b"x", None, None, True, id="absent twice"),
        pytest.param(b"x", None, b"", False, id="absent and empty"),
        pytest.param(b"x", b"a", b"A", False, id="case counts"),
        pytest.param(b"x", b"a,b", b"a ,\tb", True, id="blanks around commas"),
        pytest.param(b"x", b"a;q=1, b", b"a ; q=1,b", True, id="blanks around semicolons"),
        pytest.param(b"x", b"a, b", b"b, a", False, id="order counts"),
        pytest.param(b"x", b"a b", b"a  b", False, id="blanks inside count"),
        pytest.param(b"x", b'"a, b"', b'"a,b"', False, id="blanks inside quotes count"),
        pytest.param(b"accept-language", b"en, de", b"de, en", True, id="languages of equal weight in any order"),
        pytest.param(b"accept-language", b"EN", b"en", True, id="languages in any case"),
        pytest.param(b"accept-language", b"en;q=0.5, de", b"de, en;q=0.50", True, id="weights as numbers"),
        pytest.param(b"accept-language", b"en;q=1, de", b"en, de;q=1.0", True, id="weight one is the default"),
        pytest.param(b"accept-language", b"en;q=0.5, de", b"de;q=0.5, en", False, id="other weights"),
        pytest.param(b"accept-language", b"en;q=x, de", b"de, en;q=x", False, id="weights that are none"),
        pytest.param(b"accept-language", b"en", b"fr", False, id="another language"),
        pytest.param(b"accept-language", b"d e", b"de", False, id="what is no language"),
        pytest.param(b"accept-language", None, b"en", False, id="no language"),
    ],
)
def test_values_match_when_they_mean_the_same(
    name: bytes, one: bytes | None, other: bytes | None, is_same: bool
) -> None:
    def index(value: bytes | None) -> dict[bytes, bytes]:
        return {} if value is None else {name: value}

    assert (selection((name,), index(one)) == selection((name,), index(other))) is is_same


@given(st.lists(NAMES, unique=True, max_size=3), st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES))
def test_requests_that_agree_in_the_named_fields_match_and_absence_is_a_value(
    names: list[bytes], one: dict[bytes, bytes | None], other: dict[bytes, bytes | None]
) -> None:
    first = {name: value for name, value in one.items() if value is not None}
    second = {name: value for name, value in other.items() if value is not None}
    found = selection(tuple(names), first) == selection(tuple(names), second)
    if all(first.get(name) == second.get(name) for name in names):
        assert found
    if any((name in first) != (name in second) for name in names):
        assert not found


@given(st.lists(st.sampled_from([b"en", b"de", b"fr-CA", b"*"]), min_size=1, max_size=5), st.randoms())
def test_the_order_of_unweighted_languages_never_matters(languages: list[bytes], random: Any) -> None:
    shuffled = list(languages)
    random.shuffle(shuffled)
    names = (b"accept-language",)
    one, other = {names[0]: b", ".join(languages)}, {names[0]: b",".join(shuffled)}
    assert selection(names, one) == selection(names, other)


RANGES = st.lists(
    st.tuples(st.sampled_from([b"en", b"de", b"fr-ca", b"*"]), st.sampled_from([1000, 900, 500, 55, 1, 0])),
    min_size=1,
    max_size=4,
)
BLANKS = st.sampled_from([b"", b" ", b"\t", b"  "])
WEIGHTS = {1000: [b"", b"q=1", b"q=1.0", b"q=1.000"], 900: [b"q=0.9", b"q=0.90"], 500: [b"q=0.5", b"q=0.500"]}


def written(ranges: list[tuple[bytes, int]], data: st.DataObject) -> bytes:
    """A list of language ranges in one of the ways to write it."""
    members = []
    for name, weight in ranges:
        text = data.draw(st.sampled_from(WEIGHTS.get(weight, [b"q=0.%03d" % weight])))
        before, after = data.draw(BLANKS), data.draw(BLANKS)
        upper = name.upper() if data.draw(st.booleans()) else name
        members.append(before + upper + (after + b";" + data.draw(BLANKS) + text if text else b"") + data.draw(BLANKS))
    return b",".join(members)


@given(RANGES, RANGES, st.data())
def test_languages_match_exactly_when_they_mean_the_same(
    one: list[tuple[bytes, int]], other: list[tuple[bytes, int]], data: st.DataObject
) -> None:
    names = (b"accept-language",)
    selections = [selection(names, {names[0]: written(ranges, data)}) for ranges in (one, other)]
    assert (selections[0] == selections[1]) is (sorted(one) == sorted(other))


TOKENS = st.lists(st.lists(st.sampled_from([b"gzip", b"br", b"q=0.5", b"a b"]), min_size=1, max_size=2), max_size=3)


@given(TOKENS, TOKENS, st.data())
def test_blanks_around_separators_never_matter_and_all_else_does(
    one: list[list[bytes]], other: list[list[bytes]], data: st.DataObject
) -> None:
    def spelt(members: list[list[bytes]]) -> bytes:
        parts = [(data.draw(BLANKS) + b";" + data.draw(BLANKS)).join(member) for member in members]
        return (data.draw(BLANKS) + b"," + data.draw(BLANKS)).join(parts)

    names = (b"accept-encoding",)
    selections = [selection(names, {names[0]: spelt(members)}) for members in (one, other)]
    assert (selections[0] == selections[1]) is (one == other)


def test_of_several_that_match_the_newest_date_is_selected(kit: Any) -> None:
    old = kit.entry({"Cache-Control": "max-age=60", "Date": "Tue, 14 Nov 2023 22:13:19 GMT"})
    new = kit.entry({"Cache-Control": "max-age=60", "Date": "Tue, 14 Nov 2023 22:13:20 GMT", "Vary": "X-A"})
    assert select([old, new], {}) is new
    assert select([new, old], {}) is new
    assert select([new, old], {b"x-a": b"1"}) is old
    assert select([new], {b"x-a": b"1"}) is None


def test_a_request_with_authorization_selects_only_what_is_shared(kit: Any) -> None:
    plain = kit.entry({"Cache-Control": "max-age=60"})
    public = kit.entry({"Cache-Control": "max-age=60, public"})
    asked = {b"authorization": b"x"}
    assert select([plain], asked) is None
    assert select([plain, public], asked) is public
