"""The life of redis-py's client: opened when it is needed, closed for good, opened anew. Against real servers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from proxy.store.client import FAILURES, StoreClient
from tests.line.certificates import Authority
from tests.line.store import Store
from tests.ports import free_port
from tests.store.clusters import Cluster
from tests.store.processes import started
from tests.store.sentinels import Group
from tests.store.tls import tls_in_front

TIMEOUT_S = 5.0  # of a machine that is busy; nothing here waits for it to pass
WITHIN_S = 3.0  # less than that: who is told in time did not wait for a timeout
NewClient = Callable[..., StoreClient]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    with started(Group(sentinels=1)) as made:
        yield made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started(Cluster()) as made:
        yield made


class Place(NamedTuple):
    url: str
    servers: list[Redis]  # all that a client may be connected to


@pytest.fixture(params=["one server", "Sentinels", "a cluster"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "one server":
        url = request.getfixturevalue("store").url
        with Redis.from_url(url) as admin:
            yield Place(url, [admin])
    elif request.param == "a cluster":
        cluster = request.getfixturevalue("cluster")
        yield Place(cluster.url, [member.admin for member in cluster.members])
    else:
        group = request.getfixturevalue("group")
        yield Place(group.url, [each.admin for each in (*group.servers, *group.sentinels)])


@pytest.fixture
async def new_client() -> AsyncIterator[NewClient]:
    made: list[StoreClient] = []

    def make(url: str, timeout_s: float = TIMEOUT_S) -> StoreClient:
        made.append(StoreClient(url, timeout_s))
        return made[-1]

    yield make
    for client in made:
        await client.close()


async def test_it_calls_the_server_that_the_url_leads_to(place: Place, new_client: NewClient) -> None:
    client = new_client(place.url)
    assert client.opened() is client.opened()
    await client.opened().set(b"{a}text", b"caf\xc3\xa9")
    assert await client.opened().get(b"{a}text") == b"caf\xc3\xa9"
    assert await client.opened().eval(b"return redis.call('GET', KEYS[1])", 1, b"{a}text") == b"caf\xc3\xa9"


async def test_after_a_close_it_is_made_anew_and_a_second_close_does_nothing(
    place: Place, new_client: NewClient
) -> None:
    client = new_client(place.url)
    await client.close()  # before anything was opened
    before = client.opened()
    await before.set(b"{a}kept", b"1")
    await client.close()
    await client.close()
    assert client.opened() is not before
    assert await client.opened().get(b"{a}kept") == b"1"


@pytest.mark.parametrize("place", ["one server", "Sentinels"], indirect=True)  # a cluster's call would begin anew
async def test_a_close_ends_the_call_under_way(place: Place, new_client: NewClient) -> None:
    client = new_client(place.url)
    call = await waiting(client, place)
    async with asyncio.timeout(WITHIN_S):
        await client.close()
        with pytest.raises(FAILURES):
            await call


async def test_a_call_that_is_cancelled_leaves_nothing_to_a_close(place: Place, new_client: NewClient) -> None:
    before = connections(*place.servers)
    client = new_client(place.url)
    call = await waiting(client, place)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await client.close()
    await until(lambda: connections(*place.servers) == before)


async def test_closing_twice_at_once_ends_every_connection_once(place: Place, new_client: NewClient) -> None:
    client = new_client(place.url)
    await client.opened().set(b"{a}x", b"1")
    await asyncio.gather(client.close(), client.close())
    assert await client.opened().get(b"{a}x") == b"1"


async def test_nothing_is_opened_before_the_first_call_and_nothing_is_left_behind(
    place: Place, new_client: NewClient
) -> None:
    before = connections(*place.servers)
    client = new_client(place.url)
    client.opened()
    assert connections(*place.servers) == before
    await client.opened().set(b"{a}x", b"1")
    assert connections(*place.servers) > before
    await client.close()
    await until(lambda: connections(*place.servers) == before)  # they hear of it in their own time


async def test_a_close_that_is_cancelled_goes_on(place: Place, new_client: NewClient) -> None:
    before = connections(*place.servers)
    client = new_client(place.url)
    await client.opened().set(b"{a}x", b"1")
    closing = asyncio.ensure_future(client.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await until(lambda: connections(*place.servers) == before)


async def test_the_sentinels_tell_where_the_master_is(group: Group, new_client: NewClient) -> None:
    client = new_client(group.url)
    assert await client.master() == ("127.0.0.1", group.master_port(group.sentinels[0]))
    await client.close()
    assert await client.master() == ("127.0.0.1", group.master_port(group.sentinels[0])), "asked anew"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("unix:///nowhere/at/all", id="no socket"),
        pytest.param("redis://127.0.0.1:{port}", id="one server"),
        pytest.param("redis+sentinel://127.0.0.1:{port}/counts", id="Sentinels"),
        pytest.param("redis+cluster://127.0.0.1:{port}", id="a cluster"),
    ],
)
async def test_a_server_that_is_not_there_fails_the_call_and_not_the_close(url: str, new_client: NewClient) -> None:
    client = new_client(url.format(port=free_port()))
    for _ in range(2):
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises(FAILURES):
                await client.opened().get(b"a")
            await client.close()


async def test_no_master_fails_the_question_for_it(new_client: NewClient) -> None:
    client = new_client(f"redis+sentinel://127.0.0.1:{free_port()}/counts")
    with pytest.raises(FAILURES):
        await client.master()


async def test_a_server_that_says_nothing_costs_the_timeout(new_client: NewClient) -> None:
    own = Store()
    try:
        client = new_client(own.url, 0.2)
        await client.opened().ping()
        own.stall()
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises(FAILURES):
                await client.opened().ping()
            await client.close()
    finally:
        own.go_on()
        own.close()


@pytest.mark.parametrize(
    "url", ["memory", "http://a", "redis+sentinel://a", "redis://a/b"], ids=["memory", "HTTP", "no service", "a word"]
)
def test_a_url_that_is_no_store_s_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="store"):
        StoreClient(url, 1.0)


@pytest.mark.parametrize(
    ("options", "newest", "works"),
    [
        pytest.param("&ssl_min_version=772", ssl.TLSVersion.TLSv1_3, True, id="TLS 1.3 wanted and there"),
        pytest.param("&ssl_min_version=772", ssl.TLSVersion.TLSv1_2, False, id="TLS 1.3 wanted and not there"),
        pytest.param("", ssl.TLSVersion.TLSv1_2, True, id="TLS 1.2 will do"),
        pytest.param("&ssl_ciphers=ECDHE-ECDSA-AES128-SHA256", ssl.TLSVersion.TLSv1_2, True, id="a cipher there"),
        pytest.param("&ssl_ciphers=ECDHE-RSA-AES128-SHA256", ssl.TLSVersion.TLSv1_2, False, id="a cipher of others"),
    ],
)
async def test_tls_is_as_the_url_says(
    store: Store, new_client: NewClient, tmp_path: Path, options: str, newest: ssl.TLSVersion, works: bool
) -> None:
    authority = Authority(tmp_path)
    socket = store.url.removeprefix("unix://")
    async with tls_in_front(socket, authority.issue("server", "127.0.0.1"), newest=newest) as port:
        client = new_client(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.path}{options}")
        if works:
            assert await client.opened().ping()
        else:
            with pytest.raises(FAILURES):
                await client.opened().ping()
        await client.close()


def connections(*servers: Redis) -> int:
    """Those of redis-py; servers of a kind have some between them. Ours to ask with among them."""
    clients: list[Any] = [client for server in servers for client in server.client_list()]  # type: ignore[union-attr]
    return sum(client.get("lib-name", "").startswith("redis-py") for client in clients)


async def waiting(client: StoreClient, place: Place) -> asyncio.Future[Any]:
    """A call that the server does not answer."""
    call = asyncio.ensure_future(client.opened().blpop(b"nothing ever", timeout=60))
    await until(lambda: any(server.info("clients")["blocked_clients"] for server in place.servers))  # type: ignore[index]
    await asyncio.sleep(0.05)  # asyncio.wait_for, in which redis-py sends it, loses a cancellation before Python 3.12
    return call


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)
