"""Controls behind Sentinels and in a Cluster: found, shared, and found again after a failover."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.core.clock import wall
from proxy.limits.controls import Ban, Controls
from proxy.limits.shared.controls_link import HASH
from proxy.limits.shared.controls_store import ControlsStore
from tests.store.clusters import Cluster
from tests.store.processes import started
from tests.store.sentinels import Group


class Weir:
    def __init__(self, url: str) -> None:
        self.controls = Controls(wall)
        self.store = ControlsStore(self.controls, url)

    def ban(self, key: bytes) -> Ban:
        now = wall()
        ban = Ban(limit="a", key=key, since_wall=now, until_wall=now + 60, reason="why", who="alice")
        self.controls.decide(ban)
        return ban


async def until(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_cluster_keeps_controls() -> None:
    with started(Cluster()) as cluster:
        for member in cluster.members:  # one of them has not got the controls' slot, so that a client has to be sent on
            first, second = [Weir(f"redis+cluster://127.0.0.1:{member.port}") for _ in range(2)]
            await first.store.start()
            await second.store.start()
            assert first.store.status()["error"] is None
            ban = first.ban(b"%d" % member.port)
            assert await first.store.is_shared()
            await until(lambda ban=ban, weir=second: weir.controls.ban_of("a", ban.key) == ban)  # type: ignore[misc]
            await first.store.aclose()
            await second.store.aclose()


async def test_sentinels_lead_to_the_master_also_after_a_failover() -> None:
    with started(Group(sentinels=1)) as group:
        first, second = Weir(group.url), Weir(group.url)
        await first.store.start()
        await second.store.start()
        assert first.store.status()["error"] is None
        before = first.ban(b"before")
        assert await first.store.is_shared()
        await until(lambda: second.controls.ban_of("a", b"before") == before)
        await until(lambda: bool(group.servers[1].admin.exists(HASH)))
        group.servers[0].kill()
        after = first.ban(b"after")
        assert first.controls.ban_of("a", b"after") is after  # at once, with nobody to tell
        await until(lambda: second.controls.ban_of("a", b"after") == after)
        assert second.controls.ban_of("a", b"before") == before
        await first.store.aclose()
        await second.store.aclose()
