"""What a route may add to a key or leave out of it, so that nobody can choose what others get."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.invalidation import Invalidations, ended_keys
from proxy.cache.key import Keying, cache_key, uri_of, with_parts
from proxy.clients.client import Client

NAMES = st.sampled_from(
    ["a", "b", "A", "%61", "a%5B%5D", "a[]", "a[0]", "+a", "a%00x", "a.b", "a_b", "a b", "", "x", "%zz"]
)
PARAMETERS = st.builds(
    lambda name, value: f"{name}{value}", NAMES, st.sampled_from(["", "=", "=1", "=2", "=1;a=3", "=%26a=4"])
)
QUERIES = st.lists(PARAMETERS, max_size=5).map("&".join).map(str.encode)


def client(user: str | None = None, tenant: str | None = None) -> Client:
    return Client("192.0.2.1", b"192.0.2.1", b"192.0.2.1", user, tenant)


def keying(**how: Any) -> Keying:
    kept = how.pop("kept", None)
    return Keying(kept=None if kept is None else frozenset(kept), **how)


@pytest.mark.parametrize(
    ("rules", "target", "path"),
    [
        pytest.param({"kept": [b"q"]}, b"/a?q=1&x=2", b"/a?q=1", id="keep one"),
        pytest.param({"kept": [b"q"]}, b"/a?x=2", b"/a", id="none left"),
        pytest.param({"kept": []}, b"/a?q=1&x=2", b"/a", id="keep none"),
        pytest.param({"kept": [b"q"]}, b"/a", b"/a", id="no query"),
        pytest.param({"kept": [b"q"]}, b"/a?%71=1&Q=2&x", b"/a?%71=1&Q=2", id="other ways to write it"),
        pytest.param({"kept": [b"q"]}, b"/a?q[]=3&q%5B0%5D=4&+q=5", b"/a?q[]=3&q%5B0%5D=4&+q=5", id="arrays"),
        pytest.param({"kept": [b"q"]}, b"/a?q%00x=1", b"/a?q%00x=1", id="a name that some readers cut"),
        pytest.param({"kept": [b"q"]}, b"/a?x=1;q=2", b"/a?x=1;q=2", id="two parameters to some readers"),
        pytest.param({"kept": [b"p_q"]}, b"/a?p.q=1&p+q=2", b"/a?p.q=1&p+q=2", id="a name that some readers change"),
        pytest.param({"ignored": frozenset({b"u"})}, b"/a?u=1;q=2&u=3", b"/a?u=1;q=2", id="ignored, two in one"),
        pytest.param({"sorts": True}, b"/a?b=1&a=2", b"/a?a=2&b=1", id="sorted"),
        pytest.param({"sorts": True}, b"/a?a=2&a=1&A=0", b"/a?a=2&a=1&A=0", id="values of one name keep their order"),
        pytest.param({"sorts": True}, b"/a?b=1&%61=2&a=1", b"/a?%61=2&a=1&b=1", id="whatever it is written like"),
        pytest.param({"sorts": True}, b"/a?b=1;a=3&a=2", b"/a?b=1;a=3&a=2", id="unsorted where readers differ"),
        pytest.param({"kept": [b"a", b"b"], "sorts": True}, b"/a?x&b=1&a=2", b"/a?a=2&b=1", id="both"),
    ],
)  # fmt: skip
def test_targets_that_mean_the_same(rules: dict[str, Any], target: bytes, path: bytes) -> None:
    assert keying(**rules).target(target) == path


@given(QUERIES, QUERIES)
def test_targets_with_one_key_are_read_alike_by_every_reader(one: bytes, other: bytes) -> None:
    for rules in ({"kept": [b"a"]}, {"sorts": True}, {"kept": [b"a", b"b"], "sorts": True}):
        rule = keying(**rules)
        if rule.target(b"/?" + one) != rule.target(b"/?" + other):
            continue
        for splits in (False, True):
            for lowers in (False, True):
                assert _values_of_a(one, splits, lowers) == _values_of_a(other, splits, lowers)


@given(QUERIES)
def test_writing_a_target_like_its_key_changes_nothing(query: bytes) -> None:
    for rules in ({"kept": [b"a"]}, {"sorts": True}, {"ignored": frozenset({b"a"})}):
        once = keying(**rules).target(b"/?" + query)
        assert keying(**rules).target(once) == once


@pytest.mark.parametrize(
    ("by", "known", "is_known"),
    [
        pytest.param("user", {}, False, id="nobody"),
        pytest.param("user", {"tenant": "t"}, False, id="a tenant without a user"),
        pytest.param("user", {"user": "u"}, True, id="a user"),
        pytest.param("tenant", {"user": "u"}, False, id="a user without a tenant"),
        pytest.param("tenant", {"tenant": "t"}, True, id="a tenant"),
    ],
)
def test_without_an_owner_there_is_no_key(by: Any, known: dict[str, str], is_known: bool) -> None:
    assert (keying(by=by).parts({}, client(**known)) is not None) is is_known


TEXT = st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["", "1", "a", "1:a", " 1:a", " -", "-"]))


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_no_two_users_share_a_key(one: tuple[str | None, str | None], other: tuple[str | None, str | None]) -> None:
    rule = keying(by="user")
    keys = [rule.parts({}, client(*who)) for who in (one, other)]
    if keys[0] == keys[1] and keys[0] is not None:
        assert one == other


VALUE = st.one_of(st.none(), st.binary(max_size=6), st.sampled_from([b"", b" -", b"1:a", b" 1:a"]))


@given(st.tuples(VALUE, VALUE), st.tuples(VALUE, VALUE))
def test_no_two_lists_of_fields_are_written_alike(
    one: tuple[bytes | None, ...], other: tuple[bytes | None, ...]
) -> None:
    rule = keying(fields=(b"x-a", b"x-b"))

    def parts(values: tuple[bytes | None, ...]) -> bytes | None:
        index = {name: value for name, value in zip(rule.fields, values, strict=True) if value is not None}
        return rule.parts(index, None)

    assert (parts(one) == parts(other)) is (one == other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(b"sid=1", b"sid=1; theme=dark", True, id="other cookies do not count"),
        pytest.param(b"sid=1", b"a=b;sid=1", True, id="wherever it stands"),
        pytest.param(b"sid=1", b"sid=2", False, id="another value"),
        pytest.param(b"theme=dark", b"", True, id="not there"),
        pytest.param(b"sid=", b"", False, id="empty is there"),
        pytest.param(b"sid=1; sid=2", b"sid=2; sid=1", False, id="twice: readers differ in which counts"),
        pytest.param(b"si%64=1", b"", False, id="a name that some readers unescape"),
        pytest.param(b"sid=1", b"si%64=1", False, id="and others do not"),
        pytest.param(b"a=1, sid=2", b"a=1, sid=3", False, id="a second line of the field"),
        pytest.param(b'a="x; sid=2"', b'a="x; sid=3"', False, id="a quote that some readers heed"),
        pytest.param(b"sid=1,2", b"sid=1,3", False, id="a comma in a value"),
    ],
)
def test_a_cookie_in_the_key(one: bytes, other: bytes, same: bool) -> None:
    rule = keying(cookies=(b"sid",))
    keys = [rule.parts({b"cookie": cookie} if cookie else {}, None) for cookie in (one, other)]
    assert (keys[0] == keys[1]) is same


def test_the_uri_of_a_key_is_what_people_asked_for() -> None:
    uri = cache_key("http", b"a b", b"/x?y")  # a blank may come from a trusted proxy
    parts = keying(by="user").parts({}, client("a b / c"))
    assert parts is not None
    assert uri_of(with_parts(uri, 3, parts)) == uri
    assert uri_of(uri) == uri


def test_a_write_ends_the_variants_of_everybody_and_no_others() -> None:
    invalidations = Invalidations()
    uri, other = b"http://h/a", b"http://h/b"
    before = invalidations.generation(uri), invalidations.generation(other)
    invalidations.add(uri)
    assert invalidations.generation(uri) == before[0] + 1
    if hash(uri) % 4096 != hash(other) % 4096:
        assert invalidations.generation(other) == before[1]


def test_a_write_ends_what_the_route_stores_under_a_shorter_key() -> None:
    keys = ended_keys("http", b"h", b"/a?q=1&x=2", {b"location": b"/b?x=1"}, keying(kept=[b"q"]))
    assert keys == [b"http://h/a?q=1&x=2", b"http://h/b?x=1", b"http://h/a?q=1", b"http://h/b"]


def _values_of_a(query: bytes, splits: bool, lowers: bool) -> list[str]:
    """What a backend takes for the values of `a`, in their order. `splits`: at semicolons too."""
    text = query.decode()
    pairs = parse_qsl(text.replace(";", "&") if splits else text, keep_blank_values=True)
    plain = [(name.lower() if lowers else name, value) for name, value in pairs]
    return [value for name, value in plain if name in ("a", "a[]", "a[0]")]
