"""Ticket: what an errand that asked the store in vain takes along to the origin.

It has the right to write what comes, and the duty to tell the other Weirs when nothing does. With a lock (`fence` is
not 0) they wait for it; the lock is renewed while the origin has not answered, and runs out soon after its holder died.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.cache.shared.listener import OWN
from proxy.cache.shared.names import Names
from proxy.core.clock import monotonic

if TYPE_CHECKING:
    from proxy.cache.entry import Entry
    from proxy.cache.shared.tier import SharedTier

LOCK_S: Final = 2.0  # how long others wait for a holder that is gone
WAIT_S: Final = 10.0  # how long they wait for one that is there; then each fetches for itself
ALONE_S: Final = 10.0  # for how long nobody waits for what is not for others
NO_FENCE: Final = b"0"


class Ticket:
    """Ends once, with `keep` or `free`; safe to be ended again."""

    __slots__ = ("_at", "_ends_at", "_stamp_us", "_tier", "_timer", "fence", "is_over", "names", "seq", "word")

    def __init__(
        self, tier: SharedTier, names: Names, word: bytes, fence: bytes, stamp_us: int, replied_at: float
    ) -> None:
        """`stamp_us` is the clock of the store, of a moment before `replied_at` (monotonic)."""
        self._tier = tier
        self.names = names
        self.word = word  # of the variant that was asked for
        self.fence = fence
        self.seq = tier.seq  # as of before the origin is asked
        self._stamp_us = stamp_us
        self._at = replied_at
        self._ends_at = replied_at + WAIT_S
        self.is_over = False
        self._timer: asyncio.TimerHandle | None = None
        if fence != NO_FENCE:
            tier.tickets[self.lock] = self
            self._renew_later()

    @property
    def asked_us(self) -> int:
        """The origin was asked no earlier, by the clock of the store."""
        return self._stamp_us

    def store_us(self, at: float) -> int:
        """The monotonic instant `at` by the clock of the store: never later than it really was, so nothing that is
        stored ever gets younger. Too early by the time of one reply at most."""
        return self._stamp_us + int((at - self._at) * 1e6)

    @property
    def lock(self) -> bytes:
        return self.names.lock(self.word)

    def landed(self, length: int | None) -> None:
        """The head is here, and content of this length follows. The others wait a lock's life for it at most."""
        if self.is_over:
            return
        if length is not None and length > self._tier.max_entry_bytes:
            self.free(OWN, is_lasting=True)
        elif self._timer is not None:
            self._stop()
            self._tier.renew(self)

    def keep(self, entry: Entry) -> None:
        """What came is stored here: have it written too. Returns at once."""
        if self.is_over:
            return
        if not self._tier.is_of_use(entry, monotonic()):
            self.free(OWN, is_lasting=True)
            return
        self._end()
        self._tier.write(self, entry)

    def free(self, word: bytes, *, is_lasting: bool = False) -> None:
        """Nothing will be written. `word` is what the others are told (listener.py); `is_lasting`: and so are those who
        come in the next while."""
        if self.is_over:
            return
        self._end()
        self._tier.free(self, word, is_lasting=is_lasting)

    def _renew_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOCK_S / 2, self._renew)

    def _renew(self) -> None:
        self._timer = None
        if monotonic() < self._ends_at:
            self._tier.renew(self)
            self._renew_later()

    def _end(self) -> None:
        self.is_over = True
        self._stop()
        if self._tier.tickets.get(self.lock) is self:
            del self._tier.tickets[self.lock]

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
