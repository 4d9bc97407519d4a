"""Two users, or two tenants, never see each other's responses; and all of a user's responses end with a write."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from proxy.clients.client import Client
from proxy.http.message import index_fields

PAIRS = 10_000


def client(user: str | None, tenant: str | None) -> Client:
    return Client("192.0.2.1", b"192.0.2.1", b"192.0.2.1", user, tenant)


async def ask(line: Any, who: Client, fields: dict[str, str] | None = None, method: str = "GET") -> tuple[bytes, str]:
    exchange = line.exchange("/me", fields, method=method)
    exchange.client = who
    response = await line.answer(exchange)
    content = await line.read(exchange, response)
    return content, exchange.cache_status.decode()


def echo(kit: Any, by: str) -> Any:
    """An origin whose answers are for whom they are made."""

    def answer(exchange: Any) -> Any:
        who = exchange.client
        name = repr((who.tenant, who.user) if by == "user" else who.tenant)  # no two names look the same
        return kit.reply(content=name.encode())

    return answer


def names(lots: Random) -> tuple[str | None, str | None]:
    """Names that are alike, and that look like parts of keys."""
    pieces = ["", "a", "b", "1", ":", " ", "-", "/", "1:a", " 1:", "\u00e4", "\ud800", "%20", "\0"]
    made = ["".join(lots.choices(pieces, k=lots.randrange(4))) for _ in range(2)]
    return (None if lots.random() < 0.1 else made[0]), (None if lots.random() < 0.2 else made[1])


@pytest.mark.parametrize("by", ["user", "tenant"])
@pytest.mark.parametrize("fields", [{}, {"Authorization": "Bearer x"}], ids=["plain", "authorization"])
async def test_ten_thousand_pairs_never_see_each_others_responses(
    new_line: Any, kit: Any, by: str, fields: dict[str, str]
) -> None:
    more = {"shared_with_everyone": "all of a tenant see the same"} if by == "tenant" else {}
    line = new_line({"ttl": 60.0, "by": by, **more})
    line.origin.default = answer = echo(kit, by)
    lots = Random(20260101)
    hits = 0
    for _ in range(PAIRS):
        pair = [client(*names(lots)) for _ in range(2)]
        for who in pair:
            content, said = await ask(line, who, fields)
            hits += said.startswith("hit")
            exchange = line.exchange()
            exchange.client = who
            assert content == answer(exchange).content, (who, said)
            if (who.user if by == "user" else who.tenant) is None:
                assert said == "fwd=bypass; detail=nobody"
    assert hits > PAIRS // 10  # or nothing was shown


async def test_a_user_gets_the_own_response_from_the_cache_and_a_write_of_anybody_ends_it(
    new_line: Any, kit: Any
) -> None:
    line = new_line({"ttl": 60.0, "by": "user"})
    line.origin.default = echo(kit, "user")
    ann, bob = client("ann", None), client("bob", None)
    for who in (ann, bob, ann, bob):
        await ask(line, who)
    assert len(line.origin.asked) == 2
    await ask(line, bob, method="POST")
    assert [(await ask(line, who))[1] for who in (ann, bob)] == ["fwd=uri-miss; stored"] * 2


async def test_a_write_while_it_is_fetched_is_noticed(new_line: Any, kit: Any) -> None:
    line = new_line({"ttl": 60.0, "by": "user"})
    ann = client("ann", None)
    uri = b"http://example.com/me"

    def overtaken(exchange: Any) -> Any:
        line.cache.invalidate(uri)
        return kit.reply(content=b"old")

    line.origin.answers(overtaken, kit.reply(content=b"new"))
    await ask(line, ann)
    assert (await ask(line, ann))[0] == b"new"


async def test_private_is_not_stored_even_for_one_user(new_line: Any, kit: Any) -> None:
    line = new_line({"ttl": 60.0, "by": "user"})
    line.origin.default = lambda exchange: kit.reply(fields={"Cache-Control": "private"})
    said = [(await ask(line, client("ann", None)))[1] for _ in range(2)]
    assert said == ["fwd=uri-miss; detail=private"] * 2


async def test_a_tenant_is_no_permission_for_authorization(new_line: Any, kit: Any) -> None:
    line = new_line({"ttl": 60.0, "by": "tenant"})
    line.origin.default = lambda exchange: kit.reply()
    who = client("ann", "t")
    said = [(await ask(line, who, {"Authorization": "x"}))[1] for _ in range(2)]
    assert said == ["fwd=uri-miss; detail=authorization"] * 2


async def test_with_a_reason_everybody_shares_what_came_for_one(new_line: Any, kit: Any) -> None:
    line = new_line({"ttl": 60.0, "shared_with_everyone": "the same rates for all"})
    line.origin.default = lambda exchange: kit.reply(content=b"for all")
    await ask(line, client("ann", None), {"Authorization": "ann"})
    content, said = await ask(line, client("bob", None), {"Authorization": "bob"})
    assert (content, said[:3]) == (b"for all", "hit")
    assert index_fields(line.origin.asked[0].request.fields)[b"authorization"] == b"ann"


async def test_fields_and_cookies_in_the_key_keep_responses_apart(new_line: Any, kit: Any) -> None:
    line = new_line({"ttl": 60.0, "key": {"fields": ["X-Shop"], "cookies": ["cur"]}})
    line.origin.default = lambda exchange: kit.reply(
        content=repr([exchange.request.index.get(name) for name in (b"x-shop", b"cookie")]).encode()
    )
    asked = [{}, {"X-Shop": "1"}, {"X-Shop": "2"}, {"Cookie": "cur=eur"}, {"X-Shop": "1", "Cookie": "cur=eur"}]
    contents = [(await line.ask(fields=fields)).content for fields in asked]
    assert len(set(contents)) == 5
    assert [(await line.ask(fields=fields)).content for fields in asked] == contents
    assert len(line.origin.asked) == 5
    other = await line.ask(fields={"X-Shop": "1", "Cookie": "theme=dark; cur=eur"})
    assert other.cache.startswith("hit")
