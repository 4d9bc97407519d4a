"""The log of purges behind Sentinels and in a Cluster: found, followed, and found again after a failover."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from proxy.cache.cache import Cache
from proxy.cache.purges.link import LOG
from proxy.cache.purges.purge import Purge
from proxy.cache.purges.shared import SharedPurges
from proxy.cache.settings import CacheSettings
from tests.store.clusters import Cluster
from tests.store.processes import started, until
from tests.store.sentinels import Group


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with started(Cluster()) as made:
        yield made


@pytest.fixture
def group() -> Iterator[Group]:
    with started(Group(sentinels=1)) as made:
        yield made


async def eventually(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_cluster_keeps_the_log(cluster: Cluster) -> None:
    # one of them asks first a node that has not got the log
    urls = [f"redis+cluster://127.0.0.1:{member.port}" for member in cluster.members]
    weirs = [SharedPurges(Cache(CacheSettings()), url) for url in urls]
    for weir in weirs:
        await weir.start()
        assert weir.error is None
    for count, (first, second) in enumerate((weirs, weirs[::-1]), 1):
        await first._cache.purge(Purge("tag", b"%d" % count))
        assert await first.is_shared()
        await eventually(lambda second=second: second.stats.received == 1)  # type: ignore[misc]
    await eventually(lambda: all(weir.is_current for weir in weirs))
    assert cluster.keeper(LOG).admin.xlen(LOG) == 3, "of the one who came first, and two purges"
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
