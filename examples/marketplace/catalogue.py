"""What the shop sells: pages of products, one product, one store, and a search that costs something."""

from __future__ import annotations

import sqlite3
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final

from aiohttp import web

from examples.marketplace.database import DATABASE
from examples.marketplace.requests import refuse, whole_number

PAGE_ITEMS: Final = 24
SEARCH_ITEMS: Final = 20
SEARCH_LEAST_SCORE: Final = 0.05

routes = web.RouteTableDef()


@routes.get("/api/products")
async def products(request: web.Request) -> web.Response:
    """One page of the catalogue. It says nothing about caching: most backends do not."""
    category = request.query.get("category", "")
    page = whole_number(request.query.get("page", "1"), "page", least=1, most=10_000)
    return web.json_response(await request.app[DATABASE].run(_page, category, page))


@routes.get("/api/products/{id}")
async def product(request: web.Request) -> web.Response:
    """One product, with validators and the freshness that the shop itself thinks right."""
    number = whole_number(request.match_info["id"], "id", least=1, most=2**31 - 1)
    row = await request.app[DATABASE].run(_product, number)
    if row is None:
        raise refuse(404, "no such product")
    etag = f"{row['sku']}-{row.pop('version')}"
    fields = {
        "Cache-Control": "public, max-age=30",
        "ETag": f'"{etag}"',
        "Last-Modified": formatdate(row["updated_at"], usegmt=True),
    }
    if _is_unchanged(request, etag, row["updated_at"]):
        return web.Response(status=304, headers=fields)
    return web.json_response(row, headers=fields)


@routes.get("/api/stores/{id}")
async def store(request: web.Request) -> web.Response:
    number = whole_number(request.match_info["id"], "id", least=1, most=2**31 - 1)
    answer = await request.app[DATABASE].run(_store, number)
    if answer is None:
        raise refuse(404, "no such store")
    return web.json_response(answer)


@routes.get("/api/search")
async def search(request: web.Request) -> web.Response:
    """Products by likeness of name and description, misspellings included."""
    words = request.query.get("q", "").strip().lower()[:100]
    if not words:
        raise refuse(400, "q is missing")
    return web.json_response({"q": words, "items": await request.app[DATABASE].run(_search, words)})


def _page(connection: sqlite3.Connection, category: str, page: int) -> dict[str, Any]:
    where, values = ("WHERE category = ?", [category]) if category else ("", [])
    total = connection.execute(f"SELECT count(*) FROM products {where}", values).fetchone()[0]
    rows = connection.execute(
        f"SELECT id, sku, name, category, price_cents, stock FROM products {where} ORDER BY id LIMIT ? OFFSET ?",
        [*values, PAGE_ITEMS, (page - 1) * PAGE_ITEMS],
    )
    return {"page": page, "pages": -(-total // PAGE_ITEMS), "total": total, "items": [dict(row) for row in rows]}


def _product(connection: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    row = connection.execute("SELECT * FROM products WHERE id = ?", (number,)).fetchone()
    return dict(row) if row else None


def _store(connection: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    row = connection.execute(
        "SELECT stores.*, count(products.id) AS products, sum(stock) AS pieces_in_stock "
        "FROM stores LEFT JOIN products ON store_id = stores.id WHERE stores.id = ? GROUP BY stores.id",
        (number,),
    ).fetchone()
    return dict(row) if row else None


def _search(connection: sqlite3.Connection, words: str) -> list[dict[str, Any]]:
    wanted = _trigrams(words)
    found = []
    for row in connection.execute("SELECT id, sku, name, category, price_cents, description FROM products"):
        item = dict(row)
        item["score"] = _likeness(wanted, item["name"]) + _likeness(wanted, item.pop("description")) / 4
        if item["score"] >= SEARCH_LEAST_SCORE:
            found.append(item)
    return sorted(found, key=lambda item: (-item["score"], item["id"]))[:SEARCH_ITEMS]


def _likeness(wanted: frozenset[str], text: str) -> float:
    """The Jaccard index of the two sets of trigrams, from 0 (nothing in common) to 1."""
    found = _trigrams(text.lower())
    return len(wanted & found) / len(wanted | found)


def _trigrams(text: str) -> frozenset[str]:
    padded = f"  {text} "
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))


@lru_cache(maxsize=64)
def _seconds(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return -1.0


def _is_unchanged(request: web.Request, etag: str, updated_at: int) -> bool:
    """RFC 9110 §13.2.2: If-None-Match decides alone when it is there."""
    if (tags := request.if_none_match) is not None:
        return any(tag.value in ("*", etag) for tag in tags)
    since = request.headers.get("If-Modified-Since")
    return since is not None and updated_at <= _seconds(since)
