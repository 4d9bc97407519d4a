"""Limits how often one thing is said: a burst, then one a second, and the count of what was held back."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

BURST: Final = 20  # as many endpoints may well go down together
PERIOD_S: Final = 1.0
MAX_KINDS: Final = 256  # remembered; beyond, all of them start anew


class HoldBack:
    """By kind. A clock that jumps is no matter: `now` is monotonic."""

    __slots__ = ("_due", "_held")

    def __init__(self) -> None:
        self._due: dict[Hashable, float] = {}  # when what was said of a kind will have been worked off
        self._held: dict[Hashable, int] = {}

    def ask(self, kind: Hashable, now: float) -> int | None:
        """None: hold it back. A number: say it, and that so many were held back before."""
        due = max(self._due.get(kind, now), now)
        if due - now > (BURST - 1) * PERIOD_S:
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        if len(self._due) >= MAX_KINDS and kind not in self._due:
            self._due.clear()
            self._held.clear()
        self._due[kind] = due + PERIOD_S
        return self._held.pop(kind, 0)
