"""What clients are told instead of what the origin said."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cache.downstream import DownstreamControl


@pytest.mark.parametrize(
    ("text", "age", "value"),
    [
        pytest.param("public, max-age=10", 0, b"public, max-age=10", id="as it stands"),
        pytest.param("public, max-age=10", 42, b"public, max-age=52", id="the age is added"),
        pytest.param("s-maxage=5, max-age=10", 1, b"s-maxage=6, max-age=11", id="to both"),
        pytest.param("no-cache", 42, b"no-cache", id="no number"),
        pytest.param("max-age=0, stale-if-error=9", 3, b"max-age=3, stale-if-error=9", id="to nothing else"),
    ],
)
def test_its_lifetime_begins_when_it_is_sent(text: str, age: int, value: bytes) -> None:
    assert DownstreamControl(text).value(age) == value


async def test_clients_get_it_with_what_is_stored_and_the_origins_word_counts_here(new_line: Any, kit: Any) -> None:
    line = new_line({"downstream": "public, max-age=10"})
    said = {"Cache-Control": "max-age=60", "Expires": "0", "Age": "20", "ETag": '"a"'}
    line.origin.answers(kit.reply(fields=said))
    first = await line.ask()
    assert (first.index["cache-control"], first.index["age"]) == ("public, max-age=30", "20")
    line.passes(5)
    for fields in ({}, {"If-None-Match": '"a"'}, {"Range": "bytes=0-1"}):
        hit = await line.ask(fields=fields)
        assert hit.cache.startswith("hit; ttl=35")
        age = int(hit.index["age"])
        assert hit.index["cache-control"] == f"public, max-age={age + 10}"
        assert "expires" not in hit.index
    line.passes(40)
    line.origin.answers(kit.reply(304, {"ETag": '"a"'}))
    validated = await line.ask()
    assert (validated.status, validated.index["cache-control"]) == (200, "public, max-age=10")
    assert (await line.ask()).cache.startswith("hit; ttl=60")  # the origin's max-age was not lost


async def test_what_is_not_stored_keeps_the_origins_word(new_line: Any, kit: Any) -> None:
    line = new_line({"downstream": "public, max-age=10"})
    line.origin.answers(kit.reply(fields={"Cache-Control": "private, max-age=60"}))
    assert (await line.ask()).index["cache-control"] == "private, max-age=60"
    line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60"}))
    assert (await line.ask("/b", method="POST")).index["cache-control"] == "max-age=60"


@pytest.mark.parametrize("passes", [False, True], ids=["by default", "pass_tags"])
async def test_tags_are_for_caches_of_the_origins_own_side(new_line: Any, kit: Any, passes: bool) -> None:
    line = new_line({"ttl": 60.0, "pass_tags": passes})
    tags = {"Surrogate-Key": "a b", "Cache-Tag": "c", "Cache-Groups": '"d"', "ETag": '"e"'}
    line.origin.answers(kit.reply(fields=tags))
    for fields in ({}, {}, {"Range": "bytes=0-1"}):
        reply = await line.ask(fields=fields)
        assert ("surrogate-key" in reply.index, "cache-tag" in reply.index) == (passes, passes)
        assert reply.index["cache-groups"] == '"d"'
    line.origin.answers(kit.reply(fields={**tags, "Cache-Control": "no-store"}))
    assert ("cache-tag" in (await line.ask("/b")).index) is passes
    line.passes(61)
    line.origin.answers(kit.reply(304, {"ETag": '"e"', "Cache-Tag": "f"}))
    assert ("cache-tag" in (await line.ask()).index) is passes
    assert [value for name, _, value in line.entries()[0].fields if name == b"cache-tag"] == [b"f"]
