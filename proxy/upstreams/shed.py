"""Which classes are refused at once while a line is too long for too long, so that those that matter more do not wait.

Classes are given up from the worst one on, one at a time, and taken back in the opposite order, more slowly: what was
refused comes again, and a line that is short for a moment is not the end of an overload. The best class is never given
up. Pure: what a line looks like comes in, with `now`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.upstreams.queue import NORMAL, PRIORITIES

__all__ = ["ShedRules", "Shedding"]

WORST: Final = len(PRIORITIES) - 1
ENTER_S: Final = 0.5  # a burst is over by then
LEAVE_S: Final = 1.0
LEAVE_AT: Final = 0.5  # of the threshold, or nothing has been gained


@dataclass(frozen=True, slots=True)
class ShedRules:
    """From which part of the line on a class is refused; `normal` is never below `background`. None: never."""

    background: float = 0.5
    normal: float | None = 0.8


class Shedding:
    """Of one line. `level` is how many classes are refused, from the worst one on."""

    __slots__ = ("_less_since", "_more_since", "level")

    def __init__(self) -> None:
        self.level = 0
        self._more_since: float | None = None  # there would be reason for one class more
        self._less_since: float | None = None  # there is no reason for so many

    def refuses(self, rank: int) -> bool:
        return rank > WORST - self.level

    def observe(self, fill: float, late_rank: int, is_least: bool, rules: ShedRules, now: float) -> bool:
        """Look at the line: the part of its places that is taken, the best class whose head has waited for too long
        (beyond the last: none), whether the adaptive limit is as low as it can be. True when one class more is refused
        from now on."""
        more = self.level < wanted(fill, late_rank, is_least, rules)
        less = self.level > wanted(fill / LEAVE_AT, late_rank, is_least, rules)
        if not more:
            self._more_since = None
        elif self._more_since is None:
            self._more_since = now
        elif now - self._more_since >= ENTER_S:
            self._more_since = None
            self.level += 1
            return True
        if not less:
            self._less_since = None
        elif self._less_since is None:
            self._less_since = now
        elif now - self._less_since >= LEAVE_S:
            self._less_since = None
            self.level -= 1
        return False


def wanted(fill: float, late_rank: int, is_least: bool, rules: ShedRules) -> int:
    """How many classes this is reason to refuse, if it lasts. A class goes because of the line's length, or because a
    better one waits for too long; the worst one also when the backend cannot be spared any further."""
    if rules.normal is not None and (fill >= rules.normal or late_rank < NORMAL):
        return 2
    return 1 if fill >= rules.background or late_rank < WORST or is_least else 0
