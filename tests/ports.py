"""Ports for servers that a test starts, on 127.0.0.1."""

from __future__ import annotations

import random
import socket

_GIVEN: set[int] = set()
_DRAW = random.SystemRandom()


def free_port() -> int:
    """One that nobody has, and that is given once: who takes it may start, or start again, much later.

    So it is none of those that the kernel gives to connections, and each worker of a run draws from all of them.
    """
    while True:
        port = _DRAW.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port
