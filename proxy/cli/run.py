"""`weir run`: from a file, or from the command line alone."""

from __future__ import annotations

import os.path
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.options import DEFAULT_CONFIG, Config
from proxy.cli.output import print_diagnostics
from proxy.cli.startup import startup_lines
from proxy.config.load import Loaded, load
from proxy.config.quick import quick

if TYPE_CHECKING:
    from proxy.app import App

__all__ = ["run"]


def _quick_option(text: str, metavar: str) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Without a file")


def run(
    config: Config = None,
    to: Annotated[list[str] | None, _quick_option("Backend, such as http://127.0.0.1:3000.", "URL")] = None,
    replica: Annotated[list[str] | None, _quick_option("Backend that takes GET and HEAD.", "URL")] = None,
    limit: Annotated[list[str] | None, _quick_option("20/s by address, or '1000/h per user'.", "RATE")] = None,
    cache: Annotated[str | None, _quick_option("Store responses for this long: 5s.", "TIME")] = None,
    listen: Annotated[str | None, _quick_option("Where clients connect. Default: 127.0.0.1:8080.", "ADDRESS")] = None,
    admin: Annotated[str | None, _quick_option("Health and metrics, or off.", "ADDRESS")] = None,
    store: Annotated[str | None, _quick_option("Where limits count: memory, or redis://host.", "URL")] = None,
) -> None:
    """Run Weir: from proxy.yaml, or without a file in front of --to."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload asked for before everything is open must not end us
    options = {"replicas": replica, "limits": limit, "cache": cache, "listen": listen, "admin": admin, "store": store}
    given: dict[str, Any] = {name: value for name, value in options.items() if value}
    if to and config is not None:
        raise typer.BadParameter("give --config or --to, not both")
    if given and not to:
        raise typer.BadParameter(f"--{next(iter(given)).rstrip('s')} goes with --to; otherwise it stands in the file")
    path = config or DEFAULT_CONFIG
    loaded = quick(to, **given) if to else load(path)
    print_diagnostics(loaded.diagnostics)
    if not loaded.is_good:
        if not to and config is None and not os.path.exists(path):
            print("without a file: weir run --to http://127.0.0.1:3000 --limit 20/s", file=sys.stderr)
        raise typer.Exit(1)
    raise typer.Exit(_serve(loaded))


def _serve(loaded: Loaded) -> int:
    from proxy.process import run as run_process  # imports the whole data plane: `weir run --help` does not wait for it

    def started(app: App) -> None:
        # To standard error: standard output belongs to the access log.
        for line in startup_lines(loaded, app.listeners.addresses, app.admin.address):
            print(line, file=sys.stderr)
        sys.stderr.flush()

    return run_process(loaded, started=started)
