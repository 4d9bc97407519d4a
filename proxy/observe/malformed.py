"""Requests that never became an exchange: counted by kind, and one line a second and source.

A flood of bad input must cost neither the disk nor the processor: past a few sources a second nothing is written.
"""

from __future__ import annotations

from typing import Final

from proxy.core.errors import ErrorKind
from proxy.observe.events import Event, Events

MAX_LINES: Final = 10  # in one second, over all sources


class MalformedRequests:
    """Counts refused requests. `note` costs about a third of a microsecond once a source had its line."""

    __slots__ = ("_events", "_held_back", "_second", "_sources", "counts")

    def __init__(self, events: Events) -> None:
        self._events = events
        self._second = -1
        self._sources: set[str] = set()  # that had their line in this second
        self._held_back = 0
        self.counts: dict[str, int] = {}  # by ErrorKind value

    def note(self, kind: ErrorKind, source: str, detail: str, now: float) -> None:
        """Count a request that was refused before it was whole. `detail` is ours: never the client's bytes."""
        word = kind.value
        self.counts[word] = self.counts.get(word, 0) + 1
        second = int(now)
        if second != self._second:
            self._second = second
            self._sources.clear()
        if source in self._sources or len(self._sources) >= MAX_LINES:
            self._held_back += 1
            return
        self._sources.add(source)
        self._say(word, source, detail)

    def _say(self, word: str, source: str, detail: str) -> None:
        held_back, self._held_back = self._held_back, 0
        detail = f"{detail} (and {held_back} more before)" if held_back else detail
        self._events.say(Event.REQUEST_MALFORMED, "A request was refused.", source=source, reason=word, detail=detail)
