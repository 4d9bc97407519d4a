"""Writing: one file of the disk tier on its way, piece after piece, with one of its writes under way at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32

from proxy.cache.disk.handle import BLOCK_BYTES

if TYPE_CHECKING:
    from proxy.cache.disk.store import DiskStore, StoredFile


class Writing:
    """`moved` is called when more of the file can be read, and when it is whole; `failed`, once, when it never will be.

    Pieces are the caller's until they are `readable`: the caller sees to it that they are not too many.
    """

    __slots__ = (
        "_checksum",
        "_disk",
        "_failed",
        "_in_block",
        "_is_busy",
        "_is_ending",
        "_moved",
        "_offered_bytes",
        "_pending",
        "_written",
        "file",
        "is_over",
        "readable",
    )

    def __init__(
        self, disk: DiskStore, file: StoredFile, moved: Callable[[], None], failed: Callable[[OSError], None]
    ) -> None:
        self.file = file
        self.readable = 0  # bytes that are in the file, with their checksums
        self.is_over = False  # whole, failed or abandoned
        self._disk = disk
        self._moved = moved
        self._failed = failed
        self._pending: list[bytes] = []
        self._offered_bytes = 0
        self._written = 0
        self._checksum = 0  # of the block that is not full yet
        self._in_block = 0  # bytes of it
        self._is_busy = False
        self._is_ending = False

    def offer(self, piece: bytes) -> None:
        """The next piece. May fail the writing before it returns."""
        self._pending.append(piece)
        self._offered_bytes += len(piece)
        self._next()

    def finish(self) -> None:
        """That was all."""
        self._is_ending = True
        self._next()

    def abandon(self) -> None:
        """It will never be whole. Safe to call twice."""
        self.is_over = True
        self._pending.clear()

    def _next(self) -> None:
        waiting_bytes = self._offered_bytes - self._written
        if self._is_busy or self.is_over or (waiting_bytes < BLOCK_BYTES and not self._is_ending):
            return  # a write for each packet would be many
        if self._disk.error is not None:
            self._fail(OSError(errno.EIO, self._disk.error))
            return
        if not self._disk.grow(self.file, self._offered_bytes):
            self._fail(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)))
            return
        self._is_busy = True
        if self._disk.is_over:
            self._disk.when_there_is_room(self._again)
            return
        pieces, self._pending = self._pending, []
        if not pieces:
            self._end()
            return
        self.file.hold()  # until the thread is done, whoever leaves meanwhile
        self._disk.threads.run(lambda: self._work(pieces), self._came)

    def _again(self) -> None:
        self._is_busy = False
        self._next()

    def _work(self, pieces: list[bytes]) -> tuple[int, list[int]]:
        """In a thread, one at a time: how much was written, and the checksums of the blocks that it filled."""
        data = memoryview(b"".join(pieces))
        self.file.handle.write(data, self._written)
        checksums: list[int] = []
        at = 0
        while at < len(data):
            part = data[at : at + BLOCK_BYTES - self._in_block]
            self._checksum = crc32(part, self._checksum)
            self._in_block += len(part)
            at += len(part)
            if self._in_block == BLOCK_BYTES:
                checksums.append(self._checksum)
                self._checksum = self._in_block = 0
        return len(data), checksums

    def _came(self, result: tuple[int, list[int]] | OSError) -> None:
        self._is_busy = False
        if isinstance(result, OSError):
            if not self.is_over:
                self._disk.failed(result)
                self._fail(result)
            self.file.release()
            return
        size, checksums = result
        self._written += size
        self.file.checksums.extend(checksums)
        if not self.is_over:
            self.readable = self._written // BLOCK_BYTES * BLOCK_BYTES
            self._moved()
            self._next()
        self.file.release()

    def _end(self) -> None:
        if self._in_block:
            self.file.checksums.append(self._checksum)
        self.readable = self.file.length = self._written
        self.is_over = True
        self._disk.worked()
        self._moved()

    def _fail(self, error: OSError) -> None:
        self.abandon()
        self._failed(error)
