"""Reads that a replica cannot answer: a GET that writes, say. Nobody configures them; they are noticed.

A GET that fails on a replica and succeeds on the primary is a point against its route. Three in ten minutes, and the
route's reads go to the primary for an hour.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

POINTS: Final = 3
WITHIN_S: Final = 600.0
PINNED_S: Final = 3600.0


@dataclass(slots=True)
class _Route:
    points: deque[float] = field(default_factory=lambda: deque(maxlen=POINTS))
    replayed: int = 0
    pinned_until: float = 0.0
    last_status: int = 0


class Lessons:
    """By route name, of one upstream or all: names are unique. Routes without a point are not in it."""

    __slots__ = ("_routes",)

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}

    def is_pinned(self, route: str, now: float) -> bool:
        known = self._routes.get(route)
        return known is not None and now < known.pinned_until

    def failed_on_replica(self, route: str, status: int, now: float) -> bool:
        """It failed with `status` on a replica and did not on the primary. True: from now on it is pinned."""
        known = self._routes.setdefault(route, _Route())
        known.points.append(now)
        known.replayed += 1
        known.last_status = status
        if len(known.points) < POINTS or now - known.points[0] > WITHIN_S or now < known.pinned_until:
            return False
        known.pinned_until = now + PINNED_S
        known.points.clear()
        return True

    def retain(self, names: set[str]) -> None:
        """After a reload."""
        for name in self._routes.keys() - names:
            del self._routes[name]

    @property
    def replayed(self) -> int:
        return sum(known.replayed for known in self._routes.values())

    def pinned(self, now: float) -> int:
        return sum(now < known.pinned_until for known in self._routes.values())

    def documents(self, now: float) -> list[dict[str, Any]]:
        """For /v1/replicas."""
        return [
            {
                "route": name,
                "answered_by_primary_instead": known.replayed,
                "last_status": known.last_status,
                "pinned_for_s": round(max(known.pinned_until - now, 0.0), 1),
            }
            for name, known in sorted(self._routes.items())
        ]
