"""SharedPurges: what ends stored responses at one Weir ends them at all Weirs of the store, within half a second.

All of them write to one log in the store (link.py) and follow it, each on a connection of its own, with a read
that the store answers as soon as there is something new. What a Weir applies it has applied before anybody is told; its
own records only say how long the way was. While the store is away, what ended here waits in a queue. Who may have
missed something has everything that is stored validated before it is used (docs/decisions/0014).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from random import random
from secrets import randbits
from typing import Any, Final

from proxy.cache.cache import Cache
from proxy.cache.purges.known import Purges
from proxy.cache.purges.link import AT_ONCE, FAILURES, PurgeLink
from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.purges.queue import DOUBT, PurgeQueue
from proxy.cache.purges.records import BEGINNING, Record, is_after, number_of
from proxy.cache.tags import Tags
from proxy.core.clock import monotonic
from proxy.core.tasks import spawn

LINGER_S: Final = 0.003  # in which the writes of a moment come together in one record
CURRENT_S: Final = 1.0  # for so long after the store confirmed it this Weir knows all purges
ANSWER_S: Final = 2.0  # that an operator waits for the others to be told
LONGEST_PAUSE_S: Final = 0.5  # between two attempts while the store is away
_FIRST_PAUSE_S: Final = 0.05
_CLOSE_S: Final = 1.0
_MAX_SENT: Final = 1000
_AGAIN_S: Final = 5.0  # what was announced so shortly before a loss of the log is announced again
_MAX_AGAIN: Final = 1000  # records
_APPLIED: Final = 100  # purges of others between two turns of the loop


class PurgeStats:
    """Plain numbers for the collector."""

    __slots__ = ("announced", "gaps", "lag_s", "lags", "received", "records")

    def __init__(self) -> None:
        self.announced = 0  # purges, those of writes included
        self.records = 0  # in which they were
        self.received = 0  # purges of other Weirs
        self.gaps = 0  # times that something may have been missed
        self.lags = 0
        self.lag_s = 0.0  # of all of them: from a purge here until it came back through the store


class SharedPurges:
    """One per process, beside the cache. With the URL `memory` there is nobody to share with, and nothing is done.

    `seq` is the number of the last purge that is in force here. Numbers grow, also over a loss of the log. `changed` is
    called with what is wrong when purges stop being shared, and with None when they are again.
    """

    def __init__(self, cache: Cache, url: str = "memory", changed: Callable[[str | None], None] | None = None) -> None:
        """Raises ValueError for a URL that is no store's. Nothing is opened before `start`."""
        self.stats = PurgeStats()
        self.seq = 0
        self._cache = cache
        self._changed = changed
        self._reader = None if url == "memory" else PurgeLink(url)
        self._writer = None if url == "memory" else PurgeLink(url)
        self._log = Purges()
        self._position: bytes | None = None  # of the last record read; None before the first contact
        self._quiet_until = BEGINNING  # up to there the log is from before this process had anything stored
        self._is_reading_back = False
        self._current_until = 0.0
        self._queue = PurgeQueue()
        self._queued_at = 0.0  # since when the oldest one waits
        self._sent: OrderedDict[int, float] = OrderedDict()  # lots of own records, and since when they waited
        self._recent: deque[tuple[float, bytes, list[Purge]]] = deque(maxlen=_MAX_AGAIN)
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[bool]] = []
        self._faults: dict[str, str | None] = {} if url == "memory" else {"read": "not started", "write": None}
        self._was_shared = True  # as the operator was told last
        self._is_closing = False
        self._tasks: list[asyncio.Task[None]] = []
        if url != "memory":
            cache.announce = self._announce

    # -- life --

    async def start(self) -> None:
        """Find out where the log is. Waits for one attempt, two seconds at most, and never fails."""
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            return
        try:
            await self._begin(reader)
        except FAILURES as error:
            self._failed("read", error)
            await reader.close()
        else:
            self._worked("read")
        self._tasks = [
            spawn(self._follow(reader), name="purges of others"),
            spawn(self._tell(writer), name="purges for others"),
        ]

    async def aclose(self) -> None:
        """Announce what waits, if the store is there, and disconnect. Safe to call twice."""
        self._is_closing = True
        self._wake.set()
        if self._tasks:
            follower, teller = self._tasks
            await asyncio.wait([teller], timeout=_CLOSE_S)
            for task in (follower, teller):
                task.cancel()
            await asyncio.wait([follower, teller])
            self._tasks = []
        for link in (self._reader, self._writer):
            if link is not None:
                await link.close()

    # -- what others may ask --

    @property
    def is_on(self) -> bool:
        """There is a store to share with."""
        return self._reader is not None

    @property
    def is_current(self) -> bool:
        """All purges of a second ago and before are in force here. False while the store is away."""
        return monotonic() < self._current_until or not self.is_on

    def fate_since(self, key: bytes, tags: Tags, seq: int) -> Fate:
        """What becomes of a response whose request set out when `seq` was somebody's, here or at another Weir.

        DROP also when that is longer ago than the log is remembered. Says nothing of purges that the store has and this
        Weir has not: ask `is_current` too.
        """
        if self._position is None or self._is_reading_back or self._queue.may_cover(key, tags):
            return Fate.DROP
        return self._log.fate(key, tags, seq)

    async def is_shared(self) -> bool:
        """Wait until the others have been told of the purges that were ordered here. ANSWER_S at most.

        False: the store is away, and they will be told when it is back. True at once where nothing is shared.
        """
        if not self.is_on or not self._queue.has_orders:
            return True
        if self._faults["write"] is not None or not self._tasks:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        done, _ = await asyncio.wait([future], timeout=ANSWER_S)
        return bool(done) and future.result()

    @property
    def pending(self) -> int:
        """Purges that the others have not been told of yet."""
        return len(self._queue)

    @property
    def error(self) -> str | None:
        """Why purges are not shared now."""
        return next((fault for fault in self._faults.values() if fault is not None), None)

    def status(self) -> dict[str, Any]:
        """For /healthz."""
        kept: dict[str, Any] = {"shared": self.is_on and self.error is None}
        if self.is_on:
            kept |= {"current": self.is_current, "pending": len(self._queue), "error": self.error}
        return kept

    # -- to the others --

    def _announce(self, purge: Purge, is_order: bool) -> None:
        if not self._queue:
            self._queued_at = monotonic()
        self._queue.add(purge, is_order=is_order)
        self._wake.set()

    async def _tell(self, link: PurgeLink) -> None:
        failures = 0
        while not self._is_closing or self._queue:
            if not failures:
                await self._wake.wait()
                self._wake.clear()
                if not self._is_closing:
                    await asyncio.sleep(LINGER_S)
            try:
                await self._send(link)
            except FAILURES as error:
                failures += 1
                self._failed("write", error)
                self._answer(False)
                await link.close()
                if self._is_closing:
                    return
                await asyncio.sleep(_pause_s(failures))
            else:
                failures = 0

    async def _send(self, link: PurgeLink) -> None:
        """All that waits, a record at a time."""
        while batch := self._queue.take():
            lot = randbits(62)
            self._sent[lot] = self._queued_at
            if len(self._sent) > _MAX_SENT:
                self._sent.popitem(last=False)
            since, self._queued_at = self._queued_at, monotonic()
            try:
                position = await link.write(lot, self.seq, batch)
            except BaseException:  # it may have arrived; then it is announced twice
                self._queued_at = since
                self._queue.back()
                raise
            for purge in batch:  # known before it comes back
                self._log.add(purge, number_of(position))
            self._queue.sent()
            self._remember(position, batch)
            self.stats.announced += len(batch)
            self.stats.records += 1
            self._worked("write")
            if not self._queue.has_orders:
                self._answer(True)

    def _remember(self, position: bytes, batch: list[Purge]) -> None:
        now = monotonic()
        while self._recent and self._recent[0][0] < now - _AGAIN_S:
            self._recent.popleft()
        self._recent.append((now, position, batch))

    def _answer(self, is_shared: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():  # whoever waited may have left
                future.set_result(is_shared)

    # -- from the others --

    async def _follow(self, link: PurgeLink) -> None:
        failures = 0
        while not self._is_closing:
            try:
                if self._position is None:
                    await self._begin(link)
                await self._read(link)
            except FAILURES as error:
                failures += 1
                self._failed("read", error)
                await link.close()
                await asyncio.sleep(_pause_s(failures))
            else:
                failures = 0
                self._worked("read")

    async def _begin(self, link: PurgeLink) -> None:
        """The first contact: what the log has is read back, and all of it counts as older than what is stored here.

        A log that is empty gets a record without purges, so that all know the same number.
        """
        look = await link.look()
        self._quiet_until = look.last or await link.write(randbits(62), 0, [])
        self._is_reading_back = True
        self._position = BEGINNING
        for _ in self._cache.purge_in_slices(DOUBT):  # nothing, unless the store was away at the start
            await asyncio.sleep(0)

    async def _read(self, link: PurgeLink) -> None:
        assert self._position is not None
        asked_at = monotonic()
        records = await link.read(self._position, waits=not self._is_reading_back)
        if not records:
            asked_at = monotonic()
            last = await link.last()
            if last == self._position == BEGINNING and self._is_reading_back:
                self._position = None  # it was lost before anything of it was read
            elif last == self._position:
                self._is_reading_back = False
                self._is_known_until(asked_at)
            elif not is_after(last, self._position):
                await self._start_anew(link)
            return
        for record in records:
            if record.before != self._position and not (self._is_reading_back and self._position == BEGINNING):
                await self._start_anew(link)
                return
            await self._take(record)
        if len(records) < AT_ONCE:
            self._is_known_until(asked_at)

    def _is_known_until(self, instant: float) -> None:
        self._current_until = instant + CURRENT_S

    async def _take(self, record: Record) -> None:
        since = self._sent.pop(record.lot, None)
        if self._is_reading_back and self._position == BEGINNING:
            # what was before that is not known here; where a log begins, one that was lost may have ended
            self._log = Purges(number_of(record.before) or record.number)
        for purge in record.purges:
            self._log.add(purge, record.number)
        if since is not None:
            self.stats.lags += 1
            self.stats.lag_s += monotonic() - since
        elif not self._is_reading_back:
            await self._apply(record.purges)
        self._position = record.position
        self.seq = max(self.seq, record.number)
        if self._is_reading_back and not is_after(self._quiet_until, record.position):
            self._is_reading_back = False

    async def _apply(self, purges: list[Purge]) -> None:
        for count, purge in enumerate(purges, 1):
            for _ in self._cache.purge_in_slices(purge):
                if purge.kind != "url":
                    await asyncio.sleep(0)
            if count % _APPLIED == 0:
                await asyncio.sleep(0)
        self.stats.received += len(purges)
        await asyncio.sleep(0)

    async def _start_anew(self, link: PurgeLink) -> None:
        """Something may have been missed: more than the log holds, or the log itself was lost.

        Each Weir forgets up to a moment of its own; the record without purges gives all of them a number behind that.
        """
        look = await link.look()
        await link.write(randbits(62), self.seq, [])
        is_lost = bool(self._recent) and not await link.has(self._recent[-1][1])
        self.stats.gaps += 1
        self._current_until = 0.0
        self._is_reading_back = False
        number = max(look.now - 1, number_of(look.last), self.seq)
        self._log = Purges(number)
        if is_lost:  # what was announced of late may be lost with it, and some may not have read it yet
            horizon = monotonic() - _AGAIN_S
            for purge in [purge for at, _, batch in self._recent if at > horizon for purge in batch]:
                self._announce(purge, False)
            self._recent.clear()
        for _ in self._cache.purge_in_slices(DOUBT):
            await asyncio.sleep(0)
        self._position = look.last
        self.seq = number

    # -- what is wrong --

    def _failed(self, way: str, error: BaseException) -> None:
        text = " ".join(str(error).split())  # redis-py names the address and the server's words, no password
        self._faults[way] = f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
        if self._was_shared:
            self._was_shared = False
            if self._changed is not None:
                self._changed(self._faults[way])

    def _worked(self, way: str) -> None:
        self._faults[way] = None
        if not self._was_shared and self.error is None:
            self._was_shared = True
            if self._changed is not None:
                self._changed(None)


def _pause_s(failures: int) -> float:
    return min(_FIRST_PAUSE_S * 2.0 ** min(failures, 8), LONGEST_PAUSE_S) * (0.5 + 0.5 * random())
