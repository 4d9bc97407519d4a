"""Sessions in a real Valkey: what one Weir learns, the others know in time; and what happens when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from proxy.replicas.lsn import History
from proxy.replicas.sessions_store import PREFIX, SessionsStore, StoreAway
from tests.line.process import eventually
from tests.line.store import Store
from tests.replicas.conftest import StartWeir
from tests.replicas.knowledge import ELSEWHERE, HISTORY, LATER
from tests.replicas.stand import Stand, in_rotation
from tests.replicas.test_replica_faults import results

ANN = ("database db:5432/shop", "", "ann", "user")
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def valkey() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture
async def make(valkey: Store) -> AsyncIterator[Make]:
    stores: list[SessionsStore] = []

    async def start(lost: Callable[[], None] = lambda: None, ttl_s: float = 60.0) -> SessionsStore:
        store = SessionsStore(valkey.url, ttl_s, lost)
        stores.append(store)
        await store.start()
        return store

    yield start
    for store in stores:
        await store.aclose()


async def test_what_one_weir_knows_the_others_know(make: Make) -> None:
    one, other = await make(), await make()
    assert (await other.look(ANN)).history is None
    one.merge(ANN, HISTORY, 100, 2**63, closes=False)
    await one.look(ANN)
    stored = await other.look(ANN)
    assert (stored.history, stored.wrote, stored.saw, stored.is_writing) == (HISTORY, 100, 2**63, False)
    assert (await other.look((*ANN[:2], "bob", "user"))).history is None


async def test_a_write_under_way_is_known_to_all_until_each_is_over(make: Make) -> None:
    one, other = await make(), await make()
    scope = (*ANN[:2], "writer", "user")
    for store in (one, other):
        begun = store.begin(scope)
        assert begun is not None
        await begun
    assert (await other.look(scope)).is_writing
    one.merge(scope, HISTORY, 5, 5, closes=True)
    await one.look(scope)
    assert (await other.look(scope)).is_writing
    other.close(scope)
    stored = await other.look(scope)
    assert (stored.is_writing, stored.wrote) == (False, 5)


async def test_a_write_whose_weir_died_is_forgotten_in_time(make: Make) -> None:
    one = await make(ttl_s=0.3)
    scope = (*ANN[:2], "dead", "user")
    begun = one.begin(scope)
    assert begun is not None
    await begun
    assert (await one.look(scope)).is_writing
    await asyncio.sleep(0.4)
    assert not (await one.look(scope)).is_writing


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        pytest.param((HISTORY, 5, 9), (HISTORY, 7, 8), (HISTORY, 7, 9), id="of one history the highest"),
        pytest.param((HISTORY, 5, 9), (LATER, 1, 2), (LATER, 1, 2), id="a later timeline"),
        pytest.param((LATER, 1, 2), (HISTORY, 5, 9), (LATER, 1, 2), id="an earlier timeline"),
        pytest.param((HISTORY, 5, 9), (ELSEWHERE, 1, 2), (ELSEWHERE, 1, 2), id="another cluster"),
    ],
)
async def test_positions_merge_as_sessions_do(make: Make, first: Any, second: Any, kept: Any) -> None:
    store = await make()
    scope = ("merge", repr(first), repr(second))
    for history, wrote, saw in (first, second):
        store.merge(scope, history, wrote, saw, closes=False)
    stored = await store.look(scope)
    assert (stored.history, stored.wrote, stored.saw) == kept


async def test_many_who_ask_at_once_share_calls(make: Make) -> None:
    store = await make()
    before = store.calls
    answers = await asyncio.gather(*(store.look((*ANN[:2], str(number))) for number in range(300)))
    assert len(answers) == 300
    assert store.calls - before < 30


async def test_an_outage_is_told_at_once_and_what_was_learned_meanwhile_is_not_lost(make: Make, valkey: Store) -> None:
    store = await make()
    scope = (*ANN[:2], "outage", "user")
    valkey.stall()
    try:
        with pytest.raises(StoreAway):
            await store.look(scope)
        await asyncio.sleep(1.1)  # longer than a call may take
        assert store.error is not None
        store.merge(scope, HISTORY, 42, 42, closes=False)
        with pytest.raises(StoreAway):
            await store.look(scope)
    finally:
        valkey.go_on()
    while store.error is not None:
        await asyncio.sleep(0.02)
    with pytest.raises(StoreAway):
        await store.look(scope)  # the others may not have written yet what they learned
    assert store.is_away
    while store.is_away:
        await asyncio.sleep(0.05)
    assert (await store.look(scope)).wrote == 42


async def test_one_that_is_closed_while_it_starts_leaves_nothing_behind(valkey: Store) -> None:
    client = Redis.from_url(valkey.url)
    before = len(await client.client_list())
    store = SessionsStore(valkey.url, 60.0, lambda: None)
    starting = asyncio.ensure_future(store.start())
    await asyncio.sleep(0)
    await store.aclose()
    await starting
    async with asyncio.timeout(5):
        while len(await client.client_list()) > before:
            await asyncio.sleep(0.01)
    await client.aclose()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "sessions"]


async def test_a_store_that_lost_its_memory_is_noticed(make: Make, valkey: Store) -> None:
    lost: list[int] = []
    store = await make(lambda: lost.append(1))
    assert len(lost) == 1  # at the start nothing is known either
    secret = store.secret
    client = Redis.from_url(valkey.url)
    await client.flushall()
    await client.aclose()
    while store.secret == secret:
        await asyncio.sleep(0.02)
    assert len(lost) == 2
    assert store.is_away


async def test_nobody_s_name_stands_in_the_store(make: Make, valkey: Store) -> None:
    store = await make()
    store.merge((*ANN[:2], "very-secret-name", "user"), HISTORY, 1, 1, closes=False)
    await store.look(ANN)
    client = Redis.from_url(valkey.url)
    keys = await client.keys(PREFIX + b"*")
    await client.aclose()
    assert keys
    assert not any(b"secret-name" in key or b"shop" in key for key in keys)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([HISTORY, LATER]), st.integers(0, 2**64 - 1)), min_size=1, max_size=8))
def test_the_script_merges_as_the_rules_do(facts: list[tuple[History, int]]) -> None:
    from proxy.replicas.session import Session

    async def work() -> None:
        store = SessionsStore(_URL[0], 60.0, lambda: None)
        await store.start()
        scope = ("script", repr(facts))
        session = Session()
        for history, lsn in facts:
            session.merge(history, lsn, max(lsn, 1))
            store.merge(scope, history, lsn, max(lsn, 1), closes=False)
        stored = await store.look(scope)
        await store.aclose()
        assert (stored.history, stored.wrote, stored.saw) == (session.history, session.wrote, session.saw)

    asyncio.run(work())


_URL: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _remember(valkey: Store) -> None:
    _URL.append(valkey.url)


@pytest.mark.long
def test_who_writes_through_one_weir_sees_it_through_another(
    stand: Stand, start_weir: StartWeir, valkey: Store
) -> None:
    for server in stand.cluster.replicas:
        server.lag("200ms")
    config = stand.config("max_lag: 10s", extra=f"store: {valkey.url}")
    one, other = start_weir(config), start_weir(config)
    in_rotation(one, 2)
    in_rotation(other, 2)
    value = 0
    with one.client() as writer, other.client() as reader:
        for _ in range(40):
            value += 1
            assert writer.ask("POST", "/counters/pair", {"X-User": "pair"}).content == b"%d" % value
            assert reader.ask("GET", "/counters/pair", {"X-User": "pair"}).content == b"%d" % value
        cookie = writer.ask("POST", "/counters/pair").get("set-cookie").partition(";")[0]
        answer = reader.ask("GET", "/counters/pair", {"Cookie": cookie})  # one secret for all
        assert answer.content == b"%d" % (value + 1)
        assert reader.ask("GET", "/counters/pair", {"X-User": "somebody"}).get("x-instance") != "primary"
    assert results(other)["behind"] + results(other).get("store", 0) > 20


@pytest.mark.long
def test_without_the_store_users_read_from_the_primary_and_cookies_go_on(stand: Stand, start_weir: StartWeir) -> None:
    store = Store()
    try:
        weir = start_weir(stand.config(extra=f"store: {store.url}"))
        in_rotation(weir, 2)
        eventually(lambda: weir.get("/counters/away", {"X-User": "ann"}).get("x-instance") != "primary", 10.0)
        store.kill()
        for _ in range(3):
            assert weir.ask("POST", "/counters/away", {"X-User": "ann"}).status == 200
            assert weir.get("/counters/away", {"X-User": "ann"}).get("x-instance") == "primary"
        cookie = weir.ask("POST", "/counters/away").get("set-cookie").partition(";")[0]
        stand.cluster.caught_up()
        eventually(lambda: weir.get("/counters/away", {"Cookie": cookie}).get("x-instance") != "primary")
        assert results(weir)["store"] >= 3
        names = {part["name"] for part in weir.healthz().json()["components"] if not part["healthy"]}
        assert "sessions" in names
        store.start()
        eventually(lambda: weir.get("/counters/away", {"X-User": "ann"}).get("x-instance") != "primary", 15.0)
    finally:
        store.close()


HOST = {"Host": "shop.test"}  # the same for all Weirs, whose ports are not


@pytest.mark.long
def test_a_weir_that_began_just_now_reads_no_shared_cache_where_its_sessions_are_its_own(
    stand: Stand, start_weir: StartWeir, valkey: Store
) -> None:
    shared = f"cache: {{shared: {{url: '{valkey.url}', namespace: restarts}}}}"
    before = start_weir(stand.config("ttl: 3s", extra=shared))
    in_rotation(before, 2)
    time.sleep(3.2)  # from now on it may share
    ann, bob = HOST | {"X-User": "of-restarts"}, HOST | {"X-User": "who-reads"}
    assert before.get("/cached/restarts", bob).content == b"0"
    eventually(lambda: before.metric("weir_shared_cache_writes_total", result="kept"))
    assert before.ask("POST", "/counters/restarts", ann).content == b"1"
    after = start_weir(stand.config(extra=shared))  # knows nothing of what ann wrote
    in_rotation(after, 2)
    assert after.get("/cached/restarts", ann).content == b"1"
