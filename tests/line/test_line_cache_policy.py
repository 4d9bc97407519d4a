"""What a route's `cache` says, as clients and the backend see it."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tests.line.backend import Backend, Call, Out
from tests.line.client import Answer, Fields
from tests.line.conftest import Configure
from tests.line.process import Weir

KEYS = ", ".join(f'{name}: "sha256:{sha256(name.encode()).hexdigest()}"' for name in ("ann", "bob"))
CONFIG = """
upstreams: {{app: {{primary: "{app}"}}}}
defaults: {{upstream: app}}
cache: {{memory: 8MiB, max_entry: 1MiB, tiers: {{hot: 60s}}}}
identity: {{user: {{api_key: {{header: X-API-Key, keys: {{{keys}}}}}}}}}
routes:
  - {{name: p-rest}}
  - {{name: p-tier, match: {{path: /p-tier/**}}, cache: {{tier: hot, ttl_mode: default, statuses: {{404: 10s}}}}}}
  - {{name: p-query, match: {{path: /p-query/**}}, cache: {{ttl: 60s, keep_query: [q], sort_query: true}}}}
  - {{name: p-own, match: {{path: /p-own/**}}, require_user: true, cache: {{ttl: 60s, by: user}}}}
  - {{name: p-open, match: {{path: /p-open/**}}, cache: {{ttl: 60s, by: user}}}}
  - {{name: p-told, match: {{path: /p-told/**}}, cache: {{ttl: 60s, downstream: "public, max-age=10"}}}}
  - name: p-all
    match: {{path: /p-all/**}}
    require_user: true
    cache: {{ttl: 60s, shared_with_everyone: "the same rates for all"}}
"""


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend) -> Weir:
    return configure_module(CONFIG.format(app=app.url, keys=KEYS))


def counts(app: Backend, path: str, status: int = 200, **fields: str) -> None:
    async def answer(call: Call, out: Out) -> None:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        who = call.get("x-api-key") or "nobody"
        await out.send(status, f"{who} {len(app.asked(path))}".encode(), named)

    app.on(path, answer)


def is_hit(answer: Answer) -> bool:
    return (answer.get("cache-status") or "").startswith("weir; hit")


def as_user(name: str) -> Fields:
    return {"X-API-Key": name}


def test_a_tier_fills_in_and_a_status_has_a_lifetime_of_its_own(weir: Weir, app: Backend) -> None:
    counts(app, "/p-tier/silent")
    counts(app, "/p-tier/says", Cache_Control="max-age=0")
    counts(app, "/p-tier/gone", status=404)
    seen = {}
    for path in ("/p-tier/silent", "/p-tier/says", "/p-tier/gone"):
        weir.get(path)
        seen[path] = (weir.get(path).get("cache-status") or "").removeprefix("weir; ")
    assert seen["/p-tier/silent"] in ("hit; ttl=60", "hit; ttl=59")
    assert seen["/p-tier/says"].startswith("fwd=")
    assert seen["/p-tier/gone"] in ("hit; ttl=10", "hit; ttl=9")


def test_only_what_counts_of_a_query_is_in_the_key_and_all_of_it_goes_to_the_backend(weir: Weir, app: Backend) -> None:
    counts(app, "/p-query/a")
    first = weir.get("/p-query/a?utm=1&q=2")
    assert app.last("/p-query/a").target == "/p-query/a?utm=1&q=2"
    assert weir.get("/p-query/a?q=2&x=3").content == first.content
    assert weir.get("/p-query/a?q=3").content != first.content
    assert weir.get("/p-query/a?%71=2").content != first.content


def test_each_user_has_the_own_response_and_a_write_ends_them_all(weir: Weir, app: Backend) -> None:
    counts(app, "/p-own/me")
    answers = [weir.get("/p-own/me", as_user(name)) for name in ("ann", "bob", "ann", "bob")]
    assert [answer.content for answer in answers] == [b"ann 1", b"bob 2", b"ann 1", b"bob 2"]
    assert [is_hit(answer) for answer in answers] == [False, False, True, True]
    assert weir.get("/p-own/me").status == 401
    assert weir.get("/p-own/me", as_user("eve")).status == 401
    weir.ask("POST", "/p-own/me", as_user("ann"), b"")
    assert [weir.get("/p-own/me", as_user(name)).content for name in ("ann", "bob")] == [b"ann 4", b"bob 5"]


def test_nobody_in_particular_is_never_answered_from_what_users_own(weir: Weir, app: Backend) -> None:
    counts(app, "/p-open/me")
    weir.get("/p-open/me", as_user("ann"))
    for fields in (None, as_user("eve")):
        answers = [weir.get("/p-open/me", fields) for _ in range(2)]
        assert [answer.get("cache-status") for answer in answers] == ["weir; fwd=bypass; detail=nobody"] * 2
        assert answers[0].content != answers[1].content
    assert is_hit(weir.get("/p-open/me", as_user("ann")))


def test_with_a_reason_users_share(weir: Weir, app: Backend) -> None:
    counts(app, "/p-all/rates")
    answers = [weir.get("/p-all/rates", {**as_user(name), "Authorization": name}) for name in ("ann", "bob")]
    assert [answer.content for answer in answers] == [b"ann 1", b"ann 1"]
    assert weir.get("/p-all/rates").status == 401


def test_clients_are_told_what_the_route_says(weir: Weir, app: Backend) -> None:
    counts(app, "/p-told/a", Cache_Control="max-age=600", Age="30", Surrogate_Key="t")
    first, second = weir.get("/p-told/a"), weir.get("/p-told/a")
    assert is_hit(second)
    for answer in (first, second):
        age = int(answer.get("age") or 0)
        assert answer.get("cache-control") == f"public, max-age={age + 10}"
        assert answer.get("surrogate-key") is None
