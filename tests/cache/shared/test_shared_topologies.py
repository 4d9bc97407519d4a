"""The second tier in a real cluster, behind real Sentinels, and for a user who may do no more than it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from proxy.cache.shared.servers import slot_of
from tests.line.store import Store
from tests.store.clusters import Cluster
from tests.store.processes import started
from tests.store.sentinels import Group

FRESH = {"Cache-Control": "max-age=60"}
ALLOWED = (
    "~weir:1:cache:* &weir:1:cache:done +eval +evalsha +ping +subscribe +select +client|setname "
    "+get +set +getrange +exists +unlink +pexpire +pttl +hget +hmget +hset +hdel "
    "+zadd +zrange +zcard +zrem +publish +time"
).split()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two masters, and a user who may do no more than the page says."""
    with started(Cluster()) as made:
        made.url = f"redis+cluster://weir:word@{made.hosts}"
        for member in made.members:
            member.admin.execute_command("ACL", "SETUSER", "weir", "on", ">word", *ALLOWED, "+cluster|slots")
        yield made


async def test_a_cluster_has_each_url_in_one_of_its_slots(
    new_weir: Any, kit: Any, tools: Any, cluster: Cluster
) -> None:
    one, other = await new_weir(url=cluster.url), await new_weir(url=cluster.url)
    await warm(tools, kit, one, other)
    for number in range(20):
        one.origin.answers(kit.reply(200, FRESH | {"Vary": "X-A"}, b"%d" % number))
        await one.ask(f"/{number}", {"X-A": "1"})
    await tools.until(lambda: one.tier.queued_bytes == 0)
    other.origin.default = kit.reply(200, FRESH, b"wrong")
    for number in range(20):
        answer = await other.ask(f"/{number}", {"X-A": "1"})
        assert answer.content == b"%d" % number
    for member in cluster.members:
        found = member.admin.keys("*:v:*")
        assert found
        for key in found:
            assert member.admin.cluster("KEYSLOT", key) == slot_of(key)
        assert member.admin.execute_command("ACL", "LOG") == []
    cluster.members[1].kill()
    one.origin.default = lambda _: kit.reply(200, FRESH)
    for number in range(20):
        assert (await one.ask(f"/dead{number}")).status == 200
    assert one.tier.stats.lookups["miss"] > 20  # the other node is asked as before
    assert not one.tier.is_up


async def warm(tools: Any, kit: Any, *weirs: Any) -> None:
    """Until there is a connection to every node: they are made when somebody asks, and who asks then goes without."""
    for weir in weirs:
        weir.origin.default = lambda _: kit.reply(200, FRESH)
        links = weir.tier._link, weir.tier._writes

        def is_ready(links: Any = links) -> bool:
            found = [link.is_ready(key) for link in links for key in (b"a", b"b", b"c", b"d", b"e", b"f")]
            return all(found)

        await tools.until(is_ready)
        weir.origin.default = None


@pytest.fixture
def group() -> Iterator[Group]:
    with started(Group(sentinels=1)) as made:
        yield made


async def test_sentinels_lead_to_the_master_and_to_the_next(new_weir: Any, kit: Any, tools: Any, group: Group) -> None:
    one, other = await new_weir(url=group.url), await new_weir(url=group.url)
    one.origin.answers(kit.reply(200, FRESH))
    await one.ask()
    await tools.until(lambda: one.tier.stats.writes["kept"])
    assert (await other.ask()).cache.endswith("detail=shared")
    group.servers[0].kill()
    one.origin.default = lambda _: kit.reply(200, FRESH)
    for number in range(10):
        assert (await one.ask(f"/{number}")).status == 200
    await tools.until(lambda: tools.is_ready(one.tier) and tools.is_ready(other.tier), 30.0)
    await one.ask("/later")
    await tools.until(lambda: one.tier.queued_bytes == 0)
    assert (await other.ask("/later")).cache.endswith("detail=shared")


async def test_a_user_needs_no_more_than_the_page_says(new_weir: Any, kit: Any, tools: Any, frail_store: Store) -> None:
    with Redis.from_url(frail_store.url) as client:
        client.execute_command("ACL", "SETUSER", "weir", "on", ">word", *ALLOWED)
        url = frail_store.url.replace("unix://", "unix://weir:word@")
        one, other = await new_weir(url=url), await new_weir(url=url)
        for number in range(3):
            one.origin.answers(kit.reply(200, FRESH | ({"Vary": "X-A"} if number else {}), b"%d" % number))
            one.cache.store.remove_key(b"http://example.com/a")
            client.delete(*client.keys("*:v:*") or ["none"])
            await one.ask()
            await tools.until(lambda number=number: one.tier.stats.writes["kept"] == number + 1)
        assert (await other.ask()).cache.endswith("detail=shared")
        one.origin.answers(kit.reply(200, {"Cache-Control": "no-store"}))
        await one.ask("/b")
        await tools.until(lambda: any([client.hget(lock, "alone") for lock in client.keys("*:l:*")]))
        log = client.execute_command("ACL", "LOG")
        assert log == []
