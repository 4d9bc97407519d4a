"""What was ordered to end: purges, and what writes invalidate; those of all Weirs, and those given here."""

from __future__ import annotations

from typing import Final, Protocol

from proxy.cache.purges.known import Purges
from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.tags import Tags


class Orders(Protocol):
    """The orders of all Weirs, numbered by the store.

    A response is stamped with the number of the last order that was known here when the origin was asked for it; it is
    judged by those that came after that.
    """

    @property
    def seq(self) -> int:
        """The number of the last order that is applied here."""

    @property
    def is_current(self) -> bool:
        """Every order that was given a moment ago is applied here. Else nothing is read from the store."""

    def fate_since(self, key: bytes, tags: Tags, seq: int) -> Fate:
        """What becomes of a response stamped `seq`. DROP when it is not known any more what came after that."""


class OwnOrders:
    """The orders given in this process, from the moment at which they are: the store numbers them only later.

    Instants are monotonic. An order that is younger than the question, by the clock of the store and within the time of
    one round trip, ends the answer.
    """

    __slots__ = ("_last", "_log", "_since")

    def __init__(self, now: float) -> None:
        self._log = Purges()
        self._since = self._last = _number(now)

    def add(self, purge: Purge, now: float) -> None:
        self._last = max(self._last + 1, _number(now))
        self._log.add(purge, self._last)

    def fate_since(self, key: bytes, tags: Tags, asked_at: float, *, is_alone: bool) -> Fate:
        """`is_alone`: nobody else tells of orders, so what is older than this process may have been ended before it."""
        number = _number(asked_at)
        if is_alone and number <= self._since:
            return Fate.DROP
        return self._log.fate(key, tags, number)


_worst: Final = {Fate.KEEP: 0, Fate.EXPIRE: 1, Fate.DROP: 2}


def worse(one: Fate, other: Fate) -> Fate:
    return max(one, other, key=_worst.__getitem__)


def _number(at: float) -> int:
    return int(at * 1e6)
