"""The verbs, put together. `weir` alone prints them."""

from __future__ import annotations

import sys

import typer

from proxy.cli.cache import cache
from proxy.cli.check import check
from proxy.cli.demo import demo
from proxy.cli.doctor import doctor
from proxy.cli.explain import explain
from proxy.cli.healthcheck import main as healthcheck_main
from proxy.cli.keys import keys
from proxy.cli.pgbouncer import pgbouncer
from proxy.cli.run import run
from proxy.cli.schema import schema
from proxy.cli.simulate import simulate
from proxy.cli.test import try_policies
from proxy.cli.upstreams import upstreams
from proxy.cli.version import version

__all__ = ["app"]

app = typer.Typer(
    name="weir",
    help="A reverse proxy that limits, caches and pools, configured in YAML.",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _no_verb(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def healthcheck(context: typer.Context) -> None:
    """Ask a running Weir whether it is ready. Exit code 0: yes, 1: no."""
    sys.exit(healthcheck_main(context.args))


app.command()(run)
app.command()(check)
app.command(no_args_is_help=True)(explain)
app.command(no_args_is_help=True)(simulate)
app.command("test")(try_policies)
app.add_typer(keys)
app.add_typer(cache)
app.add_typer(pgbouncer)
app.add_typer(doctor)
app.command()(upstreams)
app.command()(schema)
app.command()(demo)
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    healthcheck
)
app.command()(version)
