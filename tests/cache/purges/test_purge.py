"""What a purge ends, what a soft one leaves, and what happens to responses that are on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.cache.purges.purge import Purge, expire
from proxy.cache.tags import UNKNOWN, Tags
from proxy.core.errors import ErrorKind, ProxyError

ORIGIN = b"http://example.com"
TAGGED = {"Cache-Control": "max-age=60", "Surrogate-Key": "news front", "ETag": '"1"'}


@pytest.mark.parametrize(
    ("purge", "key", "tags", "is_covered"),
    [
        pytest.param(Purge("all"), b"http://a/", (), True, id="all"),
        pytest.param(Purge("url", b"http://a/x"), b"http://a/x", (), True, id="the url"),
        pytest.param(Purge("url", b"http://a/x"), b"http://a/x?y", (), False, id="another query"),
        pytest.param(Purge("url", b"http://a/x"), b"http://a/xy", (), False, id="a longer url"),
        pytest.param(Purge("url", b"http://a/x"), b"http://a/x 3 4:anna", (), True, id="a variant of one user"),
        pytest.param(Purge("prefix", b"http://a/x"), b"http://a/xy?z", (), True, id="the prefix"),
        pytest.param(Purge("prefix", b"http://a/x"), b"http://b/x", (), False, id="another prefix"),
        pytest.param(Purge("tag", b"t"), b"http://a/", (b"s", b"t"), True, id="the tag"),
        pytest.param(Purge("tag", b"t"), b"http://a/", (b"T", b"tt"), False, id="another tag"),
        pytest.param(Purge("tag", b"t"), b"http://a/", (UNKNOWN,), True, id="a tag that was not kept"),
        pytest.param(Purge("tag", b"t", origin=b"http://a"), b"http://a/x", (b"t",), True, id="of the origin"),
        pytest.param(Purge("tag", b"t", origin=b"http://a"), b"http://ab/x", (b"t",), False, id="of another origin"),
    ],
)
def test_what_a_purge_is_about(purge: Purge, key: bytes, tags: Tags, is_covered: bool) -> None:
    assert purge.covers(key, tags) is is_covered


def test_expiring_takes_freshness_and_nothing_else(kit: Any) -> None:
    entry = kit.entry({"Cache-Control": "max-age=60, stale-while-revalidate=30"}, now=1000.0)
    assert entry.hit_text(5) == b"hit; ttl=55"
    expire(entry, 1005.5)
    assert (entry.fresh_s, entry.revalidate_s) == (5.5, 30.0)
    assert entry.hit_text(5) == b"hit; ttl=0"
    expire(entry, 1010.0)
    assert entry.fresh_s == 5.5, "it was stale already"


async def until_asked(line: Any) -> None:
    """The origin has the request: a few turns of the loop after the client sent it."""
    for _ in range(20):
        await asyncio.sleep(0)
        if line.origin.asked:
            return
    raise AssertionError("the origin was not asked")


async def fill(line: Any, kit: Any, *targets: str, fields: dict[str, str] | None = None) -> None:
    for target in targets:
        line.origin.answers(kit.reply(fields=fields or TAGGED, content=target.encode()))
        await line.ask(target)


@pytest.mark.parametrize(
    ("purge", "left"),
    [
        pytest.param(Purge("url", ORIGIN + b"/a"), {"/a/b", "/c", "/a?x"}, id="url"),
        pytest.param(Purge("prefix", ORIGIN + b"/a"), {"/c"}, id="prefix"),
        pytest.param(Purge("tag", b"front"), {"/c"}, id="tag"),
        pytest.param(Purge("tag", b"fro"), {"/a", "/a?x", "/a/b", "/c"}, id="no such tag"),
        pytest.param(Purge("all"), set(), id="all"),
    ],
)
async def test_a_hard_purge_forgets(line: Any, kit: Any, purge: Purge, left: set[str]) -> None:
    targets = ["/a", "/a?x", "/a/b"]
    await fill(line, kit, *targets)
    await fill(line, kit, "/c", fields={"Cache-Control": "max-age=60"})
    assert await line.cache.purge(purge) == 4 - len(left)
    assert {key.removeprefix(ORIGIN).decode() for key in line.cache.store.shelves} == left
    assert (line.cache.stats.purges, line.cache.stats.purged) == (1, 4 - len(left))


async def test_all_variants_of_a_url_go(line: Any, kit: Any) -> None:
    for language in ("en", "de"):
        line.origin.answers(kit.reply(fields=TAGGED | {"Vary": "Accept-Language"}))
        await line.ask("/a", {"Accept-Language": language})
    assert line.cache.apply_purge(Purge("url", ORIGIN + b"/a")) == 2
    assert line.cache.entries == 0


async def test_variants_by_user_go_with_their_url(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line({"key": {"fields": ["X-Shop"]}})
    for shop in ("1", "2"):
        line.origin.answers(kit.reply(fields=TAGGED))
        await line.ask("/a", {"X-Shop": shop})
    assert line.cache.entries == 2
    assert line.cache.apply_purge(Purge("url", ORIGIN + b"/a", is_soft=True)) == 2
    assert all(entry.fresh_s < 1 for shelf in line.cache.store.shelves.values() for entry in shelf)
    assert line.cache.apply_purge(Purge("url", ORIGIN + b"/a")) == 2
    assert (line.cache.entries, line.cache.bytes) == (0, 0)


async def test_a_soft_purge_leaves_it_to_be_given_while_it_is_fetched_anew(line: Any, kit: Any) -> None:
    await fill(line, kit, "/a", fields=TAGGED | {"Cache-Control": "max-age=60, stale-while-revalidate=30"})
    assert await line.cache.purge(Purge("tag", b"news", is_soft=True)) == 1
    line.origin.answers(kit.reply(fields=TAGGED, content=b"new"))
    got = await line.ask("/a")
    assert got.content == b"/a"
    assert "ttl=60" not in got.cache
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await line.ask("/a")).content == b"new"
    assert len(line.origin.asked) == 2


async def test_a_soft_purge_leaves_it_for_when_the_origin_fails(line: Any, kit: Any) -> None:
    await fill(line, kit, "/a", fields=TAGGED | {"Cache-Control": "max-age=60, stale-if-error=30"})
    await line.cache.purge(Purge("all", is_soft=True))
    line.origin.answers(kit.reply(503), ProxyError(ErrorKind.CONNECT_REFUSED))
    assert (await line.ask("/a")).content == b"/a"
    assert (await line.ask("/a")).content == b"/a"
    assert len(line.origin.asked) == 3


async def test_after_a_soft_purge_the_origin_may_say_that_it_still_holds(line: Any, kit: Any) -> None:
    await fill(line, kit, "/a")
    await line.cache.purge(Purge("prefix", ORIGIN, is_soft=True))
    line.origin.answers(kit.reply(304, {"ETag": '"1"', "Cache-Control": "max-age=60"}))
    assert (await line.ask("/a")).content == b"/a"
    assert line.origin.conditions() == {"If-None-Match": '"1"'}
    assert (await line.ask("/a")).cache.startswith("hit")
    assert await line.cache.purge(Purge("tag", b"front")) == 1, "its tags are still known"


@pytest.mark.parametrize("is_soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(
    "purge",
    [Purge("url", ORIGIN + b"/a"), Purge("prefix", ORIGIN), Purge("tag", b"front"), Purge("all")],
    ids=lambda purge: purge.kind,
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["before the head", "before the content"])
async def test_what_was_asked_before_a_purge_is_not_fresh_after_it(
    line: Any, kit: Any, purge: Purge, is_soft: bool, is_streamed: bool
) -> None:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    body = kit.body(3)
    line.origin.answers(lambda exchange: answer)
    first = asyncio.ensure_future(line.ask("/a"))
    await until_asked(line)
    if is_streamed:
        answer.set_result(kit.reply(fields=TAGGED, content=body))
        await body.started.wait()
    await line.cache.purge(Purge(purge.kind, purge.value, is_soft))
    line.origin.answers(kit.reply(fields=TAGGED, content=b"new"))
    assert (await line.ask("/a")).content == b"new", "who comes after the purge does not wait for what was asked before"
    if is_streamed:
        body.feed(b"old")
        body.finish()
    else:
        answer.set_result(kit.reply(fields=TAGGED, content=b"old"))
    assert (await first).content == b"old", "who asked before it gets what comes"
    assert (await line.ask("/a")).content == b"new"
    assert len(line.origin.asked) == 2


async def test_what_comes_after_a_soft_purge_is_kept_stale(line: Any, kit: Any) -> None:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: answer)
    first = asyncio.ensure_future(line.ask("/a"))
    await until_asked(line)
    await line.cache.purge(Purge("tag", b"front", is_soft=True))
    answer.set_result(kit.reply(fields=TAGGED, content=b"old"))
    await first
    line.origin.answers(ProxyError(ErrorKind.CONNECT_REFUSED))
    got = await line.ask("/a")
    assert got.content == b"old"
    assert len(line.origin.asked) == 2


async def test_a_purge_of_something_else_does_not_keep_a_response_out(line: Any, kit: Any) -> None:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: answer)
    first = asyncio.ensure_future(line.ask("/a"))
    await until_asked(line)
    for purge in (Purge("tag", b"other"), Purge("url", ORIGIN + b"/b"), Purge("prefix", ORIGIN + b"/b")):
        await line.cache.purge(purge)
    answer.set_result(kit.reply(fields=TAGGED))
    await first
    assert (await line.ask("/a")).cache.startswith("hit")


@pytest.mark.parametrize(
    ("purge", "joins"),
    [
        pytest.param(Purge("prefix", ORIGIN + b"/b"), True, id="another prefix"),
        pytest.param(Purge("prefix", ORIGIN + b"/a"), False, id="its prefix"),
        pytest.param(Purge("url", ORIGIN + b"/b", is_soft=True), True, id="another url"),
        pytest.param(Purge("tag", b"t", origin=b"http://other"), True, id="a group of another origin"),
        pytest.param(Purge("tag", b"t"), False, id="a tag that it may have"),
        pytest.param(Purge("all", is_soft=True), False, id="all"),
    ],
)
async def test_who_comes_after_a_purge_joins_only_a_fetch_that_it_cannot_be_about(
    line: Any, kit: Any, purge: Purge, joins: bool
) -> None:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: answer, kit.reply(fields=TAGGED, content=b"new"))
    first = asyncio.ensure_future(line.ask("/a"))
    await until_asked(line)
    await line.cache.purge(purge)
    second = asyncio.ensure_future(line.ask("/a"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(line.cache.flights) == (1 if joins else 0)
    answer.set_result(kit.reply(fields=TAGGED, content=b"old"))
    assert [(await first).content, (await second).content] == [b"old", b"old" if joins else b"new"]
    assert len(line.origin.asked) == (1 if joins else 2)


async def test_a_soft_purge_of_a_url_is_about_the_fetches_of_its_variants_too(
    new_line: Callable[..., Any], kit: Any
) -> None:
    line = new_line({"key": {"fields": ["X-Shop"]}})
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: answer, kit.reply(fields=TAGGED, content=b"new"))
    first = asyncio.ensure_future(line.ask("/a", {"X-Shop": "1"}))
    await until_asked(line)
    await line.cache.purge(Purge("url", ORIGIN + b"/a", is_soft=True))
    assert (await line.ask("/a", {"X-Shop": "1"})).content == b"new"
    answer.set_result(kit.reply(fields=TAGGED, content=b"old"))
    await first
    assert (await line.ask("/a", {"X-Shop": "1"})).content == b"new"


async def test_what_must_be_validated_is_not_used_while_it_is_fetched_anew(line: Any, kit: Any) -> None:
    await fill(line, kit, "/a", fields=TAGGED | {"Cache-Control": "max-age=60, stale-while-revalidate=30"})
    line.passes(1)
    await line.cache.purge(Purge("all", is_soft=True, must_validate=True))
    line.origin.answers(ProxyError(ErrorKind.CONNECT_REFUSED), kit.reply(304, {"ETag": '"1"'}))
    assert (await line.ask("/a")).content == b"/a", "unless the origin fails"
    confirmed = await line.ask("/a")
    assert (confirmed.content, line.origin.conditions()) == (b"/a", {"If-None-Match": '"1"'})
    assert len(line.origin.asked) == 3
    line.passes(65)
    line.origin.answers(kit.reply(304, {"ETag": '"1"'}))
    assert (await line.ask("/a")).content == b"/a"
    assert line.entries()[0].revalidate_s == 30.0, "what it allows is allowed again"


@pytest.mark.parametrize(("written", "at_once"), [("/b", 4), ("/a", 1)], ids=["a write elsewhere", "a write to it"])
async def test_who_waits_for_what_has_no_room_asks_at_once_whatever_else_is_written(
    new_line: Callable[..., Any], kit: Any, written: str, at_once: int
) -> None:
    line = new_line(memory=65536, max_entry=65536)
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    later: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: answer)
    clients = [asyncio.ensure_future(line.ask("/a")) for _ in range(5)]
    await until_asked(line)
    line.origin.default = lambda exchange: later
    line.cache.invalidations.add(ORIGIN + written.encode())  # as a write does, which others may not hear of yet
    answer.set_result(kit.reply(fields=TAGGED, content=b"x" * 65536))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(line.origin.asked) == 1 + at_once
    later.set_result(kit.reply(fields={"Cache-Control": "no-store"}))
    await asyncio.gather(*clients)


async def test_a_group_reaches_no_other_origin(line: Any, kit: Any) -> None:
    for host in ("example.com", "example.com:8080"):
        line.origin.answers(kit.reply(fields={"Cache-Control": "max-age=60", "Cache-Groups": '"g"'}))
        await line.ask("/a", host=host)
    line.cache.invalidate_groups(ORIGIN, [b"g"])
    assert list(line.cache.store.shelves) == [b"http://example.com:8080/a"]


async def test_a_purge_is_announced_when_it_is_ordered_here_and_not_when_it_is_heard_of(line: Any, kit: Any) -> None:
    told: list[tuple[Purge, bool]] = []
    line.cache.announce = lambda purge, is_order: told.append((purge, is_order))
    await fill(line, kit, "/a")
    purge = Purge("tag", b"news")
    assert line.cache.apply_purge(purge) == 1
    assert told == []
    assert await line.cache.purge(purge) == 0
    assert told == [(purge, True)]
    line.cache.invalidate(ORIGIN + b"/a")
    line.cache.invalidate_groups(ORIGIN, [b"g", b"h"])
    assert told[1:] == [
        (Purge("url", ORIGIN + b"/a"), False),
        (Purge("tag", b"g", origin=ORIGIN), False),
        (Purge("tag", b"h", origin=ORIGIN), False),
    ]


async def test_a_large_purge_lets_others_have_the_loop(line: Any, kit: Any) -> None:
    for number in range(3000):
        assert line.cache.keep(kit.entry(TAGGED, key=ORIGIN + b"/%d" % number), {}, 0)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    assert await line.cache.purge(Purge("tag", b"news")) == 3000
    counting.cancel()
    assert turns >= 3
    assert line.cache.bytes == 0
