"""`python -m examples.marketplace --role primary --port 3000 --data DIR`: one instance of the shop.

With a connection string in SHOP_DATABASE it is on Postgres, and DIR is not used.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from examples.marketplace.database import PRIMARY, wait_for
from examples.marketplace.seed import seed
from examples.marketplace.shop import make_shop

ROLES = (PRIMARY, "replica-1", "replica-2")
PRIMARY_WAIT_S = 15.0


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    # A tool that starts several instances may stop one before aiohttp has its own handlers in place.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    shop = _on_postgres(options.role, url) if (url := os.environ.get("SHOP_DATABASE")) else _on_file(options)
    if shop is None:
        return 1
    print(f"{options.role}: http://{options.host}:{options.port}", flush=True)
    try:
        web.run_app(shop, host=options.host, port=options.port, print=None, access_log=None, shutdown_timeout=2.0)
    except OSError as error:
        print(f"{options.role}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _on_file(options: argparse.Namespace) -> web.Application | None:
    path: Path = options.data / "shop.db"
    if options.role == PRIMARY:
        options.data.mkdir(parents=True, exist_ok=True)
        seed(path)
    elif not wait_for(path, PRIMARY_WAIT_S):
        print(f"{options.role}: no primary made {path} within {PRIMARY_WAIT_S:.0f} s", file=sys.stderr)
        return None
    return make_shop(path, role=options.role)


def _on_postgres(role: str, url: str) -> web.Application | None:
    """The variable has the connection string, for a password has no place among the arguments of a process."""
    from examples.marketplace.postgres import PostgresDatabase, seed_postgres, wait_for_postgres

    if role == PRIMARY:
        asyncio.run(seed_postgres(url))
    elif not asyncio.run(wait_for_postgres(url, PRIMARY_WAIT_S)):
        print(f"{role}: no primary made the tables within {PRIMARY_WAIT_S:.0f} s", file=sys.stderr)
        return None
    return make_shop(Path(), role=role, database=PostgresDatabase(url))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.marketplace", description="One instance of a small shop.")
    parser.add_argument("--role", choices=ROLES, default=PRIMARY, help="replicas open the database read-only")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where the shared database file is")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
