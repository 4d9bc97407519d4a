"""Rule 34: what a successful write ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.invalidation import Invalidations, ended_keys, ends_entries


@pytest.mark.parametrize(
    ("method", "status", "ends"),
    [
        *[pytest.param(method, 200, True, id=method) for method in ("POST", "PUT", "DELETE", "PATCH", "M-SEARCH")],
        *[pytest.param(method, 200, False, id=method) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "QUERY")],
        *[pytest.param("POST", status, True, id=f"POST {status}") for status in (201, 204, 299, 303, 399)],
        *[pytest.param("POST", status, False, id=f"POST {status}") for status in (400, 404, 500, 503)],
        pytest.param("get", 200, True, id="methods are case-sensitive"),
    ],
)
def test_which_answers_end_entries(method: str, status: int, ends: bool) -> None:
    assert ends_entries(method.encode(), status) is ends


@pytest.mark.parametrize(
    ("fields", "others"),
    [
        pytest.param({}, [], id="the target alone"),
        pytest.param({b"location": b"/b?c=d"}, [b"/b?c=d"], id="Location"),
        pytest.param({b"content-location": b"/b"}, [b"/b"], id="Content-Location"),
        pytest.param({b"location": b"/b", b"content-location": b"/c"}, [b"/b", b"/c"], id="both"),
        pytest.param({b"location": b"c"}, [b"/x/c"], id="relative"),
        pytest.param({b"location": b"../c"}, [b"/c"], id="with dots"),
        pytest.param({b"location": b"http://EXAMPLE.com:80/b"}, [b"/b"], id="the same origin written otherwise"),
        pytest.param({b"location": b"//example.com/b"}, [b"/b"], id="without a scheme"),
        pytest.param({b"location": b"http://example.com"}, [b"/"], id="without a path"),
        pytest.param({b"location": b"/b#part"}, [b"/b"], id="fragment"),
        pytest.param({b"location": b"http://other.example/b"}, [], id="another host"),
        pytest.param({b"location": b"https://example.com/b"}, [], id="another scheme"),
        pytest.param({b"location": b"http://example.com:81/b"}, [], id="another port"),
        pytest.param({b"location": b"http://[bad/b"}, [], id="malformed"),
        pytest.param({b"location": b"/x/a"}, [], id="the target again"),
        pytest.param({b"location": b"?q"}, [b"/x/a?q"], id="only a query"),
    ],
)
def test_which_keys_end(fields: dict[bytes, bytes], others: list[bytes]) -> None:
    keys = ended_keys("http", b"example.com", b"/x/a", fields)
    assert keys == [b"http://example.com/x/a", *[b"http://example.com" + path for path in others]]


@given(st.binary(max_size=60))
def test_any_location_is_resolved_or_ignored(location: bytes) -> None:
    keys = ended_keys("http", b"example.com", b"/a", {b"location": location})
    assert all(key.startswith(b"http://example.com/") for key in keys)


def test_what_began_before_an_invalidation_is_not_spared() -> None:
    known = Invalidations()
    before = known.now
    assert known.spares(b"a", before)
    known.add(b"a")
    assert not known.spares(b"a", before)
    assert known.spares(b"b", before)
    assert known.spares(b"a", known.now)


def test_forgetting_is_on_the_safe_side() -> None:
    known = Invalidations()
    before = known.now
    for number in range(5000):
        known.add(b"%d" % number)
    assert not known.spares(b"never invalidated", before)
    assert known.spares(b"never invalidated", known.now - 1)
    assert not known.spares(b"4999", known.now - 1)
