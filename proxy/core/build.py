"""Which build this is: pure Python, or the wheel whose hot path is C as well (docs/decisions/0016)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final, Literal

_HOT: Final = "proxy.exchange"  # all that is compiled is compiled together


def build() -> Literal["compiled", "pure"]:
    """What an import of the hot path finds. Imports nothing of it."""
    spec = find_spec(_HOT)
    return "pure" if spec is None or spec.origin is None or spec.origin.endswith(".py") else "compiled"
