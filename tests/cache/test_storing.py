"""Rules 10 to 14, 18 and 28: what may be stored, and with which rights."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cache.entry import Entry, Receipt, draft
from proxy.cache.policy import STALE_ON_ERROR_S, CachePolicy
from proxy.http.dates import format_date
from proxy.http.message import field, index_fields

NOW, WALL = 1000.0, 1_700_000_000.0
DATE = format_date(int(WALL))
LONG_AGO = format_date(int(WALL) - 1000)
FRESH = {"Cache-Control": "max-age=60"}
TTL = CachePolicy(ttl_s=60.0)


def try_draft(
    fields: dict[str, Any],
    *,
    status: int = 200,
    request: dict[str, str] | None = None,
    policy: CachePolicy | None = None,
    delay_s: float = 0.0,
) -> Entry | bytes:
    asked = index_fields([field(name, value) for name, value in (request or {}).items()])
    lines = [field(name, value) for name, value in fields.items()]
    return draft(b"k", policy or CachePolicy(), Receipt(asked, NOW, WALL, delay_s), status, b"Reason", lines)


def stored(fields: dict[str, Any], **how: Any) -> Entry:
    entry = try_draft(fields, **how)
    assert isinstance(entry, Entry), entry
    return entry


@pytest.mark.parametrize(
    "status", [200, 201, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 429, 499, 500, 502, 503, 504, 599]
)
def test_any_final_status_with_an_explicit_lifetime_is_stored(status: int) -> None:
    entry = stored(FRESH, status=status)
    assert (entry.status, entry.reason, entry.fresh_s) == (status, b"Reason", 60.0)


@pytest.mark.parametrize(
    ("fields", "how", "word"),
    [
        pytest.param({"Cache-Control": "no-store, max-age=60"}, {}, b"no-store", id="no-store"),
        pytest.param({"Cache-Control": "max-age=60, NO-STORE"}, {}, b"no-store", id="no-store in capitals"),
        pytest.param({"Cache-Control": "no-store=x, max-age=60"}, {}, b"no-store", id="no-store with a value"),
        pytest.param({"Cache-Control": 'max-age=60, x="a'}, {}, b"no-store", id="a quote that is never closed"),
        pytest.param({"Cache-Control": "private, max-age=60"}, {}, b"private", id="private"),
        pytest.param({"Cache-Control": 'private="a, b", max-age=60'}, {}, b"private", id="private with names"),
        pytest.param(FRESH | {"Vary": "*"}, {}, b"vary-any", id="Vary: *"),
        pytest.param(FRESH | {"Vary": "Foo, *"}, {}, b"vary-any", id="* at the end"),
        pytest.param(FRESH | {"Vary": ",, * ,"}, {}, b"vary-any", id="* among empty members"),
        pytest.param(FRESH, {"request": {"Authorization": "x"}}, b"authorization", id="Authorization"),
        pytest.param(FRESH | {"Set-Cookie": "a=b"}, {}, b"set-cookie", id="Set-Cookie"),
        pytest.param(FRESH, {"status": 206}, b"partial", id="206"),
        pytest.param(FRESH, {"status": 304}, b"not-final", id="304"),
        pytest.param(FRESH | {"Content-Type": "text/event-stream"}, {}, b"event-stream", id="events"),
        pytest.param(
            {"Cache-Control": "must-understand, max-age=60"}, {"status": 299}, b"must-understand", id="not understood"
        ),
        pytest.param({}, {}, b"no-lifetime", id="neither freshness nor validator"),
        pytest.param({"Cache-Control": "max-age=0"}, {}, b"no-lifetime", id="stale at once, no validator"),
        pytest.param({"Cache-Control": "no-cache, max-age=60"}, {}, b"no-lifetime", id="no-cache, no validator"),
        pytest.param(FRESH | {"Age": "60"}, {}, b"no-lifetime", id="too old on arrival, no validator"),
        pytest.param({"ETag": '"a"'}, {"status": 201}, b"status", id="a validator alone, 201"),
        pytest.param({"Last-Modified": LONG_AGO}, {"status": 302}, b"status", id="a validator alone, 302"),
        pytest.param({}, {"status": 500}, b"status", id="500 without a word"),
        # the operator's ttl replaces lifetimes, never these
        pytest.param({"Cache-Control": "no-store"}, {"policy": TTL}, b"no-store", id="ttl and no-store"),
        pytest.param({"Cache-Control": "private"}, {"policy": TTL}, b"private", id="ttl and private"),
        pytest.param({"Vary": "*"}, {"policy": TTL}, b"vary-any", id="ttl and Vary: *"),
        pytest.param({"Set-Cookie": "a=b"}, {"policy": TTL}, b"set-cookie", id="ttl and Set-Cookie"),
        pytest.param(
            {}, {"policy": TTL, "request": {"Authorization": "x"}}, b"authorization", id="ttl and Authorization"
        ),
        pytest.param({"Cache-Control": "no-cache"}, {"policy": TTL}, b"no-lifetime", id="ttl and no-cache"),
        pytest.param({}, {"policy": TTL, "status": 500}, b"status", id="ttl and an error"),
        pytest.param({}, {"policy": TTL, "status": 404}, b"no-lifetime", id="ttl and not found"),
        pytest.param(
            {"Set-Cookie": "a=b", "ETag": '"a"'},
            {"policy": CachePolicy(set_cookie="store")},
            b"set-cookie",
            id="a cookie that is stored needs an explicit lifetime",
        ),
    ],
)
def test_what_is_never_stored(fields: dict[str, str], how: dict[str, Any], word: bytes) -> None:
    assert try_draft(fields, **how) == word


@pytest.mark.parametrize("directive", ["public", "must-revalidate", "s-maxage=60"])
def test_with_authorization_only_what_says_so_is_stored(directive: str) -> None:
    entry = stored({"Cache-Control": f"max-age=60, {directive}"}, request={"Authorization": "x"})
    assert entry.is_shared


def test_a_cookie_of_the_request_prevents_nothing() -> None:
    assert stored(FRESH, request={"Cookie": "a=b"}).fresh_s == 60.0


def test_must_understand_overrides_no_store_when_the_status_is_understood() -> None:
    assert stored({"Cache-Control": "must-understand, no-store, max-age=60"}).fresh_s == 60.0


@pytest.mark.parametrize("fields", [{"ETag": '"a"'}, {"ETag": 'W/"a"'}, {"Last-Modified": DATE}])
def test_a_validator_alone_is_stored_to_be_validated(fields: dict[str, Any]) -> None:
    assert stored(fields).fresh_s == 0.0


def test_public_makes_any_status_storable() -> None:
    assert stored({"ETag": '"a"', "Cache-Control": "public"}, status=299).etag == b'"a"'


@pytest.mark.parametrize(
    ("mode", "cookies"), [pytest.param("strip", [], id="strip"), pytest.param("store", [b"a=b"], id="store")]
)
def test_cookies_are_stripped_or_stored_as_the_route_says(mode: Any, cookies: list[bytes]) -> None:
    entry = stored(FRESH | {"Set-Cookie": "a=b"}, policy=CachePolicy(set_cookie=mode))
    assert [value for name, _, value in entry.fields if name == b"set-cookie"] == cookies


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 302, 308])
@pytest.mark.parametrize(
    "fields", [{}, {"Cache-Control": "max-age=0"}, {"Cache-Control": "s-maxage=5"}, {"Expires": "0"}]
)
def test_a_ttl_replaces_what_the_origin_says_of_the_lifetime(status: int, fields: dict[str, str]) -> None:
    assert stored(fields, status=status, policy=TTL).fresh_s == 60.0


def test_a_ttl_counts_from_the_receipt() -> None:
    entry = stored({"Date": LONG_AGO}, policy=TTL)
    assert NOW - entry.born_at == 1000.0
    assert entry.fresh_s == 1060.0


def test_a_ttl_leaves_other_statuses_to_the_origin() -> None:
    assert stored({"Cache-Control": "max-age=5"}, status=404, policy=TTL).fresh_s == 5.0


def test_the_age_counts_what_came_before_us() -> None:
    entry = stored(FRESH | {"Age": "30", "Date": DATE}, delay_s=2.0)
    assert NOW - entry.born_at == 32.0


@pytest.mark.parametrize(
    ("cache_control", "policy", "rights"),
    [
        # (while it is fetched anew, for an error, for no response at all, on the client's wish)
        pytest.param("", CachePolicy(), (0, 0, STALE_ON_ERROR_S, STALE_ON_ERROR_S), id="silent"),
        pytest.param(
            ", stale-while-revalidate=5, stale-if-error=7",
            CachePolicy(),
            (5, 7, STALE_ON_ERROR_S, STALE_ON_ERROR_S),
            id="the origin allows",
        ),
        pytest.param(
            ", stale-while-revalidate=5, stale-if-error=7",
            CachePolicy(stale_while_revalidate_s=1.0, stale_if_error_s=2.0),
            (1, 2, 2, STALE_ON_ERROR_S),
            id="the operator says otherwise",
        ),
        pytest.param(", stale-if-error=100000", CachePolicy(), (0, 1e5, 1e5, STALE_ON_ERROR_S), id="more than a day"),
        pytest.param(", stale-while-revalidate=x", CachePolicy(), (0, 0, 86400, 86400), id="no number"),
        pytest.param(", must-revalidate, stale-if-error=7", CachePolicy(), (0, 0, 0, 0), id="must-revalidate"),
        pytest.param(", proxy-revalidate, stale-if-error=7", CachePolicy(), (0, 0, 0, 0), id="proxy-revalidate"),
        pytest.param(", s-maxage=60, stale-while-revalidate=5", CachePolicy(), (0, 0, 0, 0), id="s-maxage"),
        pytest.param(
            ", s-maxage=60",
            CachePolicy(stale_while_revalidate_s=1.0, stale_if_error_s=2.0),
            (1, 2, 2, 0),
            id="s-maxage, and the operator's word",
        ),
        pytest.param(
            ", must-revalidate",
            CachePolicy(stale_while_revalidate_s=1.0, stale_if_error_s=2.0),
            (0, 0, 0, 0),
            id="must-revalidate, and the operator's word",
        ),
        pytest.param(", s-maxage=60", TTL, (0, 0, STALE_ON_ERROR_S, STALE_ON_ERROR_S), id="s-maxage replaced by a ttl"),
    ],
)
def test_how_stale_it_may_be_used(cache_control: str, policy: CachePolicy, rights: tuple[float, ...]) -> None:
    entry = stored({"Cache-Control": "max-age=60" + cache_control}, policy=policy)
    assert (entry.revalidate_s, entry.error_s, entry.unreachable_s, entry.max_stale_s) == rights


@pytest.mark.parametrize("value", ["no-cache", "No-Cache", 'no-cache="set-cookie"', "no-cache=x"])
def test_no_cache_is_stored_and_never_used_without_asking(value: str) -> None:
    entry = stored({"Cache-Control": f"max-age=60, stale-if-error=60, {value}", "ETag": '"a"'})
    assert (entry.fresh_s, entry.revalidate_s, entry.error_s, entry.unreachable_s, entry.max_stale_s) == (0,) * 5


def test_a_response_with_a_stale_window_is_worth_storing_without_lifetime() -> None:
    assert stored({"Cache-Control": "max-age=0, stale-while-revalidate=60"}).revalidate_s == 60.0


def test_fields_are_kept_as_they_came() -> None:
    lines = {"Cache-Control": "max-age=60", "X-ÜNUSUAL".replace("Ü", "U"): "ü".encode("latin-1"), "Date": DATE.decode()}
    lines |= {"Content-Range": "bytes 0-0/1", "Content-Encoding": "unheard-of", "Via": "1.1 a"}
    entry = stored(lines)
    assert [(name.decode(), value) for _, name, value in entry.fields] == [
        (name, value if isinstance(value, bytes) else value.encode()) for name, value in lines.items()
    ]


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_missing_or_invalid_date_becomes_that_of_the_receipt(date: str | None) -> None:
    entry = stored(FRESH | ({} if date is None else {"Date": date}))
    assert [value for name, _, value in entry.fields if name == b"date"] == [DATE]
    assert entry.date_s == int(WALL)


def test_age_and_request_id_of_another_exchange_are_not_kept() -> None:
    entry = stored(FRESH | {"Age": "3", "X-Request-ID": "r"})
    assert {name for name, _, _ in entry.fields} == {b"cache-control", b"date"}


def test_the_head_carries_the_age_and_is_made_once_a_second() -> None:
    entry = stored(FRESH | {"Date": DATE.decode()})
    block = entry.block(7)
    assert block == b"HTTP/1.1 200 Reason\r\nCache-Control: max-age=60\r\nDate: " + DATE + b"\r\nAge: 7\r\n"
    assert entry.block(7) is block
    assert entry.hit_text(7) == b"hit; ttl=53"
    assert entry.block(8).endswith(b"Age: 8\r\n")
    assert entry.hit_text(61) == b"hit; ttl=-1"
