"""The shop on a real Postgres with a streaming replica: the same answers as on a file."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from examples.marketplace.postgres import PostgresDatabase, seed_postgres, wait_for_postgres
from examples.marketplace.seed import ORDERS, TABLES, first_day, seed
from examples.marketplace.shop import make_shop
from proxy.cli.demo_postgres import Postgres, find_postgres
from proxy.cli.demo_processes import Children

Client = TestClient[web.Request, web.Application]
ROOT = Path(__file__).parents[2]
ANA = {"X-User": "ana"}


@pytest.fixture(scope="module")
def servers() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="weir-test-"))
    programs = find_postgres()
    assert programs is not None
    with Children(ROOT, folder, remove=folder) as children:
        postgres = Postgres(children, folder, programs)
        postgres.start(("primary", "replica-1"))
        asyncio.run(seed_postgres(postgres.url("primary")))
        yield postgres


@pytest.fixture
async def shops(servers: Postgres, aiohttp_client: Any) -> dict[str, Client]:
    """The instance that writes, and the one that reads."""
    started = {}
    for role in ("primary", "replica-1"):
        assert await wait_for_postgres(servers.url(role), 10.0)
        database = PostgresDatabase(servers.url(role), connections=4)
        client: Client = await aiohttp_client(make_shop(Path(), role=role, database=database))
        started[role] = client
    return started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.db"
    seed(path)
    return path


async def test_the_first_day_is_in_the_tables(servers: Postgres) -> None:
    connection = await asyncpg.connect(servers.url("primary"))
    rows = first_day()
    for table in ("stores", "users"):
        columns = ", ".join(TABLES[table])
        assert [tuple(row) for row in await connection.fetch(f"SELECT {columns} FROM {table}")] == rows[table]
    assert await connection.fetchval("SELECT count(*) FROM products") == len(rows["products"])
    await connection.close()


async def test_a_second_seed_changes_nothing(servers: Postgres) -> None:
    await seed_postgres(servers.url("primary"))
    connection = await asyncpg.connect(servers.url("primary"))
    assert await connection.fetchval("SELECT count(*) FROM products") == 500
    await connection.close()


SAME = [
    "/healthz",
    "/api/products?category=kitchen&page=2",
    "/api/products?page=21",
    "/api/products/8",
    "/api/products/501",
    "/api/stores/3",
    "/api/stores/99",
    "/api/search?q=bambo+ketle",
    "/api/search",
    "/nothing",
]


@pytest.mark.parametrize("target", SAME)
async def test_both_databases_give_the_same_answer(shops: dict[str, Client], file: Path, target: str) -> None:
    async with TestClient(TestServer(make_shop(file, role="replica-1"))) as other:
        expected = await other.get(target)
        given = await shops["replica-1"].get(target)
        assert (given.status, await given.json()) == (expected.status, await expected.json())


async def test_the_dashboard_adds_up(shops: dict[str, Client], servers: Postgres) -> None:
    summary = await (await shops["primary"].get("/api/dashboard/sales-summary")).json()
    connection = await asyncpg.connect(servers.url("primary"))
    count, revenue = await connection.fetchrow("SELECT count(*), sum(quantity * price_cents) FROM orders")
    await connection.close()
    assert (summary["orders"], summary["revenue_cents"]) == (count, revenue)


async def test_a_purchase_reaches_the_replica(shops: dict[str, Client]) -> None:
    bought = await shops["primary"].post("/api/buy", json={"sku": "SKU-0042", "quantity": 2}, headers=ANA)
    order = await bought.json()
    assert bought.status == 201
    assert order["number"] > ORDERS
    async with asyncio.timeout(10):
        while True:
            listed = await (await shops["replica-1"].get("/api/orders", headers=ANA)).json()
            if listed["items"][0]["number"] >= order["number"]:
                break
            await asyncio.sleep(0.02)
    assert order["number"] in [item["number"] for item in listed["items"]]


async def test_a_replica_cannot_write(shops: dict[str, Client]) -> None:
    answer = await shops["replica-1"].post("/api/buy", json={"sku": "SKU-0042"}, headers=ANA)
    assert answer.status == 500
    assert "read-only transaction" in (await answer.json())["error"]


async def test_stock_never_falls_below_zero_when_many_buy_at_once(shops: dict[str, Client]) -> None:
    shop = shops["primary"]
    stock = (await (await shop.get("/api/products/2")).json())["stock"]
    emptied = await shop.post("/api/buy", json={"sku": "SKU-0002", "quantity": stock - 5}, headers=ANA)
    assert emptied.status == 201

    async def buy() -> int:
        return (await shop.post("/api/buy", json={"sku": "SKU-0002"}, headers=ANA)).status

    statuses = await asyncio.gather(*(buy() for _ in range(12)))
    product = await (await shop.get("/api/products/2")).json()
    assert (statuses.count(201), statuses.count(409), product["stock"]) == (5, 7, 0)


async def test_a_refused_purchase_says_what_is_left(shops: dict[str, Client]) -> None:
    shop = shops["primary"]
    stock = (await (await shop.get("/api/products/3")).json())["stock"]
    many = await shop.post("/api/buy", json={"sku": "SKU-0003", "quantity": stock + 1}, headers=ANA)
    unknown = await shop.post("/api/buy", json={"sku": "SKU-9999"}, headers=ANA)
    assert (many.status, await many.json()) == (409, {"error": f"only {stock} left"})
    assert unknown.status == 404


async def test_a_login_works(shops: dict[str, Client]) -> None:
    right = await shops["replica-1"].post("/api/login", json={"user": "ana", "password": "correct horse"})
    wrong = await shops["replica-1"].post("/api/login", json={"user": "ana", "password": "guess"})
    assert (right.status, wrong.status) == (200, 401)


async def test_a_websocket_ticks(shops: dict[str, Client]) -> None:
    async with shops["replica-1"].ws_connect("/ws") as socket, asyncio.timeout(10):
        assert set(await socket.receive_json()) == {"tick", "sku", "price_cents"}


async def test_no_connection_is_left_in_a_transaction(shops: dict[str, Client], servers: Postgres) -> None:
    targets = ["/api/products/501", "/api/stores/1", "/api/search?q=mug", "/api/products/2"] * 5
    await asyncio.gather(*(shops["primary"].get(target) for target in targets))
    connection = await asyncpg.connect(servers.url("primary"))
    open_ones = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'")
    await connection.close()
    assert open_ones == 0


def test_the_wheel_is_where_the_demo_looks() -> None:
    programs = find_postgres()
    assert programs is not None
    assert shutil.which("postgres", path=str(programs))
