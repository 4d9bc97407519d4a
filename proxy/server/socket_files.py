"""The files of unix sockets. The event loop would replace one that another process listens on, and leaves its own."""

from __future__ import annotations

import errno
import os
import socket
import stat

_PROBE_S = 1.0


class SocketFile:
    """The file of a socket that we listen on: `claim` before the bind, then one of these until `remove`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = _identity(path)

    @staticmethod
    def claim(path: str) -> None:
        """Remove what a crash left. Raises OSError when somebody listens there; any other file is not ours to remove,
        and the bind will say so."""
        try:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                return
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_S)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
            except OSError:
                pass  # a full backlog, say: somebody is there
        raise OSError(errno.EADDRINUSE, f"unix:{path}: address already in use")

    def remove(self) -> None:
        """Unless another process has put its own there by now. Safe to call twice."""
        if self._identity is not None and self._identity == _identity(self._path):
            os.unlink(self._path)
        self._identity = None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
