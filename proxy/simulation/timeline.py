"""Counts over time, with bounded memory whatever span a log covers: when slots run out, they get twice as wide."""

from __future__ import annotations

from typing import Final

MAX_SLOTS: Final = 2048


class Timeline:
    """Several series of counts in slots of one width. Instants never go back by more than one slot."""

    __slots__ = ("_end", "series", "start_at", "width_s")

    def __init__(self) -> None:
        self.start_at = 0.0
        self.width_s = 1.0
        self.series: dict[str, list[int]] = {}
        self._end = -1.0  # nothing was counted yet

    def slot(self, at: float) -> int:
        """The slot of an instant, made if it is not there. Numbers of slots change only here."""
        if self._end < 0.0:
            self.start_at = float(int(at))
            self._end = self.start_at + MAX_SLOTS * self.width_s
        while at >= self._end:
            self._widen()
        return max(0, int((at - self.start_at) / self.width_s))

    def add(self, name: str, slot: int) -> None:
        try:
            self.series[name][slot] += 1
        except (KeyError, IndexError):
            counts = self.series.setdefault(name, [])
            counts.extend([0] * (slot + 1 - len(counts)))
            counts[slot] += 1

    def points(self, name: str, most: int) -> tuple[float, list[int]]:
        """(width_s, counts) of a series from the start to the end of all, in at most `most` slots."""
        length = max((len(counts) for counts in self.series.values()), default=0)
        counts = self.series.get(name, [])
        counts = counts + [0] * (length - len(counts))
        width_s = self.width_s
        while len(counts) > most:
            width_s *= 2
            counts = _halved(counts)
        return width_s, counts

    def _widen(self) -> None:
        self.width_s *= 2
        self._end = self.start_at + MAX_SLOTS * self.width_s
        for name, counts in self.series.items():
            self.series[name] = _halved(counts)


def _halved(counts: list[int]) -> list[int]:
    return [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
