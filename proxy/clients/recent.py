"""A bounded memory of recent answers, in two generations."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Remembers at least the last `size` answers that were put or asked for, and at most twice as many.

    What is asked for survives: it moves to the young generation. A flood of new keys costs the flood, not the others,
    and forgetting half of everything is one assignment, where an exact order would cost every hit.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        young = self._young
        if len(young) >= self._size:
            self._old = young
            self._young = young = {}
        young[key] = value

    def clear(self) -> None:
        self._young = {}
        self._old = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
