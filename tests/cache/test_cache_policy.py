"""What the operator says of lifetimes, held against what the origin says."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.cache.policy import CachePolicy, compile_cache, describe_cache
from proxy.cache.reuse import Use, decide
from proxy.cache.settings import CacheRouteSettings, CacheSettings
from proxy.core.settings import FromText
from proxy.http.dates import format_date
from proxy.http.directives import parse_directives

LONG_AGO = format_date(1_700_000_000 - 1000)
TIERS = {"hot": 60.0, "featured": 120.0}


def policy(tiers: dict[str, float] | None = None, **section: Any) -> CachePolicy:
    settings = CacheRouteSettings.model_validate(section, context=FromText())
    made = compile_cache(settings, TIERS if tiers is None else tiers)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("section", "status", "said", "fresh"),
    [
        pytest.param({"ttl": "60s"}, 200, "", 60, id="ttl, nothing said"),
        pytest.param({"ttl": "60s"}, 200, "max-age=5", 60, id="ttl overrides"),
        pytest.param({"ttl": "60s", "ttl_mode": "override"}, 200, "max-age=5", 60, id="ttl overrides, written"),
        pytest.param({"ttl": "60s", "ttl_mode": "default"}, 200, "max-age=5", 5, id="ttl only fills in"),
        pytest.param({"ttl": "60s", "ttl_mode": "default"}, 200, "max-age=0", 0, id="zero was said too"),
        pytest.param({"ttl": "60s", "ttl_mode": "default"}, 200, "", 60, id="ttl fills in"),
        pytest.param({"ttl": "60s", "ttl_mode": "default"}, 200, "public", 60, id="what is no lifetime says nothing"),
        pytest.param({"ttl": "60s", "ttl_mode": "default"}, 200, "no-cache", 0, id="no-cache is obeyed"),
        pytest.param({"ttl": "60s", "ttl_mode": "default"}, 404, "max-age=9", 9, id="a ttl is for no error"),
        pytest.param({"tier": "hot"}, 200, "max-age=5", 60, id="tier"),
        pytest.param({"tier": "featured", "ttl_mode": "default"}, 200, "", 120, id="tier that fills in"),
        pytest.param({"ttl": "1s"}, 200, "max-age=600", 1, id="microcache"),
        pytest.param({"statuses": {404: "10s"}}, 404, "", 10, id="negative caching"),
        pytest.param({"statuses": {404: "10s"}}, 404, "max-age=5", 5, id="the origin's word comes first"),
        pytest.param({"statuses": {404: "10s"}}, 200, "max-age=5", 5, id="another status"),
        pytest.param({"statuses": {500: "1s"}}, 500, "", 1, id="an error for a second"),
        pytest.param({"statuses": {404: "10s"}, "ttl_mode": "override"}, 404, "max-age=5", 10, id="unless written"),
        pytest.param({"statuses": {301: "1h"}, "ttl": "60s"}, 301, "", 3600, id="a status in place of the ttl"),
        pytest.param({"statuses": {301: "1h"}, "ttl": "60s"}, 301, "max-age=5", 5, id="and its word comes first"),
        pytest.param({"statuses": {301: "1h"}, "ttl": "60s"}, 200, "max-age=5", 60, id="the ttl for the others"),
    ],
)
def test_how_long_a_response_is_fresh(kit: Any, section: dict[str, Any], status: int, said: str, fresh: float) -> None:
    fields = {"ETag": '"a"'} | ({"Cache-Control": said} if said else {})
    assert kit.entry(fields, status=status, policy=policy(**section)).fresh_s == fresh


@pytest.mark.parametrize(
    ("section", "fresh"),
    [
        pytest.param({}, 100, id="a tenth"),
        pytest.param({"heuristic": "50s"}, 50, id="a cap"),
        pytest.param({"heuristic": "0s"}, 0, id="off"),
        pytest.param({"ttl": "7s", "ttl_mode": "default"}, 7, id="a ttl comes before a guess"),
    ],
)
def test_a_guess_is_the_routes_to_bound(kit: Any, section: dict[str, Any], fresh: float) -> None:
    entry = kit.entry({"Last-Modified": LONG_AGO}, policy=policy(**section))
    assert entry.fresh_s == fresh


@pytest.mark.parametrize(
    ("section", "said", "rights"),
    [
        # (while it is fetched anew, for an error, for no response at all)
        pytest.param({}, "s-maxage=9, stale-while-revalidate=5, stale-if-error=7", (0, 0, 0), id="strict"),
        pytest.param(
            {"strict_s_maxage": False},
            "s-maxage=9, stale-while-revalidate=5, stale-if-error=7",
            (5, 7, 86400),
            id="relaxed",
        ),
        pytest.param({"stale_on_error": "0s"}, "max-age=9, stale-if-error=7", (0, 7, 0), id="not when unreachable"),
        pytest.param({"stale_on_error": "1h", "stale_if_error": "1m"}, "max-age=9", (0, 60, 3600), id="both"),
        pytest.param({"stale_on_error": "1h"}, "s-maxage=9", (0, 0, 3600), id="the operator goes beyond s-maxage"),
        pytest.param({"stale_on_error": "1h"}, "max-age=9, must-revalidate", (0, 0, 0), id="never beyond this"),
    ],
)
def test_how_stale_it_may_be(kit: Any, section: dict[str, Any], said: str, rights: tuple[float, ...]) -> None:
    entry = kit.entry({"Cache-Control": said}, policy=policy(**section))
    assert (entry.revalidate_s, entry.error_s, entry.unreachable_s) == rights


@pytest.mark.parametrize(
    ("honours", "said", "asked", "age", "use"),
    [
        pytest.param(True, "max-age=60, immutable", b"max-age=0", 1.0, Use.FRESH, id="a reload"),
        pytest.param(False, "max-age=60, immutable", b"max-age=0", 1.0, Use.UNWANTED, id="off"),
        pytest.param(True, "max-age=60", b"max-age=0", 1.0, Use.UNWANTED, id="not said"),
        pytest.param(True, "max-age=60, immutable", b"no-cache", 1.0, Use.UNWANTED, id="a forced reload"),
        pytest.param(True, "max-age=60, immutable", b"max-age=0, no-cache", 1.0, Use.UNWANTED, id="with more"),
        pytest.param(True, "max-age=60, immutable", b"max-age=0", 61.0, Use.UNWANTED, id="stale"),
    ],
)
def test_immutable(kit: Any, honours: bool, said: str, asked: bytes, age: float, use: Use) -> None:
    entry = kit.entry({"Cache-Control": said, "ETag": '"a"'}, policy=policy(honour_immutable=honours))
    assert decide(entry, parse_directives(asked), age) is use


@pytest.mark.parametrize(
    ("section", "says"),
    [
        pytest.param({"ttl": "0s"}, "below 10ms no request", id="no lifetime"),
        pytest.param({"ttl": "9ms"}, "below 10ms", id="too short"),
        pytest.param({"statuses": {404: "0s"}}, "`404` below", id="no lifetime of a status"),
        pytest.param({"statuses": {304: "5s"}}, "304 is part of another", id="304"),
        pytest.param({"statuses": {206: "5s"}}, "206 is part of another", id="206"),
        pytest.param({"statuses": {100: "5s"}}, "greater than or equal to 200", id="not final"),
        pytest.param({"ttl": "5s", "tier": "hot"}, "both say how long", id="tier and ttl"),
        pytest.param({"ttl_mode": "default"}, "changes nothing", id="a mode of nothing"),
        pytest.param({"keep_query": ["a"], "ignore_query": ["b"]}, "leave one out", id="keep and ignore"),
        pytest.param({"keep_query": [], "sort_query": True}, "nothing to sort", id="sort nothing"),
        pytest.param({"keep_query": ["a=b"]}, "not the name of a query parameter", id="keep a value"),
        pytest.param({"key": {}}, "adds nothing", id="empty key"),
        pytest.param({"key": {"fields": ["a b"]}}, "not a name", id="no field"),
        pytest.param({"key": {"fields": ["X-A"]}, "vary": ["x-a"]}, "in `key` and in `vary`", id="key and vary"),
        pytest.param({"by": "ip"}, "'user' or 'tenant'", id="unknown owner"),
        pytest.param({"by": "user", "shared_with_everyone": "prices are the same"}, "contradict", id="own and shared"),
        pytest.param({"shared_with_everyone": "yes"}, "no reason", id="no reason"),
        pytest.param({"shared_with_everyone": "          "}, "no reason", id="blanks"),
        pytest.param({"by": "user", "downstream": "public, max-age=5"}, "has others share", id="own and public"),
        pytest.param({"by": "tenant", "downstream": "s-maxage=5"}, "has others share", id="tenant and s-maxage"),
        pytest.param({"downstream": ""}, "is empty", id="empty downstream"),
        pytest.param({"downstream": "max-age"}, "needs a number", id="no number"),
        pytest.param({"downstream": "max-age=soon"}, "needs a number", id="a word"),
        pytest.param({"downstream": "max age=5"}, "malformed", id="a blank"),
        pytest.param({"downstream": 'private="a"'}, "without quotes", id="quotes"),
        pytest.param({"downstream": "a\r\nX: y"}, "plain ASCII", id="a second line"),
        pytest.param({"downstream": "private, public"}, "both that others may", id="private and public"),
        pytest.param({"downstream": "no-store, max-age=5"}, "both `no-store`", id="no-store and max-age"),
        pytest.param({"targeted": ["a b"]}, "not a field name", id="no target"),
        pytest.param({"targeted": [], "strip_targeted": True}, "changes nothing", id="strip none"),
        pytest.param({"early_refresh": 0}, "greater than or equal to 0.1", id="no eagerness"),
        pytest.param({"max_entry": "0B"}, "greater than or equal to 1", id="no size"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CacheRouteSettings.model_validate(section, context=FromText())


def test_tiers_are_lifetimes_with_names() -> None:
    settings = CacheSettings.model_validate({"tiers": {"hot": "60s", "x-old": "?"}}, context=FromText())
    assert settings.tiers == {"hot": 60.0}
    for tiers in ({"hot": "1ms"}, {"": "5s"}, {"hot": 5}):
        with pytest.raises(ValidationError):
            CacheSettings.model_validate({"tiers": tiers}, context=FromText())


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"tier": "hot"}, ["fresh for 1m"]),
        ({"ttl": "5s", "ttl_mode": "default"}, ["as long as the response says, or 5s"]),
        ({"statuses": {404: "10s"}}, ["404 for 10s where the response says nothing"]),
        ({"keep_query": ["q", "page"], "sort_query": True}, ["other parameters than page, q", "whatever order"]),
        ({"keep_query": []}, ["whatever the query is"]),
        ({"by": "tenant", "key": {"fields": ["X-A"], "cookies": ["c"]}}, ["each tenant", "x-a", "cookie c"]),
        ({"shared_with_everyone": "no secrets here."}, ["because: no secrets here."]),
        ({"downstream": "no-cache", "early_refresh": 1, "max_entry": "1KiB"}, ["`no-cache`", "before it goes", "1KiB"]),
        ({"stale_on_error": "1h"}, ["1h when the origin cannot be reached"]),
    ],
)
def test_a_route_is_described_for_people(section: dict[str, Any], words: list[str]) -> None:
    text = describe_cache(policy(**section))
    assert all(word in text for word in words), text


async def test_a_route_may_store_less_than_the_cache(new_line: Any, kit: Any) -> None:
    line = new_line({"ttl": 60.0, "max_entry": 10})
    for content, length in ((b"x" * 10, None), (b"x" * 11, None)):
        line.origin.answers(kit.reply(content=content))
        await line.ask(f"/{len(content)}")
        assert len(line.entries(f"/{len(content)}")) == (len(content) == 10)
        assert length is None


async def test_a_microcache_asks_once_a_second(new_line: Any, kit: Any) -> None:
    line = new_line({"ttl": 1.0})
    line.origin.default = lambda exchange: kit.reply(fields={"Cache-Control": "max-age=0"})
    for _ in range(5):
        for _ in range(20):
            await line.ask()
        line.passes(1.0)
    assert len(line.origin.asked) == 5
