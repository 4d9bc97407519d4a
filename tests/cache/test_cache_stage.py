"""The rules along the line: look up, fetch, store, with an origin that answers from a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.cache.settings import CacheSettings
from proxy.cache.stage import look_up, look_up_now
from proxy.core.errors import ErrorKind, ProxyError

FRESH = {"Cache-Control": "max-age=60"}
DOWN = ProxyError(ErrorKind.CONNECT_REFUSED, "10.0.0.1:80")


async def test_a_response_is_stored_and_used(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"X-A": "1"}))
    first = await line.ask()
    assert (first.status, first.content, first.cache) == (200, b"content", "fwd=uri-miss; stored")
    assert "age" not in first.index
    second = await line.ask()
    assert (second.status, second.content, second.cache) == (200, b"content", "hit; ttl=60")
    assert second.index == first.index | {"age": "0"}
    assert len(line.origin.asked) == 1


async def test_every_hit_counts_as_a_use(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH))
    await line.ask()
    await line.ask()  # the short way
    await line.ask(fields={"Cache-Control": "max-stale"})  # the long way
    assert line.entries()[0].uses == 2


MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
ASKED = [
    {},
    {"If-None-Match": '"a"'},
    {"If-None-Match": 'W/"a"'},
    {"If-None-Match": '"x", "a"'},
    {"If-None-Match": " * "},
    {"If-None-Match": '"x"', "If-Modified-Since": MODIFIED},
    {"If-None-Match": ""},
    {"If-Modified-Since": MODIFIED},
    {"If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT"},
    {"If-Modified-Since": "Sun Nov  6 08:49:36 1994"},
    {"If-Modified-Since": "nonsense"},
    {"If-Modified-Since": "Fri, 31 Dec 9999 23:59:59 GMT"},
]
HELD: list[tuple[int, dict[str, str]]] = [
    (200, {"ETag": '"a"', "Last-Modified": MODIFIED, "Vary": "Accept", "Content-Location": "/b", "X-A": "1"}),
    (200, {"ETag": 'W/"a"'}),
    (200, {"Last-Modified": "nonsense"}),
    (200, {"Last-Modified": MODIFIED}),
    (200, {}),
    (404, {"ETag": '"a"', "Last-Modified": MODIFIED}),
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize(("status", "held"), HELD, ids=str)
async def test_the_short_way_and_the_long_way_answer_conditions_alike(
    line: Any, kit: Any, status: int, held: dict[str, str], asked: dict[str, str]
) -> None:
    line.origin.answers(kit.reply(status, FRESH | held))
    await line.ask()
    answers = []
    for _ in range(2):
        exchange = line.exchange(fields=asked)
        response = await look_up(exchange, line.cache) if answers else look_up_now(exchange, line.cache)
        answers.append((response.status, response.content, response.block, response.has_date, exchange.cache_status))
    assert answers[0] == answers[1]
    assert (line.cache.stats.hits, line.entries()[0].uses) == (2, 2)


async def test_the_age_grows_and_the_rest_stays(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"Age": "30", "Expires": "0", "ETag": '"a"'}))
    first = await line.ask()
    line.passes(3.0)
    hit = await line.ask()
    assert hit.index["age"] == "33"
    assert {name: hit.index[name] for name in first.index} == first.index | {"age": "33"}
    assert hit.cache == "hit; ttl=27"


async def test_a_response_goes_stale_with_its_lifetime(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(fields=FRESH, content=b"new"))
    await line.ask()
    line.passes(59.0)
    assert (await line.ask()).cache.startswith("hit")
    line.passes(1.0)
    stale = await line.ask()
    assert (stale.content, stale.cache) == (b"new", "fwd=stale; stored")
    assert (await line.ask()).content == b"new"


@pytest.mark.parametrize("status", [204, 301, 404, 410, 500, 599])
async def test_status_and_content_are_replayed_exactly(line: Any, kit: Any, status: int) -> None:
    line.origin.answers(kit.reply(status, FRESH, reason=b"Whatever"))
    first = await line.ask()
    second = await line.ask()
    assert (second.status, second.content) == (first.status, first.content)
    assert second.cache.startswith("hit")


async def test_streamed_content_is_stored_when_it_is_whole(line: Any, kit: Any) -> None:
    body = kit.body(7)
    line.origin.answers(kit.reply(fields=FRESH, content=body))
    asking = asyncio.ensure_future(line.ask())
    await body.started.wait()
    body.feed(b"con")
    body.feed(b"tent")
    assert line.entries() == []
    body.finish()
    assert (await asking).content == b"content"
    assert (await line.ask()).content == b"content"
    assert line.cache.stats.hits == 1


async def test_streamed_content_that_breaks_is_not_stored(line: Any, kit: Any) -> None:
    body = kit.body()
    line.origin.answers(kit.reply(fields=FRESH, content=body))
    asking = asyncio.ensure_future(line.ask())
    await body.started.wait()
    body.feed(b"con")
    body.abort()
    with pytest.raises(ProxyError):
        await asking
    assert line.entries() == []
    assert line.cache.bytes == 0


async def test_a_client_that_leaves_leaves_a_complete_entry_behind(line: Any, kit: Any) -> None:
    body = kit.body()
    line.origin.answers(kit.reply(fields=FRESH, content=body))
    asking = asyncio.ensure_future(line.ask())
    await body.started.wait()
    body.feed(b"con")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not body.is_cancelled
    body.feed(b"tent")
    body.finish()
    assert (await line.ask()).content == b"content"


async def test_what_is_too_large_is_passed_on_and_not_stored(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line(max_entry=10)
    body = kit.body(11)
    line.origin.answers(kit.reply(fields=FRESH, content=b"x" * 11), kit.reply(fields=FRESH, content=body))
    first = await line.ask()
    assert (len(first.content), first.cache) == (11, "fwd=uri-miss; detail=too-large")
    asking = asyncio.ensure_future(line.ask())
    await body.started.wait()
    body.feed(b"x" * 11)
    body.finish()
    assert (await asking).cache == "fwd=uri-miss; detail=too-large"
    assert line.entries() == []


async def test_large_stored_content_comes_in_pieces(line: Any, kit: Any) -> None:
    content = bytes(range(256)) * 2048
    line.origin.answers(kit.reply(fields=FRESH, content=content))
    await line.ask()
    hit = look_up_now(line.exchange(), line.cache)
    assert not isinstance(hit.content, bytes)
    assert hit.content.length == len(content)
    assert (await line.ask()).content == content


# -- rules 11 to 15 --


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"Cache-Control": "no-store"}, "no-store"),
        ({"Cache-Control": "private, max-age=60"}, "private"),
        (FRESH | {"Set-Cookie": "a=b"}, "set-cookie"),
        (FRESH | {"Vary": "*"}, "vary-any"),
        ({}, "no-lifetime"),
    ],
)
async def test_what_may_not_be_stored_is_asked_for_each_time(
    line: Any, kit: Any, fields: dict[str, str], word: str
) -> None:
    line.origin.default = lambda exchange: kit.reply(fields=fields)
    for asked in (1, 2):
        assert (await line.ask()).cache == f"fwd=uri-miss; detail={word}"
        assert len(line.origin.asked) == asked
    assert line.entries() == []


async def test_a_later_response_that_may_not_be_stored_leaves_a_fresh_one(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(fields={"Cache-Control": "no-store"}, content=b"other"))
    await line.ask()
    assert (await line.ask(fields={"Cache-Control": "no-cache"})).content == b"other"
    assert (await line.ask()).content == b"content"


async def test_a_stale_response_goes_when_the_new_one_may_not_be_stored(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(fields={"Cache-Control": "no-store"}))
    await line.ask()
    line.passes(61.0)
    await line.ask()
    assert line.entries() == []


async def test_cookies_are_replayed_only_where_the_route_says_so(new_line: Callable[..., Any], kit: Any) -> None:
    for mode, replayed in (("strip", None), ("store", "a=b")):
        line = new_line({"set_cookie": mode})
        line.origin.answers(kit.reply(fields=FRESH | {"Set-Cookie": "a=b"}))
        assert (await line.ask()).index["set-cookie"] == "a=b"
        hit = await line.ask()
        assert hit.cache.startswith("hit")
        assert hit.index.get("set-cookie") == replayed


async def test_authorization_is_not_answered_with_a_page_for_anybody(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(fields=FRESH, content=b"mine"))
    await line.ask()
    mine = await line.ask(fields={"Authorization": "x"})
    assert (mine.content, mine.cache) == (b"mine", "fwd=vary-miss; detail=authorization")
    assert (await line.ask()).content == b"content"


async def test_authorization_shares_what_says_so(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields={"Cache-Control": "public, max-age=60"}))
    assert (await line.ask(fields={"Authorization": "x"})).cache == "fwd=uri-miss; stored"
    assert (await line.ask(fields={"Authorization": "y"})).cache.startswith("hit")
    assert (await line.ask()).cache.startswith("hit")


# -- rule 17 --


async def test_hosts_and_queries_are_apart(line: Any, kit: Any) -> None:
    line.origin.default = lambda exchange: kit.reply(
        fields=FRESH, content=exchange.request.authority + exchange.request.target
    )
    asked = [("/a", "one.example"), ("/a?x", "one.example"), ("/a", "two.example"), ("/a", "one.example:81")]
    for _ in range(2):
        for target, host in asked:
            assert (await line.ask(target, host=host)).content == (host + target).encode()
    assert len(line.origin.asked) == 4


async def test_ignored_parameters_share_a_response(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line({"ignore_query": ["utm_source"]})
    line.origin.answers(kit.reply(fields=FRESH))
    await line.ask("/a?utm_source=x")
    assert (await line.ask("/a?utm_source=y")).cache.startswith("hit")
    assert (await line.ask("/a")).cache.startswith("hit")
    line.origin.answers(kit.reply(204))
    await line.ask("/a?utm_source=z", method="POST")
    assert line.entries() == []


async def test_what_a_trusted_proxy_says_of_the_scheme_is_part_of_the_key(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(301, FRESH | {"Location": "https://example.com/a"}), kit.reply(fields=FRESH))
    assert (await line.ask(fields={"X-Forwarded-Proto": "http"}, trusted=True)).status == 301
    assert (await line.ask(fields={"X-Forwarded-Proto": "https"}, trusted=True)).status == 200
    # nobody else can choose the key: their claim goes no further
    assert (await line.ask(fields={"X-Forwarded-Proto": "https"})).status == 301
    line.origin.answers(kit.reply(fields=FRESH))
    await line.ask("/b", fields={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"})
    assert len(line.entries("/b")) == 1


# -- rule 21 --


async def test_variants_are_kept_apart(line: Any, kit: Any) -> None:
    line.origin.default = lambda exchange: kit.reply(
        fields=FRESH | {"Vary": "Accept-Language"}, content=exchange.request.index.get(b"accept-language", b"none")
    )
    for _ in range(2):
        for language in ("en", "de"):
            reply = await line.ask(fields={"Accept-Language": language})
            assert reply.content == language.encode()
    assert (await line.ask()).cache == "fwd=vary-miss; stored"
    assert len(line.origin.asked) == 3


async def test_a_route_can_add_selecting_fields(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line({"vary": ["X-Device"]})
    line.origin.default = lambda exchange: kit.reply(fields=FRESH, content=exchange.request.index[b"x-device"])
    for device in ("phone", "desk", "phone"):
        assert (await line.ask(fields={"X-Device": device})).content == device.encode()
    assert len(line.origin.asked) == 2


# -- rules 22, 24 --


async def test_no_cache_is_validated_each_time(line: Any, kit: Any) -> None:
    line.origin.answers(
        kit.reply(fields={"Cache-Control": "no-cache, max-age=60", "ETag": '"a"'}),
        kit.reply(304, {"ETag": '"a"'}),
        kit.reply(304, {"ETag": '"a"'}),
    )
    await line.ask()
    for _ in range(2):
        reply = await line.ask()
        assert (reply.status, reply.content, reply.cache) == (200, b"content", "fwd=stale; fwd-status=304")
        assert line.origin.conditions() == {"If-None-Match": '"a"'}


@pytest.mark.parametrize(
    "fields", [{"Cache-Control": "no-cache"}, {"Pragma": "no-cache"}, {"Cache-Control": "max-age=0"}]
)
async def test_a_reload_reaches_the_origin(line: Any, kit: Any, fields: dict[str, str]) -> None:
    line.origin.answers(
        kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(304, FRESH | {"ETag": '"a"', "X-New": "1"})
    )
    await line.ask()
    line.passes(1.0)
    reply = await line.ask(fields=fields)
    assert (reply.status, reply.content, reply.cache) == (200, b"content", "fwd=request; fwd-status=304")
    assert (await line.ask()).index["x-new"] == "1"


async def test_a_route_may_ignore_what_requests_ask(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line({"honour_request_directives": False})
    line.origin.answers(kit.reply(fields=FRESH))
    await line.ask(fields={"Cache-Control": "no-store"})
    for fields in (
        {"Cache-Control": "no-cache"},
        {"Pragma": "no-cache"},
        {"Cache-Control": "only-if-cached, no-store"},
    ):
        assert (await line.ask(fields=fields)).cache.startswith("hit")


async def test_no_store_is_neither_answered_nor_stored(line: Any, kit: Any) -> None:
    line.origin.default = lambda exchange: kit.reply(fields=FRESH)
    await line.ask()
    reply = await line.ask(fields={"Cache-Control": "no-store"})
    assert reply.cache == "fwd=bypass; detail=no-store"
    await line.ask("/b", fields={"Cache-Control": "no-store"})
    assert line.entries("/b") == []
    assert line.cache.stats.bypass == 2


async def test_only_if_cached_is_answered_from_the_store_or_not_at_all(line: Any, kit: Any) -> None:
    only = {"Cache-Control": "only-if-cached"}
    with pytest.raises(ProxyError) as refusal:
        await line.ask(fields=only)
    assert refusal.value.kind is ErrorKind.NOT_STORED
    line.origin.answers(kit.reply(fields=FRESH))
    await line.ask()
    assert (await line.ask(fields=only)).cache.startswith("hit")
    line.passes(61.0)
    with pytest.raises(ProxyError):
        await line.ask(fields=only)
    assert (await line.ask(fields={"Cache-Control": "only-if-cached, max-stale"})).cache == "hit; ttl=-1"
    assert len(line.origin.asked) == 1


# -- rules 25, 26, 33, 35 --


@pytest.mark.parametrize("fields", [{"If-None-Match": '"a"'}, {"If-None-Match": 'W/"a"'}, {"If-None-Match": "*"}])
async def test_a_fresh_response_answers_conditions(line: Any, kit: Any, fields: dict[str, str]) -> None:
    kept = {"Cache-Control": "max-age=60", "ETag": '"a"', "Vary": "X", "Expires": "0", "Content-Location": "/b"}
    line.origin.answers(kit.reply(fields=kept | {"Content-Type": "text/plain", "Last-Modified": kit.date(-9)}))
    await line.ask()
    line.passes(5.0)
    reply = await line.ask(fields=fields)
    assert (reply.status, reply.content) == (304, b"")
    assert set(reply.index) == {"cache-control", "etag", "vary", "expires", "content-location", "date", "age"}
    assert reply.index["age"] == "5"
    assert reply.cache == "hit; ttl=55"
    assert (await line.ask(fields={"If-None-Match": '"b"'})).status == 200


async def test_if_modified_since_counts_from_last_modified_or_date(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"Last-Modified": kit.date(-100)}), kit.reply(fields=FRESH))
    await line.ask("/modified")
    await line.ask("/dated")
    for target, same, earlier in (("/modified", -100, -101), ("/dated", 1, -5)):
        assert (await line.ask(target, {"If-Modified-Since": kit.date(same)})).status == 304
        assert (await line.ask(target, {"If-Modified-Since": kit.date(earlier)})).status == 200


async def test_conditions_apply_to_200_only(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(404, FRESH | {"ETag": '"a"'}))
    await line.ask()
    assert (await line.ask(fields={"If-None-Match": '"a"'})).status == 404


async def test_if_match_is_for_the_origin(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(412, FRESH))
    await line.ask()
    reply = await line.ask(fields={"If-Match": '"b"'})
    assert (reply.status, reply.cache) == (412, "fwd=bypass; detail=precondition")
    assert line.origin.conditions() is None
    assert (await line.ask()).status == 200


async def test_a_condition_on_a_miss_goes_as_it_came_and_its_answer_stays_with_its_client(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(304, FRESH), kit.reply(fields=FRESH))
    reply = await line.ask(fields={"If-None-Match": '"a"'})
    assert (reply.status, reply.cache.partition(";")[0]) == (304, "fwd=uri-miss")
    assert line.origin.conditions() is None
    assert line.entries() == []
    assert (await line.ask()).status == 200


@pytest.mark.parametrize(
    ("fields", "status", "content"),
    [
        ({"Range": "bytes=0-1"}, 206, b"co"),
        ({"Range": "bytes=99-"}, 416, b""),
        ({"Range": "bytes=0-1", "If-Range": '"other"'}, 200, b"content"),
        ({"Range": "apples=1"}, 200, b"content"),
    ],
)
async def test_a_part_on_a_miss_is_cut_from_the_whole_and_later_ones_are_hits(
    line: Any, kit: Any, fields: dict[str, str], status: int, content: bytes
) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"'}))
    reply = await line.ask(fields=fields)
    assert (reply.status, reply.content, reply.cache) == (status, content, "fwd=uri-miss; collapsed")
    assert line.origin.conditions() == {}
    assert (await line.ask(fields=fields)).cache.startswith("hit")
    assert len(line.origin.asked) == 1


async def test_a_part_of_what_is_not_stored_goes_as_it_came_and_its_answer_stays_with_its_client(
    line: Any, kit: Any
) -> None:
    body = kit.body()
    line.origin.answers(kit.reply(fields={"Cache-Control": "no-store"}, content=body), kit.reply(206, FRESH))
    reply = await line.ask(fields={"Range": "bytes=0-1"})
    assert (reply.status, reply.cache.partition(";")[0]) == (206, "fwd=uri-miss")
    assert body.is_cancelled
    assert line.origin.conditions() is None
    line.origin.answers(kit.reply(206, FRESH))
    await line.ask(fields={"Range": "bytes=0-1"})  # learned: the whole is not tried again
    assert len(line.origin.asked) == 3
    assert line.entries() == []


async def test_a_whole_response_to_a_condition_on_a_miss_is_stored(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"b"'}))
    assert (await line.ask(fields={"If-None-Match": '"b"'})).status == 200  # as the origin decided
    assert (await line.ask(fields={"If-None-Match": '"b"'})).status == 304


@pytest.mark.parametrize(
    ("fields", "status", "content", "content_range"),
    [
        ({"Range": "bytes=0-1"}, 206, b"co", "bytes 0-1/7"),
        ({"Range": "bytes=-3"}, 206, b"ent", "bytes 4-6/7"),
        ({"Range": "bytes=5-99"}, 206, b"nt", "bytes 5-6/7"),
        ({"Range": "bytes=7-"}, 416, b"", "bytes */7"),
        ({"Range": "bytes=0-1,3-4"}, 200, b"content", None),
        ({"Range": "lines=0-1"}, 200, b"content", None),
        ({"Range": "bytes=0-1", "If-Range": '"a"'}, 206, b"co", "bytes 0-1/7"),
        ({"Range": "bytes=0-1", "If-Range": '"b"'}, 200, b"content", None),
        ({"Range": "bytes=0-1", "If-None-Match": '"a"'}, 304, b"", None),
        ({"If-Range": '"a"'}, 200, b"content", None),
    ],
)
async def test_ranges_of_a_stored_response(
    line: Any, kit: Any, fields: dict[str, str], status: int, content: bytes, content_range: str | None
) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"', "Content-Type": "text/plain"}))
    await line.ask()
    reply = await line.ask(fields=fields)
    assert (reply.status, reply.content, reply.index.get("content-range")) == (status, content, content_range)
    if status == 206:
        assert reply.index["age"] == "0"
        assert reply.index["content-type"] == "text/plain"
        assert reply.index["etag"] == '"a"'


async def test_a_range_has_one_content_range(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"Content-Range": "nonsense"}))
    await line.ask()
    assert (await line.ask()).index["content-range"] == "nonsense"
    assert (await line.ask(fields={"Range": "bytes=0-1"})).index["content-range"] == "bytes 0-1/7"


async def test_a_large_range_comes_in_pieces(line: Any, kit: Any) -> None:
    content = bytes(range(256)) * 4096
    line.origin.answers(kit.reply(fields=FRESH, content=content))
    await line.ask()
    reply = await line.ask(fields={"Range": "bytes=100000-900000"})
    assert (reply.status, reply.content) == (206, content[100000:900001])


async def test_head_is_answered_from_a_fresh_get(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"'}))
    await line.ask()
    reply = await line.ask(method="HEAD")
    assert (reply.status, reply.content, reply.cache) == (200, b"", "hit; ttl=60")
    assert (await line.ask(method="HEAD", fields={"If-None-Match": '"a"'})).status == 304
    assert (await line.ask(method="HEAD", fields={"Range": "bytes=0-1"})).status == 200


async def test_head_on_a_miss_goes_as_head_and_stores_nothing(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH, content=None))
    assert (await line.ask(method="HEAD")).cache == "fwd=uri-miss"
    assert line.origin.asked[0].request.method == b"HEAD"
    assert line.entries() == []


async def test_head_freshens_a_stale_response_that_it_describes(line: Any, kit: Any) -> None:
    line.origin.answers(
        kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(fields=FRESH | {"ETag": '"a"', "X-New": "1"}, content=None)
    )
    await line.ask()
    line.passes(61.0)
    assert (await line.ask(method="HEAD")).cache == "fwd=stale"
    assert line.origin.conditions() is None
    hit = await line.ask()
    assert (hit.content, hit.index["x-new"], hit.index["age"]) == (b"content", "1", "0")


async def test_head_that_describes_another_response_makes_the_stored_one_stale(line: Any, kit: Any) -> None:
    line.origin.answers(
        kit.reply(fields={"Cache-Control": "max-age=60, stale-while-revalidate=60", "ETag": '"a"'}),
        kit.reply(fields=FRESH | {"ETag": '"b"'}, content=None),
        kit.reply(fields=FRESH | {"ETag": '"b"'}, content=b"other"),
    )
    await line.ask()
    line.passes(5.0)
    await line.ask(method="HEAD", fields={"Cache-Control": "no-cache"})
    reply = await line.ask()
    assert (reply.content, reply.cache) == (b"other", "fwd=stale; stored")
    assert line.origin.conditions() == {"If-None-Match": '"a"'}


async def test_head_with_an_error_leaves_the_stored_response_alone(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(404, content=None))
    await line.ask()
    await line.ask(method="HEAD", fields={"Cache-Control": "no-cache"})
    assert (await line.ask()).cache.startswith("hit")


# -- rules 27, 31 --


async def test_a_stale_response_is_validated_and_freshened(line: Any, kit: Any) -> None:
    modified = kit.date(-1000).decode()
    line.origin.answers(
        kit.reply(fields=FRESH | {"ETag": 'W/"a"', "Last-Modified": modified, "X-Old": "1", "Content-Type": "a/b"}),
        kit.reply(304, {"Cache-Control": "max-age=600", "Content-Type": "c/d", "Content-Encoding": "gzip"}),
    )
    await line.ask()
    line.passes(100.0)
    reply = await line.ask()
    assert (reply.status, reply.content, reply.cache) == (200, b"content", "fwd=stale; fwd-status=304")
    assert line.origin.conditions() == {"If-None-Match": 'W/"a"', "If-Modified-Since": modified}
    hit = await line.ask()
    assert hit.cache == "hit; ttl=600"
    assert (hit.index["x-old"], hit.index["content-type"]) == ("1", "c/d")
    assert "content-encoding" not in hit.index


@pytest.mark.parametrize(("tag", "status", "content"), [('"a"', 304, b""), ('"old"', 200, b"content")])
async def test_after_a_304_the_clients_own_condition_is_answered(
    line: Any, kit: Any, tag: str, status: int, content: bytes
) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(304, FRESH))
    await line.ask()
    line.passes(61.0)
    reply = await line.ask(fields={"If-None-Match": tag})
    assert (reply.status, reply.content) == (status, content)
    assert line.origin.conditions() == {"If-None-Match": '"a"'}


async def test_after_a_304_the_clients_range_is_answered(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(304, FRESH))
    await line.ask()
    line.passes(61.0)
    reply = await line.ask(fields={"Range": "bytes=0-2"})
    assert (reply.status, reply.content) == (206, b"con")


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_new_200_that_the_client_has_already_is_a_304_for_it_and_stored(
    line: Any, kit: Any, is_streamed: bool
) -> None:
    body = kit.body() if is_streamed else b"newer"
    line.origin.answers(
        kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(fields=FRESH | {"ETag": '"b"'}, content=body)
    )
    await line.ask()
    line.passes(61.0)
    reply = await line.ask(fields={"If-None-Match": '"b"'})
    assert (reply.status, reply.content, reply.index["etag"]) == (304, b"", '"b"')
    if is_streamed:
        body.feed(b"newer")
        body.finish()
    assert (await line.ask()).content == b"newer"


async def test_without_a_validator_the_whole_is_fetched_without_the_clients_conditions(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(fields=FRESH, content=b"newer"))
    await line.ask()
    line.passes(61.0)
    await line.ask(fields={"Range": "bytes=0-1", "If-None-Match": '"x"'})
    assert line.origin.conditions() == {}
    assert (await line.ask()).content == b"newer"


async def test_a_304_that_forbids_storing_is_used_once(line: Any, kit: Any) -> None:
    line.origin.answers(
        kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(304, {"Cache-Control": "no-store", "X-New": "1"})
    )
    await line.ask()
    line.passes(61.0)
    reply = await line.ask()
    assert (reply.status, reply.content, reply.index["x-new"]) == (200, b"content", "1")
    assert line.entries() == []


async def test_a_304_of_another_representation_is_not_merged(line: Any, kit: Any) -> None:
    line.origin.answers(
        kit.reply(fields=FRESH | {"ETag": '"a-gzip"'}),
        kit.reply(304, FRESH | {"ETag": '"a"'}),
        kit.reply(fields=FRESH, content=b"newer"),
    )
    await line.ask()
    line.passes(61.0)
    reply = await line.ask()
    assert (reply.status, reply.content) == (200, b"newer")
    assert line.origin.conditions() == {}
    assert (await line.ask()).content == b"newer"
    assert len(line.origin.asked) == 3


async def test_a_cookie_of_a_304_goes_to_its_client_and_to_nobody_else(line: Any, kit: Any) -> None:
    line.origin.answers(
        kit.reply(fields=FRESH | {"ETag": '"a"'}), kit.reply(304, FRESH | {"Set-Cookie": "a=b", "X-New": "1"})
    )
    await line.ask()
    line.passes(61.0)
    assert (await line.ask()).index["set-cookie"] == "a=b"
    hit = await line.ask()
    assert (hit.index["x-new"], hit.index.get("set-cookie")) == ("1", None)


async def test_a_304_without_a_date_is_dated_by_its_receipt(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"'}, date=-50), kit.reply(304, {"ETag": '"a"'}, date=None))
    await line.ask()
    line.passes(61.0)
    await line.ask()
    assert (await line.ask()).cache.startswith("hit; ttl=6")


# -- rules 28, 29 --


@pytest.mark.parametrize("kind", [ErrorKind.CONNECT_REFUSED, ErrorKind.RESPONSE_TIMEOUT, ErrorKind.RESPONSE_TRUNCATED])
async def test_a_stale_response_stands_in_for_an_origin_that_cannot_be_reached(
    line: Any, kit: Any, kind: ErrorKind
) -> None:
    line.origin.answers(kit.reply(fields=FRESH), ProxyError(kind))
    await line.ask()
    line.passes(100.0)
    reply = await line.ask()
    assert (reply.status, reply.content, reply.cache) == (200, b"content", "fwd=stale; detail=stale-if-error")
    assert reply.index["age"] == "100"
    assert "warning" not in reply.index
    assert line.cache.stats.stale == 1


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"])
async def test_what_must_be_validated_is_never_used_stale(line: Any, kit: Any, directive: str) -> None:
    line.origin.answers(kit.reply(fields={"Cache-Control": f"max-age=60, {directive}", "ETag": '"a"'}), DOWN)
    await line.ask()
    line.passes(61.0)
    with pytest.raises(ProxyError):
        await line.ask()
    assert len(line.entries()) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_error_response_is_passed_on_and_replaces_nothing(line: Any, kit: Any, status: int) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(status, {"Cache-Control": "max-age=60"}), DOWN)
    await line.ask()
    line.passes(61.0)
    assert (await line.ask()).status == status
    assert (await line.ask()).content == b"content"


async def test_another_5xx_leaves_the_stored_response_for_worse_times(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(501, {"Cache-Control": "no-store"}), DOWN)
    await line.ask()
    line.passes(61.0)
    assert (await line.ask()).status == 501
    assert (await line.ask()).content == b"content"


async def test_an_error_response_is_put_aside_inside_stale_if_error(line: Any, kit: Any) -> None:
    error = kit.body()
    line.origin.answers(
        kit.reply(fields={"Cache-Control": "max-age=60, stale-if-error=30"}),
        kit.reply(503, content=error),
        kit.reply(503, content=b"error"),
    )
    await line.ask()
    line.passes(61.0)
    reply = await line.ask()
    assert (reply.status, reply.cache) == (200, "fwd=stale; fwd-status=503; detail=stale-if-error")
    assert error.is_cancelled
    line.passes(30.0)
    assert (await line.ask()).status == 503


async def test_the_route_may_say_how_stale(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line({"stale_if_error": 10.0})
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(500), DOWN)
    await line.ask()
    line.passes(69.0)
    assert (await line.ask()).status == 200
    line.passes(2.0)
    with pytest.raises(ProxyError):
        await line.ask()


async def test_a_fault_of_the_client_is_no_reason_for_a_stale_response(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), ProxyError(ErrorKind.CLIENT_DISCONNECTED))
    await line.ask()
    line.passes(61.0)
    with pytest.raises(ProxyError):
        await line.ask()


# -- the operator's ttl --


async def test_a_ttl_stores_what_says_nothing(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line({"ttl": 30.0})
    line.origin.default = lambda exchange: kit.reply()
    await line.ask()
    assert (await line.ask()).cache == "hit; ttl=30"
    line.passes(30.0)
    assert (await line.ask()).cache == "fwd=stale; stored"


# -- rule 34 --


@pytest.mark.parametrize("is_cached", [True, False])
async def test_a_write_ends_what_it_may_have_changed(line: Any, kit: Any, is_cached: bool) -> None:
    line.origin.default = lambda exchange: kit.reply(fields=FRESH | {"Vary": "X"})
    for target in ("/a", "/b", "/c"):
        await line.ask(target)
        await line.ask(target, fields={"X": "1"})
    line.origin.answers(kit.reply(201, {"Location": "/b"}))
    route = line.route if is_cached else line.uncached
    reply = await line.ask("/a", method="POST", route=route)
    assert reply.cache == ("fwd=method" if is_cached else "")
    assert (line.entries("/a"), line.entries("/b"), len(line.entries("/c"))) == ([], [], 2)


@pytest.mark.parametrize(("method", "status"), [("POST", 500), ("POST", 404), ("OPTIONS", 200)])
async def test_what_changed_nothing_ends_nothing(line: Any, kit: Any, method: str, status: int) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(status))
    await line.ask()
    await line.ask(method=method)
    assert (await line.ask()).cache.startswith("hit")


async def test_a_response_that_was_on_its_way_during_a_write_is_not_stored(line: Any, kit: Any) -> None:
    body = kit.body()
    line.origin.answers(kit.reply(fields=FRESH, content=body), kit.reply(204), kit.reply(fields=FRESH, content=b"new"))
    old = asyncio.ensure_future(line.ask())
    await body.started.wait()
    await line.ask(method="POST")
    new = await line.ask()  # read your own write: it does not wait for what was asked before
    assert new.content == b"new"
    body.feed(b"old")
    body.finish()
    assert (await old).content == b"old"
    assert (await line.ask()).content == b"new"


# -- what is counted --


async def test_every_request_counts_once(line: Any, kit: Any) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(fields=FRESH), DOWN, DOWN)
    await line.ask()  # a miss
    await line.ask()  # a hit
    await line.ask(fields={"Cache-Control": "no-store"})  # past the cache
    line.passes(61.0)
    await line.ask()  # stale
    with pytest.raises(ProxyError):
        await line.ask("/b")  # a miss, and an error
    stats = line.cache.stats
    assert (stats.misses, stats.hits, stats.bypass, stats.stale) == (2, 1, 1, 1)
    assert (stats.stored, stats.evicted, stats.collapsed) == (1, 0, 0)
    assert (line.cache.entries, line.cache.bytes > 0) == (1, True)
    assert repr(line.cache) == f"<Cache 1 entries, {line.cache.bytes} bytes, 0 flights>"


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"method": "POST"}, "fwd=method"),
        ({"body": object()}, "fwd=bypass; detail=content"),
        ({"fields": {"If-Unmodified-Since": "x"}}, "fwd=bypass; detail=precondition"),
    ],
)
async def test_what_goes_past_the_cache_says_why(line: Any, kit: Any, how: dict[str, Any], status: str) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(400, FRESH))
    await line.ask()
    assert (await line.ask(**how)).cache == status
    assert (await line.ask()).cache.startswith("hit")


async def test_a_reload_of_the_configuration_keeps_what_fits(line: Any, kit: Any) -> None:
    line.origin.default = lambda exchange: kit.reply(fields=FRESH, content=bytes(10_000))
    for number in range(20):
        await line.ask(f"/{number}")
    line.cache.apply(CacheSettings(memory=100_000, max_entry=10))
    assert 0 < line.cache.entries < 20
    assert line.cache.bytes <= 100_000
    assert line.cache.max_entry_bytes == 10
