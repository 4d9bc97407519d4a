"""What is in the shop on its first day: the same 500 products and 20,000 orders every time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from examples.marketplace.accounts import DEMO_USERS, hash_password
from examples.marketplace.database import SCHEMA_VERSION

PRODUCTS: Final = 500
ORDERS: Final = 20_000
STORES: Final = 20
CUSTOMERS: Final = 200
FIRST_DAY_WALL: Final = 1_735_689_600  # 2025-01-01 00:00:00 UTC
YEAR_S: Final = 365 * 86_400

SCHEMA: Final = """
CREATE TABLE stores (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL);
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    sku TEXT NOT NULL UNIQUE,
    store_id INTEGER NOT NULL REFERENCES stores (id),
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    stock INTEGER NOT NULL CHECK (stock >= 0),
    version INTEGER NOT NULL DEFAULT 1,
    updated_at INTEGER NOT NULL
);
CREATE INDEX products_by_category ON products (category, id);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer TEXT NOT NULL,
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity INTEGER NOT NULL,
    price_cents INTEGER NOT NULL,
    ordered_at INTEGER NOT NULL
);
CREATE INDEX orders_by_customer ON orders (customer, id);
CREATE TABLE users (name TEXT PRIMARY KEY, salt BLOB NOT NULL, password_hash BLOB NOT NULL);
"""

TABLES: Final = {
    "stores": ("id", "name", "city"),
    "products": (
        *("id", "sku", "store_id", "category", "name"),
        *("description", "price_cents", "stock", "version", "updated_at"),
    ),
    "orders": ("id", "customer", "product_id", "quantity", "price_cents", "ordered_at"),
    "users": ("name", "salt", "password_hash"),
}
"""The columns in the order of the rows below."""

CITIES: Final = ("Bergen", "Bologna", "Cork", "Ghent", "Graz", "Leiden", "Lyon", "Porto", "Tartu", "Turku")
QUALITIES: Final = ("Folding", "Heavy", "Light", "Quiet", "Round", "Small", "Sturdy", "Tall", "Warm", "Woven")
MATERIALS: Final = ("bamboo", "canvas", "ceramic", "copper", "cork", "glass", "linen", "oak", "steel", "wool")
THINGS: Final = {
    "books": ("atlas", "cookbook", "diary", "field guide", "novel"),
    "garden": ("bird feeder", "lantern", "planter", "trowel", "watering can"),
    "kitchen": ("kettle", "mortar", "mug", "pan", "teapot"),
    "music": ("drum", "metronome", "music stand", "recorder", "tambourine"),
    "office": ("desk lamp", "letter tray", "notebook", "pen holder", "stool"),
    "sports": ("kettlebell", "paddle", "racket", "rope", "yoga mat"),
    "toys": ("jigsaw", "kite", "marble run", "spinning top", "toy boat"),
    "travel": ("backpack", "blanket", "flask", "hammock", "umbrella"),
}


def seed(path: Path) -> None:
    """Make the file unless it is there. Other processes see the whole file or none: it is renamed into place."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    connection = sqlite3.connect(draft)
    try:
        connection.executescript(SCHEMA)
        _fill(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()
        # Readers need the write-ahead log to be the file's mode before they open it read-only.
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    draft.replace(path)


def _fill(connection: sqlite3.Connection) -> None:
    for table, rows in first_day().items():
        places = ", ".join("?" for _ in TABLES[table])
        connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)


def first_day() -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table, in an order in which what is referred to comes first."""
    rng = Random(20250101)
    cities = {number: CITIES[number % len(CITIES)] for number in range(1, STORES + 1)}
    products = list(_products(rng))
    orders = list(_orders(rng, [product[6] for product in products]))
    salts = {name: rng.randbytes(16) for name in DEMO_USERS}
    return {
        "stores": [(number, f"{city} store {number}", city) for number, city in cities.items()],
        "products": list(products),
        "orders": list(orders),
        "users": [(name, salts[name], hash_password(word, salts[name])) for name, word in DEMO_USERS.items()],
    }


def _products(rng: Random) -> Iterator[tuple[int, str, int, str, str, str, int, int, int, int]]:
    categories = tuple(THINGS)
    for number in range(1, PRODUCTS + 1):
        category = categories[number % len(categories)]
        quality, material, thing = rng.choice(QUALITIES), rng.choice(MATERIALS), rng.choice(THINGS[category])
        other = rng.choice(THINGS[category])
        description = (
            f"A {quality.lower()} {thing} made of {material}. Goes well with our {other}. "
            f"Made in {rng.choice(CITIES)} and sent within {rng.randint(1, 5)} days."
        )
        yield (
            number,
            f"SKU-{number:04d}",
            rng.randint(1, STORES),
            category,
            f"{quality} {material} {thing}",
            description,
            rng.randint(300, 30_000),
            rng.randint(20, 500),
            1,
            FIRST_DAY_WALL + rng.randrange(YEAR_S),
        )


def _orders(rng: Random, prices: list[int]) -> Iterator[tuple[int, str, int, int, int, int]]:
    customers = [*DEMO_USERS, *(f"customer-{n:03d}" for n in range(CUSTOMERS - len(DEMO_USERS)))]
    step_s = YEAR_S / ORDERS
    for number in range(1, ORDERS + 1):
        product_id = int(PRODUCTS * rng.random() ** 1.5) + 1  # a few products sell often, most seldom
        yield (
            number,
            rng.choice(customers),
            product_id,
            rng.randint(1, 4),
            prices[product_id - 1],
            FIRST_DAY_WALL + int(step_s * (number - rng.random())),
        )
