"""Rule 30: a stale response at once, and one fetch in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError

WINDOW = {"Cache-Control": "max-age=60, stale-while-revalidate=30"}


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def stale_line(line: Any, kit: Any, fields: dict[str, str] | None = None) -> Any:
    line.origin.answers(kit.reply(fields=fields or WINDOW | {"ETag": '"a"'}))
    await line.ask()
    line.passes(70.0)
    return line


async def test_a_stale_response_is_given_at_once_and_fetched_anew(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    line.origin.answers(kit.reply(fields=WINDOW, content=b"new"))
    reply = await line.ask(fields={"X-A": "1"})
    assert (reply.content, reply.cache, reply.index["age"]) == (b"content", "hit; ttl=-10", "70")
    await turn()
    asked = line.origin.asked[-1]
    assert asked.downstream is None
    assert asked.request.index == {b"x-a": b"1"}
    assert line.origin.conditions() == {"If-None-Match": '"a"'}
    hit = await line.ask()
    assert (hit.content, hit.cache) == (b"new", "hit; ttl=60")
    assert line.cache.stats.stale == 1
    assert line.cache.stats.misses == 1


async def test_a_304_in_the_background_freshens(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    line.origin.answers(kit.reply(304, WINDOW))
    await line.ask()
    await turn()
    assert (await line.ask()).cache == "hit; ttl=60"


async def test_streamed_content_is_read_in_the_background(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    body = kit.body()
    line.origin.answers(kit.reply(fields=WINDOW, content=body))
    await line.ask()
    await turn()
    assert (await line.ask()).content == b"content"
    body.feed(b"new")
    body.finish()
    assert (await line.ask()).content == b"new"
    assert len(line.cache.flights) == 0
    assert len(line.origin.asked) == 2


async def test_fifty_clients_in_the_window_start_one_fetch(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate)
    replies = await asyncio.gather(*[line.ask() for _ in range(50)])
    await turn()
    assert {reply.content for reply in replies} == {b"content"}
    assert len(line.origin.asked) == 2
    gate.set_result(kit.reply(fields=WINDOW, content=b"new"))
    await turn()
    assert (await line.ask()).content == b"new"


async def test_a_slow_fetch_is_not_joined_by_a_second(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate)
    await line.ask()
    await turn()
    line.passes(5.0)
    await line.ask()
    await turn()
    assert len(line.origin.asked) == 2
    gate.set_result(kit.reply(fields=WINDOW, content=b"new"))
    await turn()
    assert (await line.ask()).content == b"new"


async def test_past_the_window_clients_wait_for_the_fetch_that_is_under_way(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate)
    await line.ask()
    await turn()
    line.passes(30.0)
    waiting = asyncio.ensure_future(line.ask())
    await turn()
    assert not waiting.done()
    gate.set_result(kit.reply(fields=WINDOW, content=b"new"))
    assert (await waiting).content == b"new"
    assert len(line.origin.asked) == 2


@pytest.mark.parametrize("failure", [ProxyError(ErrorKind.CONNECT_REFUSED), 500, 503])
async def test_a_failure_in_the_background_replaces_nothing(line: Any, kit: Any, failure: Any) -> None:
    await stale_line(line, kit)
    error = kit.reply(failure, {"Cache-Control": "max-age=60"}) if isinstance(failure, int) else failure
    line.origin.answers(error)
    await line.ask()
    await turn()
    assert (await line.ask()).content == b"content"
    await turn()
    assert len(line.origin.asked) == 2  # and it is not tried again at once
    line.passes(1.1)
    line.origin.answers(kit.reply(fields=WINDOW, content=b"new"))
    await line.ask()
    await turn()
    assert (await line.ask()).content == b"new"
    assert len(line.cache.flights) == 0


async def test_a_defect_in_the_background_frees_the_flight(
    line: Any, kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await stale_line(line, kit)
    line.origin.answers(RuntimeError("a defect"))
    await line.ask()
    await turn()
    assert len(line.cache.flights) == 0
    assert "a defect" in caplog.text


async def test_once_the_origin_forbids_it_clients_wait_again(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    line.origin.answers(kit.reply(fields={"Cache-Control": "no-store"}, content=kit.body()))
    await line.ask()
    await turn()
    assert line.entries() == []
    line.origin.answers(kit.reply(fields={"Cache-Control": "no-store"}, content=b"own"))
    assert (await line.ask()).content == b"own"


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "s-maxage=60"])
async def test_where_stale_use_is_forbidden_clients_wait(line: Any, kit: Any, directive: str) -> None:
    await stale_line(line, kit, {"Cache-Control": f"max-age=60, stale-while-revalidate=30, {directive}"})
    line.origin.answers(kit.reply(fields=WINDOW, content=b"new"))
    assert (await line.ask()).content == b"new"


async def test_without_anybodys_word_nothing_stale_is_given(line: Any, kit: Any) -> None:
    await stale_line(line, kit, {"Cache-Control": "max-age=60"})
    line.origin.answers(kit.reply(fields=WINDOW, content=b"new"))
    assert (await line.ask()).content == b"new"


async def test_the_route_may_open_the_window(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line({"stale_while_revalidate": 15.0})
    await stale_line(line, kit, {"Cache-Control": "s-maxage=60"})
    line.origin.answers(kit.reply(fields=WINDOW, content=b"new"))
    assert (await line.ask()).content == b"content"
    await turn()
    assert (await line.ask()).content == b"new"


async def test_a_head_in_the_window_has_a_get_sent(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    line.origin.answers(kit.reply(fields=WINDOW, content=b"new"))
    assert (await line.ask(method="HEAD")).cache == "hit; ttl=-10"
    await turn()
    assert line.origin.asked[-1].request.method == b"GET"
    assert (await line.ask()).content == b"new"


async def test_a_condition_in_the_window_is_answered_and_not_sent(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    line.origin.answers(kit.reply(fields=WINDOW | {"ETag": '"b"'}, content=b"new"))
    assert (await line.ask(fields={"If-None-Match": '"a"'})).status == 304
    await turn()
    assert line.origin.conditions() == {"If-None-Match": '"a"'}
    assert (await line.ask()).content == b"new"


async def test_a_write_during_the_fetch_keeps_its_result_out(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    gate = asyncio.get_running_loop().create_future()
    line.origin.answers(lambda exchange: gate, kit.reply(204), kit.reply(fields=WINDOW, content=b"after"))
    await line.ask()
    await turn()
    await line.ask(method="POST")
    gate.set_result(kit.reply(fields=WINDOW, content=b"before"))
    await turn()
    assert line.entries() == []
    assert (await line.ask()).content == b"after"


async def test_without_a_way_to_fetch_clients_get_stale_responses_in_the_window_only(line: Any, kit: Any) -> None:
    await stale_line(line, kit)
    line.cache.refresh = None
    assert (await line.ask()).content == b"content"
    line.passes(30.0)
    line.origin.answers(kit.reply(fields=WINDOW, content=b"new"))
    assert (await line.ask()).content == b"new"
