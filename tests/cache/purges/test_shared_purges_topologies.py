"""The log of purges behind Sentinels and in a Cluster: found, followed, and found again after a failover."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

from proxy.cache.cache import Cache
from proxy.cache.purges.link import LOG
from proxy.cache.purges.purge import Purge
from proxy.cache.purges.shared import SharedPurges
from proxy.cache.settings import CacheSettings
from tests.limits.sentinels import Group, Process, until
from tests.ports import free_port


@pytest.fixture
def cluster() -> Iterator[list[Process]]:
    """Two masters. The second has the slot of the log."""
    folder = tempfile.mkdtemp(prefix="weir-")
    members = [Process(folder, str(number), "") for number in range(2)]
    try:
        buses = [free_port() for _ in members]
        for member, bus in zip(members, buses, strict=True):
            member.start("save ''", "cluster-enabled yes", f"cluster-port {bus}")
        slot = int(members[0].admin.execute_command("CLUSTER", "KEYSLOT", LOG))  # type: ignore[arg-type]
        shares = [(slot + 1, 16383), (0, slot)] if slot < 16383 else [(0, slot - 1), (slot, slot)]
        for member, share in zip(members, shares, strict=True):
            member.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", *share)
        members[0].admin.execute_command("CLUSTER", "MEET", "127.0.0.1", members[1].port, buses[1])
        until(lambda: all(b"cluster_state:ok" in m.admin.execute_command("CLUSTER", "INFO") for m in members))
        yield members
    finally:
        for member in members:
            member.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group(sentinels=1)
    try:
        made.start()
        yield made
    finally:
        made.close()


async def eventually(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_cluster_keeps_the_log(cluster: list[Process]) -> None:
    weirs = [SharedPurges(Cache(CacheSettings()), f"redis+cluster://127.0.0.1:{member.port}") for member in cluster]
    for weir in weirs:
        await weir.start()
        assert weir.error is None
    for count, (first, second) in enumerate((weirs, weirs[::-1]), 1):
        await first._cache.purge(Purge("tag", b"%d" % count))
        assert await first.is_shared()
        await eventually(lambda second=second: second.stats.received == 1)  # type: ignore[misc]
    await eventually(lambda: all(weir.is_current for weir in weirs))
    assert cluster[1].admin.xlen(LOG) == 3, "of the one who came first, and two purges"
    assert [weir.stats.gaps for weir in weirs] == [0, 0]
    for weir in weirs:
        await weir.aclose()


async def test_sentinels_lead_to_the_log_also_after_a_failover(group: Group) -> None:
    weirs = [SharedPurges(Cache(CacheSettings()), group.url) for _ in range(2)]
    first, second = weirs
    for weir in weirs:
        await weir.start()
        assert weir.error is None
    first._cache.invalidate(b"http://a/before")
    await eventually(lambda: second.stats.received == 1)
    until(lambda: group.servers[1].admin.xlen(LOG) == 2)
    before = second.seq
    group.servers[0].kill()
    await eventually(lambda: first.error is not None and second.error is not None)
    first._cache.invalidate(b"http://a/after")
    await eventually(lambda: second.stats.received == 2)
    await eventually(lambda: all(weir.is_current for weir in weirs))
    assert second.seq > before
    assert [weir.stats.gaps for weir in weirs] == [0, 0], "the replica had everything"
    for weir in weirs:
        await weir.aclose()
