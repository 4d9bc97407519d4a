"""The link to a cluster, against three real masters: groups taken apart, redirections, nodes that stall and die."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.policy import Kind, LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.group import Question, peeking
from proxy.limits.shared.link import StoreLost
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.shared.slots import SLOTS, slot_of
from proxy.limits.verdict import LOCAL, SHARED, Verdict
from tests.ports import free_port
from tests.store import clusters
from tests.store.processes import started, until

SHARE = SLOTS // 3
BEGINS = (0, SHARE, 2 * SHARE)
ENDS = (SHARE - 1, 2 * SHARE - 1, SLOTS - 1)
OPTIONS = "cluster-require-full-coverage no", "repl-diskless-sync-delay 0"


def policy(name: str, rate: str = "10/h", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": rate, "by": "ip", **settings}), "test.yaml:1")


A, B = policy("a"), policy("b")


class Cluster(clusters.Cluster):
    """Which the tests break and mend."""

    def __init__(self) -> None:
        super().__init__(ENDS, *OPTIONS)

    def mend(self) -> None:
        """As it was at the beginning, for the next test."""
        for member in self.members:
            if not member.is_running:
                member.start()
            member.signal(signal.SIGCONT)
        until(self.is_whole)
        for member in self.members:
            member.admin.flushall()

    def keys(self) -> dict[bytes, int]:
        """Every key that was charged, with the place of its master."""
        return {key: place for place, member in enumerate(self.members) for key in member.admin.keys("*")}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with started(Cluster()) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    running.mend()
    yield running
    running.mend()


def key_on(place: int, limit: LimitPolicy = A, number: int = 0) -> bytes:
    """The `number`th key of a limit that the master at this place holds."""
    for i in range(100_000):
        key = limit.prefix + b"k%d" % i
        if BEGINS[place] <= slot_of(key) <= ENDS[place]:
            if not number:
                return key
            number -= 1
    raise AssertionError


def ask(*keys: bytes, limits: tuple[LimitPolicy, ...] = (A, B)) -> Question:
    return Question(limits[: len(keys)], keys)


async def test_a_group_is_decided_on_every_node_and_comes_back_in_its_order(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    keys = [key_on(place, number=number) for number in range(5) for place in range(3)]
    group = [ask(key) for i, key in enumerate(keys) for _ in range(i + 1)]
    numbers = await link.evaluate(group)
    assert numbers[0::3] == [9 - n if n < 10 else 0 for i in range(15) for n in range(i + 1)]
    assert [passed == 0 for passed in numbers[2::3]] == [n < 10 for i in range(15) for n in range(i + 1)]
    assert Counter(cluster.keys().values()) == {0: 5, 1: 5, 2: 5}


async def test_a_group_is_one_write_to_each_node_and_one_call_for_each_slot(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    await link.evaluate([ask(key_on(place)) for place in range(3)] * 2)  # the script is known from here on
    before = [calls(member) for member in cluster.members]
    await link.evaluate([ask(key_on(place, number=n % 4)) for place in range(3) for n in range(8)])
    assert [calls(member) - then for member, then in zip(cluster.members, before, strict=True)] == [4, 4, 4]


def calls(member: clusters.Member) -> int:
    statistics: Any = member.admin.info("commandstats")
    return int(statistics.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_limits_in_several_slots_are_charged_together(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    numbers = await link.evaluate([ask(key_on(0, A), key_on(2, B))])
    assert (numbers[0], numbers[2], numbers[3], numbers[5]) == (9, 0, 9, 0)
    assert set(cluster.keys()) == {key_on(0, A), key_on(2, B)}


async def test_what_other_slots_charged_for_a_refused_request_is_given_back(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    scarce, plenty = key_on(0, A), key_on(1, B)
    await link.evaluate([ask(scarce)] * 10)
    numbers = await link.evaluate([ask(scarce, plenty)] * 3)
    assert all(passed > 0 for passed in numbers[2::6])
    assert (await link.evaluate([ask(plenty, limits=(B,))]))[0] == 9


async def test_what_is_charged_in_the_end_is_what_was_admitted_and_nothing_else(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    firsts = [key_on(i % 3, A, number=i) for i in range(4)]
    seconds = [key_on((i + 1) % 3, B, number=i) for i in range(4)]
    draw = Random(7)
    admitted: Counter[bytes] = Counter()
    for _ in range(12):
        group = [ask(draw.choice(firsts), draw.choice(seconds)) for _ in range(8)]
        numbers = await link.evaluate(group)
        for i, asked in enumerate(group):
            if numbers[6 * i + 2] == numbers[6 * i + 5] == 0:
                admitted.update(asked.keys)
    assert max(admitted.values()) == 10
    peeks = [*[peeking(A, key) for key in firsts], *[peeking(B, key) for key in seconds]]
    remaining = (await link.evaluate(peeks))[0::3]
    assert remaining == [10 - admitted[key] for key in (*firsts, *seconds)]


async def test_a_held_limit_is_released_when_another_slot_refuses(cluster: Cluster, connect: Any) -> None:
    held = compile_limit(
        "held", LimitSettings.model_validate({"algorithm": "inflight", "limit": 2, "by": "ip"}), "test.yaml:1"
    )
    link = await connect(cluster.url)
    scarce, leases = key_on(0, A), key_on(1, held)
    await link.evaluate([ask(scarce)] * 10)
    for member in (b"m1", b"m2", b"m3"):
        numbers = await link.evaluate([Question((A, held), (scarce, leases), member)])
        assert numbers[2] > 0
    assert (await link.evaluate([Question((held,), (leases,), b"m4")]))[2] == 0
    assert cluster.members[1].admin.zcard(leases) == 1


async def test_a_limit_in_shadow_blocks_in_no_slot_and_is_given_back_too(cluster: Cluster, connect: Any) -> None:
    settings = LimitSettings.model_validate({"rate": "10/h", "by": "ip"})
    shadow = LimitPolicy("s", settings, "test.yaml:1", Kind(is_enforced=False))
    link = await connect(cluster.url)
    spent, other = key_on(0, shadow), key_on(1, B)
    for _ in range(12):
        numbers = await link.evaluate([Question((shadow, B), (spent, key_on(2, B)))])
    assert numbers[2] > 0
    assert (await link.evaluate([Question((shadow, B), (spent, other))]))[5] == 0
    assert (await link.evaluate([ask(other, limits=(B,))]))[0] == 8


async def test_a_node_that_died_costs_only_the_requests_with_keys_there(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    cluster.members[1].kill()
    await asyncio.sleep(0.01)
    group = [ask(key_on(place)) for place in range(3)]
    started = monotonic()
    numbers = await link.evaluate(group)
    assert monotonic() - started < 0.2
    assert numbers[0:9:3] == [9, None, 9]
    assert numbers[3:6] == [None] * 3
    assert link.is_open
    assert str(cluster.members[1].port) in str(link.trouble)


async def test_a_request_of_which_one_slot_was_not_decided_is_charged_in_no_other(
    cluster: Cluster, connect: Any
) -> None:
    link = await connect(cluster.url)
    cluster.members[1].kill()
    await asyncio.sleep(0.01)
    alive, dead = key_on(0, A), key_on(1, B)
    assert await link.evaluate([ask(alive, dead)]) == [None] * 6
    assert (await link.evaluate([ask(alive)]))[0] == 9


async def test_a_group_of_nothing_but_keys_of_a_dead_node_is_undecided_and_the_link_is_not_lost(
    cluster: Cluster, connect: Any
) -> None:
    link = await connect(cluster.url)
    cluster.members[1].kill()
    await asyncio.sleep(0.01)
    assert await link.evaluate([ask(key_on(1))] * 2) == [None] * 6
    assert link.is_open


async def test_a_node_that_comes_back_is_found_by_the_traffic(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    cluster.members[1].kill()
    await asyncio.sleep(0.01)
    assert (await link.evaluate([ask(key_on(1))]))[0] is None
    cluster.members[1].start()
    until(cluster.is_whole)  # a master that was started again takes its time before it decides
    started = monotonic()
    while (await link.evaluate([ask(key_on(1))]))[0] is None:
        assert monotonic() - started < 2.0
        await asyncio.sleep(0.01)
    assert link.trouble is None


async def test_a_node_that_stalls_holds_up_one_group_for_the_patience_and_then_none(
    cluster: Cluster, connect: Any
) -> None:
    link = await connect(cluster.url)
    link.patience_s = 0.05
    await link.evaluate([ask(key_on(place, number=1)) for place in range(3)])
    cluster.members[2].signal(signal.SIGSTOP)
    group = [ask(key_on(place)) for place in range(3)]
    started = monotonic()
    assert (await link.evaluate(group))[0::3] == [9, 9, None]
    assert 0.04 < monotonic() - started < 0.3
    started = monotonic()
    for _ in range(5):
        assert (await link.evaluate(group))[6] is None
    assert monotonic() - started < 0.1
    cluster.members[2].signal(signal.SIGCONT)
    started = monotonic()
    while (number := (await link.evaluate([ask(key_on(2))]))[0]) is None:
        assert monotonic() - started < 2.0
        await asyncio.sleep(0.005)
    assert number == 8  # of what nobody waited for any more, the one that was sent has been charged


async def test_what_a_late_node_charged_for_a_request_of_several_slots_is_given_back(
    cluster: Cluster, connect: Any
) -> None:
    link = await connect(cluster.url)
    link.patience_s = 0.05
    fast, slow = key_on(0, A), key_on(2, B)
    await link.evaluate([ask(fast, slow)])
    cluster.members[2].signal(signal.SIGSTOP)
    assert await link.evaluate([ask(fast, slow)]) == [None] * 6
    assert (await link.evaluate([ask(fast)]))[0] == 8
    cluster.members[2].signal(signal.SIGCONT)
    started = monotonic()
    while (number := (await link.evaluate([ask(slow, limits=(B,))]))[0]) is None:
        assert monotonic() - started < 2.0
        await asyncio.sleep(0.005)
    if number == 7:  # asked in the very moment between the late answer and the giving back
        number = (await link.evaluate([ask(slow, limits=(B,))]))[0] + 1  # type: ignore[operator]
    assert number == 8


async def test_a_cluster_of_which_nothing_is_left_is_lost(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    for member in cluster.members:
        member.kill()
    await asyncio.sleep(0.01)
    with pytest.raises(StoreLost):
        await link.evaluate([ask(key_on(0)), ask(key_on(1))])
    assert not link.is_open
    with pytest.raises(StoreLost, match=r"no connection to 127\.0\.0\.1"):
        await link.open()
    for member in cluster.members:
        member.start()
    until(cluster.is_whole)
    await link.open()
    assert (await link.evaluate([ask(key_on(0))]))[0] == 9


async def test_a_slot_that_moved_is_asked_at_its_new_home_and_nothing_is_lost(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    key = key_on(0)
    await link.evaluate([ask(key)])
    migrate(cluster, key, 0, 2)
    try:
        assert (await link.evaluate([ask(key), ask(key_on(1))]))[0::3] == [8, 9]
        assert cluster.keys()[key] == 2
    finally:
        migrate(cluster, key, 2, 0)


async def test_a_slot_that_is_moving_is_asked_where_its_keys_are(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    here = key_on(0)
    slot = slot_of(here)
    source, target = cluster.members[0], cluster.members[2]
    target.admin.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.name())
    source.admin.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.name())
    try:
        assert (await link.evaluate([ask(here)] * 2))[0::3] == [9, 8]  # ASK: the key is not there yet, nor anywhere
        assert cluster.keys()[here] == 2
        assert (await link.evaluate([ask(here)]))[0] == 7
    finally:
        source.admin.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
        target.admin.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")


def migrate(cluster: Cluster, key: bytes, begin: int, end: int) -> None:
    """Move the slot of a key from one master to another, as an operator's tool does."""
    slot = slot_of(key)
    source, target = cluster.members[begin], cluster.members[end]
    target.admin.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.name())
    source.admin.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.name())
    source.admin.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 1000, "REPLACE")
    for member in (target, source, cluster.members[3 - begin - end]):
        member.admin.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target.name())


async def test_flushed_scripts_are_sent_again_to_each_node_without_a_request_noticing(
    cluster: Cluster, connect: Any
) -> None:
    link = await connect(cluster.url)
    for expected in (9, 8, 7):
        for member in cluster.members:
            member.admin.script_flush()
        assert (await link.evaluate([ask(key_on(place)) for place in range(3)]))[0::3] == [expected] * 3


async def test_a_cluster_is_found_by_any_one_of_its_nodes(cluster: Cluster, connect: Any) -> None:
    link = await connect(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{cluster.members[2].port}")
    assert (await link.evaluate([ask(key_on(place)) for place in range(3)]))[0::3] == [9, 9, 9]
    assert link.trouble is None


async def test_a_key_of_the_wrong_type_costs_only_the_requests_of_its_slot(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    cluster.members[0].admin.lpush(key_on(0), "not a number")
    assert (await link.evaluate([ask(key_on(0)), ask(key_on(1))]))[0::3] == [None, 9]
    assert (await link.evaluate([ask(key_on(0, number=1))]))[0] == 9


async def test_closing_tells_whoever_waits(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    for member in cluster.members:
        member.signal(signal.SIGSTOP)
    asking = asyncio.ensure_future(link.evaluate([ask(key_on(0)), ask(key_on(1))]))
    await asyncio.sleep(0.01)
    await link.close()
    with pytest.raises(StoreLost, match="closed"):
        await asking
    assert not link.is_open


async def test_a_store_on_a_cluster_stands_in_for_the_node_that_is_gone_and_for_no_other(cluster: Cluster) -> None:
    told: list[str | None] = []
    store = RedisStore(cluster.url, LimiterSettings(), told.append)
    await store.start()
    try:

        async def modes(count: int = 1) -> list[str]:
            """As many requests for each node, all at once."""
            asked = [store.decide((A,), (key_on(i % 3, number=5),), monotonic()) for i in range(3 * count)]
            verdicts = [each if isinstance(each, Verdict) else await each for each in asked]
            return [str(verdict.mode) for verdict in verdicts]

        assert await modes() == [SHARED] * 3
        cluster.members[1].kill()
        await asyncio.sleep(0.01)
        for _ in range(10):
            assert await modes() == [SHARED, LOCAL, SHARED]
            await asyncio.sleep(0.01)
        assert store.status()["breaker"] == "closed"
        assert told == []
        cluster.members[1].start()
        await asyncio.to_thread(until, cluster.is_whole)
        deadline = monotonic() + 2.0
        while (await modes())[1] != SHARED:
            assert monotonic() < deadline
            await asyncio.sleep(0.01)
    finally:
        await store.aclose()


async def test_a_replica_that_takes_over_is_found_by_the_traffic(connect: Any) -> None:
    cluster = Cluster()
    heir = clusters.Member(cluster.folder, "3", *OPTIONS)
    try:
        cluster.start()
        heir.start()
        heir.meet(cluster.members[1])
        until(lambda: cluster.members[1].name() in heir.admin.execute_command("CLUSTER", "NODES").decode())
        heir.admin.execute_command("CLUSTER", "REPLICATE", cluster.members[1].name())
        until(lambda: heir.admin.info("replication").get("master_link_status") == "up")  # type: ignore[union-attr]
        link = await connect(cluster.url)
        group = [ask(key_on(place)) for place in range(3)]
        assert (await link.evaluate(group))[0::3] == [9, 9, 9]
        cluster.members[1].admin.execute_command("WAIT", 1, 1000)
        cluster.members[1].kill()
        deadline = monotonic() + 20.0
        while (remaining := (await link.evaluate([ask(key_on(1))]))[0]) is None:
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
        assert remaining == 8  # it had what its master counted
        assert (await link.evaluate([ask(key_on(0)), ask(key_on(2))]))[0::3] == [8, 8]
        assert link.trouble is None
    finally:
        heir.kill()
        cluster.close()


async def test_nothing_is_opened_any_more_once_it_is_closed(cluster: Cluster, connect: Any) -> None:
    link = await connect(cluster.url)
    await link.evaluate([ask(key_on(0))])
    cluster.members[0].signal(signal.SIGSTOP)
    asking = asyncio.ensure_future(link.evaluate([ask(key_on(0))]))
    await asyncio.sleep(0.005)
    await link.close()  # the question fails, and would have the map fetched again
    with pytest.raises(StoreLost):
        await asking
    with pytest.raises(StoreLost):
        await link.evaluate([ask(key_on(1))])
    cluster.members[0].signal(signal.SIGCONT)
    await asyncio.sleep(0.1)
    for member in cluster.members:
        assert "weir" not in {client["name"] for client in member.admin.client_list()}
