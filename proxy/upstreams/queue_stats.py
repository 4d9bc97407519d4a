"""What became of those who waited for an upstream: plain counters, read when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from proxy.upstreams.queue import PRIORITIES, Refusal

__all__ = ["WAIT_BOUNDS_S", "ClassStats", "QueueStats"]

WAIT_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram, inclusive. One more bucket counts what is longer."""


class ClassStats:
    """Of one class."""

    __slots__ = ("buckets", "displaced", "left", "refused", "wait_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(WAIT_BOUNDS_S) + 1)  # of those who got a slot after a wait
        self.wait_s = 0.0
        self.refused: dict[str, int] = {refusal.value: 0 for refusal in Refusal}
        self.displaced = 0  # of the refused with `queue_full`: they waited, and made room for others
        self.left = 0  # clients that went away while they waited

    def waited(self, wait_s: float) -> None:
        self.buckets[bisect_left(WAIT_BOUNDS_S, wait_s)] += 1
        self.wait_s += wait_s

    @property
    def served(self) -> int:
        return sum(self.buckets)


class QueueStats:
    """Of one upstream, for each class. Kept over a reload."""

    __slots__ = ("classes",)

    def __init__(self) -> None:
        self.classes = tuple(ClassStats() for _ in PRIORITIES)

    def refused(self) -> dict[str, int]:
        """Of all classes, by reason."""
        return {word: sum(stats.refused[word] for stats in self.classes) for word in self.classes[0].refused}
