"""Lines on their way to a file or a pipe: queued without waiting, written by a thread, dropped and counted past a cap.

The event loop only ever appends to a deque. A pipe that nobody reads blocks the thread and nothing else; a full disk
or a closed pipe costs lines, never requests.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.core.clock import monotonic

MAX_QUEUED: Final = 10_000
PERIOD_S: Final = 0.2  # between writes; sooner when half of the queue is full
_BATCH: Final = 256  # lines per write: about 100 KiB
_LOOK_MS: Final = 100  # how long one wait for a reader lasts


class LineWriter:
    """Writes whole lines in order. `write` may be called from any thread; one thread of its own does the I/O.

    The target is a path, "-" for standard output or "!" for standard error.
    """

    __slots__ = (
        "_fd",
        "_in_hand",
        "_is_failing",
        "_never_blocks",
        "_new_fds",
        "_on_failure",
        "_path",
        "_period_s",
        "_queue",
        "_stopping_at",
        "_thread",
        "_torn",
        "_wake",
        "_wake_at",
        "capacity",
        "dropped",
        "failed",
        "written",
    )

    def __init__(
        self,
        path: str,
        *,
        capacity: int = MAX_QUEUED,
        period_s: float = PERIOD_S,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.capacity = capacity
        self.dropped = 0  # lines that found the queue full
        self.failed = 0  # lines that the system refused to take
        self.written = 0
        self._path = path
        self._period_s = period_s
        self._on_failure = on_failure  # called in the thread, once for each spell of failures
        self._queue: deque[bytes] = deque()
        self._wake = threading.Event()
        self._wake_at = max(1, capacity // 2)
        self._thread: threading.Thread | None = None
        self._fd = -1
        self._never_blocks = False  # a file: it may be slow, but somebody takes the bytes
        self._new_fds: deque[int] = deque()  # opened by `reopen`, to be taken over by the thread
        self._in_hand = 0  # lines taken off the queue and not yet written
        self._stopping_at: float | None = None  # the thread gives up at this instant
        self._torn = False  # the last write ended inside a line
        self._is_failing = False

    def start(self) -> None:
        """Open the target and start the thread. Raises OSError when it cannot be opened for appending."""
        self._use(_open(self._path))
        self._thread = threading.Thread(target=self._run, name="weir-lines", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue one line, its newline included. Never waits: what does not fit is dropped and counted."""
        queue = self._queue
        if len(queue) >= self.capacity:
            self.dropped += 1
            return
        queue.append(line)
        if len(queue) == self._wake_at:
            self._wake.set()

    def reopen(self, path: str | None = None) -> None:
        """Open the target anew (after a rotation), or another one. What is queued now still goes to the old one.

        Raises OSError when it cannot be opened; then nothing changes.
        """
        path = path or self._path
        if self._thread is not None:
            self._new_fds.append(_open(path))
            self._wake.set()
        self._path = path

    def stop(self, timeout_s: float = 1.0) -> int:
        """Write what is queued and end the thread, waiting at most `timeout_s`. Returns the lines that were lost."""
        thread, self._thread = self._thread, None
        if thread is None:
            return 0
        failed = self.failed
        self._stopping_at = monotonic() + timeout_s
        self._wake.set()
        thread.join(timeout_s + 2 * _LOOK_MS / 1000)
        if not thread.is_alive():
            return self.failed - failed
        lost = len(self._queue) + self._in_hand  # it hangs in a write; the process can end without it
        self.dropped += lost
        return lost

    def __len__(self) -> int:
        return len(self._queue)

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._never_blocks = stat.S_ISREG(os.fstat(fd).st_mode)

    # Everything below runs in the thread.

    def _run(self) -> None:
        while self._stopping_at is None:
            self._wake.wait(self._period_s)
            self._wake.clear()
            self._flush()
            self._switch()
        self._flush()
        self._switch()
        _close(self._fd)

    def _flush(self) -> None:
        queue = self._queue
        while queue:
            lines = [queue.popleft() for _ in range(min(len(queue), _BATCH))]
            self._in_hand = len(lines)
            self._write_all(lines)
            self._in_hand = 0
            if self._is_failing and self._new_fds:
                return  # the rest is better off at the new target

    def _write_all(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        if self._torn:  # after a disk was full: the rest of a broken line must not swallow a whole one
            data = b"\n" + data
        rest = memoryview(data)
        while rest:
            try:
                if self._never_blocks:
                    rest = rest[os.write(self._fd, rest) :]
                    continue
                if _is_writable(self._fd):
                    rest = rest[os.write(self._fd, rest[: select.PIPE_BUF]) :]  # as much as poll() promised to take
                    continue
            except BlockingIOError:
                pass  # another writer was faster
            except OSError as error:
                return self._give_up(lines, len(rest), len(data), error.strerror or str(error))
            if self._new_fds or (self._stopping_at is not None and monotonic() >= self._stopping_at):
                return self._give_up(lines, len(rest), len(data), "nobody reads it")
        self.written += len(lines)
        self._torn = False
        self._is_failing = False

    def _give_up(self, lines: list[bytes], unwritten_bytes: int, total_bytes: int, why: str) -> None:
        has_written = unwritten_bytes < total_bytes
        lost = 0
        while unwritten_bytes > 0 and lost < len(lines):  # from the end; a line cut in two is lost
            lost += 1
            unwritten_bytes -= len(lines[-lost])
        self.failed += lost
        self.written += len(lines) - lost
        if has_written:
            self._torn = unwritten_bytes < 0
        if not self._is_failing and self._on_failure is not None:
            self._on_failure(why)
        self._is_failing = True

    def _switch(self) -> None:
        while self._new_fds:
            _close(self._fd)
            self._use(self._new_fds.popleft())
            self._torn = False
            self._is_failing = False


def _open(path: str) -> int:
    """A descriptor of ours for appending. A FIFO without a reader is refused (ENXIO) instead of waited for."""
    if path in ("-", "!"):
        return os.dup(1 if path == "-" else 2)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)


def _is_writable(fd: int) -> bool:
    """Wait a little for it. A broken pipe counts as writable: the write tells."""
    poll = select.poll()  # not select(), which fails on descriptors above 1023
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(_LOOK_MS))


def _close(fd: int) -> None:
    if fd >= 0:
        try:
            os.close(fd)
        except OSError:
            pass  # nothing to save: what could be written was written
