"""Two attempts at the same request: the first answer counts, the other attempt is left.

Each attempt runs as an exchange does, without a task. A left attempt closes its connection and gives its lease back.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from proxy.core.errors import ProxyError
from proxy.core.tasks import Run, Signal, start_now

__all__ = ["Race"]

T = TypeVar("T")


class Race(Generic[T]):
    """Enter attempts, await `outcome`, and `leave` in any case: what has not ended by then is cancelled."""

    __slots__ = ("_first_error", "_pending", "_runs", "outcome")

    def __init__(self) -> None:
        self.outcome: Signal[T] = Signal()  # or the error of the attempt that failed first, when all have failed
        self._runs: list[Run] = []
        self._pending = 0
        self._first_error: ProxyError | None = None

    def enter(self, attempt: Coroutine[Any, Any, T]) -> None:
        """Begin `attempt`; it may end before this returns."""
        self._pending += 1
        run = start_now(self._carry(attempt))
        if run is not None:
            self._runs.append(run)

    def leave(self) -> None:
        """Nobody waits for the others."""
        runs, self._runs = self._runs, []
        for run in runs:
            run.cancel()

    async def _carry(self, attempt: Coroutine[Any, Any, T]) -> None:
        try:
            answer = await attempt
        except ProxyError as error:
            self._pending -= 1
            self._first_error = self._first_error or error
            if self._pending == 0 and not self.outcome.done():
                self.outcome.set_exception(self._first_error)
            return
        except Exception as defect:  # whoever waits must not wait for ever
            if not self.outcome.done():
                self.outcome.set_exception(defect)
            return
        self.outcome.set_result(answer)  # nobody has been before it: a waiter leaves the race when it has its answer
