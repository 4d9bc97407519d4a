"""Rule 17: what one stored response is told apart from another by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.key import cache_key

IGNORED = frozenset({b"utm_source", b"fbclid"})


@pytest.mark.parametrize(
    ("scheme", "authority", "target", "key"),
    [
        pytest.param("http", b"example.com", b"/a?b=1", b"http://example.com/a?b=1", id="all parts"),
        pytest.param("https", b"EXAMPLE.com", b"/A", b"https://example.com/A", id="the host in lower case"),
        pytest.param("http", b"example.com.", b"/", b"http://example.com/", id="no final dot"),
        pytest.param("http", b"example.com.:81", b"/", b"http://example.com:81/", id="final dot before a port"),
        pytest.param("http", b"example.com:80", b"/", b"http://example.com/", id="the scheme's own port"),
        pytest.param("https", b"example.com:443", b"/", b"https://example.com/", id="the other scheme's own port"),
        pytest.param("https", b"example.com:80", b"/", b"https://example.com:80/", id="a port of the other scheme"),
        pytest.param("http", b"example.com:8080", b"/", b"http://example.com:8080/", id="another port"),
        pytest.param("http", b"[::1]", b"/", b"http://[::1]/", id="IPv6"),
        pytest.param("http", b"[::1]:8080", b"/", b"http://[::1]:8080/", id="IPv6 with a port"),
        pytest.param("http", b"", b"/a", b"http:///a", id="no host"),
        pytest.param("http", b"a/b", b"/c", b"http://a%2Fb/c", id="an authority never reaches into the path"),
    ],
)
def test_the_key_is_the_whole_uri(scheme: str, authority: bytes, target: bytes, key: bytes) -> None:
    assert cache_key(scheme, authority, target) == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(b"/a?x=1&y=2", b"/a?y=2&x=1", id="order of the query"),
        pytest.param(b"/a?", b"/a", id="empty query"),
        pytest.param(b"/a?x=%41", b"/a?x=A", id="escapes"),
        pytest.param(b"/a/", b"/a", id="final slash"),
        pytest.param(b"/a?x=1", b"/a?x=1&", id="empty parameter"),
    ],
)
def test_targets_are_compared_byte_for_byte(one: bytes, other: bytes) -> None:
    assert cache_key("http", b"h", one) != cache_key("http", b"h", other)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param(b"/a", b"/a", id="no query"),
        pytest.param(b"/a?utm_source=x", b"/a", id="nothing left"),
        pytest.param(b"/a?utm_source=x&b=1&fbclid", b"/a?b=1", id="with and without a value"),
        pytest.param(b"/a?b=1&c=2", b"/a?b=1&c=2", id="none of them"),
        pytest.param(b"/a?utm_source2=x", b"/a?utm_source2=x", id="a longer name"),
        pytest.param(b"/a?UTM_SOURCE=x", b"/a?UTM_SOURCE=x", id="another case"),
        pytest.param(b"/utm_source=x", b"/utm_source=x", id="in the path"),
    ],
)
def test_ignored_parameters_do_not_count(target: bytes, path: bytes) -> None:
    assert cache_key("http", b"h", target, IGNORED) == b"http://h" + path


@given(st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20))
def test_no_two_targets_of_two_authorities_share_a_key(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    one, other = cache_key("http", a, b"/" + b), cache_key("http", c, b"/" + d)
    if one == other:
        assert b == d
