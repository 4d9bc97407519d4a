"""Inquiry: what the store has for a miss, or the right to fetch it.

It belongs to the variant that is wanted, not to a request: all who want it at the same time share one, and it goes on
when they leave. Whoever finds that another Weir fetches waits for its word (listener.py), and looks again.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, unique
from typing import TYPE_CHECKING, Final

from proxy.cache.purges.purge import Fate, expire
from proxy.cache.selecting import selection
from proxy.cache.shared.form import HEAD_BYTES, content_of, entry_of, unpack
from proxy.cache.shared.listener import ALONE
from proxy.cache.shared.listener import LOOK as LOOK_AGAIN
from proxy.cache.shared.names import SINGLE, Names, pack_names, unpack_names, variant_word
from proxy.cache.shared.ticket import LOCK_S, NO_FENCE, WAIT_S, Ticket
from proxy.cache.tags import tags_of
from proxy.core.clock import monotonic
from proxy.store.errors import StoreLost

if TYPE_CHECKING:
    from proxy.cache.entry import Entry
    from proxy.cache.errand import Errand
    from proxy.cache.shared.tier import SharedTier

log = logging.getLogger("weir.cache")
_NEWER_S: Final = 0.1  # less is the time of a reply: then it is the one that we have
_MAX_NAMES: Final = 3  # times that the selecting fields turn out to be others
_IN_THREAD_BYTES: Final = 128 * 1024
_LOCK_MS: Final = b"%d" % int(LOCK_S * 1000)


@unique
class Found(Enum):
    NOTHING = "nothing"
    USABLE = "usable"  # in memory now, fresh, or to be given while it is fetched anew
    STALE = "stale"  # in memory now, to be validated
    ALONE = "alone"  # what comes is for nobody else, another Weir says


class Inquiry:
    """`errand` is that of the first who asked; of it only the question is used, and what it knows already."""

    __slots__ = (
        "_began",
        "_errand",
        "_known",
        "_leads",
        "_names",
        "_tier",
        "_waiting",
        "_wanted",
        "_wants_fresh",
        "_where",
        "_word",
    )

    def __init__(
        self, tier: SharedTier, errand: Errand, where: Names, names: tuple[bytes, ...], *, leads: bool, is_refresh: bool
    ) -> None:
        """`leads`: it is to be fetched if it is not there. `is_refresh`: what is stale is here already."""
        self._tier = tier
        self._errand = errand
        self._where = where
        self._names = names
        self._wanted = selection(names, errand.request_index)
        self._word = variant_word(names, self._wanted)
        self._leads = leads
        self._wants_fresh = is_refresh
        self._known = errand.entry
        self._began = errand.cache.invalidations.now
        self._waiting: dict[asyncio.Future[Found], Errand] = {}

    async def join(self, errand: Errand) -> Found:
        """Wait for what comes of it. The errand has a ticket afterwards if it is the one to fetch."""
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting[future] = errand
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    async def run(self) -> None:
        """Never raises, but for cancellation."""
        found, ticket = Found.NOTHING, None
        try:
            found, ticket = await self._find()
        except StoreLost:
            self._tier.stats.lookups["error"] += 1
        except Exception as bug:
            log.error("a look into the shared cache failed", exc_info=bug)
        finally:
            self._tell(found, ticket)

    def _tell(self, found: Found, ticket: Ticket | None) -> None:
        """One of those who wait gets the ticket, and owns it from here: it may be cancelled before it is continued."""
        waiting, self._waiting = self._waiting, {}
        for future, errand in waiting.items():
            if future.done():
                continue
            if ticket is not None and errand.flight is not None:
                errand.ticket, ticket = ticket, None
            future.set_result(found)
        if ticket is not None:
            ticket.free(LOOK_AGAIN)  # all have left

    async def _find(self) -> tuple[Found, Ticket | None]:
        found, seen, renamed = Found.NOTHING, b"", 0
        until = monotonic() + WAIT_S
        has_waited = is_alone = False
        while True:
            lock = self._where.lock(self._word)
            listener = self._tier.listener
            word = listener.expect(lock)  # before the look: what is said after it must not be missed
            try:
                sent_at = monotonic()
                reply = await self._tier.look(self._call(lock, seen), self._late)
                replied_at = monotonic()
                kind, stamp_us = reply[0], int(reply[1])
                if kind == b"held" and (own := self._tier.tickets.get(lock)) is not None:
                    own.free(LOOK_AGAIN)  # an order has ended what it fetches: nobody who comes now waits for that
                    continue
                if kind == b"held":
                    left_s = min(int(reply[2]) / 1e6 + 0.01, until - monotonic())
                    if listener.is_on and left_s > 0.0:
                        if not has_waited:
                            self._tier.stats.waits += 1
                        has_waited = True
                        done, _ = await asyncio.wait([word], timeout=left_s)
                        if not done or word.result() == LOOK_AGAIN:
                            continue
                        is_alone = word.result() == ALONE
                    break
            finally:
                listener.forget(lock, word)
            if kind == b"names":
                renamed += 1
                if renamed > _MAX_NAMES:
                    break
                self._rename(unpack_names(reply[2]))
                continue
            if kind != b"value":
                is_alone = kind == b"alone" and reply[2] == ALONE
                break
            seen = reply[2][:HEAD_BYTES]
            entry = await self._entry(reply[2], stamp_us, sent_at)
            if entry is not None and (adopted := self._adopt(entry, sent_at)) is not Found.NOTHING:
                found = adopted
            if found is Found.USABLE or not self._leads:
                break
        self._tier.stats.lookups[_COUNTED[found]] += 1
        if found is Found.USABLE or not self._leads:
            return found, None
        if is_alone and found is Found.NOTHING:
            return Found.ALONE, None
        fence = reply[2] if kind == b"lease" else NO_FENCE
        return found, Ticket(self._tier, self._where, self._word, fence, stamp_us, replied_at)

    def _call(self, lock: bytes, seen: bytes) -> tuple[list[bytes], list[bytes]]:
        where = self._where
        return [where.names, where.variant(self._word), lock, where.variant(SINGLE)], [
            pack_names(self._names),
            _LOCK_MS if self._leads else b"0",
            seen,
        ]

    def _late(self, reply: list[bytes]) -> None:
        """The store answered after we gave up: what it gave is given back, so that nobody waits for us."""
        if reply[0] == b"lease":
            Ticket(self._tier, self._where, self._word, reply[2], int(reply[1]), monotonic()).free(LOOK_AGAIN)

    def _rename(self, names: tuple[bytes, ...]) -> None:
        self._names = names
        self._wanted = selection(names, self._errand.request_index)
        self._word = variant_word(names, self._wanted)
        self._errand.cache.flights.learn(self._errand.policy, names)

    async def _entry(self, value: bytes, stamp_us: int, sent_at: float) -> Entry | None:
        """What the store has, if it is what was asked for, and nothing has ended it."""
        tier, errand = self._tier, self._errand
        tier.stats.read_bytes += len(value)
        stored = unpack(value, errand.max_entry_bytes)
        if stored is None:
            tier.stats.unreadable += 1
            return None
        if stored.key != tier.plain_key(errand.key) or stored.selection != self._wanted or stored.names != self._names:
            return None
        if stored.born_us > stamp_us:
            return None  # the clock of the store was set back: nobody knows its age
        born_at = sent_at - (stamp_us - stored.born_us) / 1e6  # the reply was made after it was asked for
        asked_at = sent_at - (stamp_us - stored.asked_us) / 1e6
        if stored.is_compressed and stored.size_bytes > _IN_THREAD_BYTES:
            content = await asyncio.to_thread(content_of, stored)
        else:
            content = content_of(stored)
        if content is None:
            tier.stats.unreadable += 1
            return None
        entry = entry_of(stored, content, errand.key, errand.policy, born_at)
        fate = tier.fate(errand.key, tags_of(entry.fields), stored.seq, asked_at)
        if fate is Fate.DROP:
            return None
        if fate is Fate.EXPIRE:
            expire(entry, monotonic())
        return entry

    def _adopt(self, entry: Entry, now: float) -> Found:
        """Put it into memory if it is of more use than what is there."""
        known, age_s = self._known, now - entry.born_at
        if known is not None and entry.born_at <= known.born_at + _NEWER_S:
            return Found.NOTHING
        usable_s = entry.fresh_s + (0.0 if self._wants_fresh else entry.revalidate_s)
        is_usable = age_s < usable_s
        if not is_usable and (self._wants_fresh or not self._tier.is_of_use(entry, now)):
            return Found.NOTHING
        errand = self._errand
        if not errand.cache.keep(entry, errand.request_index, self._began, errand.route):
            return Found.NOTHING
        self._known = entry
        return Found.USABLE if is_usable else Found.STALE


_COUNTED: Final = {Found.NOTHING: "miss", Found.USABLE: "hit", Found.STALE: "stale", Found.ALONE: "miss"}
