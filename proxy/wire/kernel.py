"""What the kernel knows of a socket and Python does not ask it."""

from __future__ import annotations

import array
import fcntl
import socket
import sys
from typing import Final

_SIOCOUTQ: Final = 0x5411  # Linux, tcp(7): bytes sent but not acknowledged, and not yet sent


def unsent_bytes(sock: socket.socket) -> int:
    """Bytes in the socket's send queue; 0 where the platform does not say."""
    if sys.platform != "linux" or sock.fileno() < 0:
        return 0
    count = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), _SIOCOUTQ, count, True)
    except OSError:
        return 0
    return count[0]
