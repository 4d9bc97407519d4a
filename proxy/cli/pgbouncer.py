"""`weir pgbouncer render`: the file for PgBouncer from the configuration, or what is wrong with one that is there."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.options import DEFAULT_CONFIG, Config
from proxy.cli.output import print_diagnostics
from proxy.config.load import load
from proxy.database.ini import Plan, make_plan, render
from proxy.database.ini_check import Difference, check_ini
from proxy.database.sizing import plan_servers

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.upstreams.upstream import Upstream

__all__ = ["pgbouncer", "plan_for"]

pgbouncer = typer.Typer(
    name="pgbouncer", help="The database pooler behind the backend.", no_args_is_help=True, add_completion=False
)

_CHECK_HELP = "Compare this file instead of writing one. Exit code 1 when it breaks a rule."


@pgbouncer.callback()
def _group() -> None:
    """The database pooler behind the backend."""


@pgbouncer.command("render")
def render_file(
    config: Config = None,
    check: Annotated[Path | None, typer.Option("--check", metavar="FILE", help=_CHECK_HELP)] = None,
) -> None:
    """Print pgbouncer.ini for the `databases` and `pgbouncer` sections, each value with its reason."""
    loaded = load(config or DEFAULT_CONFIG)
    if loaded.snapshot is None or loaded.settings is None:
        print_diagnostics(loaded.diagnostics)
        raise typer.Exit(1)
    settings = loaded.settings
    if settings.pgbouncer is None or not any(database.pools for database in settings.databases.values()):
        print(
            f"{loaded.path} has no `pgbouncer` with pools in `databases`: see docs/reference/database.md",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    plan = plan_for(settings, loaded.snapshot.upstreams.values())
    if check is None:
        sys.stdout.write(render(plan))
        return
    raise typer.Exit(_compare(check, plan))


def plan_for(settings: Settings, upstreams: Iterable[Upstream]) -> Plan:
    """What the file says, for a configuration with a `pgbouncer`."""
    assert settings.pgbouncer is not None
    in_flight = sum(
        _most_in_flight(upstream)
        for upstream in upstreams
        if any(database.uses(upstream.name) for database in settings.databases.values())
    )
    return make_plan(settings.pgbouncer, plan_servers(settings.databases), in_flight)


def _most_in_flight(upstream: Upstream) -> int:
    most = upstream.pool.max_in_flight * len({*upstream.primary, *upstream.replicas})
    total = upstream.pool.max_in_flight_total
    return most if total is None else min(most, total)


def _compare(path: Path, plan: Plan) -> int:
    try:
        differences = check_ini(path.read_text(), plan)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        print(f"cannot read {path}: {reason}", file=sys.stderr)
        return 2
    for difference in differences:
        print(_line(path, difference))
    if differences:
        print(f"{len(differences)} not as it should be; `weir pgbouncer render` writes a file that is")
        return 1
    print(f"{path} keeps every rule; the process needs {plan.files} file descriptors")
    return 0


def _line(path: Path, difference: Difference) -> str:
    where = f"{path}:{difference.line}" if difference.line else str(path)
    return f"{where}: {difference.message}\n    {difference.hint}"
