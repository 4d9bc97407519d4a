"""Rules 7, 22, 24, 28, 29 and 30: what a stored response can do for a request."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cache.reuse import Use, asked, bypasses, decide, stands_in
from proxy.http.directives import parse_directives


@pytest.mark.parametrize(
    ("index", "honours", "names"),
    [
        pytest.param({}, True, set(), id="nothing"),
        pytest.param({b"cache-control": b"no-cache"}, True, {b"no-cache"}, id="Cache-Control"),
        pytest.param({b"cache-control": b"no-cache, no-store"}, False, set(), id="not honoured"),
        pytest.param({b"pragma": b"no-cache"}, True, {b"no-cache"}, id="Pragma alone"),
        pytest.param({b"pragma": b"no-cache"}, False, set(), id="Pragma, not honoured"),
        pytest.param({b"pragma": b"x"}, True, set(), id="another Pragma"),
        pytest.param({b"pragma": b"no-cache", b"cache-control": b"max-age=5"}, True, {b"max-age"}, id="Pragma beside"),
        pytest.param({b"pragma": b"no-cache", b"cache-control": b"x"}, True, {b"x"}, id="Pragma beside anything"),
    ],
)
def test_what_the_request_asks_of_caches(index: dict[bytes, bytes], honours: bool, names: set[bytes]) -> None:
    assert set(asked(index, honours=honours)) == names


@pytest.mark.parametrize(
    ("index", "directives", "how", "word"),
    [
        pytest.param({}, b"", {}, None, id="an ordinary request"),
        pytest.param({}, b"no-cache, max-age=0", {}, None, id="a reload"),
        pytest.param({b"if-none-match": b"*"}, b"", {}, None, id="If-None-Match"),
        pytest.param({}, b"no-store", {}, b"no-store", id="no-store"),
        pytest.param({}, b"", {"upgrades": True}, b"upgrade", id="upgrade"),
        pytest.param({}, b"", {"has_content": True}, b"content", id="content"),
        pytest.param({b"if-match": b"*"}, b"", {}, b"precondition", id="If-Match"),
        pytest.param({b"if-unmodified-since": b"x"}, b"", {}, b"precondition", id="If-Unmodified-Since"),
    ],
)
def test_what_is_none_of_the_caches_business(
    index: dict[bytes, bytes], directives: bytes, how: dict[str, bool], word: bytes | None
) -> None:
    flags = {"has_content": False, "upgrades": False} | how
    assert bypasses(index, parse_directives(directives), **flags) == word


@pytest.mark.parametrize(
    ("response", "request_directives", "age", "use"),
    [
        pytest.param("max-age=60", b"", 0.0, Use.FRESH, id="new"),
        pytest.param("max-age=60", b"", 59.99, Use.FRESH, id="just fresh"),
        pytest.param("max-age=60", b"", 60.0, Use.VALIDATE, id="as old as its lifetime"),
        pytest.param("max-age=0", b"", 0.0, Use.VALIDATE, id="lifetime 0 in the same instant"),
        pytest.param("no-cache, max-age=60", b"", 0.0, Use.VALIDATE, id="no-cache"),
        pytest.param("no-cache, max-age=60", b"max-stale", 0.0, Use.VALIDATE, id="no-cache, max-stale"),
        pytest.param("max-age=60", b"no-cache", 0.0, Use.UNWANTED, id="client: no-cache"),
        pytest.param("max-age=60", b"no-cache=x", 0.0, Use.UNWANTED, id="client: no-cache with a value"),
        pytest.param("max-age=60", b"max-age=0", 0.01, Use.UNWANTED, id="client: max-age=0"),
        pytest.param("max-age=60", b"max-age=10", 10.0, Use.FRESH, id="client: max-age, not older"),
        pytest.param("max-age=60", b"max-age=10", 10.1, Use.UNWANTED, id="client: max-age, older"),
        pytest.param("max-age=60", b"max-age=x", 10.1, Use.FRESH, id="client: max-age that is no number"),
        pytest.param("max-age=60", b"min-fresh=10", 50.0, Use.FRESH, id="client: min-fresh, enough"),
        pytest.param("max-age=60", b"min-fresh=10", 50.1, Use.UNWANTED, id="client: min-fresh, not enough"),
        pytest.param("max-age=60", b"max-stale", 1000.0, Use.STALE, id="client: any staleness"),
        pytest.param("max-age=60", b"max-stale", 60.0 + 86400.1, Use.VALIDATE, id="client: any, but a day at most"),
        pytest.param("max-age=60", b"max-stale=10", 70.0, Use.STALE, id="client: max-stale, within"),
        pytest.param("max-age=60", b"max-stale=10", 70.1, Use.VALIDATE, id="client: max-stale, past"),
        pytest.param("max-age=60", b"max-stale=x", 60.0 + 1, Use.VALIDATE, id="client: max-stale that is no number"),
        pytest.param("max-age=60, must-revalidate", b"max-stale", 61.0, Use.VALIDATE, id="must-revalidate"),
        pytest.param("max-age=60, proxy-revalidate", b"max-stale", 61.0, Use.VALIDATE, id="proxy-revalidate"),
        pytest.param("s-maxage=60", b"max-stale", 61.0, Use.VALIDATE, id="s-maxage"),
        pytest.param("max-age=60, stale-while-revalidate=30", b"", 89.9, Use.REFRESH, id="in the window"),
        pytest.param("max-age=60, stale-while-revalidate=30", b"", 90.0, Use.VALIDATE, id="past the window"),
        pytest.param("max-age=60, stale-while-revalidate=30", b"no-cache", 61.0, Use.UNWANTED, id="window, no-cache"),
        pytest.param(
            "max-age=60, must-revalidate, stale-while-revalidate=30", b"", 61.0, Use.VALIDATE, id="window forbidden"
        ),
        pytest.param("max-age=60", b"unknown=5, other", 1.0, Use.FRESH, id="client: unknown directives"),
    ],
)
def test_what_it_is_used_for(kit: Any, response: str, request_directives: bytes, age: float, use: Use) -> None:
    entry = kit.entry({"Cache-Control": response, "ETag": '"a"'})
    assert decide(entry, parse_directives(request_directives), age) is use


@pytest.mark.parametrize(
    ("response", "directives", "age", "has_response", "may"),
    [
        pytest.param("max-age=60", b"", 61.0, False, True, id="unreachable: by default"),
        pytest.param("max-age=60", b"", 60.0 + 86400, False, False, id="unreachable: a day at most"),
        pytest.param("max-age=60", b"", 61.0, True, False, id="error: not by default"),
        pytest.param("max-age=60, stale-if-error=5", b"", 64.9, True, True, id="error: within stale-if-error"),
        pytest.param("max-age=60, stale-if-error=5", b"", 65.0, True, False, id="error: past it"),
        pytest.param("max-age=60, stale-if-error=5", b"", 66.0, False, True, id="unreachable: past it"),
        pytest.param("max-age=60, must-revalidate", b"", 61.0, False, False, id="must-revalidate"),
        pytest.param("max-age=60, proxy-revalidate", b"", 61.0, False, False, id="proxy-revalidate"),
        pytest.param("s-maxage=60", b"", 61.0, False, False, id="s-maxage"),
        pytest.param("no-cache", b"", 1.0, False, False, id="no-cache"),
        pytest.param("max-age=60", b"no-cache", 1.0, False, False, id="client: no-cache"),
        pytest.param("max-age=60", b"max-age=0", 1.0, False, True, id="client: max-age"),
    ],
)
def test_when_it_stands_in_for_a_failing_origin(
    kit: Any, response: str, directives: bytes, age: float, has_response: bool, may: bool
) -> None:
    entry = kit.entry({"Cache-Control": response, "ETag": '"a"'})
    assert stands_in(entry, parse_directives(directives), age, has_response=has_response) is may
