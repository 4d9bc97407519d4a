"""The only place that starts anything that runs on its own.

`spawn` makes a background task, keeps a reference (a bare task may be collected in mid-flight) and says loudly when it
dies. `start_now` carries an exchange: it runs a coroutine at once, without a task, and continues it in the very call
that brings what it waits for. `Signal` is what makes that possible.

Why not a task for each exchange: a task costs its own creation, a registration, and for every wait another turn of the
loop; docs/decisions/0002 has what that cost.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, Generic, TypeVar

log = logging.getLogger("weir.tasks")
_running: set[asyncio.Task[Any]] = set()
_OVER: Final[Any] = object()
T = TypeVar("T")


def spawn(coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Run `coroutine` as a named background task. Its exception is logged, never lost. The caller may cancel it."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


def start_now(coroutine: Coroutine[Any, Any, None]) -> Run | None:
    """Run `coroutine` at once, up to its first wait; None when it is over, else what can cancel it.

    There is no current task inside: what it awaits must not ask for one (`asyncio.timeout`, `asyncio.TaskGroup` and
    aiohttp's client do; futures, `asyncio.wait` and Signal do not). Its exceptions are logged.
    """
    try:
        waiting_for = next(coroutine.__await__(), _OVER)  # a StopIteration that nobody makes costs nothing
    except BaseException as escaped:
        _report(escaped)
        return None
    if waiting_for is _OVER:
        return None  # most exchanges: denied, or answered from the cache
    run = Run(coroutine)
    run.wait(waiting_for)
    return None if run.is_over else run


class Signal(Generic[T]):
    """A future that continues its one waiter in the call that sets it, not in the loop's next turn.

    Set it last, when everything around it is in order: the waiter runs before `set_result` returns. A task may wait for
    it too; tasks continue in a turn of their own.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_error", "_is_done", "_value")

    def __init__(self) -> None:
        self._asyncio_future_blocking = False  # asyncio's mark of something that may be yielded to a driver
        self._callback: Callable[[Any], object] | None = None
        self._is_done = False
        self._value: T | None = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        return self._is_done

    @property
    def value(self) -> T | None:
        """What it was set to; None before, and when it was cancelled."""
        return self._value

    def result(self) -> T:
        """As a task asks for it: raises what it failed with."""
        return self._outcome()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """As a task asks for it, before it waits."""
        return asyncio.get_running_loop()

    def set_result(self, value: T) -> None:
        self._value = value
        self._finish()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._finish()

    def cancel(self, msg: object = None) -> bool:
        """The waiter was cancelled: nobody is continued any more, but a task is told so. False if it was done."""
        if self._is_done:
            return False
        self._is_done = True
        callback, self._callback = self._callback, None
        if type(callback) is _NextTurn:
            self._error = asyncio.CancelledError()
            callback(self)
        return True

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: contextvars.Context | None = None
    ) -> None:
        """A context is what a task gives along."""
        self._callback = callback if context is None else _NextTurn(callback, context)

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        self._callback = None
        return 1

    def __await__(self) -> Generator[Any, None, T]:
        if not self._is_done:
            self._asyncio_future_blocking = True
            yield self
        return self._outcome()

    def _outcome(self) -> T:
        error = self._error
        if error is not None:
            self._error = None
            try:
                raise error
            finally:
                del error  # it refers to this frame by its traceback: only the collector would find the two
        return self._value  # type: ignore[return-value]  # set by set_result, which takes a T

    def _finish(self) -> None:
        if self._is_done:
            raise asyncio.InvalidStateError("set twice")
        self._is_done = True
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(self)


class _NextTurn:
    """Continues a task."""

    __slots__ = ("_callback", "_context")

    def __init__(self, callback: Callable[[Any], object], context: contextvars.Context) -> None:
        self._callback = callback
        self._context = context

    def __call__(self, done: Any) -> None:
        asyncio.get_running_loop().call_soon(self._callback, done, context=self._context)


class Run:
    """A coroutine on its way, carried by whatever it waits for."""

    __slots__ = ("_coroutine", "_waiting_for", "is_over")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._waiting_for: Any = None
        self.is_over = False

    def cancel(self) -> None:
        """Raise CancelledError where it waits, now. Without effect once it is over."""
        waiting_for = self._waiting_for
        if self.is_over or waiting_for is None:
            return
        waiting_for.remove_done_callback(self.step)
        waiting_for.cancel()
        self.step(None, asyncio.CancelledError())

    def step(self, done: Any, error: BaseException | None = None) -> None:
        """Continue until the next wait. Called by what it waited for; also when that failed: the await raises.

        A future that was done when the run was cancelled still calls, a turn of the loop later: nobody waits for it.
        """
        if error is None and done is not self._waiting_for:
            return
        self._waiting_for = None
        try:
            waiting_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration:
            self.is_over = True
            return
        except BaseException as escaped:
            self.is_over = True
            _report(escaped)
            return
        self.wait(waiting_for)

    def wait(self, waiting_for: Any) -> None:
        """Be continued by `waiting_for`, which the coroutine has just yielded."""
        if waiting_for is None:  # a bare yield, as in asyncio.sleep(0)
            self._waiting_for = turn = Signal[None]()
            asyncio.get_running_loop().call_soon(self.step, turn)
            return
        waiting_for._asyncio_future_blocking = False
        self._waiting_for = waiting_for
        waiting_for.add_done_callback(self.step)


def _report(escaped: BaseException) -> None:
    if not isinstance(escaped, asyncio.CancelledError):
        log.error("an exchange failed", exc_info=escaped)


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background task %s failed", task.get_name(), exc_info=error)
