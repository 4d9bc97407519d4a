"""The cache as clients and backends see it."""

from __future__ import annotations

import asyncio
import re
import time
from email.utils import formatdate

import pytest

from tests.line.backend import Backend, Call, Hub, Out, reply
from tests.line.client import Answer, at_once
from tests.line.conftest import Configure
from tests.line.process import Weir, eventually

CONFIG = """
upstreams: {{app: {{primary: {app}}}}}
defaults: {{upstream: app}}
cache: {{memory: 8MiB, max_entry: 1MiB}}
routes:
  - {{name: rest}}
  - {{name: obeys, match: {{path: /o/**}}, cache: {{}}}}
  - {{name: minute, match: {{path: /ttl/**}}, cache: {{ttl: 60s, ignore_query: [utm_source]}}}}
  - {{name: soon, match: {{path: /soon/**}}, cache: {{ttl: 300ms, stale_while_revalidate: 30s}}}}
  - {{name: error, match: {{path: /error/**}}, cache: {{ttl: 300ms, stale_if_error: 60s}}, timeout: 1s}}
  - {{name: strip, match: {{path: /strip/**}}, cache: {{ttl: 60s, set_cookie: strip}}}}
  - {{name: by-language, match: {{path: /lang/**}}, cache: {{ttl: 60s, vary: [Accept-Language]}}}}
  - name: dressed
    match: {{path: /dressed/**}}
    cache: {{ttl: 60s}}
    limits: [{{name: dressed, rate: 100/h, by: ip}}]
    response_fields: {{set: {{X-Route: dressed}}}}
"""


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend) -> Weir:
    return configure_module(CONFIG.format(app=app.url))


def counting(app: Backend, path: str, **fields: str) -> None:
    """Answers at `path` with the number of the call."""

    async def answer(call: Call, out: Out) -> None:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        content = f"call {len(app.asked(path))}".encode()
        await out.send(200, content, named, has_content=call.method != "HEAD")

    app.on(path, answer)


def status_of(answer: Answer) -> str:
    """Weir's member of Cache-Status, without its name."""
    value = answer.get("cache-status") or ""
    assert value.startswith("weir; "), answer
    return value.removeprefix("weir; ")


def is_hit(answer: Answer) -> bool:
    return status_of(answer).startswith("hit")


# -- miss and hit --


def test_a_second_request_is_answered_from_the_cache_with_its_age(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/a", Content_Type="text/plain")
    first = weir.get("/ttl/a")
    assert status_of(first) == "fwd=uri-miss; stored"
    assert first.get("age") is None
    second = weir.get("/ttl/a")
    assert re.fullmatch(r"hit; ttl=(60|59)", status_of(second))
    assert second.content == first.content == b"call 1"
    assert int(second.get("age") or -1) <= 1
    assert second.get("content-type") == "text/plain"
    assert second.get("x-request-id") != first.get("x-request-id")
    assert len(app.asked("/ttl/a")) == 1
    said = weir.logged(second)
    assert (said["attempts"], said["endpoint"], said["cache"]) == (0, None, status_of(second))


def test_the_query_is_part_of_the_key_except_for_what_is_ignored(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/query")
    assert weir.get("/ttl/query?page=1").content == b"call 1"
    assert weir.get("/ttl/query?page=2").content == b"call 2"
    assert weir.get("/ttl/query?page=1&utm_source=mail").content == b"call 1"


def test_each_host_has_its_own_entries(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/host")
    assert weir.get("/ttl/host", {"Host": "a.example"}).content == b"call 1"
    assert weir.get("/ttl/host", {"Host": "b.example"}).content == b"call 2"
    assert weir.get("/ttl/host", {"Host": "A.example"}).content == b"call 1"


def test_without_a_policy_only_what_the_backend_allows_is_stored(weir: Weir, app: Backend) -> None:
    counting(app, "/o/allowed", Cache_Control="max-age=60")
    counting(app, "/o/silent")
    counting(app, "/o/private", Cache_Control="private, max-age=60")
    counting(app, "/o/never", Cache_Control="no-store")
    counting(app, "/o/any", Cache_Control="max-age=60", Vary="*")
    counting(app, "/o/expires", Expires=formatdate(time.time() + 60, usegmt=True), Date=formatdate(usegmt=True))
    contents = {
        path: [weir.get(path).content for _ in range(2)]
        for path in ("/o/allowed", "/o/silent", "/o/private", "/o/never", "/o/any", "/o/expires")
    }
    once, twice = [b"call 1", b"call 1"], [b"call 1", b"call 2"]
    assert contents == {
        "/o/allowed": once,
        "/o/silent": twice,
        "/o/private": twice,
        "/o/never": twice,
        "/o/any": twice,
        "/o/expires": once,
    }
    assert "cache-status" not in dict(weir.get("/elsewhere").fields)


def test_an_upstreams_age_counts(weir: Weir, app: Backend) -> None:
    counting(app, "/o/aged", Cache_Control="max-age=100", Age="40")
    weir.get("/o/aged")
    hit = weir.get("/o/aged")
    assert 40 <= int(hit.get("age") or 0) <= 42
    assert re.fullmatch(r"hit; ttl=(60|59|58)", status_of(hit))


def test_field_rules_and_limits_apply_to_a_hit_as_well(weir: Weir, app: Backend) -> None:
    counting(app, "/dressed/a", X_Route="backend")
    answers = [weir.get("/dressed/a") for _ in range(3)]
    assert [is_hit(answer) for answer in answers] == [False, True, True]
    assert [answer.get("x-route") for answer in answers] == ["dressed"] * 3
    remaining = [int(answer.get("x-ratelimit-remaining") or 0) for answer in answers]
    assert remaining == [remaining[0], remaining[0] - 1, remaining[0] - 2]


# -- selecting --


def test_vary_keeps_variants_apart(weir: Weir, app: Backend) -> None:
    async def answer(call: Call, out: Out) -> None:
        await out.send(200, (call.get("accept-encoding") or "plain").encode(), {"Vary": "Accept-Encoding"})

    app.on("/ttl/vary", answer)
    for coding in ("gzip", "br"):
        assert weir.get("/ttl/vary", {"Accept-Encoding": coding}).content == coding.encode()
    hits = [weir.get("/ttl/vary", {"Accept-Encoding": coding}) for coding in ("gzip", "br")]
    assert [hit.content for hit in hits] == [b"gzip", b"br"]
    assert [is_hit(hit) for hit in hits] == [True, True]
    assert status_of(weir.get("/ttl/vary")).startswith("fwd=vary-miss")
    assert len(app.asked("/ttl/vary")) == 3


def test_a_policy_may_vary_on_more(weir: Weir, app: Backend) -> None:
    counting(app, "/lang/a")
    contents = [weir.get("/lang/a", {"Accept-Language": language}).content for language in ("de", "fr", "de")]
    assert contents == [b"call 1", b"call 2", b"call 1"]


def test_a_head_request_is_answered_from_the_entry_of_a_get(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/head", ETag='"h"')
    weir.get("/ttl/head")
    head = weir.ask("HEAD", "/ttl/head")
    assert is_hit(head)
    assert (head.get("content-length"), head.get("etag"), head.content) == ("6", '"h"', b"")
    assert [call.method for call in app.asked("/ttl/head")] == ["GET"]


def test_a_range_is_cut_out_of_a_whole_entry(weir: Weir, app: Backend) -> None:
    content = bytes(range(256)) * 40
    app.on("/ttl/range", reply(200, content, ETag='"r"'))
    assert weir.get("/ttl/range").content == content
    part = weir.get("/ttl/range", {"Range": "bytes=100-299"})
    assert (part.status, part.content) == (206, content[100:300])
    assert part.get("content-range") == "bytes 100-299/10240"
    last = weir.get("/ttl/range", {"Range": "bytes=-5"})
    assert (last.status, last.content) == (206, content[-5:])
    beyond = weir.get("/ttl/range", {"Range": "bytes=20000-"})
    assert (beyond.status, beyond.get("content-range")) == (416, "bytes */10240")
    changed = weir.get("/ttl/range", {"Range": "bytes=0-4", "If-Range": '"other"'})
    assert (changed.status, changed.content) == (200, content)
    assert len(app.asked("/ttl/range")) == 1


# -- validation --


def test_a_clients_own_copy_is_confirmed_without_the_backend(weir: Weir, app: Backend) -> None:
    modified = formatdate(time.time() - 3600, usegmt=True)
    counting(app, "/ttl/etag", ETag='"v1"', Last_Modified=modified)
    weir.get("/ttl/etag")
    for condition in ({"If-None-Match": '"v1"'}, {"If-None-Match": 'W/"v1", "x"'}, {"If-Modified-Since": modified}):
        same = weir.get("/ttl/etag", condition)
        assert (same.status, same.content, same.get("etag")) == (304, b"", '"v1"')
    other = weir.get("/ttl/etag", {"If-None-Match": '"v0"'})
    assert (other.status, other.content) == (200, b"call 1")
    assert len(app.asked("/ttl/etag")) == 1


def test_a_stale_entry_is_validated_and_used_again_when_the_backend_says_304(weir: Weir, app: Backend) -> None:
    async def answer(call: Call, out: Out) -> None:
        fields = {"ETag": '"v1"', "Cache-Control": "max-age=1"}
        if call.get("if-none-match") == '"v1"':
            await out.send(304, b"", fields | {"X-Validated": "yes"})
        else:
            await out.send(200, b"whole", fields)

    app.on("/o/validated", answer)
    assert weir.get("/o/validated").content == b"whole"
    assert is_hit(weir.get("/o/validated"))
    time.sleep(1.1)
    validated = weir.get("/o/validated")
    assert (validated.status, validated.content) == (200, b"whole")
    assert status_of(validated).startswith("fwd=stale; fwd-status=304")
    assert validated.get("x-validated") == "yes", "the stored fields are brought up to date"
    assert is_hit(weir.get("/o/validated"))
    assert [call.get("if-none-match") for call in app.asked("/o/validated")] == [None, '"v1"']


def test_a_client_may_insist_on_a_fresh_answer_or_on_a_stored_one(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/insist")
    only = weir.get("/ttl/insist", {"Cache-Control": "only-if-cached"})
    assert (only.status, only.reason) == (504, "not_stored")
    weir.get("/ttl/insist")
    assert weir.get("/ttl/insist", {"Cache-Control": "no-cache"}).content == b"call 2"
    assert weir.get("/ttl/insist").content == b"call 2"


# -- stale answers --


def test_a_stale_entry_is_given_at_once_while_it_is_fetched_anew(weir: Weir, app: Backend) -> None:
    async def slow(call: Call, out: Out) -> None:
        number = len(app.asked("/soon/a"))
        if number > 1:
            await asyncio.sleep(0.4)
        await out.send(200, f"call {number}".encode())

    app.on("/soon/a", slow)
    assert weir.get("/soon/a").content == b"call 1"
    time.sleep(0.35)
    started = time.monotonic()
    answers = [weir.get("/soon/a") for _ in range(3)]
    assert time.monotonic() - started < 0.35, "nobody waits for the backend"
    assert {answer.content for answer in answers} == {b"call 1"}
    assert re.match(r"hit; ttl=-?\d+", status_of(answers[0]))
    eventually(lambda: weir.get("/soon/a").content == b"call 2")


def test_a_stale_entry_stands_in_when_the_backend_is_down_or_fails(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "frail")
    weir = configure(CONFIG.format(app=backend.url))
    counting(backend, "/error/down")
    assert weir.get("/error/down").content == b"call 1"
    time.sleep(0.35)
    backend.on("/error/down", reply(503, b"sorry"))
    stale = weir.get("/error/down")
    assert (stale.status, stale.content) == (200, b"call 1")
    assert status_of(stale) == "fwd=stale; fwd-status=503; detail=stale-if-error"
    backend.stop()
    stale = weir.get("/error/down")
    assert (stale.status, stale.content) == (200, b"call 1")
    assert status_of(stale) == "fwd=stale; detail=stale-if-error"
    assert weir.get("/error/never-seen").status == 502
    backend.start()
    counting(backend, "/error/down")
    fresh = eventually(lambda: answer if not is_stale(answer := weir.get("/error/down")) else None)
    assert fresh.content != b"call 1"
    assert weir.metric("weir_cache_requests_total", result="stale") >= 2


def is_stale(answer: Answer) -> bool:
    return "stale-if-error" in status_of(answer)


def test_a_slow_backend_is_a_failure_that_a_stale_entry_stands_in_for(weir: Weir, app: Backend) -> None:
    async def hangs(call: Call, out: Out) -> None:
        if len(app.asked("/error/slow")) > 1:
            await asyncio.sleep(3)
        await out.send(200, b"old")

    app.on("/error/slow", hangs)
    weir.get("/error/slow")
    time.sleep(0.35)
    stale = weir.get("/error/slow")
    assert (stale.status, stale.content) == (200, b"old")
    assert is_stale(stale)


# -- one flight --


def test_fifty_clients_of_a_cold_url_cost_the_backend_one_request(weir: Weir, app: Backend) -> None:
    async def slow(call: Call, out: Out) -> None:
        await asyncio.sleep(0.5)
        await out.send(200, b"popular" * 1000)

    app.on("/ttl/popular", slow)
    answers = at_once(*[lambda: weir.get("/ttl/popular") for _ in range(50)])
    assert {(answer.status, answer.content) for answer in answers} == {(200, b"popular" * 1000)}
    assert len(app.asked("/ttl/popular")) == 1
    assert sum("collapsed" in status_of(answer) for answer in answers) >= 40
    assert weir.metric("weir_cache_collapsed_total") >= 40


def test_others_do_not_suffer_when_the_one_that_fetches_leaves(weir: Weir, app: Backend) -> None:
    async def slow(call: Call, out: Out) -> None:
        await asyncio.sleep(0.4)
        await out.send(200, b"kept")

    app.on("/ttl/left", slow)

    def leaves() -> None:
        with weir.client() as client:
            client.send("GET", "/ttl/left")
            time.sleep(0.15)

    def stays() -> Answer:
        time.sleep(0.05)
        return weir.get("/ttl/left")

    _, *answers = at_once(leaves, stays, stays, stays)
    assert [(answer.status, answer.content) for answer in answers] == [(200, b"kept")] * 3
    assert len(app.asked("/ttl/left")) <= 2


def test_a_response_that_breaks_is_not_stored(weir: Weir, app: Backend) -> None:
    async def breaks(call: Call, out: Out) -> None:
        if len(app.asked("/ttl/broken")) == 1:
            await out.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await asyncio.sleep(0.05)
            out.close()
        else:
            await out.send(200, b"whole")

    app.on("/ttl/broken", breaks)
    with pytest.raises((EOFError, ConnectionResetError)):
        weir.get("/ttl/broken")
    assert weir.get("/ttl/broken").content == b"whole"


# -- what is nobody else's --


def test_an_answer_to_credentials_is_not_shared(weir: Weir, app: Backend) -> None:
    async def personal(call: Call, out: Out) -> None:
        await out.send(200, (call.get("authorization") or "nobody").encode())

    app.on("/ttl/personal", personal)
    assert weir.get("/ttl/personal", {"Authorization": "Bearer alice"}).content == b"Bearer alice"
    assert weir.get("/ttl/personal", {"Authorization": "Bearer bob"}).content == b"Bearer bob"
    assert weir.get("/ttl/personal").content == b"nobody"
    collapsed = at_once(
        *[lambda n=n: weir.get("/ttl/personal?x", {"Authorization": f"Bearer {n}"}).content for n in range(10)]
    )
    assert collapsed == [f"Bearer {n}".encode() for n in range(10)]


def test_an_answer_with_set_cookie_is_not_shared_unless_it_is_stripped(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/cookie", Set_Cookie="session=1")
    answers = [weir.get("/ttl/cookie") for _ in range(2)]
    assert [answer.content for answer in answers] == [b"call 1", b"call 2"]
    assert [answer.get("set-cookie") for answer in answers] == ["session=1"] * 2
    counting(app, "/strip/cookie", Set_Cookie="session=1")
    answers = [weir.get("/strip/cookie") for _ in range(2)]
    assert [answer.content for answer in answers] == [b"call 1", b"call 1"]
    assert answers[1].get("set-cookie") is None


def test_a_write_ends_what_is_stored_of_its_url(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/written")
    assert [weir.get("/ttl/written").content for _ in range(2)] == [b"call 1"] * 2
    written = weir.ask("POST", "/ttl/written", None, b"{}")
    assert status_of(written) == "fwd=method"
    assert weir.get("/ttl/written").content == b"call 3"
    app.on("/ttl/written", reply(500))
    assert weir.ask("DELETE", "/ttl/written").status == 500
    assert weir.get("/ttl/written").content == b"call 3", "a write that failed changed nothing"


def test_a_response_too_large_for_the_cache_passes_through(weir: Weir, app: Backend) -> None:
    for _ in range(2):
        answer = weir.get("/ttl/large?size=1500000")
        assert len(answer.content) == 1_500_000
    assert len(app.asked("/ttl/large")) == 2


def test_the_metrics_agree_with_what_happened(weir: Weir, app: Backend) -> None:
    counting(app, "/ttl/counted")
    words = ("hit", "miss", "bypass", "stale")
    before = {word: weir.metric("weir_cache_requests_total", result=word) for word in words}
    stored, hits = weir.metric("weir_cache_stored_total"), weir.metric("weir_route_cache_hits_total", route="minute")
    for _ in range(5):
        weir.get("/ttl/counted")
    weir.ask("POST", "/ttl/other", None, b"")
    gained = {word: weir.metric("weir_cache_requests_total", result=word) - before[word] for word in words}
    assert gained == {"hit": 4, "miss": 1, "bypass": 1, "stale": 0}
    assert weir.metric("weir_cache_stored_total") == stored + 1
    assert weir.metric("weir_route_cache_hits_total", route="minute") == hits + 4
    assert weir.metric("weir_cache_entries") >= 1
    assert weir.metric("weir_cache_bytes") > 0
