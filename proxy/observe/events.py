"""What the operator should know: one clear line on standard error for each thing that happened.

Everything that goes through the standard `logging` module, other libraries included, comes out in the same form: text
on a terminal, JSON elsewhere. Lines leave through a `LineWriter`, so a stalled standard error stops nothing. Each kind
of event, and each message of a library, is limited (hold_back.py).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from enum import Enum, unique
from typing import Any, Final, Protocol

import msgspec

from proxy.core.clock import monotonic
from proxy.observe.hold_back import HoldBack
from proxy.observe.redact import clean, hide_credentials
from proxy.observe.times import rfc3339

log = logging.getLogger("weir.events")


@unique
class Event(Enum):
    """(word, level): the word stands in the line and in `weir_events_total`."""

    LISTENING = ("listening", logging.INFO)
    RELOAD_OK = ("reload_ok", logging.INFO)
    RELOAD_REFUSED = ("reload_refused", logging.ERROR)
    STORE_LOST = ("store_lost", logging.WARNING)
    STORE_BACK = ("store_back", logging.INFO)
    DATABASE_LOST = ("database_lost", logging.WARNING)  # the primary does not say where it stands: no replica reads
    DATABASE_BACK = ("database_back", logging.INFO)
    REPLICA_OUT = ("replica_out", logging.WARNING)
    REPLICA_BACK = ("replica_back", logging.INFO)
    ROUTE_PINNED = ("route_pinned", logging.WARNING)  # its reads fail on replicas: they go to the primary
    PRECOMPUTE_FAILED = ("precompute_failed", logging.WARNING)  # the first failure after a success
    PRECOMPUTE_BACK = ("precompute_back", logging.INFO)
    CACHE_DISK_LOST = ("cache_disk_lost", logging.WARNING)
    CACHE_DISK_BACK = ("cache_disk_back", logging.INFO)
    CACHE_FILE_LOST = ("cache_file_lost", logging.WARNING)  # one stored response, not the disk
    PURGES_NOT_SHARED = ("purges_not_shared", logging.WARNING)
    PURGES_SHARED = ("purges_shared", logging.INFO)
    SHARED_CACHE_LOST = ("shared_cache_lost", logging.WARNING)
    SHARED_CACHE_BACK = ("shared_cache_back", logging.INFO)
    ENDPOINT_OUT = ("endpoint_out", logging.WARNING)  # skipped: it refuses, fails its checks or was ejected
    ENDPOINT_BACK = ("endpoint_back", logging.INFO)
    OPERATOR_CHANGE = ("operator_change", logging.INFO)  # audit.py: somebody changed something through /v1/
    OPERATOR_REFUSED = ("operator_refused", logging.WARNING)  # a request to /v1/ without a token that is known
    REQUEST_MALFORMED = ("request_malformed", logging.INFO)
    EXCHANGE_FAILED = ("exchange_failed", logging.WARNING)  # an upstream broke it
    EXCHANGE_CRASHED = ("exchange_crashed", logging.ERROR)  # a defect of ours
    ACCESS_LOG_FAILED = ("access_log_failed", logging.WARNING)
    DRAIN_STARTED = ("drain_started", logging.INFO)
    DRAIN_FINISHED = ("drain_finished", logging.INFO)
    DRAIN_CUT_SHORT = ("drain_cut_short", logging.WARNING)  # the deadline came first

    @property
    def word(self) -> str:
        return self.value[0]

    @property
    def level(self) -> int:
        return self.value[1]


_NEVER_HELD_BACK: Final = frozenset((Event.REQUEST_MALFORMED, Event.OPERATOR_CHANGE))
"""The first is limited by source, in malformed.py; of the second every line counts."""


class Events:
    """Says and counts events. One per worker; safe to call from any thread."""

    __slots__ = ("_clock", "_hold_back", "counts")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._hold_back = HoldBack()
        self.counts = {event.word: 0 for event in Event}

    def say(self, event: Event, message: str, *, bug: BaseException | None = None, **detail: Any) -> None:
        """One line: a sentence for a reader, `detail` for a machine, the traceback of `bug`.

        Never put a secret or a client's bytes in it. Cheap when the line is held back.
        """
        self.counts[event.word] += 1
        if event not in _NEVER_HELD_BACK:
            held_back = self._hold_back.ask(event, self._clock())
            if held_back is None:
                return
            if held_back:
                detail["held_back"] = held_back
        log.log(event.level, "%s", message, exc_info=bug, extra={"event": event.word, "detail": detail})


class Writer(Protocol):
    """A `LineWriter`."""

    def write(self, line: bytes) -> None: ...

    def stop(self, timeout_s: float = 1.0) -> int: ...


class LineHandler(logging.Handler):
    """Hands each record to a writer as one line. Formatting never fails on odd bytes: they are escaped."""

    def __init__(self, writer: Writer, *, as_json: bool, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._writer = writer
        self._format = json_line if as_json else text_line
        self._clock = clock
        self._hold_back = HoldBack()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not hasattr(record, "event"):
                held_back = self._hold_back.ask((record.name, record.msg), self._clock())
                if held_back is None:
                    return
                if held_back:
                    record.detail = {"held_back": held_back}
            self._writer.write(self._format(record))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """The last lines are the ones that matter: `logging` calls this when the process ends."""
        self._writer.stop()
        super().close()


def configure_logging(writer: Writer, *, as_json: bool | None = None, level: int = logging.INFO) -> LineHandler:
    """Send everything of `logging` to `writer`, replacing the handlers of the root logger.

    Our own records from `level` up, those of libraries from WARNING up. `as_json` None: text if standard error is a
    terminal.
    """
    handler = LineHandler(writer, as_json=not _is_terminal() if as_json is None else as_json)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("weir").setLevel(level)
    logging.captureWarnings(True)
    return handler


def json_line(record: logging.LogRecord) -> bytes:
    """{"ts", "level", "event" or "logger", "message", ..., "traceback"} and a newline."""
    line: dict[str, Any] = {"ts": rfc3339(record.created), "level": record.levelname.lower()}
    event = getattr(record, "event", None)
    line["event" if event else "logger"] = event or record.name
    line["message"] = clean(hide_credentials(record.getMessage()))
    for name, value in getattr(record, "detail", {}).items():
        line.setdefault(name, _printable(value))
    if record.exc_info:
        line["traceback"] = hide_credentials(_traceback(record))[-8192:]
    return msgspec.json.encode(line) + b"\n"


def text_line(record: logging.LogRecord) -> bytes:
    """`12:30:01 WARNING store_lost: The limit store is away. address=...` and a newline; a traceback follows."""
    name = getattr(record, "event", None) or record.name
    text = clean(hide_credentials(record.getMessage()))
    for key, value in getattr(record, "detail", {}).items():
        text += f" {key}={_printable(value)}"
    text = f"{rfc3339(record.created)[11:19]} {record.levelname.lower():7} {name}: {text}\n"
    if record.exc_info:
        text += hide_credentials(_traceback(record)).rstrip() + "\n"
    return text.encode("utf-8", "backslashreplace")


def _traceback(record: logging.LogRecord) -> str:
    assert record.exc_info
    text = logging.Formatter().formatException(record.exc_info)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _printable(value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): _printable(item) for key, item in value.items()}
    return clean(hide_credentials(str(value)))


def _is_terminal() -> bool:
    try:
        return os.isatty(sys.__stderr__.fileno()) if sys.__stderr__ is not None else False
    except (OSError, ValueError):
        return False
