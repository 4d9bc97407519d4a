"""A connection to the admin listener of a running Weir, over TCP or a unix socket. Only the standard library."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from typing import Final

__all__ = ["DEFAULT_ADMIN", "connect"]

DEFAULT_ADMIN: Final = "127.0.0.1:9901"


def connect(admin: str, timeout_s: float) -> HTTPConnection:
    """Not opened yet. `admin` is host:port or unix:/path, or http://host:port. Raises ValueError for anything else."""
    if admin.startswith("unix:"):
        return _UnixConnection(admin.removeprefix("unix:"), timeout_s)
    address = admin.removeprefix("http://").rstrip("/")
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("write host:port or unix:/path")
    return HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
