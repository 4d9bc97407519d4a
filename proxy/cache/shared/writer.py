"""Writer: brings what was stored here to the store, one after the other, behind everybody's back.

What waits is bounded in bytes: when the store is slower than the origin, what is new is not written, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.cache.memory_store import MAX_VARIANTS
from proxy.cache.shared.form import pack, squeeze, stored_of
from proxy.cache.shared.listener import LOOK
from proxy.cache.shared.names import pack_names, plain_key, variant_word
from proxy.cache.shared.scripts import KEEP
from proxy.cache.shared.ticket import Ticket
from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.store.errors import StoreLost

if TYPE_CHECKING:
    from proxy.cache.entry import Entry
    from proxy.cache.shared.link import Link
    from proxy.cache.shared.tier import SharedTier

QUEUE_BYTES: Final = 16 * 1024 * 1024  # of responses that wait to be written
_TIMEOUT_S: Final = 1.0  # of one write
_DRAIN_S: Final = 1.0
_IN_THREAD_BYTES: Final = 16 * 1024  # compressing as much takes a millisecond


class Writer:
    """The responses stay in memory as long as they wait, also when the memory's own store has dropped them."""

    def __init__(self, tier: SharedTier, link: Link) -> None:
        self._tier = tier
        self._link = link
        self._queue: deque[tuple[Ticket, Entry]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self.queued_bytes = 0

    def add(self, ticket: Ticket, entry: Entry) -> bool:
        """Have it written soon. False when there is no room for it, or no store."""
        if self._is_closed or self.queued_bytes + entry.size_bytes > QUEUE_BYTES:
            return False
        if not self._link.is_ready(ticket.names.names):
            return False
        self._queue.append((ticket, entry))
        self.queued_bytes += entry.size_bytes
        if self._task is None:
            self._task = spawn(self._run(), name="shared cache's writer")
        return True

    async def close(self) -> None:
        """Write what waits, for a second at most."""
        self._is_closed = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_DRAIN_S)
            if self._task is not None:
                self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._queue:
                ticket, entry = self._queue[0]
                try:
                    await self._write(ticket, entry)
                finally:
                    self._queue.popleft()
                    self.queued_bytes -= entry.size_bytes
        finally:
            self._task = None

    async def _write(self, ticket: Ticket, entry: Entry) -> None:
        tier, stats = self._tier, self._tier.stats
        squeezed: bytes | None = None
        body = entry.body
        assert isinstance(body, bytes)
        if tier.compression:
            if len(body) > _IN_THREAD_BYTES:
                squeezed = await asyncio.to_thread(squeeze, body, entry.fields, tier.compression)
            else:
                squeezed = squeeze(body, entry.fields, tier.compression)
        left_s = tier.left_s(entry, monotonic())
        if left_s <= 0.0:
            tier.free(ticket, LOOK)  # it waited too long
            stats.writes["dropped"] += 1
            return
        stored = stored_of(
            entry, plain_key(entry.key), ticket.seq, ticket.asked_us, ticket.store_us(entry.born_at), squeezed
        )
        value, names = pack(stored), ticket.names
        word = variant_word(entry.vary, entry.selection)
        try:
            outcome = await self._link.call(
                KEEP,
                [names.names, names.variants, names.variant(word), ticket.lock],
                [
                    ticket.fence,
                    pack_names(entry.vary),
                    word,
                    value,
                    b"%d" % int(left_s * 1000 + 1),
                    b"%d" % MAX_VARIANTS,
                    names.prefix,
                    tier.channel,
                    LOOK + ticket.lock,
                ],
                _TIMEOUT_S,
            )
        except StoreLost:
            stats.writes["failed"] += 1
            tier.free(ticket, LOOK)
            return
        if outcome == b"kept":
            stats.writes["kept"] += 1
            stats.written_bytes += len(value)
        else:
            stats.writes["fenced"] += 1
