"""RFC 9213: what the origin says to this kind of cache alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.policy import CachePolicy
from proxy.cache.targeted import directives_for

OWN, GENERAL = b"weir-cache-control", b"cdn-cache-control"
TARGETS = (OWN, GENERAL)


@pytest.mark.parametrize(
    ("index", "directives", "is_targeted"),
    [
        pytest.param({}, {}, False, id="nothing"),
        pytest.param({b"cache-control": b"max-age=5"}, {b"max-age": b"5"}, False, id="Cache-Control alone"),
        pytest.param({b"cache-control": b"no-store", GENERAL: b"max-age=5"}, {b"max-age": b"5"}, True, id="it decides"),
        pytest.param({GENERAL: b"max-age=5", OWN: b"max-age=9"}, {b"max-age": b"9"}, True, id="the first on the list"),
        pytest.param({GENERAL: b"max-age=5", OWN: b"A=9"}, {b"max-age": b"5"}, True, id="one that does not parse"),
        pytest.param({GENERAL: b"max-age=5", OWN: b""}, {b"max-age": b"5"}, True, id="an empty one"),
        pytest.param(
            {b"cache-control": b"private", GENERAL: b"a b"}, {b"private": None}, False, id="back to the usual"
        ),
        pytest.param({GENERAL: b"other"}, {b"other": None}, True, id="unknown members keep it in force"),
        pytest.param({GENERAL: b'max-age="5"'}, {}, True, id="a string is no number"),
        pytest.param({GENERAL: b"max-age=5.0"}, {}, True, id="a decimal is no number"),
        pytest.param({GENERAL: b"max-age"}, {}, True, id="true is no number"),
        pytest.param({GENERAL: b"max-age=@5"}, {}, True, id="a date is no number"),
        pytest.param({GENERAL: b"max-age=-5"}, {b"max-age": b"-5"}, True, id="a negative number is no lifetime"),
        pytest.param({GENERAL: b"max-age=999999999999999"}, {b"max-age": b"2147483648"}, True, id="a large one"),
        pytest.param({GENERAL: b"no-store=?0"}, {}, True, id="false is not there"),
        pytest.param({GENERAL: b"no-store=1"}, {b"no-store": b""}, True, id="it is there, with whatever value"),
        pytest.param({GENERAL: b'no-cache="a"'}, {b"no-cache": b"a"}, True, id="names of fields"),
        pytest.param({GENERAL: b"max-age=5;x=1"}, {b"max-age": b"5"}, True, id="parameters"),
    ],
)
def test_which_field_decides(index: dict[bytes, bytes], directives: dict[bytes, Any], is_targeted: bool) -> None:
    assert directives_for(index, TARGETS) == (directives, is_targeted)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_bytes_are_an_exception(own: bytes, usual: bytes) -> None:
    directives, _ = directives_for({OWN: own, b"cache-control": usual}, TARGETS)
    assert all(name == name.lower() for name in directives)


def test_expires_says_nothing_beside_it(kit: Any) -> None:
    entry = kit.entry({"CDN-Cache-Control": "public", "Expires": "0", "ETag": '"a"'})
    assert entry.fresh_s == 0.0
    entry = kit.entry({"CDN-Cache-Control": "max-age=60", "Expires": "0", "Cache-Control": "no-store"})
    assert entry.fresh_s == 60.0


def test_a_route_may_look_at_none(kit: Any) -> None:
    fields = {"CDN-Cache-Control": "max-age=60", "Cache-Control": "max-age=5"}
    assert kit.entry(fields, policy=CachePolicy(targets=())).fresh_s == 5.0


async def test_clients_need_not_see_it(new_line: Any, kit: Any) -> None:
    line = new_line({"strip_targeted": True})
    line.origin.answers(kit.reply(fields={"CDN-Cache-Control": "max-age=60", "Cache-Control": "no-store"}))
    replies = [await line.ask() for _ in range(2)]
    assert [("cdn-cache-control" in reply.index, reply.index["cache-control"]) for reply in replies] == [
        (False, "no-store")
    ] * 2
    assert replies[1].cache.startswith("hit")
    line.origin.answers(kit.reply(fields={"CDN-Cache-Control": "no-store"}))
    assert "cdn-cache-control" not in (await line.ask("/b")).index
    line.origin.answers(kit.reply(fields={"CDN-Cache-Control": "no-store"}))
    assert "cdn-cache-control" not in (await line.ask("/a", method="POST")).index


async def test_what_clients_do_not_see_is_still_there_for_a_validation(new_line: Any, kit: Any) -> None:
    line = new_line({"strip_targeted": True})
    line.origin.answers(
        kit.reply(fields={"CDN-Cache-Control": "max-age=60", "ETag": '"a"'}), kit.reply(304, {"ETag": '"a"'})
    )
    await line.ask()
    line.passes(61)
    reply = await line.ask()
    assert (reply.status, "cdn-cache-control" in reply.index) == (200, False)
    assert (await line.ask()).cache.startswith("hit; ttl=60")
