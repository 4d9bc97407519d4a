"""Keeps the controls of all Weirs of one store the same, and ends what is over.

Every Weir asks the store four times a second whether something has changed, and reads what did. What is decided here is
in force here at once and goes to the store next. While the store is away the last known controls stay in force, what is
decided meanwhile waits for its return, and nothing else does.

A store that came back empty is filled again with what this Weir knows: no ban ends because a server was restarted.
"""

from __future__ import annotations

import asyncio
from random import random
from typing import Any, Final

from proxy.core.clock import wall
from proxy.core.tasks import spawn
from proxy.limits.controls import PENALTY, Controls, Entry, Slot
from proxy.limits.shared.controls_link import RESET, ControlsLink, News
from proxy.store.client import FAILURES

PERIOD_S: Final = 0.25  # so that a change is known everywhere within half a second
LONGEST_PAUSE_S: Final = 2.0  # while the store is away
ANSWER_S: Final = 5.0  # longer than any attempt takes
MOST_AT_ONCE: Final = 500  # changes in one call, which holds up the whole store


class ControlsStore:
    """One per worker, beside the limit store. With the URL `memory` there is nobody to share with."""

    def __init__(self, controls: Controls, url: str = "memory") -> None:
        """Raises ValueError for a URL that is no store's. Nothing is opened before `start`."""
        self._controls = controls
        self._link = None if url == "memory" else ControlsLink(url)
        self._version: bytes | None = None  # of the store, as far as `controls` has it
        self._pending: dict[Slot, Entry | None] = {}  # decided here, and not in the store yet
        self._waiting: list[asyncio.Future[bool]] = []
        self._error: str | None = None if self._link is None else "not started"
        self._failures = 0
        self._wake: asyncio.Event = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._tick: asyncio.TimerHandle | None = None
        if self._link is not None:
            controls.publish = self._publish

    async def start(self) -> None:
        """Read what is in force. Waits for the first attempt, about two seconds at most, and never fails."""
        self._end_what_is_over()
        if self._link is not None:
            await self._attempt(self._link)
            self._task = spawn(self._run(self._link), name="controls")

    async def aclose(self) -> None:
        """Write what waits, if the store is there, and disconnect. Safe to call twice."""
        self._is_closing = True
        if self._tick is not None:
            self._tick.cancel()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])  # each of its steps has a timeout
        if self._link is not None:
            await self._link.close()

    async def is_shared(self) -> bool:
        """Wait until the store has what was decided here. False: it is away, and will get it. Waits ANSWER_S at most.

        True at once when nothing is shared.
        """
        if self._link is None or not self._pending:
            return True
        if self._task is None:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wake.set()
        done, _ = await asyncio.wait([future], timeout=ANSWER_S)
        return bool(done) and future.result()

    def tell_reset(self, limit_name: str, key: bytes) -> None:
        """A key was given everything back: every Weir must forget that it was denied."""
        self._controls.touch()
        if self._link is not None:
            self._publish((RESET, limit_name, key), None)

    def status(self) -> dict[str, Any]:
        """For /healthz."""
        kept: dict[str, Any] = {"shared": self._link is not None, "in_force": len(self._controls)}
        if self._link is not None:
            kept |= {"pending": len(self._pending), "error": self._error}
        return kept

    def _publish(self, slot: Slot, entry: Entry | None) -> None:
        self._pending.pop(slot, None)  # so that the order is that of the decisions
        self._pending[slot] = entry
        if entry is None or entry.who != PENALTY:  # penalties come in crowds: they go together, a period later
            self._wake.set()

    def _end_what_is_over(self) -> None:
        self._controls.expire(wall())
        if not self._is_closing:
            self._tick = asyncio.get_running_loop().call_later(PERIOD_S, self._end_what_is_over)

    # The task that talks to the store.

    async def _run(self, link: ControlsLink) -> None:
        while not self._is_closing:
            await self._sleep(self._pause_s())
            await self._attempt(link)
        if self._pending and not self._failures:
            await self._attempt(link)
        for future in self._waiting:
            future.set_result(False)

    def _pause_s(self) -> float:
        pause_s = min(PERIOD_S * 2.0**self._failures, LONGEST_PAUSE_S)
        return pause_s * (0.5 + 0.5 * random()) if self._failures else pause_s

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _attempt(self, link: ControlsLink) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            await self._read(link)
            for _ in range(0, len(self._pending), MOST_AT_ONCE):
                await self._write(link)
        except FAILURES as error:
            self._failures += 1
            text = " ".join(str(error).split())  # redis-py names the address and the server's words, no password
            self._error = f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
            await link.close()
        else:
            self._failures = 0
            self._error = None
        for future in waiting:
            if not future.done():  # whoever waited may have left
                future.set_result(self._error is None)

    async def _read(self, link: ControlsLink) -> None:
        version = await link.version()
        if version == self._version:
            return
        if not version and self._version:
            self._restore()
            return
        news = await link.news(self._version)
        self._take_over(news)

    def _take_over(self, news: News) -> None:
        controls = self._controls
        if news.everything:
            entries = {slot: entry for slot, entry in news.changes if entry is not None}
            for slot, entry in self._pending.items():  # they will be written over what was read
                if entry is None:
                    entries.pop(slot, None)
                else:
                    entries[slot] = entry
            controls.replace(entries)
        else:
            changes = [change for change in news.changes if change[0] not in self._pending]
            controls.learn(changes, is_generous=news.has_reset)
        self._version = news.version

    def _restore(self) -> None:
        """The store has lost everything."""
        for entry in self._controls.entries():
            self._pending.setdefault(entry.slot, entry)
        self._version = b""

    async def _write(self, link: ControlsLink) -> None:
        changes = dict(list(self._pending.items())[:MOST_AT_ONCE])
        before, after = await link.write(changes)
        if before == self._version:  # else another one wrote between, and the next look reads that
            self._version = after
        for slot, entry in changes.items():
            if slot in self._pending and self._pending[slot] is entry:
                del self._pending[slot]
