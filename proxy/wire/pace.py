"""How fast bytes have to move, in both directions (W16).

A stall has its timeout; and because one byte now and then is no stall, an average rate has to be kept too, after a time
of grace. Looked at every few seconds, never per byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.wire.limits import GRACE_S

if TYPE_CHECKING:
    from proxy.wire.limits import WireLimits


class ContentPace:
    """Of a request's content, while we read it."""

    __slots__ = ("_from_at", "_moved_at", "_received_bytes")

    def __init__(self) -> None:
        self._from_at = self._moved_at = 0.0
        self._received_bytes = 0

    def restart(self, now: float, received_bytes: int) -> None:
        """Content is expected from now on; so much of it is here."""
        self._from_at = self._moved_at = now
        self._received_bytes = received_bytes

    def is_too_slow(self, now: float, received_bytes: int, limits: WireLimits) -> bool:
        if received_bytes > self._received_bytes:
            self._moved_at, self._received_bytes = now, received_bytes
        expected_bytes = limits.min_rate * (now - self._from_at - GRACE_S)
        return received_bytes < expected_bytes or now - self._moved_at >= limits.body_timeout_s


class WritePace:
    """Of a response, while the client takes less than there is."""

    __slots__ = ("_from_at", "_outstanding_bytes")

    def __init__(self) -> None:
        self._from_at = 0.0
        self._outstanding_bytes = 0

    def restart(self, now: float, outstanding_bytes: int) -> None:
        """The client stopped taking all of it just now; so much waits, the kernel's share included."""
        self._from_at = now
        self._outstanding_bytes = outstanding_bytes

    def is_too_slow(self, now: float, outstanding_bytes: int, limits: WireLimits) -> bool:
        taken_bytes = self._outstanding_bytes - outstanding_bytes
        elapsed_s = now - self._from_at
        if taken_bytes < limits.min_rate * (elapsed_s - GRACE_S):
            return True
        if taken_bytes <= 0:
            return elapsed_s >= limits.write_timeout_s
        if taken_bytes >= limits.min_rate * elapsed_s:
            # counted anew: a kernel takes megabytes for a client that reads nothing, and they would last for hours
            self.restart(now, outstanding_bytes)
        return False
