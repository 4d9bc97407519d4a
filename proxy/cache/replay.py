"""Replay: stored content as a Source, so that a slow client never holds a copy of a large body."""

from __future__ import annotations

from typing import Final

from proxy.http.message import Sink

STREAMED_BYTES: Final = 256 * 1024  # content below this is written at once: a copy costs less than several writes
_PIECE_BYTES: Final = 64 * 1024


class Replay:
    """Gives `body[start:end]` in pieces, as fast as its sink takes them."""

    __slots__ = ("_at", "_body", "_end", "_is_giving", "_is_paused", "_sink", "length")

    def __init__(self, body: bytes, start: int = 0, end: int | None = None) -> None:
        self._body = body
        self._at = start
        self._end = len(body) if end is None else end
        self._sink: Sink | None = None
        self._is_paused = False
        self._is_giving = False
        self.length: int | None = self._end - start

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._give()

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        if not self._is_giving:
            self._give()

    def cancel(self) -> None:
        self._sink = None
        self._body = b""

    def _give(self) -> None:
        self._is_giving = True  # a sink may resume from within `feed`: the loop below goes on by itself
        try:
            while self._sink is not None and not self._is_paused:
                if self._at >= self._end:
                    sink, self._sink = self._sink, None
                    sink.finish()
                    return
                piece = self._body[self._at : min(self._at + _PIECE_BYTES, self._end)]
                self._at += len(piece)
                self._sink.feed(piece)
        finally:
            self._is_giving = False
