"""Folder: the directory of the disk tier, one Weir's at a time. Everything here blocks: for threads only.

Nothing of what is in it is ever read back after a restart: purges and writes that happened meanwhile are not known, so
a response that was ended could come back. What is found there is removed, if its name says that it is ours.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

_LOCK: Final = "weir.lock"
_PROBE: Final = "weir.probe"
_OURS: Final = re.compile(r"[0-9a-f]{16}\.body")
_PROBE_BYTES: Final = 64 * 1024


class InUse(OSError):
    """Another Weir has the directory."""


class Folder:
    """Where the files are. Whoever holds its lock may write; the lock ends with the process, however that ends."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._lock_fd = -1

    def take(self, kept: Collection[str] = ()) -> None:
        """Lock it, try whether it can be written, and remove all files of ours but `kept`.

        Makes the directory if it is not there. Raises OSError when it is not to be had; InUse when another Weir has it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._holds_lock():
            self._lock()
        probe = self.path / _PROBE
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(fd, memoryview(bytes(_PROBE_BYTES)), 0)
        finally:
            os.close(fd)
            probe.unlink()
        with os.scandir(self.path) as found:
            for item in found:
                if _OURS.fullmatch(item.name) and item.name not in kept and item.is_file(follow_symlinks=False):
                    os.unlink(item.path)

    def leave(self) -> None:
        """Let others have it. Safe to call twice."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)

    def _holds_lock(self) -> bool:
        """The lock file is still the one that we locked: somebody may have removed it with all the rest."""
        if self._lock_fd < 0:
            return False
        try:
            there, ours = os.stat(self.path / _LOCK), os.fstat(self._lock_fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _lock(self) -> None:
        self.leave()
        fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise InUse(errno.EBUSY, "another Weir uses this directory") from None
        except OSError:
            os.close(fd)
            raise
        self._lock_fd = fd


def write_all(fd: int, data: memoryview, at: int) -> None:
    """Raises OSError when not all of it can be written."""
    while data:
        written = os.pwrite(fd, data, at)
        data, at = data[written:], at + written
