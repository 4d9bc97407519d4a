"""The example shop on its own: what the demo, the policies and the benchmarks take for granted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from examples.marketplace import accounts, transfers
from examples.marketplace.ai import inspect_image, summarise
from examples.marketplace.seed import ORDERS, PRODUCTS, seed
from examples.marketplace.shop import make_shop
from tests.ports import free_port

Client = TestClient[web.Request, web.Application]
Start = Callable[..., Awaitable[Client]]
ANA = {"X-User": "ana"}


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.db"
    seed(path)
    return path


@pytest.fixture
def database(first_day: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(first_day, tmp_path / "shop.db"))


@pytest.fixture
def start(database: Path, aiohttp_client: Any) -> Start:
    """Starts an instance on a free port of the loopback."""

    async def start_instance(role: str = "primary") -> Client:
        client: Client = await aiohttp_client(make_shop(database, role=role))
        return client

    return start_instance


def test_every_seed_makes_the_same_shop(first_day: Path, tmp_path: Path) -> None:
    seed(tmp_path / "other.db")
    assert dump(first_day) == dump(tmp_path / "other.db")


def test_a_seed_leaves_an_existing_shop_alone(database: Path) -> None:
    before = database.read_bytes()
    seed(database)
    assert database.read_bytes() == before


def test_the_shop_has_its_products_and_orders(first_day: Path) -> None:
    with sqlite3.connect(first_day) as connection:
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (PRODUCTS,) == (500,)
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (ORDERS,) == (20_000,)
    connection.close()


@pytest.mark.parametrize("role", ["primary", "replica-1", "replica-2"])
async def test_every_instance_is_healthy_and_says_who_it_is(start: Start, role: str) -> None:
    answer = await (await start(role)).get("/healthz")
    assert (answer.status, answer.headers["X-Served-By"]) == (200, role)


async def test_the_catalogue_comes_in_pages_of_a_category(start: Start) -> None:
    shop = await start()
    pages = [await (await shop.get(f"/api/products?category=kitchen&page={n}")).json() for n in (1, 2, 3)]
    items = [item for page in pages for item in page["items"]]
    assert {item["category"] for item in items} == {"kitchen"}
    assert len({item["id"] for item in items}) == len(items) == pages[0]["total"]
    assert pages[0]["pages"] == 3


BAD_REQUESTS = [
    pytest.param("GET", "/api/products?page=0", None, 400, id="page zero"),
    pytest.param("GET", "/api/products?page=x", None, 400, id="page not a number"),
    pytest.param("GET", "/api/products?page=99999999999999999999", None, 400, id="page too large"),
    pytest.param("GET", "/api/products/501", None, 404, id="unknown product"),
    pytest.param("GET", "/api/products/x", None, 400, id="product not a number"),
    pytest.param("GET", "/api/stores/99", None, 404, id="unknown store"),
    pytest.param("GET", "/api/search", None, 400, id="search for nothing"),
    pytest.param("GET", "/nothing", None, 404, id="unknown path"),
    pytest.param("PUT", "/api/buy", None, 405, id="unknown method"),
    pytest.param("POST", "/api/buy", b"{", 400, id="not JSON"),
    pytest.param("POST", "/api/buy", b"\xff", 400, id="not text"),
    pytest.param("POST", "/api/buy", b"[]", 400, id="not an object"),
    pytest.param("POST", "/api/buy", b"{}", 400, id="no product"),
    pytest.param("POST", "/api/buy", b'{"sku": "SKU-0001", "quantity": 0}', 400, id="quantity zero"),
    pytest.param("POST", "/api/buy", b'{"sku": "SKU-0001", "quantity": true}', 400, id="quantity true"),
    pytest.param("POST", "/api/buy", b'{"sku": "SKU-9999"}', 404, id="unknown sku"),
    pytest.param("POST", "/api/login", b'{"user": "ana"}', 400, id="no password"),
    pytest.param("POST", "/api/ai/describe", b'{"text": ""}', 400, id="no text"),
    pytest.param("POST", "/api/ai/describe", b'{"text": "a", "sentences": 99}', 400, id="too many sentences"),
]


@pytest.mark.parametrize(("method", "path", "content", "status"), BAD_REQUESTS)
async def test_what_cannot_be_answered_is_refused_in_json(
    start: Start, method: str, path: str, content: bytes | None, status: int
) -> None:
    answer = await (await start()).request(method, path, data=content, headers=ANA)
    assert answer.status == status
    assert list(await answer.json()) == ["error"]
    assert answer.headers["X-Served-By"] == "primary"


async def test_a_refused_method_names_those_that_are_allowed(start: Start) -> None:
    answer = await (await start()).put("/api/buy")
    assert answer.headers["Allow"] == "POST"


async def test_a_product_can_be_validated(start: Start) -> None:
    shop = await start("replica-1")
    answer = await shop.get("/api/products/7")
    etag, modified = answer.headers["ETag"], answer.headers["Last-Modified"]
    assert answer.headers["Cache-Control"] == "public, max-age=30"
    conditions = [
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f'"other", W/{etag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-Modified-Since": modified}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": modified}, 200),
        ({"If-Modified-Since": "Wed, 01 Jan 2020 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
    ]
    answers = [(fields, (await shop.get("/api/products/7", headers=fields)).status) for fields, _ in conditions]
    assert answers == conditions


async def test_a_purchase_changes_the_validators_of_the_product(start: Start) -> None:
    shop = await start()
    before = await shop.get("/api/products/7")
    await shop.post("/api/buy", json={"sku": "SKU-0007"}, headers=ANA)
    after = await shop.get("/api/products/7", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status == 200
    assert (await before.json())["stock"] - (await after.json())["stock"] == 1


async def test_a_store_knows_its_stock(start: Start) -> None:
    store = await (await (await start("replica-2")).get("/api/stores/3")).json()
    assert store["products"] > 0
    assert store["pieces_in_stock"] > 0


async def test_a_search_forgives_misspellings(start: Start) -> None:
    answer = await (await start("replica-1")).get("/api/search", params={"q": "bambo ketle"})
    names = [item["name"] for item in (await answer.json())["items"]]
    assert names[0].endswith("bamboo kettle")
    assert len(names) == 20


async def test_the_dashboard_adds_up(start: Start, database: Path) -> None:
    shop = await start("replica-1")
    summary = await (await shop.get("/api/dashboard/sales-summary")).json()
    connection = sqlite3.connect(database)
    revenue = connection.execute("SELECT sum(quantity * price_cents) FROM orders").fetchone()[0]
    (one, other, times) = summary["bought_together"][0]
    both = connection.execute(
        "SELECT count(*) FROM (SELECT customer FROM orders WHERE product_id = ? "
        "INTERSECT SELECT customer FROM orders WHERE product_id = ?)",
        (one, other),
    ).fetchone()[0]
    connection.close()
    assert summary["orders"] == ORDERS
    assert summary["revenue_cents"] == sum(summary["by_category"].values()) == revenue
    assert times == both


async def test_a_purchase_is_listed_on_the_replica_too(start: Start) -> None:
    primary, replica = await start("primary"), await start("replica-1")
    bought = await primary.post("/api/buy", json={"sku": "SKU-0042", "quantity": 2}, headers=ANA)
    order = await bought.json()
    listed = await (await replica.get("/api/orders", headers=ANA)).json()
    assert bought.status == 201
    assert listed["items"][0]["number"] == order["number"] == ORDERS + 1
    assert listed["items"][0]["quantity"] == 2


async def test_a_replica_cannot_write(start: Start) -> None:
    answer = await (await start("replica-1")).post("/api/buy", json={"sku": "SKU-0042"}, headers=ANA)
    assert answer.status == 500
    assert await answer.json() == {"error": "attempt to write a readonly database"}


async def test_stock_never_falls_below_zero_when_many_buy_at_once(start: Start, database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE products SET stock = 5 WHERE sku = 'SKU-0001'")
    connection.close()
    shop = await start()

    async def buy() -> int:
        return (await shop.post("/api/buy", json={"sku": "SKU-0001"}, headers=ANA)).status

    statuses = await asyncio.gather(*(buy() for _ in range(12)))
    product = await (await shop.get("/api/products/1")).json()
    assert (statuses.count(201), statuses.count(409), product["stock"]) == (5, 7, 0)


async def test_a_refused_purchase_leaves_the_stock_alone(start: Start) -> None:
    shop = await start()
    stock = (await (await shop.get("/api/products/1")).json())["stock"]
    answer = await shop.post("/api/buy", json={"sku": "SKU-0001", "quantity": stock + 1}, headers=ANA)
    assert (answer.status, await answer.json()) == (409, {"error": f"only {stock} left"})
    assert (await (await shop.get("/api/products/1")).json())["stock"] == stock


async def test_a_login_gives_a_token_that_names_the_user(start: Start) -> None:
    shop = await start()
    answer = await shop.post("/api/login", json={"user": "ana", "password": "correct horse"})
    token = (await answer.json())["token"]
    orders = await shop.get("/api/orders", headers={"Authorization": f"Bearer {token}"})
    named = await shop.get("/api/orders", headers=ANA)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert await orders.json() == await named.json() != {"items": []}
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "kid": "demo", "typ": "JWT"}


@pytest.mark.parametrize("user", ["ana", "nobody"], ids=["known user", "unknown user"])
async def test_a_wrong_password_is_refused(start: Start, user: str) -> None:
    answer = await (await start()).post("/api/login", json={"user": user, "password": "guess"})
    assert (answer.status, await answer.json()) == (401, {"error": "wrong user or password"})


def token_with(**claims: Any) -> str:
    now = int(time.time())
    claims = {"iss": "marketplace", "aud": "shop", "sub": "ana", "exp": now + 60, **claims}
    return jwt.encode(claims, accounts.TOKEN_SECRET, algorithm="HS256")


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("", id="none"),
        pytest.param("Basic YW5hOmFuYQ==", id="other scheme"),
        pytest.param("Bearer x", id="no token"),
        pytest.param(f"Bearer {token_with(exp=1)}", id="expired"),
        pytest.param(f"Bearer {token_with(aud='other')}", id="for another audience"),
        pytest.param(f"Bearer {token_with()[:-4]}AAAA", id="forged"),
        pytest.param("Bearer " + jwt.encode({"sub": "ana"}, "", algorithm="none"), id="unsigned"),
    ],
)
async def test_orders_need_a_valid_token(start: Start, authorization: str) -> None:
    answer = await (await start()).get("/api/orders", headers={"Authorization": authorization})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="shop"'


async def test_a_bad_token_is_not_saved_by_a_user_field(start: Start) -> None:
    answer = await (await start()).get("/api/orders", headers={**ANA, "Authorization": "Bearer x"})
    assert answer.status == 401


async def test_a_description_is_made_of_the_sentences_that_say_the_most(start: Start) -> None:
    text = "Kettles boil water. A copper kettle boils water quickly. Hello! The copper kettle is a good kettle."
    answer = await (await start("replica-1")).post("/api/ai/describe", json={"text": text, "sentences": 2})
    described = (await answer.json())["description"]
    assert described == summarise(text, 2) == "A copper kettle boils water quickly. The copper kettle is a good kettle."


PAGE = b"P5 4 7 255\n" + b"".join([b"\xff" * 4, b"\xff\0\xff\xff", b"\0" * 4, b"\xff" * 4, b"\0" * 4, b"\xff" * 8])


@pytest.mark.parametrize(
    ("content", "kind", "lines"),
    [
        pytest.param(PAGE, "pgm", 2, id="two lines of text"),
        pytest.param(PAGE[:-1], "pgm", None, id="cut short"),
        pytest.param(b"P5 0 0 255\n", "pgm", None, id="no pixels"),
        pytest.param(b"P5 many", "pgm", None, id="no size"),
        pytest.param(b"\x89PNG\r\n\x1a\nrest", "png", None, id="png"),
        pytest.param(b"\xff\xd8\xff\xe0", "jpeg", None, id="jpeg"),
        pytest.param(b"text", "unknown", None, id="no image"),
        pytest.param(b"", "unknown", None, id="nothing"),
    ],
)
async def test_an_image_is_summed_up(start: Start, content: bytes, kind: str, lines: int | None) -> None:
    answer = await (await start()).post("/api/ocr", data=content)
    sha256 = hashlib.sha256(content).hexdigest()
    assert await answer.json() == {"bytes": len(content), "sha256": sha256, "format": kind, "text_lines": lines}
    assert inspect_image(content)["text_lines"] == lines


async def test_a_websocket_echoes_and_ticks(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.marketplace.live.TICK_S", 0.05)
    async with (await start("replica-1")).ws_connect("/ws") as socket:
        await socket.send_str("hello")
        await socket.send_bytes(b"\0\1")
        echoes = [await socket.receive_str(), await socket.receive_bytes()]
        ticks = [await socket.receive_json() for _ in range(2)]
    assert echoes == ["hello", b"\0\1"]
    assert [(tick["tick"], tick["sku"]) for tick in ticks] == [(1, "SKU-0002"), (2, "SKU-0003")]


WHOLE = b"".join(transfers.pieces(0, transfers.DOWNLOAD_BYTES))
LAST = len(WHOLE) - 1


async def test_a_download_is_the_same_50_mebibytes_every_time(start: Start) -> None:
    shop = await start()
    answer = await shop.get("/download/catalogue.bin")
    assert answer.headers["Content-Length"] == str(50 * 1024 * 1024)
    assert hashlib.sha256(await answer.read()).digest() == hashlib.sha256(WHOLE).digest()
    assert len({WHOLE[at : at + 4096] for at in range(0, len(WHOLE), transfers.BLOCK_BYTES)}) == 800  # no block twice


@pytest.mark.parametrize(
    ("asked", "start_at", "end_at"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=65530-65540", 65530, 65540),
        ("bytes=-5", LAST - 4, LAST),
        (f"bytes={LAST - 3}-", LAST - 3, LAST),
        (f"bytes={LAST - 3}-999999999", LAST - 3, LAST),
    ],
)
async def test_a_download_gives_one_range(start: Start, asked: str, start_at: int, end_at: int) -> None:
    answer = await (await start()).get("/download/catalogue.bin", headers={"Range": asked})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {start_at}-{end_at}/{len(WHOLE)}"
    assert await answer.read() == WHOLE[start_at : end_at + 1]


async def test_a_range_behind_the_end_cannot_be_satisfied(start: Start) -> None:
    answer = await (await start()).get("/download/catalogue.bin", headers={"Range": "bytes=52428800-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(WHOLE)}")


@pytest.mark.parametrize(
    "fields",
    [{"Range": "lines=1-2"}, {"Range": "bytes=5-1"}, {"Range": "bytes=0-0", "If-Range": '"other"'}],
    ids=["other unit", "backwards", "other version"],
)
async def test_a_range_that_makes_no_sense_is_ignored(start: Start, fields: dict[str, str]) -> None:
    answer = await (await start()).head("/download/catalogue.bin", headers=fields)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(WHOLE)))


async def test_an_upload_of_any_size_is_streamed_and_summed_up(start: Start) -> None:
    async def content() -> Any:
        for piece in transfers.pieces(0, 20 * 1024 * 1024):  # more than the shop would hold whole
            yield piece

    answer = await (await start("replica-1")).post("/upload", data=content())
    sha256 = hashlib.sha256(WHOLE[: 20 * 1024 * 1024]).hexdigest()
    assert await answer.json() == {"bytes": 20 * 1024 * 1024, "sha256": sha256}


async def test_a_replica_waits_for_the_primary_and_both_end_when_told(tmp_path: Path) -> None:
    roles = {role: free_port() for role in ("replica-1", "primary")}
    processes = [await spawn(role, port, tmp_path) for role, port in roles.items()]
    try:
        async with aiohttp.ClientSession() as session:
            served = {role: await who_serves(session, port) for role, port in roles.items()}
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        statuses = [await asyncio.wait_for(process.wait(), 10) for process in processes]
    assert served == {role: role for role in roles}
    assert statuses == [0, 0]


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    return lines


async def spawn(role: str, port: int, data: Path) -> asyncio.subprocess.Process:
    command = ["-m", "examples.marketplace", "--role", role, "--port", str(port), "--data", str(data)]
    root = Path(__file__).parents[2]
    return await asyncio.create_subprocess_exec(sys.executable, *command, cwd=root, env=dict(os.environ))


async def who_serves(session: aiohttp.ClientSession, port: int) -> str:
    for _ in range(500):
        try:
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                assert json.loads(await answer.read()) == {"status": "ok"}
                return answer.headers["X-Served-By"]
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.02)  # the process is starting
    raise AssertionError("the instance did not start")
