"""A real Postgres from the wheel, and a real PgBouncer in front of it where the program is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.cli.demo_postgres import Postgres, find_pgbouncer, find_postgres
from proxy.cli.demo_processes import Children, free_ports
from proxy.database.ini import make_plan, render
from proxy.database.settings import DatabasePoolSettings, DatabaseSettings, PgBouncerSettings
from proxy.database.sizing import plan_servers

ROOT = Path(__file__).parents[2]
CONSOLE_PASSWORD = "console word"
MAX_CONNECTIONS = 30

StartPgBouncer = Callable[..., "Pooler"]


class Pooler:
    """A PgBouncer that runs: its settings, and the connection strings that lead through it."""

    def __init__(self, settings: PgBouncerSettings, database: DatabaseSettings, url: str, ini: str) -> None:
        self.settings, self.database, self.url, self.ini = settings, database, url, ini


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # not in pytest's folder: that one only its owner may enter, and Postgres does not run as root
    folder = Path(tempfile.mkdtemp(prefix="weir-test-"))
    programs = find_postgres()
    assert programs is not None, "the wheel with Postgres is part of the development set"
    with Children(ROOT, folder, remove=folder) as children:
        server = Postgres(children, folder, programs, max_connections=MAX_CONNECTIONS)
        server.start(("main",))
        yield server
    assert not folder.exists()


@pytest.fixture(scope="session")
def start_pgbouncer(postgres: Postgres) -> StartPgBouncer:
    """Start one with a pool `app` to the database; `edit` may change the rendered file. It ends with the session."""
    found = find_pgbouncer()
    if found is None:
        pytest.skip("PgBouncer is not installed")
    program: Path = found

    def start(edit: Callable[[str], str] = lambda text: text, size: int = 4, **changes: object) -> Pooler:
        [port] = free_ports(1)
        user = {"user": "shop"} if changes.pop("forces_user", True) else {}
        pool = DatabasePoolSettings(database="postgres", size=size, reserve=0, **user)
        odd = DatabasePoolSettings(database="po'st gres", user="o'r x", size=1, reserve=0)  # that PgBouncer parses it
        database = DatabaseSettings(
            port=postgres.ports["main"],
            max_connections=MAX_CONNECTIONS,
            reserved=3,
            pools={"app": pool, "odd-na.me": odd},
        )
        settings = PgBouncerSettings(
            listen=f"127.0.0.1:{port}",
            clients=50,
            auth_file=str(postgres.users_file),
            console=f"postgresql://weir:console%20word@127.0.0.1:{port}/pgbouncer",
            **changes,  # type: ignore[arg-type]
        )
        ini = edit(render(make_plan(settings, plan_servers({"main": database}), 0)))
        postgres.start_pgbouncer(program, ini, port, {"weir": CONSOLE_PASSWORD}, name=f"pgbouncer-{port}")
        url = postgres.url("main", port).removesuffix("/postgres") + "/app"
        return Pooler(settings, database, url, ini)

    return start


@pytest.fixture(scope="session")
def transaction_pooler(start_pgbouncer: StartPgBouncer) -> Pooler:
    return start_pgbouncer()


@pytest.fixture(scope="session")
def session_pooler(start_pgbouncer: StartPgBouncer) -> Pooler:
    return start_pgbouncer(lambda text: text.replace("pool_mode = transaction", "pool_mode = session"))
