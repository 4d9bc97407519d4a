"""DiskThreads: work that may block, done by a few threads. The loop hands it over and hears of its end.

Whoever hands over work has one piece of it under way at a time, so what waits here is bounded by the number of files
that are written or read. Work that takes too long, in a thread or in line for one, is given up: its callback hears
TimeoutError, and nobody hears of its real end.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

PATIENCE_S: Final = 5.0
_LOOKS: Final = 4  # for work that takes too long, in that time
T = TypeVar("T")


class _Job:
    __slots__ = ("done", "error", "looks", "result", "work")

    def __init__(self, work: Callable[[], Any], done: Callable[[Any], object]) -> None:
        self.work = work
        self.done = done
        self.looks = 0  # since it was handed over: not a time, for a process that stood still is not a slow disk
        self.result: Any = None
        self.error: OSError | None = None


class DiskThreads:
    """Daemons: a disk that hangs does not keep the process from ending."""

    def __init__(self, count: int, on_stall: Callable[[OSError], None], patience_s: float = PATIENCE_S) -> None:
        self._count = count
        self._on_stall = on_stall
        self._patience_s = patience_s
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._jobs: dict[_Job, None] = {}  # oldest first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Pieces of work that nobody has heard of yet."""
        return len(self._jobs)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for number in range(self._count):
            Thread(target=self._run, name=f"weir-disk-{number}", daemon=True).start()

    def run(self, work: Callable[[], T], done: Callable[[T | OSError], object]) -> None:
        """Have `work` done in a thread; then `done`, in the loop, gets its result or the OSError that it raised."""
        if self._loop is None:
            self._stopped(done)
            return
        job = _Job(work, done)
        self._jobs[job] = None
        self._queue.put(job)
        if self._look is None:
            self._look = self._loop.call_later(self._patience_s / _LOOKS, self._give_up)

    def stop(self) -> None:
        """What is under way ends, and nobody hears of it."""
        self._loop = None
        self._jobs.clear()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for _ in range(self._count):
            self._queue.put(None)

    def _stopped(self, done: Callable[[OSError], object]) -> None:
        done(OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN)))

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                job.result = job.work()
            except OSError as error:
                job.error = error
            except Exception as defect:  # the thread goes on, and whoever waits must not wait for ever
                job.error = OSError(errno.EIO, repr(defect))
            loop = self._loop
            if loop is None:
                return
            try:
                loop.call_soon_threadsafe(self._ended, job)
            except RuntimeError:
                return  # the loop was closed meanwhile
            del job

    def _ended(self, job: _Job) -> None:
        if self._jobs.pop(job, job) is job:
            return  # given up, or stopped
        job.done(job.result if job.error is None else job.error)

    def _give_up(self) -> None:
        self._look = None
        if self._loop is None:
            return
        for job in self._jobs:
            job.looks += 1
        late = [job for job in self._jobs if job.looks > _LOOKS]
        error = TimeoutError(errno.ETIMEDOUT, "the disk takes too long")
        for job in late:
            del self._jobs[job]
        if late:
            self._on_stall(error)
        for job in late:
            job.done(error)
        if self._jobs and self._look is None and self._loop is not None:
            self._look = self._loop.call_later(self._patience_s / _LOOKS, self._give_up)
