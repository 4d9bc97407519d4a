"""/v1/cache over a real listener, with a real cache."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from proxy.admin.app import make_admin
from proxy.admin.cache_operator import CacheOperator, CacheParts, key_of
from proxy.admin.health import Component
from proxy.admin.operator import Operator
from proxy.admin.runner import AdminRunner
from proxy.cache.cache import Cache
from proxy.cache.entry import Entry, Receipt, draft
from proxy.cache.key import Keying
from proxy.cache.policy import CachePolicy
from proxy.cache.settings import CacheSettings
from proxy.cli.cache import cache as verb
from proxy.core.clock import monotonic, wall
from proxy.http.message import field, index_fields
from proxy.observe.collector import Collector, Sources
from proxy.observe.observe import Observe

TOKEN = "a-token-of-the-tests"
SECRET = "sessions-are-nobodys-business"


class Weir:
    """A listener, the cache behind it, and the command line."""

    address = "127.0.0.1:9901"

    def __init__(self) -> None:
        self.observe = Observe()
        self.metrics = Collector(Sources(self.observe))
        self.health = self
        self.cache = Cache(CacheSettings())
        tokens = {"alice": sha256(TOKEN.encode()).hexdigest()}
        keying = Keying(ignored=frozenset({b"utm"}))
        # of the rest of the API only the guard is needed
        parts: Any = SimpleNamespace(tokens=lambda: tokens, events=self.observe.events, audit=self.observe.audit)
        self.operator = Operator(parts)
        self.cache_operator = CacheOperator(
            CacheParts(self.cache, self.observe.audit, lambda: tokens, lambda target: [keying.target(target)])
        )
        self.session: Any = None
        self.admin = ""

    def is_started(self) -> bool:
        return True

    def is_draining(self) -> bool:
        return False

    async def components(self) -> Sequence[Component]:
        return []

    def store(self, url: str, tags: str = "", body: bytes = b"content", request: dict[str, str] | None = None) -> Entry:
        fields = [field("Cache-Control", "max-age=60"), field("Surrogate-Key", tags)]
        if request:
            fields.append(field("Vary", ", ".join(request)))
        index = index_fields([field(name, value) for name, value in (request or {}).items()])
        made = draft(key_of(url), CachePolicy(), Receipt(index, monotonic(), wall(), 0.0), 200, b"OK", fields)
        assert isinstance(made, Entry)
        assert self.cache.keep(made.filled(body), index, self.cache.invalidations.now, "shop")
        return made

    async def ask(self, path: str, body: Any = None, token: str | None = TOKEN) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        method = "GET" if body is None else "POST"
        data = body if isinstance(body, bytes | None) else json.dumps(body)
        async with self.session.request(method, f"http://{self.admin}{path}", headers=headers, data=data) as answer:
            return answer.status, json.loads(await answer.text())

    async def weir_cache(self, *arguments: str) -> Result:
        given = {"WEIR_TOKEN": TOKEN, "WEIR_ADMIN": self.admin, "TERM": "dumb", "COLUMNS": "200"}
        return await asyncio.to_thread(CliRunner().invoke, verb, arguments, env=given, prog_name="weir cache")


@pytest.fixture
async def weir() -> AsyncIterator[Weir]:
    made = Weir()
    app = make_admin(made, made.operator)
    made.cache_operator.add_to(app)
    runner = AdminRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.admin = f"127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as made.session:
        yield made
    await runner.cleanup()
    made.observe.stop()


@pytest.mark.parametrize("path", ["/v1/cache", "/v1/cache/entries", "/v1/cache/entry?url=http://a/", "/v1/cache/purge"])
async def test_nothing_without_a_token(weir: Weir, path: str) -> None:
    weir.store("http://a/")
    body = {"all": True, "reason": "x"} if path.endswith("purge") else None
    assert (await weir.ask(path, body, token=None))[0] == 401
    assert (await weir.ask(path, body, token="other"))[0] == 401
    assert weir.cache.entries == 1


async def test_an_entry_is_shown_without_its_content(weir: Weir) -> None:
    request = {"Accept-Language": "en", "Cookie": SECRET}
    entry = weir.store(f"http://shop.example/a?token={SECRET}", "news front", SECRET.encode(), request)
    entry.uses += 3
    status, said = await weir.ask("/v1/cache/entries")
    assert (status, said["matched"]) == (200, 1)
    (shown,) = said["entries"]
    assert shown["url"] == "http://shop.example/a?token=***"
    assert (shown["status"], shown["tags"], shown["hits"]) == (200, ["news", "front"], 3)
    assert (shown["size_bytes"], shown["content_bytes"]) == (entry.size_bytes, len(SECRET))
    assert 0 <= shown["age_s"] < 5
    assert 55 < shown["fresh_for_s"] <= 60
    assert shown["is_fresh"] is True
    assert shown["variant"]["selected_by"][0] == {"field": "accept-language", "value": "en;1000"}
    assert SECRET not in json.dumps(said)


async def test_entries_by_prefix_tag_and_order(weir: Weir) -> None:
    for number in range(5):
        weir.store(f"http://shop.example/{number}", "even" if number % 2 == 0 else "odd", b"x" * number).uses = number
    weir.store("http://shop.example.evil/0")

    async def urls(query: str) -> list[str]:
        return [
            entry["url"].rpartition("/")[2] for entry in (await weir.ask(f"/v1/cache/entries?{query}"))[1]["entries"]
        ]

    assert await urls("prefix=http://shop.example&most=2") == ["4", "3"]
    assert await urls("tag=even") == ["4", "2", "0"]
    assert await urls("prefix=http://shop.example/3&sort=size") == ["3"]
    assert (await weir.ask("/v1/cache/entries?sort=luck"))[0] == 400
    assert (await weir.ask("/v1/cache/entries?prefix=http://a&tag=b"))[0] == 400
    assert (await weir.ask("/v1/cache/entries?most=0"))[0] == 400


async def test_one_url_with_all_its_variants(weir: Weir) -> None:
    for language in ("en", "de"):
        weir.store("http://a/x", request={"Accept-Language": language})
    status, said = await weir.ask("/v1/cache/entry?url=HTTP://A:80/x%23part")
    assert (status, said["matched"]) == (200, 2)
    assert (await weir.ask("/v1/cache/entry?url=http://a/y"))[0] == 404
    assert (await weir.ask("/v1/cache/entry"))[0] == 400


@pytest.mark.parametrize(
    ("order", "left"),
    [
        ({"url": "http://a/x"}, {"http://a/x/y", "http://b/x"}),
        ({"url": "http://a/x?utm=1"}, {"http://a/x/y", "http://b/x"}),
        ({"prefix": "http://a/x/"}, {"http://a/x", "http://b/x"}),
        ({"prefix": "http://a"}, {"http://b/x"}),
        ({"tag": "t"}, {"http://a/x/y"}),
        ({"all": True}, set()),
    ],
    ids=["url", "url as the route writes it", "prefix", "origin", "tag", "all"],
)
async def test_a_purge_is_done_and_written_down(weir: Weir, order: dict[str, Any], left: set[str]) -> None:
    for url, tags in (("http://a/x", "t"), ("http://a/x/y", "u"), ("http://b/x", "t")):
        weir.store(url, tags)
    status, said = await weir.ask("/v1/cache/purge", order | {"reason": "new prices"})
    assert (status, said["purged"], said["soft"]) == (200, 3 - len(left), False)
    assert {key.decode() for key in weir.cache.store.shelves} == left
    (line,) = weir.observe.audit.lines()
    assert (line["who"], line["what"], line["reason"]) == ("alice", "purge", "new prices")
    assert line["target"] == said["target"]


async def test_a_soft_purge_makes_stale(weir: Weir) -> None:
    weir.store("http://a/x", "t")
    _, said = await weir.ask("/v1/cache/purge", {"tag": "t", "soft": True, "reason": "x"})
    assert (said["purged"], said["soft"]) == (1, True)
    (shown,) = (await weir.ask("/v1/cache/entry?url=http://a/x"))[1]["entries"]
    assert shown["is_fresh"] is False


@pytest.mark.parametrize(
    "order",
    [
        b"no json",
        {"reason": "x"},
        {"all": True},
        {"all": True, "reason": " "},
        {"all": True, "tag": "t", "reason": "x"},
        {"url": "/x", "reason": "x"},
        {"url": "ftp://a/x", "reason": "x"},
        {"url": "http:///x", "reason": "x"},
        {"url": "http://a/b c", "reason": "x"},
        {"url": "http://a@b/", "reason": "x"},
        {"prefix": "", "reason": "x"},
        {"tag": "", "reason": "x"},
        {"tag": "x" * 300, "reason": "x"},
        {"everything": True, "reason": "x"},
    ],
    ids=str,
)
async def test_an_order_that_is_not_clear_does_nothing(weir: Weir, order: Any) -> None:
    weir.store("http://a/x", "t")
    assert (await weir.ask("/v1/cache/purge", order))[0] == 400
    assert weir.cache.entries == 1
    assert weir.observe.audit.lines() == []


async def test_the_summary_has_the_counters_of_each_route(weir: Weir) -> None:
    weir.store("http://a/x", "t")
    weir.cache.stats.note("shop", b"fwd=bypass; detail=no-store")
    status, said = await weir.ask("/v1/cache")
    assert (status, said["entries"], said["tags"]) == (200, 1, 1)
    assert said["used_bytes"] == weir.cache.bytes
    (route,) = said["routes"]
    assert (route["route"], route["entries"]) == ("shop", 1)
    assert route["requests"] == [{"result": "bypass", "reason": "no-store", "count": 1}]


async def test_the_verb_shows_and_purges(weir: Weir) -> None:
    weir.store("http://a/x", "t u").uses = 7
    weir.store("http://a/y")
    weir.cache.stats.note("shop", b"hit; ttl=5")
    shown = await weir.weir_cache("show")
    assert shown.exit_code == 0
    assert "2 responses, 2 tags" in shown.stdout
    top = (await weir.weir_cache("top", "--most", "1")).stdout.splitlines()
    assert top[0].split()[:3] == ["hits", "size", "status"]
    assert top[1].split()[0] == "7"
    assert top[1].endswith("http://a/x")
    assert top[2] == "and 1 more"
    one = await weir.weir_cache("show", "http://a/x")
    assert "tags                   t, u" in one.stdout
    purged = await weir.weir_cache("purge", "--tag", "t", "--reason", "test")
    assert purged.stdout == "tag t: 1 stored response gone\n"
    assert json.loads((await weir.weir_cache("purge", "--all", "--soft", "--reason", "x", "--json")).stdout) == {
        "target": "all",
        "purged": 1,
        "soft": True,
        "shared": True,
    }


async def test_the_verb_says_what_is_wrong(weir: Weir) -> None:
    refused = await weir.weir_cache("show", "http://a/none")
    assert refused.exit_code == 1
    assert "Nothing is stored for this URL." in refused.stderr
    assert (await weir.weir_cache("purge", "--reason", "x")).exit_code == 2
    assert (await weir.weir_cache("purge", "http://a/", "--all", "--reason", "x")).exit_code == 2
