"""Many clients at once: how often the origin is asked, and that nobody waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.cache.courier import MAX_ORPHANS
from proxy.core.errors import ErrorKind, ProxyError

FRESH = {"Cache-Control": "max-age=60"}
DOWN = ProxyError(ErrorKind.CONNECT_REFUSED, "10.0.0.1:80")


class Gate:
    """An origin that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []

    def __call__(self, exchange: Any) -> asyncio.Future[Any]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]


def crowd(line: Any, count: int, *args: Any, **how: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(line.ask(*args, **how)) for _ in range(count)]


async def turn() -> None:
    """Let everything run that is ready."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def gate(line: Any) -> Gate:
    line.origin.default = gate = Gate()
    return gate


async def test_fifty_clients_and_one_cold_url_ask_once(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 50)
    await turn()
    assert len(gate.asked) == 1
    gate.asked[0].set_result(kit.reply(fields=FRESH))
    replies = await asyncio.gather(*clients)
    assert {reply.content for reply in replies} == {b"content"}
    assert sorted(reply.cache for reply in replies) == ["fwd=uri-miss; collapsed"] * 49 + ["fwd=uri-miss; stored"]
    stats = line.cache.stats
    assert (stats.misses, stats.hits, stats.collapsed) == (1, 49, 49)
    assert len(line.cache.flights) == 0


async def test_fifty_clients_wait_for_content_that_streams(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 50)
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields=FRESH, content=body))
    await turn()
    late = crowd(line, 5)
    body.feed(b"con")
    await turn()
    body.feed(b"tent")
    body.finish()
    assert {reply.content for reply in await asyncio.gather(*clients, *late)} == {b"content"}
    assert len(gate.asked) == 1


async def test_fifty_clients_and_a_stale_response_validate_once(line: Any, kit: Any, gate: Gate) -> None:
    line.origin.answers(kit.reply(fields=FRESH | {"ETag": '"a"'}))
    await line.ask()
    line.passes(61.0)
    clients = crowd(line, 50)
    await turn()
    gate.asked[0].set_result(kit.reply(304, FRESH))
    replies = await asyncio.gather(*clients)
    assert {reply.content for reply in replies} == {b"content"}
    assert len(gate.asked) == 1


async def test_what_turns_out_not_storable_is_fetched_in_parallel(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 20)
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields={"Cache-Control": "no-store"}, content=body))
    await turn()  # the head is enough: its content is not awaited
    assert len(gate.asked) == 20
    for asked in gate.asked[1:]:
        asked.set_result(kit.reply(fields={"Cache-Control": "no-store"}))
    body.finish()
    await asyncio.gather(*clients)
    again = crowd(line, 20)
    await turn()
    assert len(gate.asked) == 40  # learned: nobody waits any more
    for asked in gate.asked[20:]:
        asked.set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*again)
    assert (await line.ask()).cache.startswith("hit")


async def test_what_was_learned_is_forgotten_when_something_is_stored(line: Any, kit: Any, gate: Gate) -> None:
    line.origin.answers(kit.reply(fields={"Cache-Control": "no-store"}), kit.reply(fields=FRESH), kit.reply(204))
    await line.ask()
    await line.ask()
    await line.ask(method="POST")
    clients = crowd(line, 5)
    await turn()
    assert len(gate.asked) == 1
    gate.asked[0].set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*clients)


@pytest.mark.parametrize(
    ("fields", "status"), [({}, 503), ({"If-None-Match": "*"}, 304), ({"Authorization": "x"}, 200)]
)
async def test_what_is_one_clients_matter_or_passes_is_not_learned(
    line: Any, kit: Any, gate: Gate, fields: dict[str, str], status: int
) -> None:
    line.origin.answers(kit.reply(status, {} if status == 503 else FRESH))
    await line.ask(fields=fields)
    clients = crowd(line, 5)
    await turn()
    assert len(gate.asked) == 1
    gate.asked[0].set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*clients)


async def test_what_was_learned_is_forgotten_after_a_while(line: Any, kit: Any, gate: Gate) -> None:
    line.origin.answers(kit.reply(fields={"Cache-Control": "no-store"}))
    await line.ask()
    line.passes(11.0)
    clients = crowd(line, 5)
    await turn()
    assert len(gate.asked) == 1
    gate.asked[0].set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*clients)


async def test_what_must_be_validated_each_time_is_not_collapsed(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 5)
    await turn()
    no_cache = {"Cache-Control": "no-cache", "ETag": '"a"'}
    gate.asked[0].set_result(kit.reply(fields=no_cache))
    await turn()
    assert len(gate.asked) == 5
    for asked in gate.asked[1:]:
        asked.set_result(kit.reply(304, no_cache))
    assert {reply.content for reply in await asyncio.gather(*clients)} == {b"content"}


async def test_content_of_what_must_be_validated_is_not_awaited(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 5)
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields={"Cache-Control": "no-cache", "ETag": '"a"'}, content=body))
    await turn()
    assert len(gate.asked) == 5
    for asked in gate.asked[1:]:
        asked.set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*clients[1:])
    body.finish()
    await clients[0]


async def test_reloads_go_side_by_side(line: Any, kit: Any, gate: Gate) -> None:
    reload = {"Cache-Control": "no-cache"}
    cold = crowd(line, 3, fields=reload)
    await turn()
    assert len(gate.asked) == 3
    for asked in gate.asked:
        asked.set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*cold)
    line.passes(1.0)
    warm = crowd(line, 3, fields={"Cache-Control": "max-age=0"}) + crowd(
        line, 3, fields={"Cache-Control": "min-fresh=60"}
    )
    await turn()
    assert len(gate.asked) == 9
    for asked in gate.asked[3:]:
        asked.set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*warm)


async def test_a_new_leader_who_finds_an_answer_frees_the_others(line: Any, kit: Any, gate: Gate) -> None:
    leader, *others = crowd(line, 4)
    await turn()
    line.origin.answers(kit.reply(fields=FRESH))
    await line.ask(fields={"Cache-Control": "no-cache"})  # goes alone, and brings it
    gate.asked[0].set_exception(RuntimeError("a defect"))
    assert {reply.content for reply in await asyncio.gather(*others)} == {b"content"}
    with pytest.raises(RuntimeError):
        await leader
    assert len(gate.asked) == 1
    assert len(line.cache.flights) == 0


async def test_a_new_leader_who_goes_alone_frees_the_others(line: Any, kit: Any, gate: Gate) -> None:
    leader, *others = crowd(line, 4)
    await turn()
    line.origin.answers(kit.reply(fields={"Cache-Control": "no-store"}))
    await line.ask(fields={"Cache-Control": "no-cache"})  # goes alone, and finds that there is nothing to share
    gate.asked[0].set_exception(RuntimeError("a defect"))
    await turn()
    assert len(gate.asked) == 4
    for asked in gate.asked[1:]:
        asked.set_result(kit.reply(fields=FRESH))
    await asyncio.gather(*others)
    with pytest.raises(RuntimeError):
        await leader


async def test_when_the_leader_leaves_before_the_head_nobody_asks_again(line: Any, kit: Any, gate: Gate) -> None:
    leader, *others = crowd(line, 5)
    await turn()
    leader.cancel()
    await turn()
    gate.asked[0].set_result(kit.reply(fields=FRESH))
    assert {reply.content for reply in await asyncio.gather(*others)} == {b"content"}
    assert len(gate.asked) == 1
    assert line.cache.stats.misses == 1


@pytest.mark.parametrize("streams", [False, True])
async def test_what_the_only_client_leaves_is_stored_all_the_same(
    line: Any, kit: Any, gate: Gate, streams: bool
) -> None:
    (only,) = crowd(line, 1)
    await turn()
    only.cancel()
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields=FRESH, content=body if streams else b"content"))
    await turn()
    if streams:
        body.feed(b"content")
        body.finish()
    assert (await line.ask()).content == b"content"
    assert len(gate.asked) == 1


async def test_of_fetches_that_nobody_waits_for_only_some_go_on(line: Any, kit: Any, gate: Gate) -> None:
    leaving = [asyncio.ensure_future(line.ask(f"/{number}")) for number in range(MAX_ORPHANS + 5)]
    awaited = crowd(line, 2, "/awaited")
    await turn()
    for client in (*leaving, awaited[0]):
        client.cancel()
    await turn()
    assert [asked.cancelled() for asked in gate.asked] == [False] * MAX_ORPHANS + [True] * 5 + [False]
    assert len(line.cache.flights) == MAX_ORPHANS + 1
    for asked in (*gate.asked[:MAX_ORPHANS], gate.asked[-1]):
        asked.set_result(kit.reply(fields=FRESH))
    assert (await awaited[1]).status == 200
    assert line.cache.entries == MAX_ORPHANS + 1
    assert line.cache.flights.orphans == 0


async def test_what_the_leader_leaves_and_is_not_for_others_is_put_down(line: Any, kit: Any, gate: Gate) -> None:
    leader, other = crowd(line, 2)
    await turn()
    leader.cancel()
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields={"Cache-Control": "no-store"}, content=body))
    await turn()
    assert body.is_cancelled
    gate.asked[1].set_result(kit.reply(fields={"Cache-Control": "no-store"}, content=b"own"))
    assert (await other).content == b"own"
    assert len(line.cache.flights) == 0


async def test_a_failure_after_the_leader_left_is_shared_too(line: Any, gate: Gate) -> None:
    leader, *others = crowd(line, 5)
    await turn()
    leader.cancel()
    await turn()
    gate.asked[0].set_exception(DOWN)
    errors = await asyncio.gather(*others, return_exceptions=True)
    assert {error.kind for error in errors} == {ErrorKind.CONNECT_REFUSED}
    assert len(gate.asked) == 1


async def test_a_defect_after_the_leader_left_frees_the_others(
    line: Any, kit: Any, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    leader, *others = crowd(line, 3)
    await turn()
    leader.cancel()
    await turn()
    gate.asked[0].set_exception(RuntimeError("a defect"))
    await turn()
    assert len(gate.asked) == 2
    gate.asked[1].set_result(kit.reply(fields=FRESH))
    assert {reply.status for reply in await asyncio.gather(*others)} == {200}
    assert "a defect" in caplog.text


async def test_when_the_leader_leaves_during_the_content_nobody_asks_again(line: Any, kit: Any, gate: Gate) -> None:
    leader, *others = crowd(line, 5)
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields=FRESH, content=body))
    await turn()
    leader.cancel()
    await turn()
    body.feed(b"content")
    body.finish()
    assert {reply.content for reply in await asyncio.gather(*others)} == {b"content"}
    assert len(gate.asked) == 1


async def test_all_may_leave_one_by_one(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 6)
    for client in clients[:-1]:
        await turn()
        client.cancel()
    await turn()
    assert len(gate.asked) == 1
    gate.asked[-1].set_result(kit.reply(fields=FRESH))
    assert (await clients[-1]).content == b"content"
    assert len(line.cache.flights) == 0


async def test_who_joins_content_on_its_way_gets_what_is_there_at_once(line: Any, kit: Any, gate: Gate) -> None:
    leader = asyncio.ensure_future(line.ask())
    await turn()
    body = kit.body(length=7)
    gate.asked[0].set_result(kit.reply(fields=FRESH | {"ETag": '"a"', "Cache-Tag": "t"}, content=body))
    await turn()
    body.feed(b"con")
    exchange = line.exchange()
    response = await line.answer(exchange)
    assert (response.status, response.content.length, response.get(b"age")) == (200, 7, b"0")
    assert response.get(b"cache-tag") is None
    assert exchange.cache_status == b"fwd=uri-miss; collapsed"
    late = kit.collector()
    response.content.start(late)
    assert late.data == b"con"
    part = asyncio.ensure_future(line.ask(fields={"Range": "bytes=2-4"}))
    unchanged = await line.ask(fields={"If-None-Match": '"a"'})
    beyond = await line.ask(fields={"Range": "bytes=9-"})
    assert (unchanged.status, beyond.status, beyond.index["content-range"]) == (304, 416, "bytes */7")
    line.origin.answers(kit.reply(206, FRESH, b"nt"))
    far = await line.ask(fields={"Range": "bytes=-2"})  # it need not wait for what comes before
    assert (far.status, far.content, len(line.origin.asked)) == (206, b"nt", 2)
    body.feed(b"tent")
    found = await part
    assert (found.status, found.content, found.index["content-range"]) == (206, b"nte", "bytes 2-4/7")
    body.finish()
    assert (bytes(late.data), late.is_finished) == (b"content", True)
    assert (await leader).content == b"content"
    assert len(gate.asked) == 1
    assert (await line.ask()).cache.startswith("hit")


async def test_variants_of_a_route_that_has_shown_its_vary_are_fetched_side_by_side(
    line: Any, kit: Any, gate: Gate
) -> None:
    vary = FRESH | {"Vary": "Accept-Language"}
    line.origin.answers(kit.reply(fields=vary))
    await line.ask("/other")
    clients = crowd(line, 5, fields={"Accept-Language": "en"}) + crowd(line, 5, fields={"Accept-Language": "de"})
    await turn()
    assert len(gate.asked) == 2
    for asked in gate.asked:
        asked.set_result(kit.reply(fields=vary))
    await asyncio.gather(*clients)
    assert len(gate.asked) == 2


async def test_what_is_stale_at_once_but_may_be_given_meanwhile_is_shared(line: Any, kit: Any, gate: Gate) -> None:
    window = {"Cache-Control": "max-age=0, stale-while-revalidate=60"}
    clients = crowd(line, 5)
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields=window, content=body))
    await turn()
    body.feed(b"content")
    body.finish()
    assert {reply.content for reply in await asyncio.gather(*clients)} == {b"content"}
    assert len(gate.asked) == 1


async def test_what_has_no_room_is_fetched_side_by_side_and_not_one_after_the_other(
    new_line: Callable[..., Any], kit: Any
) -> None:
    line = new_line(memory=65536, max_entry=65536)
    line.origin.default = gate = Gate()
    clients = crowd(line, 5)
    await turn()
    gate.asked[0].set_result(kit.reply(fields=FRESH, content=bytes(65000)))
    await turn()
    assert len(gate.asked) == 5
    for asked in gate.asked[1:]:
        asked.set_result(kit.reply(fields=FRESH, content=bytes(65000)))
    assert {len(reply.content) for reply in await asyncio.gather(*clients)} == {65000}


@pytest.mark.parametrize("status", [429, 503, 599])
async def test_an_error_in_the_background_or_not_replaces_nothing(line: Any, kit: Any, status: int) -> None:
    line.origin.answers(kit.reply(fields=FRESH), kit.reply(status))
    await line.ask()
    line.passes(61.0)
    assert (await line.ask()).status == status
    assert [entry.status for entry in line.entries()] == [200]


async def test_a_failure_is_shared_by_all_who_wait(line: Any, gate: Gate) -> None:
    clients = crowd(line, 50)
    await turn()
    gate.asked[0].set_exception(ProxyError(ErrorKind.CONNECTION_RESET, "why", retry_after_s=3.0))
    errors = await asyncio.gather(*clients, return_exceptions=True)
    assert {(error.kind, error.retry_after_s) for error in errors} == {(ErrorKind.CONNECTION_RESET, 3.0)}
    assert len({id(error) for error in errors}) == 50
    assert len(gate.asked) == 1
    assert len(line.cache.flights) == 0


async def test_content_that_breaks_is_a_failure_for_all_who_wait(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 5)
    await turn()
    body = kit.body()
    gate.asked[0].set_result(kit.reply(fields=FRESH, content=body))
    await turn()
    body.feed(b"con")
    body.abort()
    errors = await asyncio.gather(*clients, return_exceptions=True)
    assert {error.kind for error in errors} == {ErrorKind.RESPONSE_TRUNCATED}
    assert len(gate.asked) == 1


async def test_a_failure_is_a_stale_response_for_all_who_may_have_it(line: Any, kit: Any, gate: Gate) -> None:
    line.origin.answers(kit.reply(fields=FRESH))
    await line.ask()
    line.passes(61.0)
    clients = crowd(line, 50)
    await turn()
    gate.asked[0].set_exception(DOWN)
    assert {reply.content for reply in await asyncio.gather(*clients)} == {b"content"}
    assert len(gate.asked) == 1
    assert line.cache.stats.stale == 50


async def test_an_error_response_is_a_stale_response_for_all_who_may_have_it(
    new_line: Callable[..., Any], kit: Any
) -> None:
    line = new_line({"stale_if_error": 60.0})
    line.origin.answers(kit.reply(fields=FRESH), gate := Gate())
    await line.ask()
    line.passes(61.0)
    clients = crowd(line, 50)
    await turn()
    gate.asked[0].set_result(kit.reply(503))
    assert {reply.status for reply in await asyncio.gather(*clients)} == {200}
    assert len(line.origin.asked) == 2


async def test_an_error_response_is_for_its_own_client(line: Any, kit: Any, gate: Gate) -> None:
    clients = crowd(line, 3)
    await turn()
    gate.asked[0].set_result(kit.reply(503))
    await turn()
    assert len(gate.asked) == 3
    for asked in gate.asked[1:]:
        asked.set_result(kit.reply(fields=FRESH))
    assert sorted(reply.status for reply in await asyncio.gather(*clients)) == [200, 200, 503]


async def test_a_fault_of_the_leader_is_not_shared(line: Any, kit: Any, gate: Gate) -> None:
    leader, *others = crowd(line, 3)
    await turn()
    gate.asked[0].set_exception(ProxyError(ErrorKind.CONTENT_TOO_LARGE))
    with pytest.raises(ProxyError):
        await leader
    await turn()
    assert len(gate.asked) == 2
    gate.asked[1].set_result(kit.reply(fields=FRESH))
    assert {reply.status for reply in await asyncio.gather(*others)} == {200}


async def test_a_defect_in_the_leaders_exchange_frees_the_others(line: Any, kit: Any, gate: Gate) -> None:
    leader, *others = crowd(line, 3)
    await turn()
    gate.asked[0].set_exception(RuntimeError("a defect"))
    with pytest.raises(RuntimeError):
        await leader
    await turn()
    gate.asked[1].set_result(kit.reply(fields=FRESH))
    assert {reply.status for reply in await asyncio.gather(*others)} == {200}


async def test_two_variants_that_nobody_knows_yet_ask_twice(line: Any, kit: Any) -> None:
    gates: dict[bytes, Gate] = {b"en": Gate(), b"de": Gate()}
    line.origin.default = lambda exchange: gates[exchange.request.index[b"accept-language"]](exchange)
    english = crowd(line, 5, fields={"Accept-Language": "en"})
    german = crowd(line, 5, fields={"Accept-Language": "de"})
    await turn()
    body = kit.body()
    vary = FRESH | {"Vary": "Accept-Language"}
    gates[b"en"].asked[0].set_result(kit.reply(fields=vary, content=body))
    await turn()  # the head names the variant: the others need not wait for the content
    assert len(gates[b"de"].asked) == 1
    gates[b"de"].asked[0].set_result(kit.reply(fields=vary, content=b"deutsch"))
    assert {reply.content for reply in await asyncio.gather(*german)} == {b"deutsch"}
    body.feed(b"english")
    body.finish()
    assert {reply.content for reply in await asyncio.gather(*english)} == {b"english"}
    assert len(line.origin.asked) == 2


async def test_variants_that_are_known_ask_side_by_side(line: Any, kit: Any, gate: Gate) -> None:
    vary = FRESH | {"Vary": "Accept-Language"}
    line.origin.answers(kit.reply(fields=vary))
    await line.ask(fields={"Accept-Language": "fr"})
    clients = crowd(line, 5, fields={"Accept-Language": "en"}) + crowd(line, 5, fields={"Accept-Language": "de"})
    await turn()
    assert len(gate.asked) == 2
    for asked in gate.asked:
        asked.set_result(kit.reply(fields=vary))
    await asyncio.gather(*clients)
    assert len(gate.asked) == 2


async def test_stale_variants_are_validated_side_by_side(line: Any, kit: Any, gate: Gate) -> None:
    vary = FRESH | {"Vary": "Accept-Language", "ETag": '"a"'}
    line.origin.answers(kit.reply(fields=vary), kit.reply(fields=vary))
    for language in ("en", "de"):
        await line.ask(fields={"Accept-Language": language})
    line.passes(61.0)
    clients = crowd(line, 5, fields={"Accept-Language": "en"}) + crowd(line, 5, fields={"Accept-Language": "de"})
    await turn()
    assert len(gate.asked) == 2
    for asked in gate.asked:
        asked.set_result(kit.reply(304, vary))
    await asyncio.gather(*clients)
    assert len(gate.asked) == 2


async def test_a_condition_waits_for_a_fetch_that_is_under_way(line: Any, kit: Any, gate: Gate) -> None:
    leader = asyncio.ensure_future(line.ask())
    await turn()
    conditional = asyncio.ensure_future(line.ask(fields={"If-None-Match": '"a"'}))
    await turn()
    gate.asked[0].set_result(kit.reply(fields=FRESH | {"ETag": '"a"'}))
    assert ((await leader).status, (await conditional).status) == (200, 304)
    assert len(gate.asked) == 1


@pytest.mark.parametrize(
    "how", [{"method": "HEAD"}, {"fields": {"Authorization": "x"}}, {"fields": {"Cache-Control": "no-store"}}]
)
async def test_some_requests_never_wait(line: Any, kit: Any, gate: Gate, how: dict[str, Any]) -> None:
    leader = asyncio.ensure_future(line.ask())
    await turn()
    other = asyncio.ensure_future(line.ask(**how))
    await turn()
    assert len(gate.asked) == 2
    for asked in gate.asked:
        asked.set_result(kit.reply(fields={"Cache-Control": "no-store"}))
    await asyncio.gather(leader, other)


async def test_only_if_cached_never_waits(line: Any, kit: Any, gate: Gate) -> None:
    leader = asyncio.ensure_future(line.ask())
    await turn()
    with pytest.raises(ProxyError):
        await line.ask(fields={"Cache-Control": "only-if-cached"})
    gate.asked[0].set_result(kit.reply(fields=FRESH))
    assert (await leader).status == 200


async def test_a_request_after_a_write_does_not_wait_for_what_was_asked_before(line: Any, kit: Any, gate: Gate) -> None:
    before = asyncio.ensure_future(line.ask())
    await turn()
    write = asyncio.ensure_future(line.ask(method="POST"))
    await turn()
    gate.asked[1].set_result(kit.reply(204))
    await write
    after = asyncio.ensure_future(line.ask())
    await turn()
    assert len(gate.asked) == 3
    gate.asked[0].set_result(kit.reply(fields=FRESH, content=b"old"))
    assert (await before).content == b"old"
    assert line.entries() == []
    gate.asked[2].set_result(kit.reply(fields=FRESH, content=b"new"))
    assert (await after).content == b"new"
    assert (await line.ask()).content == b"new"


async def test_who_asks_after_a_write_because_others_asked_before_it_may_store(line: Any, kit: Any, gate: Gate) -> None:
    leader, waiting = crowd(line, 2)
    await turn()
    line.origin.answers(kit.reply(204))
    await line.ask(method="POST")
    gate.asked[0].set_result(kit.reply(fields=FRESH, content=b"old"))
    await leader
    await turn()
    gate.asked[1].set_result(kit.reply(fields=FRESH, content=b"new"))
    assert (await waiting).content == b"new"
    assert (await line.ask()).content == b"new"


async def test_one_who_waits_and_leaves_disturbs_nobody(line: Any, kit: Any, gate: Gate) -> None:
    leader, second, third = crowd(line, 3)
    await turn()
    second.cancel()
    await turn()
    gate.asked[0].set_result(kit.reply(fields=FRESH))
    assert {(await leader).status, (await third).status} == {200}
    assert second.cancelled()
    assert len(gate.asked) == 1


async def test_a_flood_of_streams_stays_within_the_budget(new_line: Callable[..., Any], kit: Any) -> None:
    line = new_line(memory=100_000, max_entry=20_000)
    bodies: list[Any] = []

    def answer(exchange: Any) -> Any:
        bodies.append(kit.body())
        return kit.reply(fields=FRESH, content=bodies[-1])

    line.origin.default = answer
    clients = [asyncio.ensure_future(line.ask(f"/{number}")) for number in range(30)]
    await turn()
    for _ in range(10):
        for body in bodies:
            body.feed(b"x" * 1000)
            assert line.cache.bytes <= 100_000
    for body in bodies:
        body.finish()
        assert line.cache.bytes <= 100_000
    assert {len(reply.content) for reply in await asyncio.gather(*clients)} == {10_000}
    assert line.cache.store.used_bytes == line.cache.store.stored_bytes
    assert 0 < line.cache.entries < 10
