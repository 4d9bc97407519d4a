"""Rule 33: single ranges of complete responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.ranges import content_range, parse_range


@pytest.mark.parametrize(
    ("value", "length", "found"),
    [
        pytest.param(b"bytes=0-1", 11, (0, 2), id="first and last"),
        pytest.param(b"bytes=1-", 11, (1, 11), id="to the end"),
        pytest.param(b"bytes=-1", 11, (10, 11), id="suffix"),
        pytest.param(b"bytes=-100", 11, (0, 11), id="suffix longer than all"),
        pytest.param(b"bytes=5-100", 11, (5, 11), id="clipped"),
        pytest.param(b"bytes=10-10", 11, (10, 11), id="the last byte"),
        pytest.param(b"bytes=0-99999999999999999999999", 11, (0, 11), id="a huge end"),
        pytest.param(b"BYTES=0-1", 11, (0, 2), id="unit in capitals"),
        pytest.param(b"bytes= 0-1 ", 11, (0, 2), id="blanks around"),
        pytest.param(b"bytes=011-", 11, b"bytes */11", id="just past the end"),
        pytest.param(b"bytes=99999999999999999999999-", 11, b"bytes */11", id="far past the end"),
        pytest.param(b"bytes=-0", 11, b"bytes */11", id="no bytes"),
        pytest.param(b"bytes=0-", 0, b"bytes */0", id="of nothing"),
        pytest.param(b"bytes=-5", 0, b"bytes */0", id="suffix of nothing"),
        pytest.param(b"bytes=0-1,3-4", 11, None, id="several"),
        pytest.param(b"bytes=0-1,", 11, None, id="a comma"),
        pytest.param(b"items=0-1", 11, None, id="another unit"),
        pytest.param(b"bytes", 11, None, id="no equals sign"),
        pytest.param(b"bytes=", 11, None, id="empty"),
        pytest.param(b"bytes=-", 11, None, id="only a dash"),
        pytest.param(b"bytes=5", 11, None, id="no dash"),
        pytest.param(b"bytes=5-2", 11, None, id="backwards"),
        pytest.param(b"bytes=a-b", 11, None, id="letters"),
        pytest.param(b"bytes=+1-2", 11, None, id="signed"),
        pytest.param(b"bytes=1-2-3", 11, None, id="two dashes"),
        pytest.param(b"bytes=--1", 11, None, id="negative suffix"),
        pytest.param(b"bytes=0x1-2", 11, None, id="hexadecimal"),
    ],
)
def test_ranges_are_read(value: bytes, length: int, found: tuple[int, int] | bytes | None) -> None:
    assert parse_range(value, length) == found


@given(st.binary(max_size=30), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_the_slice_that_it_names(body: bytes, first: int, last: int) -> None:
    found = parse_range(b"bytes=%d-%d" % (first, last), len(body))
    if last < first:
        assert found is None
    elif first >= len(body):
        assert found == b"bytes */%d" % len(body)
    else:
        assert isinstance(found, tuple)
        assert body[found[0] : found[1]] == body[first : last + 1]
        assert content_range(*found, len(body)) == b"bytes %d-%d/%d" % (first, min(last, len(body) - 1), len(body))


@given(st.binary(max_size=40), st.integers(0, 100))
def test_any_bytes_are_a_range_of_existing_bytes_or_none(value: bytes, length: int) -> None:
    found = parse_range(b"bytes=" + value, length)
    if isinstance(found, tuple):
        assert 0 <= found[0] < found[1] <= length
