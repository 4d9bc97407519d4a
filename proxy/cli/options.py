"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from proxy.cli.output import Format

__all__ = ["DEFAULT_CONFIG", "AsFormat", "Config", "Most"]

DEFAULT_CONFIG: Final = "proxy.yaml"

Config = Annotated[
    str | None,
    typer.Option("--config", "-c", help=f"Root file of the configuration. Default: {DEFAULT_CONFIG}.", metavar="FILE"),
]
AsFormat = Annotated[Format, typer.Option("--format", help="For people, or for programs.")]
Most = Annotated[int, typer.Option("--most", "-n", min=1, help="How many.")]
