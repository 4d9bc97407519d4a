"""`weir doctor db`: is this connection string fit for a pool, and what has to change?"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from proxy.cli.options import AsFormat
from proxy.cli.output import Format, print_json
from proxy.database.connection_string import ConnectionString, Finding, parse_connection_string

__all__ = ["doctor"]

doctor = typer.Typer(name="doctor", help="Look at what Weir depends on.", no_args_is_help=True, add_completion=False)

_SIGNS: Final = {
    "ok": "[green]✓[/]",
    "note": "[dim]·[/]",
    "warning": "[yellow]![/]",
    "error": "[bold red]✗[/]",
}


class _Mode(StrEnum):
    TRANSACTION = "transaction"
    SESSION = "session"
    DIRECT = "direct"


@doctor.callback()
def _group() -> None:
    """Look at what Weir depends on."""


@doctor.command("db")
def database(
    dsn: Annotated[
        str | None,
        typer.Argument(
            metavar="[DSN]",
            help="The connection string, or the name of the variable that has it: $NAME.",
        ),
    ] = None,
    mode: Annotated[_Mode, typer.Option("--mode", help="What it should be.")] = _Mode.TRANSACTION,
    format: AsFormat = Format.TEXT,
) -> None:
    """Check a Postgres connection string for transaction pooling. Without one: $DATABASE_URL.

    Exit code 0: it fits, perhaps with warnings; 1: something must change; 2: it is no connection string.
    """
    try:
        string = parse_connection_string(_given(dsn))
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        print(f"weir: {message}" + (f"\n  {hint}" if hint else ""), file=sys.stderr)
        raise typer.Exit(2) from None
    from proxy.database.doctor import examine  # the driver takes its time to load, and no other verb needs it

    findings = asyncio.run(examine(string, mode.value))
    is_fit = all(finding.level != "error" for finding in findings)
    if format is Format.JSON:
        print_json({"ok": is_fit, "database": string.label, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(string, findings, is_fit, mode)
    raise typer.Exit(0 if is_fit else 1)


def _given(dsn: str | None) -> str:
    """A variable keeps the password out of the list of processes and out of the shell's history."""
    name = "DATABASE_URL" if dsn is None else dsn[1:] if dsn.startswith("$") else None
    if name is None:
        return dsn or ""
    if not (found := os.environ.get(name)):
        raise ValueError(f"${name} is not set; name the connection string, or a variable that has it")
    return found


def _print(string: ConnectionString, findings: Sequence[Finding], is_fit: bool, mode: _Mode) -> None:
    console = Console(highlight=False)
    console.print(escape(string.label), soft_wrap=True)
    for finding in findings:
        console.print(f"  {_SIGNS[finding.level]} {escape(finding.text)}", soft_wrap=True)
        if finding.advice:
            console.print(f"    [dim]{escape(finding.advice)}[/]", soft_wrap=True)
    what = {"direct": "a direct connection"}.get(mode.value, f"{mode.value} mode")
    console.print(f"Fit for {what}." if is_fit else f"Not fit for {what} as it is.", soft_wrap=True)
