"""What the second tier promises, against a real store: what one Weir fetched, all have, as it was and no younger."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError

FRESH = {"Cache-Control": "max-age=60"}


async def test_what_one_weir_fetched_another_answers_without_asking(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    content = bytes(range(256)) * 40
    lines = [
        ("Cache-Control", "max-age=60"),
        ("X-Odd", b"caf\xe9 \x80"),
        ("Link", "<a>"),
        ("Link", "<b>"),
        ("ETag", '"1"'),
    ]
    one.origin.answers(kit.reply(203, lines, content, reason=b"Of Sorts"))
    first = await one.ask()
    await tools.written(one)
    second = await other.ask()
    assert (second.status, second.content) == (203, content)
    assert [line[1:] for line in second.fields if line[0] not in (b"age", b"content-length")] == [
        line[1:] for line in first.fields if line[0] not in (b"age", b"content-length")
    ]
    assert second.cache.startswith("hit; ttl=")
    assert second.cache.endswith("; detail=shared")
    third = await other.ask()
    assert third.cache.startswith("hit; ttl=")
    assert "detail" not in third.cache
    assert not other.origin.asked


async def test_a_hit_in_memory_does_not_touch_the_store(new_weir: Any, kit: Any, tools: Any, keys: Any) -> None:
    weir = await new_weir()
    weir.origin.answers(kit.reply(200, FRESH))
    await weir.ask()
    await tools.written(weir)
    before = keys.info("commandstats")["cmdstat_evalsha"]["calls"]
    for _ in range(50):
        assert (await weir.ask()).cache.startswith("hit")
    assert keys.info("commandstats")["cmdstat_evalsha"]["calls"] == before


async def test_a_miss_costs_one_round_trip_and_a_fill_one_more(new_weir: Any, kit: Any, tools: Any, keys: Any) -> None:
    weir = await new_weir()
    weir.origin.default = kit.reply(200, FRESH)
    await weir.ask("/warm")  # the scripts are known to the store after this
    await tools.written(weir)
    before = keys.info("commandstats")["cmdstat_evalsha"]["calls"]
    weir.origin.default = kit.reply(200, FRESH)
    await weir.ask("/b")
    await tools.written(weir)
    assert keys.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 2


@pytest.mark.parametrize("aged_s", [0, 7, 59], ids=str)
async def test_a_response_never_gets_younger(new_weir: Any, kit: Any, tools: Any, aged_s: int) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, {"Cache-Control": "max-age=3600", "Age": str(aged_s)}))
    await one.ask()
    born_at = one.entries()[0].born_at  # both have the clock of this process
    await tools.written(one)
    await other.ask()
    found = other.entries()[0]
    assert found.born_at <= born_at + 2e-6  # microseconds are whole
    assert found.born_at > born_at - 2.0  # older by the time of replies only
    assert int((await other.ask()).index["age"]) >= aged_s


async def test_a_response_lives_in_the_store_as_long_as_it_may_be_of_use(
    new_weir: Any, kit: Any, tools: Any, keys: Any
) -> None:
    weir = await new_weir({"stale_on_error": "0s"})
    control = "max-age=60, stale-while-revalidate=30, stale-if-error=90"
    weir.origin.answers(kit.reply(200, {"Cache-Control": control, "Age": "10"}))
    weir.origin.answers(kit.reply(200, {"Cache-Control": "max-age=60, must-revalidate", "ETag": '"1"'}))
    await weir.ask("/a")
    await weir.ask("/b")
    await tools.written(weir)
    lives_s = sorted(keys.pttl(key) / 1000 for key in keys.keys("*:v:*"))
    assert len(lives_s) == 2
    assert 40.0 < lives_s[0] <= 60.1
    # a client may say max-stale, as long as nothing forbids it: a day
    assert lives_s[1] > 100.0


async def test_a_stale_one_is_given_at_once_and_fetched_anew_by_one_weir(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other, third = [await new_weir() for _ in range(3)]
    fields = {"Cache-Control": "max-age=1, stale-while-revalidate=600"}
    one.origin.answers(kit.reply(200, fields | {"Age": "5"}, b"old"))
    assert (await one.ask()).content == b"old"
    await tools.written(one)
    other.origin.answers(kit.reply(200, {"Cache-Control": "max-age=600"}, b"new"))
    stale = await other.ask()
    assert stale.content == b"old"
    assert stale.cache.startswith("hit; ttl=-")
    await tools.until(lambda: other.origin.asked)
    await tools.until(lambda: other.tier.stats.writes["kept"])
    assert (await third.ask()).content == b"new"
    assert (await one.ask()).content == b"old"  # at once, from its memory
    await tools.until(lambda: one.tier.stats.lookups["hit"])  # and behind it, from the store
    assert (await one.ask()).content == b"new"
    assert len(one.origin.asked) == 1
    assert not third.origin.asked


async def test_a_stale_one_is_validated_by_whoever_finds_it(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, {"Cache-Control": "max-age=5", "Age": "9", "ETag": '"1"'}, b"whole"))
    await one.ask()
    await tools.written(one)
    other.origin.answers(kit.reply(304, {"Cache-Control": "max-age=60", "ETag": '"1"'}))
    answer = await other.ask()
    assert (answer.status, answer.content) == (200, b"whole")
    assert other.origin.conditions() == {"If-None-Match": '"1"'}
    await tools.written(other)
    assert (await one.ask()).cache.endswith("detail=shared")
    assert len(one.origin.asked) == 1


async def test_a_stale_one_of_another_weir_stands_in_for_an_error(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, {"Cache-Control": "max-age=5, stale-if-error=600", "Age": "9"}, b"old"))
    await one.ask()
    await tools.written(one)
    other.origin.answers(kit.reply(503, {}, b"no"), ProxyError(ErrorKind.CONNECT_REFUSED))
    for _ in range(2):
        answer = await other.ask()
        assert (answer.status, answer.content) == (200, b"old")
        assert "detail=stale-if-error" in answer.cache


async def test_variants_are_found_by_what_selects_them(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    fields = FRESH | {"Vary": "Accept-Language, X-A"}
    one.origin.answers(kit.reply(200, fields, b"en"), kit.reply(200, fields, b"de"))
    await one.ask(fields={"Accept-Language": "en"})
    await one.ask(fields={"Accept-Language": "de"})
    await tools.written(one)
    assert (await other.ask(fields={"Accept-Language": "DE"})).content == b"de"
    assert (await other.ask(fields={"Accept-Language": "en"})).content == b"en"
    other.origin.answers(kit.reply(200, fields, b"en, a"))
    assert (await other.ask(fields={"Accept-Language": "en", "X-A": "1"})).content == b"en, a"
    assert len(other.origin.asked) == 1


async def test_there_are_only_so_many_variants(new_weir: Any, kit: Any, tools: Any, keys: Any) -> None:
    weir = await new_weir()
    for number in range(40):
        weir.origin.answers(kit.reply(200, FRESH | {"Vary": "X-A"}, b"%d" % number))
        await weir.ask(fields={"X-A": str(number)})
        await tools.written(weir)
    assert len(keys.keys("*:v:*")) == 32
    other = await new_weir()
    other.tier._own._since = 0  # it may have what is older than itself
    assert (await other.ask(fields={"X-A": "39"})).content == b"39"


async def test_when_other_fields_select_the_variants_before_are_gone(
    new_weir: Any, kit: Any, tools: Any, keys: Any
) -> None:
    weir = await new_weir()
    for vary in ({"Vary": "X-A"}, {"Vary": "X-B"}, {}, {"Vary": "X-A"}):
        weir.cache.store.remove_key(b"http://example.com/a")
        weir.origin.answers(kit.reply(200, {"Cache-Control": "max-age=5", "Age": "9", "ETag": '"1"'} | vary))
        await weir.ask(fields={"X-A": "1", "X-B": "1"})
        await tools.written(weir)
    assert len(keys.keys("*:v:*")) == 1


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("HEAD", {}, 200),
        ("GET", {"If-None-Match": '"1"'}, 304),
        ("GET", {"Range": "bytes=0-2"}, 206),
        ("GET", {"Cache-Control": "only-if-cached"}, 200),
        ("GET", {"Authorization": "Basic x"}, 200),
    ],
    ids=["head", "condition", "range", "only-if-cached", "credentials"],
)
async def test_a_request_of_another_kind_is_answered_with_it_too(
    new_weir: Any, kit: Any, tools: Any, method: str, fields: dict[str, str], status: int
) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, {"Cache-Control": "public, max-age=60", "ETag": '"1"'}, b"whole"))
    await one.ask()
    await tools.written(one)
    answer = await other.ask(fields=fields, method=method)
    assert answer.status == status
    assert not other.origin.asked


async def test_only_if_cached_is_refused_when_nobody_has_it(new_weir: Any) -> None:
    weir = await new_weir()
    with pytest.raises(ProxyError) as caught:
        await weir.ask(fields={"Cache-Control": "only-if-cached"})
    assert caught.value.kind is ErrorKind.NOT_STORED


async def test_who_wants_the_origin_gets_it(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, FRESH))
    await one.ask()
    await tools.written(one)
    other.origin.answers(kit.reply(200, FRESH, b"new"))
    assert (await other.ask(fields={"Cache-Control": "no-cache"})).content == b"new"


async def test_a_route_may_keep_to_itself(new_weir: Any, kit: Any, tools: Any, keys: Any) -> None:
    weir = await new_weir({"shared": False})
    weir.origin.answers(kit.reply(200, FRESH))
    await weir.ask()
    await tools.written(weir)
    assert not keys.keys("*")
    assert sum(weir.tier.stats.lookups.values()) == 0


async def test_namespaces_do_not_see_each_other(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir(namespace="staging")
    one.origin.answers(kit.reply(200, FRESH, b"one"))
    other.origin.answers(kit.reply(200, FRESH, b"other"))
    await one.ask()
    await tools.written(one)
    assert (await other.ask()).content == b"other"


@pytest.mark.parametrize(
    "why",
    ["too large", "to be validated each time", "no-store", "set-cookie"],
)
async def test_what_is_not_for_others_is_not_written(new_weir: Any, kit: Any, tools: Any, keys: Any, why: str) -> None:
    weir = await new_weir(max_entry=1000)
    answer = {
        "too large": kit.reply(200, FRESH, bytes(1001)),
        "to be validated each time": kit.reply(200, {"Cache-Control": "no-cache", "ETag": '"1"'}),
        "no-store": kit.reply(200, {"Cache-Control": "no-store"}),
        "set-cookie": kit.reply(200, FRESH | {"Set-Cookie": "a=1"}),
    }[why]
    weir.origin.answers(answer)
    await weir.ask()
    await tools.written(weir)
    assert not keys.keys("*:v:*")
    lock = keys.keys("*:l:*")[0]
    await tools.until(lambda: keys.hget(lock, "until") == b"0")
    assert float(keys.hget(lock, "alone")) > 0  # nobody waits for it in the next while


@pytest.mark.parametrize("level", ["off", 1, 9], ids=str)
async def test_content_is_compressed_where_that_helps(
    new_weir: Any, kit: Any, tools: Any, keys: Any, level: Any
) -> None:
    one, other = await new_weir(compress=level), await new_weir(compress=level)
    content = b"the same again and again " * 8000
    one.origin.answers(kit.reply(200, FRESH, content))
    one.origin.answers(kit.reply(200, FRESH | {"Content-Encoding": "identity"}, content))
    await one.ask("/a")
    await one.ask("/b")
    await tools.written(one)
    for target in ("/a", "/b"):
        assert (await other.ask(target)).content == content
    sizes = sorted(keys.strlen(key) for key in keys.keys("*:v:*"))
    assert (sizes[0] < 20_000) == (level != "off")
    assert sizes[1] > len(content)


async def test_many_at_once_cost_one_look(new_weir: Any, kit: Any, tools: Any, keys: Any) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, FRESH))
    await one.ask()
    await tools.written(one)
    answers = await asyncio.gather(*[other.ask() for _ in range(50)])
    assert {answer.cache.partition("; ttl")[0] for answer in answers} == {"hit"}
    assert all(answer.cache.endswith("detail=shared") for answer in answers)
    assert sum(other.tier.stats.lookups.values()) == 1


async def test_a_wrong_guess_of_what_selects_costs_a_look_and_no_fetch(new_weir: Any, kit: Any, tools: Any) -> None:
    one, other = await new_weir(), await new_weir()
    one.origin.answers(kit.reply(200, FRESH, b"for all"))
    await one.ask("/plain")
    await tools.written(one)
    other.origin.answers(kit.reply(200, FRESH | {"Vary": "X-A"}))
    await other.ask("/varied")  # so that it expects the same of the next
    await tools.written(other)
    assert (await other.ask("/plain")).content == b"for all"
    one.cache.flights._guesses.clear()
    assert (await one.ask("/varied")).content == b"content"
    assert (len(one.origin.asked), len(other.origin.asked)) == (1, 1)
