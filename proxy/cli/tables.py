"""A table for people; for a program that reads it, whole cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 240  # where no terminal says how wide it is


def print_table(heads: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Iterable[int] = ()) -> None:
    """`numbers`: the columns that are aligned to the right."""
    right = set(numbers)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, head in enumerate(heads):
        table.add_column(head, justify="right" if at in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: what looks like markup is a name
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    console.print(table)
