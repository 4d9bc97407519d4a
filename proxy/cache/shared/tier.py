"""SharedTier: the second tier, as the rest of the cache sees it. One per process, beside the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.selecting import selection
from proxy.cache.settings import SharedCacheSettings
from proxy.cache.shared.inquiry import Found, Inquiry
from proxy.cache.shared.link import Late, Link
from proxy.cache.shared.listener import LOOK, Listener
from proxy.cache.shared.names import Names, channel_of, plain_key, variant_word
from proxy.cache.shared.orders import Orders, OwnOrders, worse
from proxy.cache.shared.scripts import FREE, RENEW
from proxy.cache.shared.scripts import LOOK as LOOK_SCRIPT
from proxy.cache.shared.servers import servers_of
from proxy.cache.shared.stats import SharedStats
from proxy.cache.shared.ticket import ALONE_S, LOCK_S, NO_FENCE, Ticket
from proxy.cache.shared.writer import Writer
from proxy.cache.tags import Tags
from proxy.core.clock import monotonic
from proxy.core.tasks import spawn

if TYPE_CHECKING:
    from proxy.cache.entry import Entry
    from proxy.cache.errand import Errand

_LOCK_MS: Final = b"%d" % int(LOCK_S * 1000)
_ALONE_MS: Final = b"%d" % int(ALONE_S * 1000)
_MAX_INQUIRIES: Final = 4096  # at a time; more misses than that go to the origin


class SharedTier:
    """Reads and writes responses that all Weirs share; lets one of them fetch at a time.

    Without `orders` only those count that are given in this process: then it must be the only one that purges.
    """

    def __init__(
        self,
        settings: SharedCacheSettings,
        url: str,
        orders: Orders | None = None,
        changed: Callable[[str | None], None] | None = None,
    ) -> None:
        """`changed` is told why the store cannot be used, and None when it can again. Raises ValueError for a URL
        that is no store's. Nothing is opened before `start`."""
        self.stats = SharedStats()
        self.orders = orders
        self.namespace = settings.namespace.encode("ascii")
        self.channel = channel_of(self.namespace)
        self._own = OwnOrders(monotonic())
        self._changed = changed
        self._was_lost = False
        self._servers = servers_of(url)
        self._link = Link(self._servers, self._told)
        self._writes = Link(self._servers, _nothing)
        self.writer = Writer(self, self._writes)
        self.listener = Listener(self._servers, self.channel)
        self.tickets: dict[bytes, Ticket] = {}  # the locks that are held here
        self._inquiries: dict[tuple[bytes, bytes, bool, bool], Inquiry] = {}
        self.apply(settings)

    def apply(self, settings: SharedCacheSettings) -> None:
        """Take over changed settings after a reload; the address and the namespace need a restart."""
        self.max_entry_bytes = settings.max_entry
        self.timeout_s = settings.timeout
        self.compression = 0 if settings.compress == "off" else settings.compress

    async def start(self) -> None:
        """Connect behind everybody's back. Never fails, never waits."""
        self.listener.start()
        self._link.is_ready(b"")
        self._writes.is_ready(b"")

    async def aclose(self) -> None:
        """Write what waits, for a second at most, and disconnect."""
        await self.writer.close()
        self.listener.close()
        self._link.close()
        self._writes.close()
        await self._servers.close()

    def status(self) -> dict[str, Any]:
        """For /healthz."""
        self._link.revive()
        self._writes.revive()
        errors = [*self._link.errors(), *self._writes.errors()]
        if self.orders is not None and not self.orders.is_current:
            errors.append("what other Weirs have purged is not known")
        return {
            "error": errors[0] if errors else None,
            "listening": self.listener.is_on,
            "queued_bytes": self.writer.queued_bytes,
        }

    @property
    def is_up(self) -> bool:
        return not self._link.errors()

    @property
    def queued_bytes(self) -> int:
        return self.writer.queued_bytes

    # -- for errands --

    async def ask(self, errand: Errand, *, leads: bool, is_refresh: bool = False) -> Found:
        """Have what the errand wants in memory, if some Weir has stored it. Costs one round trip, the deadline at most,
        and nothing while the store is away.

        With `leads` it may wait for another Weir's fetch, and the errand may have a ticket afterwards. Needs no task.
        """
        where = Names(self.namespace, errand.key)
        if (self.orders is not None and not self.orders.is_current) or len(self._inquiries) >= _MAX_INQUIRIES:
            self.stats.lookups["skipped"] += 1
            return Found.NOTHING
        if not self._link.is_ready(where.names):
            self.stats.lookups["skipped"] += 1
            return Found.NOTHING
        names = self._guess(errand)
        word = variant_word(names, selection(names, errand.request_index))
        mark = where.base, word, leads, is_refresh
        inquiry = self._inquiries.get(mark)
        if inquiry is None:
            inquiry = Inquiry(self, errand, where, names, leads=leads, is_refresh=is_refresh)
            self._inquiries[mark] = inquiry
            spawn(self._run(mark, inquiry), name="shared cache's inquiry")
        return await inquiry.join(errand)

    def ordered(self, purge: Purge) -> None:
        """Here, just now. From now on nothing that was asked for before is fresh, wherever it is stored."""
        self._own.add(purge, monotonic())

    # -- for inquiries, tickets and the writer --

    @property
    def seq(self) -> int:
        return 0 if self.orders is None else self.orders.seq

    def plain_key(self, key: bytes) -> bytes:
        return plain_key(key)

    async def look(self, call: tuple[list[bytes], list[bytes]], late: Late) -> Any:
        return await self._link.call(LOOK_SCRIPT, call[0], call[1], self.timeout_s, late)

    def fate(self, key: bytes, tags: Tags, seq: int, asked_at: float) -> Fate:
        """What orders since then have made of a response: those given here, and everybody's."""
        orders = self.orders
        own = self._own.fate_since(key, tags, asked_at, is_alone=orders is None)
        if orders is None:
            return own
        return worse(own, orders.fate_since(key, tags, seq) if orders.is_current else Fate.DROP)

    def is_of_use(self, entry: Entry, now: float) -> bool:
        """Some Weir could answer with it: it is neither too large, nor to be validated each time, nor too old."""
        return (
            isinstance(entry.body, bytes)  # what is in a file is too large for this
            and len(entry.body) <= self.max_entry_bytes
            and entry.fresh_s + entry.revalidate_s > 0.0
            and self.left_s(entry, now) > 0.0
        )

    def left_s(self, entry: Entry, now: float) -> float:
        """For how long it may be of any use."""
        windows = entry.revalidate_s, entry.error_s, entry.unreachable_s, entry.max_stale_s
        return entry.fresh_s + max(windows) - (now - entry.born_at)

    def write(self, ticket: Ticket, entry: Entry) -> None:
        if not self.writer.add(ticket, entry):
            self.stats.writes["dropped"] += 1
            self.free(ticket, LOOK)

    def free(self, ticket: Ticket, word: bytes, *, is_lasting: bool = False) -> None:
        if ticket.fence != NO_FENCE:
            lock = ticket.lock
            for_ms = _ALONE_MS if is_lasting else b"0"
            self._link.tell(FREE, [lock], [ticket.fence, for_ms, self.channel, word + lock])

    def renew(self, ticket: Ticket) -> None:
        self._link.tell(RENEW, [ticket.lock], [ticket.fence, _LOCK_MS])

    async def _run(self, mark: tuple[bytes, bytes, bool, bool], inquiry: Inquiry) -> None:
        try:
            await inquiry.run()
        finally:
            if self._inquiries.get(mark) is inquiry:
                del self._inquiries[mark]

    def _guess(self, errand: Errand) -> tuple[bytes, ...]:
        """The selecting fields, as far as they are known here: a wrong guess costs a second round trip."""
        if errand.entry is not None:
            return errand.entry.vary
        shelf = errand.cache.store.shelves.get(errand.key)
        if shelf is not None:
            return shelf[0].vary
        return errand.cache.flights.guess(errand.policy) or ()

    def _told(self) -> None:
        """A server was lost, or is back."""
        errors = self._link.errors()
        if self._changed is not None and bool(errors) != self._was_lost:
            self._changed(errors[0] if errors else None)
        self._was_lost = bool(errors)


def _nothing() -> None:
    pass
