"""Buying, one's own orders, and the page that the management opens every morning."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any, Final

from aiohttp import web

from examples.marketplace.accounts import user_of
from examples.marketplace.database import DATABASE
from examples.marketplace.requests import read_object, refuse, text_of, whole_number

TOP_ITEMS: Final = 10
ORDERS_SHOWN: Final = 20

routes = web.RouteTableDef()


@routes.post("/api/buy")
async def buy(request: web.Request) -> web.Response:
    """`{"sku": "SKU-0001", "quantity": 2}` -> 201 with the order, 404, or 409 when the stock does not suffice."""
    user = user_of(request)
    form = await read_object(request)
    quantity = whole_number(form.get("quantity", 1), "quantity", least=1, most=1000)
    order = await request.app[DATABASE].write(_buy, user, text_of(form, "sku"), quantity, int(time.time()))
    return web.json_response(order, status=201)


@routes.get("/api/orders")
async def orders(request: web.Request) -> web.Response:
    """The user's latest orders. They are nobody else's business, and a copy of them neither."""
    items = await request.app[DATABASE].run(_orders_of, user_of(request))
    return web.json_response({"items": items}, headers={"Cache-Control": "private, no-store"})


@routes.get("/api/dashboard/sales-summary")
async def sales_summary(request: web.Request) -> web.Response:
    """Everything about all orders, computed anew for every request: some 300 ms of one core."""
    return web.json_response(await request.app[DATABASE].run(_sales_summary))


def _buy(connection: sqlite3.Connection, user: str, sku: str, quantity: int, now_wall: int) -> dict[str, Any]:
    # one statement checks and takes, so that they see the same stock, whoever else is buying
    product = connection.execute(
        "UPDATE products SET stock = stock - ?, version = version + 1, updated_at = ? WHERE sku = ? AND stock >= ? "
        "RETURNING id, price_cents, stock",
        (quantity, now_wall, sku, quantity),
    ).fetchone()
    if product is None:
        raise _why_not(connection, sku)
    order = connection.execute(
        "INSERT INTO orders (customer, product_id, quantity, price_cents, ordered_at) VALUES (?, ?, ?, ?, ?) "
        "RETURNING id",
        (user, product["id"], quantity, product["price_cents"], now_wall),
    ).fetchone()
    return {
        "number": order["id"],
        "sku": sku,
        "quantity": quantity,
        "total_cents": quantity * product["price_cents"],
        "left": product["stock"],
    }


def _why_not(connection: sqlite3.Connection, sku: str) -> web.HTTPException:
    product = connection.execute("SELECT stock FROM products WHERE sku = ?", (sku,)).fetchone()
    if product is None:
        return refuse(404, "no such product")
    return refuse(409, "sold out" if not product["stock"] else f"only {product['stock']} left")


def _orders_of(connection: sqlite3.Connection, user: str) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT orders.id AS number, sku, name, quantity, orders.price_cents, ordered_at "
        "FROM orders JOIN products ON products.id = product_id WHERE customer = ? ORDER BY orders.id DESC LIMIT ?",
        (user, ORDERS_SHOWN),
    )
    return [dict(row) for row in rows]


def _sales_summary(connection: sqlite3.Connection) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT customer, product_id, category, quantity * orders.price_cents, ordered_at "
        "FROM orders JOIN products ON products.id = product_id"
    ).fetchall()
    by_category: Counter[str] = Counter()
    by_day: Counter[int] = Counter()
    by_product: Counter[int] = Counter()
    baskets: defaultdict[str, set[int]] = defaultdict(set)
    for customer, product_id, category, cents, ordered_at in rows:
        by_category[category] += cents
        by_day[ordered_at // 86_400] += cents
        by_product[product_id] += cents
        baskets[customer].add(product_id)
    return {
        "orders": len(rows),
        "revenue_cents": by_category.total(),
        "by_category": dict(by_category.most_common()),
        "order_value": _spread(sorted(row[3] for row in rows)),
        "best_week_cents": _best_week(by_day),
        "top_products": by_product.most_common(TOP_ITEMS),
        "bought_together": _bought_together(baskets.values()),
    }


def _spread(cents: list[int]) -> dict[str, float]:
    """Of sorted values."""
    if not cents:
        return {}
    return {
        "mean_cents": round(statistics.fmean(cents), 1),
        "median_cents": statistics.median(cents),
        "p95_cents": cents[int(len(cents) * 0.95)],
    }


def _best_week(by_day: Counter[int]) -> int:
    return max((sum(by_day[day + offset] for offset in range(7)) for day in list(by_day)), default=0)


def _bought_together(baskets: Any) -> list[tuple[int, int, int]]:
    """The pairs of products that most customers have both bought: the part that takes the time."""
    pairs: Counter[tuple[int, int]] = Counter()
    for basket in baskets:
        pairs.update(combinations(sorted(basket), 2))
    return [(a, b, times) for (a, b), times in pairs.most_common(TOP_ITEMS)]
