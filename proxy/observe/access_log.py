"""The access log: which requests get a line, and the way of that line to its file.

Errors, denials and slow requests always get one; fast good answers are sampled by a hash of the request id, so that
every Weir that a request passes decides alike (with equal rates; a lower rate keeps a part of what a higher one keeps).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.core.clock import wall
from proxy.observe.line import render
from proxy.observe.line_writer import LineWriter

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.observe.settings import AccessLogSettings

HASHES: Final = 1 << 32  # values of the CRC-32 that stands for a request id
OFF: Final = "off"
SWITCH_OFF_S: Final = 0.1  # for what is queued when a reload turns the log off: the event loop waits for it


class AccessLog:
    """Decided on in `stage.record`, which compares with `threshold` and `slow_s`; written here."""

    __slots__ = ("_on_failure", "_path", "_sample_rate", "_writer", "slow_s", "threshold")

    def __init__(self, on_failure: Callable[[str], None] | None = None) -> None:
        self._on_failure = on_failure
        self._writer: LineWriter | None = None
        self._path = OFF
        self._sample_rate = 0.0
        self.threshold = 0  # a fast request is logged when its hash is below this
        self.slow_s = float("inf")

    def apply(self, settings: AccessLogSettings) -> None:
        """Follow the configuration, at the start and after a reload.

        Raises OSError when the file cannot be opened; then nothing changes.
        """
        if settings.path != self._path:
            self._go_to(settings.path)
            self._path = settings.path
        is_on = settings.path != OFF
        self._sample_rate = settings.sample
        self.threshold = int(settings.sample * HASHES) if is_on else 0
        self.slow_s = settings.slow if is_on else float("inf")

    def write(self, exchange: Exchange, duration_s: float, *, is_sampled: bool) -> None:
        """Queue the line of an exchange that has ended. Never waits."""
        if self._writer is not None:
            self._writer.write(render(exchange, duration_s, wall(), self._sample_rate if is_sampled else 1.0))

    def reopen(self) -> None:
        """Open the file anew, after a rotation moved it. Raises OSError when that fails; the old one stays then."""
        if self._writer is not None:
            self._writer.reopen()

    def stop(self, timeout_s: float = 1.0) -> int:
        """Write what is queued, waiting at most `timeout_s`. Returns the lines that were lost."""
        writer, self._writer, self._path = self._writer, None, OFF
        return 0 if writer is None else writer.stop(timeout_s)

    @property
    def writer(self) -> LineWriter | None:
        return self._writer

    def _go_to(self, path: str) -> None:
        if path == OFF:
            self.stop(SWITCH_OFF_S)
        elif self._writer is not None:
            self._writer.reopen(path)
        else:
            writer = LineWriter(path, on_failure=self._on_failure)
            writer.start()
            self._writer = writer
