"""What the store did, in its own order and by its own clock: MONITOR, read while a fleet asks.

MONITOR shows a script's call, and behind it what the script itself did: TIME, the keys it read and those it wrote. So
the order of the decisions and the state after each are the server's word, not that of a Weir.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

_LINE = re.compile(rb'^\+?(\d+)\.(\d{6}) \[\d+ ([^\]]*)\] "([^"]*)"')
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
EPOCH_2025 = 1735689600  # the script counts seconds from here


@dataclass(slots=True)
class Call:
    """One run of the script. Its TIME lies between `from_s` and `to_s`, both in the script's seconds."""

    from_s: float
    to_s: float = 0.0
    keys: Counter[str] = field(default_factory=Counter)  # how often each was asked
    writes: dict[str, str] = field(default_factory=dict)  # what was set; empty: removed

    @property
    def has_run(self) -> bool:
        """False where the server did not know the script."""
        return self.to_s > 0.0


class Monitor:
    """Reads from `start` to `stop`; the text is taken apart afterwards, so that reading never falls behind."""

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix("unix://")
        self._chunks: list[bytes] = []

    def start(self) -> Monitor:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self._path)
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def stop(self) -> list[Call]:
        time.sleep(0.05)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
        return calls_in(b"".join(self._chunks))

    def _read(self) -> None:
        while data := self._socket.recv(1 << 18):
            self._chunks.append(data)


def calls_in(text: bytes) -> list[Call]:
    """The runs of scripts in a transcript."""
    calls: list[Call] = []
    for line in text.split(b"\r\n"):
        found = _LINE.match(line)
        if found is None:
            continue
        at_s = (int(found[1]) - EPOCH_2025) + int(found[2]) / 1e6
        who, command = found[3], found[4].upper()
        if who == b"lua":
            if command == b"TIME":
                calls[-1].to_s = at_s
            elif command == b"SET":
                words = _WORD.findall(line)
                calls[-1].writes[words[1].decode()] = words[2].decode()
            elif command in (b"DEL", b"UNLINK"):
                calls[-1].writes.update({word.decode(): "" for word in _WORD.findall(line)[1:]})
        elif command in (b"EVALSHA", b"EVAL"):
            words = _WORD.findall(line)
            count = int(words[2])
            calls.append(Call(at_s, keys=Counter(word.decode() for word in words[3 : 3 + count])))
    return [call for call in calls if call.has_run]


def is_of(stored: str, name: str) -> bool:
    """A key of the store is that of this X-Key, which is the last part of it, or the only one and then in braces."""
    return stored.rstrip("}").endswith(name)


def server_offset_s() -> float:
    """What to add to the machine's monotonic clock to have the script's seconds."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    return (wall - (before + time.monotonic_ns()) // 2) / 1e9 - EPOCH_2025
