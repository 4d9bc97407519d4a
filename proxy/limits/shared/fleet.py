"""The fleet: how many Weirs share the store, as far as this one knows.

Every Weir holds a lease in the store, in one `inflight` limit that never refuses, and renews it about once a second:
what is not renewed ends by the server's clock. So the number of live ones is a count of the store's, and the last one
heard stands while the store is away.
"""

from __future__ import annotations

from typing import Final

from proxy.limits.shared.share import MARGIN

BEAT_S: Final = 1.0
LEASE_S: Final = 5.0  # a Weir that died is counted for as long
MARK_S: Final = 86_400.0  # how long a store that keeps its data knows a mark that this Weir left there
MOST_WEIRS: Final = 1_000_000


class Fleet:
    """Pure: told what the store says."""

    __slots__ = ("heard_at", "size")

    def __init__(self) -> None:
        self.size = 1
        self.heard_at: float | None = None

    def heard(self, live: int, now: float) -> None:
        """The store counts so many leases."""
        self.size = max(live, 1)
        self.heard_at = now

    @property
    def share(self) -> float:
        """The part of each limit that this Weir enforces by itself."""
        return MARGIN / self.size
