"""Who changed what through the operator's API: one line each in the log, and the last of them in memory."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from proxy.observe.events import Event, Events
from proxy.observe.redact import clean
from proxy.observe.times import rfc3339

MAX_LINES: Final = 1000


class Audit:
    """The trail of one worker. Lines leave for the log at once; `GET /v1/audit` shows those that are still here."""

    __slots__ = ("_events", "_lines")

    def __init__(self, events: Events) -> None:
        self._events = events
        self._lines: deque[dict[str, Any]] = deque(maxlen=MAX_LINES)

    def note(
        self,
        now_wall: float,
        *,
        who: str,
        what: str,
        target: str,
        old: dict[str, Any] | None,
        new: dict[str, Any] | None,
        reason: str | None,
        until_wall: float | None,
    ) -> None:
        """One change. `who` is the name of the token, `target` a key of a limit or the scope of a kill switch.

        `old` and `new` are what was there before and after; None: nothing.
        """
        line: dict[str, Any] = {
            "who": who,
            "what": what,
            "target": clean(target),
            "old": old,
            "new": new,
            "reason": None if reason is None else clean(reason),
            "until": None if until_wall is None else rfc3339(until_wall),
        }
        self._lines.append({"at": rfc3339(now_wall), **line})
        self._events.say(Event.OPERATOR_CHANGE, f"{what} by {who}", **line)

    def lines(self, most: int = MAX_LINES) -> list[dict[str, Any]]:
        """The last changes, the newest first."""
        newest_first = list(reversed(self._lines))
        return newest_first[:most]
