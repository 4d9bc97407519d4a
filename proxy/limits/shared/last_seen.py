"""What the store last said of each key: what an outage begins with.

Bounded in two generations: when the young one is full it becomes the old one, and the old one goes. A key that has
hardly spent anything is not worth remembering, so a flood of new keys does not push out those that have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from proxy.limits.policy import LimitPolicy

HALF: Final = 16_384  # keys of a generation
_HARDLY: Final = 0.97  # of the quota is left

Seen = tuple[LimitPolicy, int, int, float]  # who asked; remaining, reset in us; the instant before it was asked


class LastSeen:
    """Pure; instants are monotonic."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, half: int = HALF) -> None:
        self._half = half
        self._young: dict[bytes, Seen] = {}
        self._old: dict[bytes, Seen] = {}

    def note(
        self, policies: tuple[LimitPolicy, ...], keys: Sequence[bytes], reply: Sequence[int], at: int, now: float
    ) -> None:
        """Three numbers for each policy are in the reply, from `at` on: remaining, reset, retry after."""
        young = self._young
        for policy, key in zip(policies, keys):  # noqa: B905 - of one length by contract, and strict costs 0.1 us
            remaining = reply[at]
            if remaining * policy.unit_share < _HARDLY or key in young:
                young[key] = policy, remaining, reply[at + 1], now
            at += 3
        if len(young) >= self._half:
            self._old = young
            self._young = {}

    def get(self, key: bytes) -> Seen | None:
        return self._young.get(key) or self._old.get(key)

    def drop(self, key: bytes) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)

    def items(self) -> Iterator[tuple[bytes, Seen]]:
        """All of them, the most recent generation first."""
        yield from self._young.items()
        for key, seen in self._old.items():
            if key not in self._young:
                yield key, seen

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
