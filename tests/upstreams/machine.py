"""A loop whose turns are steps of a state machine: connections without sockets, and those who want leases of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import Run, start_now
from proxy.upstreams.lease import Lease

T = TypeVar("T")
PLACES = st.integers(0, 9)
EXPECTED = {
    ErrorKind.QUEUE_FULL,
    ErrorKind.QUEUE_TIMEOUT,
    ErrorKind.NO_CHANCE,
    ErrorKind.CONNECT_REFUSED,
    ErrorKind.CONNECT_TIMEOUT,
    ErrorKind.NO_ENDPOINT,
    ErrorKind.DRAINING,
}


class Scripted:
    """A connection without a socket."""

    def __init__(self, opened_at: float) -> None:
        self.opened_at = opened_at
        self.retires_at = float("inf")
        self.on_closed: Callable[[Scripted], None] | None = None
        self.is_alive = True
        self.times_closed = 0

    @property
    def is_clean(self) -> bool:
        return self.is_alive

    def close(self) -> None:
        self.is_alive = False
        self.times_closed += 1

    def die(self) -> None:
        self.is_alive = False
        if self.on_closed is not None:
            self.on_closed(self)


class Asker:
    """Somebody who wants a lease, and what came of it."""

    def __init__(self, want: Callable[[], Awaitable[Lease[Scripted]]]) -> None:
        self._want = want
        self.lease: Lease[Scripted] | None = None
        self.error: ProxyError | None = None
        self.carrier: asyncio.Task[None] | Run | None = None
        self.is_over = False

    @property
    def is_cancelled_unstarted(self) -> bool:
        return isinstance(self.carrier, asyncio.Task) and self.carrier.cancelled()

    async def ask(self) -> None:
        try:
            self.lease = await self._want()
        except ProxyError as error:
            self.error = error
        finally:
            self.is_over = True


class Machine(RuleBasedStateMachine):
    """What is tested is `build`t by an heir, which says what may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.complaints: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.now = 1000.0
        self.connections: list[Scripted] = []
        self.dials: list[asyncio.Future[None]] = []
        self.askers: list[Asker] = []
        self.leases: list[Lease[Scripted]] = []

    # One turn of the loop, and calls from inside it

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        for asker in [asker for asker in self.askers if asker.is_over or asker.is_cancelled_unstarted]:
            self.askers.remove(asker)
            if asker.lease is not None:
                self.granted(asker)
            elif asker.error is not None:
                self.refused(asker.error)

    def granted(self, asker: Asker) -> None:
        assert asker.lease is not None
        assert asker.lease.connection.times_closed == 0
        self.leases.append(asker.lease)

    def refused(self, error: ProxyError) -> None:
        assert error.kind in EXPECTED

    def begin(self, asker: Asker, *, as_task: bool) -> None:
        self.askers.append(asker)
        if as_task:
            asker.carrier = self.loop.create_task(asker.ask())
        else:
            asker.carrier = self.inside(lambda: start_now(asker.ask()))

    def inside(self, call: Callable[[], T]) -> T:
        results: list[T] = []
        self.loop.call_soon(lambda: results.append(call()))
        self.turn()
        return results[0]

    def cancel(self, asker: Asker) -> None:
        """A task is only told to stop; a run has stopped when this is over. Neither lets the loop turn before."""
        carrier = asker.carrier
        if isinstance(carrier, asyncio.Task) and not carrier.done():
            carrier.cancel()
        elif isinstance(carrier, Run):
            self.inside(carrier.cancel)

    def settle(self) -> None:
        for _ in range(12):
            self.turn()

    # What may happen

    @rule()
    def a_turn_passes(self) -> None:
        self.turn()

    @precondition(lambda self: self.dials)
    @rule(place=PLACES, refused=st.booleans())
    def a_connect_ends(self, place: int, refused: bool) -> None:
        dial = self.dials[place % len(self.dials)]
        if not dial.done():
            if refused:
                dial.set_exception(ProxyError(ErrorKind.CONNECT_REFUSED))
            else:
                dial.set_result(None)
