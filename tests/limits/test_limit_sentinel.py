"""The link by way of Sentinels: the master is found, and found again after a failover. Real servers, real Sentinels."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.policy import compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.group import Question
from proxy.limits.shared.link import StoreLost
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.shared.sentinel import SentinelLink
from proxy.limits.verdict import LOCAL, SHARED, Verdict
from tests.ports import free_port
from tests.store.processes import started
from tests.store.sentinels import Group

LIMIT = compile_limit("a", LimitSettings.model_validate({"rate": "10/h", "by": "ip"}), "test.yaml:1")
GROUP = [Question((LIMIT,), (LIMIT.prefix + b"x",))]


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    """For tests that leave a master, a replica and three Sentinels behind."""
    with started(Group()) as group:
        yield group


@pytest.fixture
def own_group(request: Any) -> Iterator[Group]:
    """For a test that does not."""
    with started(Group(request.param)) as group:
        yield group


@pytest.fixture
async def open_store() -> AsyncIterator[Callable[[str], Awaitable[RedisStore]]]:
    stores = []

    async def opened(url: str) -> RedisStore:
        stores.append(RedisStore(url, LimiterSettings(), lambda error: None))
        await stores[-1].start()
        return stores[-1]

    yield opened
    for store in stores:
        await store.aclose()


async def ask_until_decided(link: SentinelLink, within_s: float) -> tuple[int | None, float]:
    """What remains, and how long that took; connecting again as a store does."""
    started = monotonic()
    while True:
        try:
            if not link.is_open:
                await link.open()
            return (await link.evaluate(GROUP))[0], monotonic() - started
        except StoreLost:
            assert monotonic() - started < within_s
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("/counts", "/other"), "knows no such service"),
        (lambda url: url.replace("sentinel_password=watch", "sentinel_password=guess"), "(?i)wrongpass|invalid"),
        (lambda url: url.replace(":count@", ":guess@"), "user and password"),
    ],
    ids=["a service that they do not know", "a wrong password for them", "a wrong password for the store"],
)
async def test_what_is_wrong_is_said_without_a_password(
    group: Group, connect: Any, change: Callable[[str], str], words: str
) -> None:
    with pytest.raises(StoreLost, match=words) as raised:
        await connect(change(group.url))
    assert "guess" not in str(raised.value)
    assert "watch" not in str(raised.value)


async def test_a_sentinel_that_is_cut_off_does_not_decide_who_is_master(group: Group, connect: Any) -> None:
    group.sentinels[0].signal(signal.SIGSTOP)
    started = monotonic()
    link = await connect(group.url)
    assert monotonic() - started < 1.5
    assert (await link.evaluate(GROUP))[0] is not None
    group.sentinels[0].signal(signal.SIGCONT)


async def test_a_master_that_was_replaced_is_left_although_it_goes_on_taking_writes(group: Group, connect: Any) -> None:
    link = await connect(group.url)
    await link.evaluate(GROUP)
    old = port_of(link)
    group.sentinels[0].admin.execute_command("SENTINEL FAILOVER", "counts")
    began = monotonic()
    while port_of(link) == old:
        await ask_until_decided(link, 8.0)
        assert monotonic() - began < 8.0
        await asyncio.sleep(0.05)
    retired = next(server for server in group.servers if server.port == old)
    assert retired.admin.info("replication")["role"] == "master"  # type: ignore[index]  # nobody told it yet


@pytest.mark.parametrize("own_group", [1], indirect=True)
async def test_a_server_that_is_no_master_is_not_taken_for_one(own_group: Group, connect: Any) -> None:
    """Right after a failover the Sentinels may name a server that was not told yet."""
    master, replica = own_group.servers
    link = await connect(own_group.url)
    await link.close()
    own_group.sentinels[0].signal(signal.SIGSTOP)
    master.admin.execute_command("REPLICAOF", "127.0.0.1", replica.port)
    own_group.sentinels[0].signal(signal.SIGCONT)
    with pytest.raises(StoreLost, match=r"is not yet, or no longer|takes it for down"):
        await link.open()


@pytest.mark.parametrize("own_group", [3], indirect=True)
async def test_the_master_is_found_by_any_sentinel_and_again_after_a_failover(
    own_group: Group, connect: Any, open_store: Any
) -> None:
    master, replica = own_group.servers
    store = await open_store(own_group.url)
    link = await connect(own_group.url)
    assert (await link.evaluate(GROUP))[0] == 9
    assert GROUP[0].keys[0] in master.admin.keys("*")  # type: ignore[operator]
    master.admin.execute_command("WAIT", 1, 1000)
    own_group.sentinels[0].kill()  # the other two are a majority
    master.kill()
    with pytest.raises(StoreLost):
        await link.evaluate(GROUP)
    assert not link.is_open
    with pytest.raises(StoreLost):  # for as long as nobody was promoted
        await link.open()
    assert (await decide(store)).mode == LOCAL
    remaining, _ = await ask_until_decided(link, 15.0)
    assert remaining == 8  # the replica had it
    assert port_of(link) == replica.port
    began = monotonic()
    while (await decide(store)).mode != SHARED:
        assert monotonic() - began < 2.5
        await asyncio.sleep(0.02)


async def test_a_store_behind_sentinels_is_shared(group: Group, open_store: Any) -> None:
    store = await open_store(group.url)
    assert store.status()["mode"] == SHARED, store.status()
    assert (await decide(store)).mode == SHARED


async def decide(store: RedisStore) -> Verdict:
    """Of the key that the group is not about. Never waits for longer than the deadline, here with room for noise."""
    began = monotonic()
    verdict = store.decide((LIMIT,), (LIMIT.prefix + b"y",), began)
    if not isinstance(verdict, Verdict):
        verdict = await verdict
    assert monotonic() - began < 0.2
    return verdict


def port_of(link: SentinelLink) -> int:
    assert link._wire is not None
    return int(link._wire._transport.get_extra_info("peername")[1])


async def test_no_sentinel_at_all_is_said_within_the_time_to_connect(connect: Any) -> None:
    with pytest.raises(StoreLost, match="no Sentinel knows a master of counts"):
        await connect(f"redis+sentinel://127.0.0.1:{free_port()}/counts")
