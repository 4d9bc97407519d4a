"""Rules 27, 31 and 36: what is asked of the origin, and what its answers change."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cache.validation import agrees, belongs, conditions_for, merged
from proxy.http.message import Response, field

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("fields", "conditions"),
    [
        pytest.param({"ETag": '"a"'}, {"If-None-Match": '"a"'}, id="strong"),
        pytest.param({"ETag": 'W/"a"'}, {"If-None-Match": 'W/"a"'}, id="weak, as received"),
        pytest.param({"ETag": "a"}, {"If-None-Match": "a"}, id="malformed, as received"),
        pytest.param({"Last-Modified": DATE}, {"If-Modified-Since": DATE}, id="date"),
        pytest.param(
            {"ETag": '"a"', "Last-Modified": DATE}, {"If-None-Match": '"a"', "If-Modified-Since": DATE}, id="both"
        ),
        pytest.param({}, {}, id="none"),
    ],
)
def test_the_stored_validators_are_sent(kit: Any, fields: dict[str, str], conditions: dict[str, str]) -> None:
    entry = kit.entry({"Cache-Control": "max-age=60"} | fields)
    assert conditions_for(entry) == tuple(field(name, value) for name, value in conditions.items())


@pytest.mark.parametrize(
    ("stored", "received", "is_ours"),
    [
        pytest.param('"a"', None, True, id="no tag"),
        pytest.param('"a"', b'"a"', True, id="the same"),
        pytest.param('"a"', b'"b"', False, id="another strong one"),
        pytest.param('"a"', b'W/"b"', True, id="a weak one"),
        pytest.param('W/"a"', b'"a"', False, id="strong for weak"),
    ],
)
def test_whose_304_it_is(kit: Any, stored: str, received: bytes | None, is_ours: bool) -> None:
    assert belongs(kit.entry({"Cache-Control": "max-age=60", "ETag": stored}), received) is is_ours


def merge(stored: dict[str, str], new: dict[str, str], **how: Any) -> dict[str, str]:
    flags = {"keeps_cookies": True} | how
    fields = merged([field(*item) for item in stored.items()], [field(*item) for item in new.items()], **flags)
    return {name.decode(): value.decode() for _, name, value in fields}


@pytest.mark.parametrize(
    "name",
    [
        "Cache-Control",
        "Expires",
        "Content-Type",
        "Content-Location",
        "Content-MD5",
        "Content-Foo",
        "X-Frame-Options",
        "Set-Cookie",
        "Clear-Site-Data",
    ],
)
def test_a_field_of_the_304_replaces_the_stored_one(name: str) -> None:
    assert merge({name: "old", "X-Kept": "1"}, {name: "new"}) == {"X-Kept": "1", name: "new"}


@pytest.mark.parametrize("name", ["Content-Length", "Content-Range", "Content-Encoding", "Transfer-Encoding", "TE"])
def test_what_describes_the_stored_bytes_stays(name: str) -> None:
    assert merge({name: "old"}, {name: "new"}) == {name: "old"}
    assert merge({}, {name: "new"}) == {}


def test_the_old_age_goes() -> None:
    assert merge({"Age": "50"}, {}) == {}


def test_all_lines_of_a_name_are_replaced_by_all_new_ones() -> None:
    fields = merged(
        [field("A", "1"), field("B", "1"), field("a", "2")], [field("A", "3"), field("A", "4")], keeps_cookies=True
    )
    assert fields == [field("B", "1"), field("A", "3"), field("A", "4")]


def test_a_cookie_of_a_304_is_for_one_client() -> None:
    assert merge({"X": "1"}, {"Set-Cookie": "a=b"}, keeps_cookies=False) == {"X": "1"}


@pytest.mark.parametrize(
    ("fields", "length", "is_same"),
    [
        pytest.param({}, None, True, id="says nothing"),
        pytest.param({"ETag": '"a"', "Last-Modified": DATE}, 7, True, id="all equal"),
        pytest.param({"ETag": '"b"'}, None, False, id="another tag"),
        pytest.param({"Last-Modified": DATE.replace("37", "38")}, None, False, id="another date"),
        pytest.param({}, 8, False, id="another length"),
    ],
)
def test_a_head_response_describes_the_stored_one_or_not(
    kit: Any, fields: dict[str, str], length: int | None, is_same: bool
) -> None:
    entry = kit.entry({"Cache-Control": "max-age=60", "ETag": '"a"', "Last-Modified": DATE}, body=b"content")
    head = Response(200, b"OK", kit.fields(fields), None, length)
    assert agrees(entry, head) is is_same
