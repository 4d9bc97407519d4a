"""A shared store that stalls, dies, forgets, refuses or lies: never an error, never a wait beyond the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.verdict import ALLOW, DENY, LOCAL, SHARED, Verdict
from tests.ports import free_port

DEADLINE_S = 0.1
MARGIN_S = 0.15  # for a busy machine; what is told apart is a wait of a second


def policy(name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "1000/h", "by": "ip", **settings}), "test.yaml:1")


PER_IP = policy()
PASSING_BY = policy("open", on_store_error="allow")
CLOSED = policy("closed", on_store_error="deny")


class Client:
    """Asks a store, and keeps the longest wait that it saw."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.longest_s = 0.0

    async def ask(self, *policies: LimitPolicy) -> Verdict:
        asked = policies or (PER_IP,)
        started = monotonic()
        verdict = self.store.decide(asked, [limit.prefix + b"a" for limit in asked], started)
        if not isinstance(verdict, Verdict):
            verdict = await verdict
        self.longest_s = max(self.longest_s, monotonic() - started)
        return verdict

    async def until(self, mode: str, within_s: float = 6.0) -> float:
        """Keep asking until the verdicts are of this mode. How long that took."""
        started = monotonic()
        while (await self.ask()).mode != mode:
            assert monotonic() - started < within_s, f"still not {mode}"
            await asyncio.sleep(0.01)
        return monotonic() - started


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Open stores; they are closed at the end. What they told their listener is in `.told` of the client."""
    stores: list[RedisStore] = []

    async def opened(url: str, **settings: Any) -> Client:
        told: list[str | None] = []
        store = RedisStore(url, LimiterSettings(**{"store_timeout": DEADLINE_S, **settings}), told.append)
        stores.append(store)
        await store.start()
        client = Client(store)
        client.told = told  # type: ignore[attr-defined]
        return client

    yield opened
    for store in stores:
        await store.aclose()


async def test_a_stalled_store_delays_nobody_beyond_the_deadline_and_then_nobody_at_all(
    server: Any, connect: Any
) -> None:
    client = await connect(server.url)
    assert (await client.ask()).mode == SHARED
    server.stall()
    while client.store.status()["breaker"] == "closed":
        assert (await client.ask()).mode == LOCAL
    assert client.longest_s < DEADLINE_S + MARGIN_S
    assert client.store.stats.timeouts == 5  # one after the other, so each was a failure of its own
    started = monotonic()
    assert [(await client.ask()).mode for _ in range(1000)] == [LOCAL] * 1000
    assert monotonic() - started < 0.1
    server.go_on()
    assert await client.until(SHARED) < 2.0 + 1.0 + MARGIN_S
    assert client.told == ["no answer within 100 ms", None]


async def test_a_crowd_that_times_out_together_is_one_failure(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    server.stall()
    verdicts = await asyncio.gather(*[client.ask() for _ in range(300)])
    assert {verdict.mode for verdict in verdicts} == {LOCAL}
    assert client.store.stats.timeouts == 300
    assert client.store.status()["breaker"] == "closed"
    server.go_on()
    await client.until(SHARED)


async def test_one_stall_is_one_failure_however_many_waits_it_ends_one_by_one(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    server.stall()
    asking = []
    for _ in range(20):
        asking.append(asyncio.ensure_future(client.ask()))
        await asyncio.sleep(0.003)  # each has a deadline of its own
    assert {(await each).mode for each in asking} == {LOCAL}
    assert client.store.stats.timeouts == 20
    assert client.store.status()["breaker"] == "closed"
    server.go_on()
    await client.until(SHARED)


async def test_a_killed_store_is_stood_in_for_and_found_again(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    for _ in range(10):
        await client.ask()
    asking = [asyncio.ensure_future(client.ask()) for _ in range(50)]
    server.kill()
    assert {(await each).mode for each in asking} <= {SHARED, LOCAL}
    await client.until(LOCAL)
    assert client.longest_s < DEADLINE_S + MARGIN_S
    status = client.store.status()
    assert status["mode"] == LOCAL
    assert status["error"]
    server.start()
    await client.until(SHARED)
    assert client.store.status()["error"] is None


async def test_a_restart_while_nobody_asked_is_not_even_noticed(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    await client.ask()
    server.kill()
    server.start()
    await asyncio.sleep(0)  # let the end of the old connection arrive
    assert (await client.ask()).mode == SHARED
    assert client.store.stats.degraded == 0


async def test_a_store_that_is_not_there_yet_does_not_keep_weir_from_starting(server: Any, connect: Any) -> None:
    server.kill()
    client = await connect(server.url)
    verdict = await client.ask()
    assert (verdict.mode, verdict.remaining) == (LOCAL, 949)  # the share of a Weir that knows of no other
    assert [bool(reason) for reason in client.told] == [True]
    server.start()
    await client.until(SHARED)
    assert [bool(reason) for reason in client.told] == [True, False]


async def test_flushed_scripts_are_sent_again_without_a_request_noticing(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    for _ in range(5):
        await client.ask()
        server.admin.script_flush()
    verdict = await client.ask()
    assert (verdict.mode, verdict.remaining) == (SHARED, 994)
    assert client.store.stats.degraded == 0
    assert client.store.stats.errors == 0


async def test_a_request_that_ran_out_of_time_is_charged_at_most_once(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    server.stall()
    assert (await client.ask()).mode == LOCAL
    server.go_on()
    await client.until(SHARED)
    # the late one, the one that found the store well again, and this one
    assert (await client.ask()).remaining == 1000 - 3


async def test_requests_that_were_never_sent_are_charged_once_by_the_merge(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    server.stall()
    first = [asyncio.ensure_future(client.ask()) for _ in range(4)]
    await asyncio.sleep(0.01)  # they are in flight, and the others wait behind so large a call
    others = [asyncio.ensure_future(client.ask()) for _ in range(20)]
    await asyncio.gather(*first, *others)
    server.go_on()
    await client.until(SHARED)
    # four by their own call, 20 by the merge, the one that found the store well again, and this one
    assert (await client.ask()).remaining == 1000 - 26
    assert client.store.stats.merged_units == 20


async def test_a_client_that_leaves_disturbs_nobody(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    server.stall()
    sent = asyncio.ensure_future(client.ask())
    await asyncio.sleep(0.01)
    leaving = [asyncio.ensure_future(client.ask()) for _ in range(10)]
    staying = asyncio.ensure_future(client.ask())
    await asyncio.sleep(0)
    sent.cancel()
    for each in leaving:
        each.cancel()
    await asyncio.sleep(0)
    server.go_on()
    verdict = await staying
    assert verdict.mode == SHARED
    assert verdict.remaining == 1000 - 2  # the one that was in flight when its client left, and this one


@pytest.mark.parametrize(
    ("policies", "denied", "mode"),
    [
        ((PER_IP,), False, LOCAL),
        ((PASSING_BY,), False, ALLOW),
        ((CLOSED,), True, DENY),
        ((PER_IP, PASSING_BY), False, LOCAL),
        ((PER_IP, PASSING_BY, CLOSED), True, DENY),
    ],
    ids=["local", "allow", "deny", "local and allow", "all three"],
)
async def test_what_happens_without_a_store_is_the_policys_word(
    server: Any, connect: Any, policies: tuple[LimitPolicy, ...], denied: bool, mode: str
) -> None:
    server.kill()
    client = await connect(server.url)
    verdict = await client.ask(*policies)
    assert (verdict.denied, verdict.mode) == (denied, mode)
    if denied:
        assert verdict.violated == (CLOSED,)
        assert verdict.retry_after_s >= 1.0
    if PER_IP in policies:
        assert (await client.ask()).remaining == (949 if denied else 948)  # a denied request was charged nowhere


async def test_local_counts_limit_for_real(server: Any, connect: Any) -> None:
    server.kill()
    client = await connect(server.url)
    strict = policy("strict", rate="3/h")
    assert [(await client.ask(strict)).denied for _ in range(5)] == [False] * 2 + [True] * 3  # 95 % of it


@pytest.mark.parametrize(
    ("broken", "mended", "word"),
    [
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"], "READONLY"),
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "OOM"),
    ],
    ids=["became a replica", "memory is full"],
)
async def test_a_store_that_refuses_to_write_counts_as_lost(
    server: Any, connect: Any, broken: list[str], mended: list[str], word: str
) -> None:
    client = await connect(server.url)
    await client.ask()
    server.admin.execute_command(*broken)
    await client.until(LOCAL)
    assert {(await client.ask()).mode for _ in range(20)} == {LOCAL}
    assert client.longest_s < DEADLINE_S + MARGIN_S
    lowered = str(client.store.status()["error"]).lower()
    assert {"READONLY": "read only", "OOM": "maxmemory"}[word] in lowered
    server.admin.execute_command(*mended)
    await client.until(SHARED)


async def test_a_key_of_the_wrong_type_costs_the_group_its_shared_answer_and_nothing_else(
    server: Any, connect: Any
) -> None:
    client = await connect(server.url)
    server.admin.lpush(PER_IP.prefix + b"a", "not a number")
    assert (await client.ask()).mode == LOCAL
    assert client.longest_s < DEADLINE_S + MARGIN_S


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding"])
async def test_garbage_under_a_key_counts_as_nothing_spent(server: Any, connect: Any, algorithm: str) -> None:
    client = await connect(server.url)
    limit = policy(algorithm=algorithm)
    for garbage in (b"", b"garbage", b"1 2 3 x", b"\xff\x00"):
        server.admin.set(limit.prefix + b"a", garbage)
        verdict = await client.ask(limit)
        assert verdict.mode == SHARED


async def test_a_standstill_of_our_own_is_not_taken_for_one_of_the_store(server: Any, connect: Any) -> None:
    client = await connect(server.url)
    server.stall()
    asking = asyncio.ensure_future(client.ask())
    await asyncio.sleep(0.005)  # it is sent
    server.go_on()
    time.sleep(3 * DEADLINE_S)  # the whole process stands still, while the answer comes
    assert (await asking).mode == SHARED
    assert client.store.stats.timeouts == 0


async def test_an_answer_that_is_late_again_and_again_opens_the_breaker(server: Any, connect: Any) -> None:
    client = await connect(server.url, store_timeout=0.02)
    while client.store.status()["breaker"] == "closed":
        server.admin.execute_command("CLIENT", "PAUSE", "60", "ALL")
        assert (await client.ask()).mode in (LOCAL, SHARED)
        await asyncio.sleep(0.06)
        assert client.store.stats.timeouts < 50
    assert client.store.stats.breaker_openings == 1


async def test_a_store_that_answers_but_too_late_is_not_taken_for_well(server: Any, connect: Any) -> None:
    delay_s = 2 * DEADLINE_S
    relays = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_late: bool) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(delay_s if is_late else 0)
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.append(asyncio.current_task())
        to_reader, to_writer = await asyncio.open_unix_connection(server.path)
        await asyncio.gather(relay(reader, to_writer, False), relay(to_reader, writer, True))

    path = server.folder / "late"
    async with await asyncio.start_unix_server(accept, path):
        client = await connect(f"unix://{path}")
        assert client.store.status()["error"] == "the store answers, but too late"
        assert (await client.ask()).mode == LOCAL
        delay_s = 0.0
        await client.until(SHARED)
        await client.store.aclose()
        await asyncio.gather(*relays)


async def test_closing_with_requests_in_flight_decides_them(server: Any, connect: Any) -> None:
    client = await connect(server.url, store_timeout=5.0)
    server.stall()
    asking = [asyncio.ensure_future(client.ask()) for _ in range(5)]
    await asyncio.sleep(0.01)
    asking += [asyncio.ensure_future(client.ask()) for _ in range(5)]
    await asyncio.sleep(0)
    started = monotonic()
    await client.store.aclose()
    assert monotonic() - started < 3.0
    assert {(await each).mode for each in asking} == {LOCAL}
    assert (await client.ask()).mode == LOCAL  # and afterwards too
    await client.store.aclose()


async def test_the_password_is_sent_and_never_shown(server: Any, connect: Any) -> None:
    server.admin.config_set("requirepass", "hunter2")
    server.admin.execute_command("AUTH", "hunter2")
    try:
        assert (await (await connect(f"unix://:hunter2@{server.path}")).ask()).mode == SHARED
        wrong = await connect(f"unix://:swordfish@{server.path}")
        assert (await wrong.ask()).mode == LOCAL
        assert "swordfish" not in str(wrong.store.status())
        assert "swordfish" not in repr(wrong.store._link)
    finally:
        server.admin.config_set("requirepass", "")


async def test_a_database_number_in_the_url_is_obeyed(server: Any, connect: Any) -> None:
    await (await connect(server.url + "?db=3")).ask()
    assert server.admin.info("keyspace")["db3"]["keys"] >= 1


async def test_the_url_may_name_a_tcp_port(server: Any, connect: Any) -> None:
    port = free_port()
    server.admin.config_set("port", port)
    client = await connect(f"redis://127.0.0.1:{port}/0")
    assert (await client.ask()).mode == SHARED


@pytest.mark.parametrize("url", ["http://127.0.0.1", "memcached://x", ""])
def test_a_url_of_something_else_is_refused_before_anything_starts(url: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        RedisStore(url, LimiterSettings(), lambda error: None)


async def test_a_reload_changes_how_long_requests_wait(server: Any, connect: Any) -> None:
    client = await connect(server.url, store_timeout=5.0)
    client.store.apply(LimiterSettings.model_validate({"store_timeout": DEADLINE_S}))
    server.stall()
    assert (await client.ask()).mode == LOCAL
    assert client.longest_s < DEADLINE_S + MARGIN_S
