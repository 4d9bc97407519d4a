"""How verbs print: diagnostics with colour where a person reads them, JSON where a program does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TextIO

from proxy.config.diagnostics import Diagnostic, render

__all__ = ["Format", "print_diagnostics", "print_json"]


class Format(StrEnum):
    """What to print in."""

    TEXT = "text"
    JSON = "json"


def print_diagnostics(diagnostics: Sequence[Diagnostic], stream: TextIO | None = None) -> None:
    """Standard error by default."""
    stream = stream if stream is not None else sys.stderr
    # https://no-color.org: any value but an empty one means no
    color = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    stream.write(render(diagnostics, color=color))
    stream.flush()


def print_json(value: Any) -> None:
    """To standard output, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
