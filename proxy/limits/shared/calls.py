"""One call of the store after the other, each for everybody who waits: **group commit**.

What arrives while a call is in flight goes out together in the next one, so the dearer a round trip is, the more
requests share it. There is no task here: the end of a turn of the loop sends the first call, and each answer the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from proxy.core.clock import monotonic
from proxy.limits.policy import LimitPolicy
from proxy.limits.shared.group import Asked
from proxy.limits.shared.link import Answer, Link, StoreLost
from proxy.limits.shared.orders import Order, Orders
from proxy.limits.shared.parts import Parts
from proxy.limits.shared.waiting_line import Ticket, WaitingLine
from proxy.limits.verdict import Verdict

_LARGEST_GROUP: Final = 128  # keeps one call, which holds up the whole store, near a millisecond at the worst
_MOST_ORDERS: Final = 64  # of a group, besides
_DRAIN_S: Final = 1.5  # a link gives up on a call after a second

Answered = Callable[[list[Order], list[Ticket], list["int | None"]], None]
Failed = Callable[[list[Ticket], str], None]
"""The tickets are those that still wait; the store may have charged them."""


class Calls:
    """Belongs to the running loop, from `start` on. Nothing is taken before `is_open` is set."""

    __slots__ = (
        "_answered",
        "_broken",
        "_failed",
        "_flush_is_due",
        "_idle",
        "_in_flight",
        "_line",
        "_link",
        "_loop",
        "_orders",
        "is_open",
        "sent_at",
    )

    def __init__(self, link: Link, answered: Answered, failed: Failed, broken: Callable[[], None]) -> None:
        """`broken` is called when there is something to send and no connection."""
        self._link = link
        self._answered = answered
        self._failed = failed
        self._broken = broken
        self._orders = Orders()
        self._line: WaitingLine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._in_flight: tuple[list[Order], list[Ticket]] | None = None
        self._flush_is_due = False
        self._idle: asyncio.Future[None] | None = None  # set while somebody waits for the call in flight
        self.is_open = False  # requests may stand in line
        self.sent_at = 0.0  # the call that is in flight, or has just been answered

    def start(self, patience_s: float, ran_out: Callable[[list[Ticket]], None]) -> None:
        """`ran_out` gets the requests that waited as long as they may."""
        self._loop = asyncio.get_running_loop()
        self._line = WaitingLine(patience_s, ran_out)

    def ask(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        now: float,
        member: bytes,
        parts: Parts | None = None,
    ) -> asyncio.Future[Verdict]:
        """Stand in line. Only while `is_open`."""
        assert self._line is not None
        future = self._line.add(policies, keys, now, member, parts)
        if self._in_flight is None and not self._flush_is_due:
            self._flush_soon()
        return future

    def do(self, order: Order) -> None:
        """Go along with the next call, or be kept until there is one again."""
        if not self.is_open:
            self._orders.keep(order)
            return
        self._orders.add(order)
        if self._in_flight is None and not self._flush_is_due:
            self._flush_soon()

    def add(self, order: Order) -> None:
        """What an outage owes the store, however much it is: it goes along with the next calls."""
        self._orders.add(order)

    def flush(self) -> None:
        """Send a group, unless one is in flight: its answer sends the next."""
        self._flush_is_due = False
        line = self._line
        if self._in_flight is not None or not self.is_open or line is None:
            return
        orders = self._orders
        if not (orders or line):
            return
        if not self._link.is_open:  # lost while nobody asked: nothing was sent yet, so connect and go on
            self._broken()
            return
        errands = orders.take(_MOST_ORDERS) if orders else []
        tickets = line.take(_LARGEST_GROUP)
        if not (errands or tickets):
            return
        now = self.sent_at = monotonic()
        group: list[Asked] = [order.asked(now) for order in errands]
        group += tickets
        self._in_flight = errands, tickets
        self._link.send(group, self._landed)

    def turn_away(self) -> list[Ticket]:
        """Take nobody until `is_open` is set again. Those who wait, in flight too, are to be decided elsewhere."""
        self.is_open = False
        self._orders.turn_away()
        return [] if self._line is None else self._line.clear()

    def set_patience(self, patience_s: float) -> None:
        """A wait that is under way may still last as long as before."""
        if self._line is not None:
            self._line.patience_s = patience_s

    async def drain(self) -> None:
        """Until nothing is in flight and no order can be sent, or the link gives up on it: a second or two."""
        loop = asyncio.get_running_loop()
        until = monotonic() + _DRAIN_S
        while self._in_flight is not None or (self.is_open and self._orders and self._link.is_open):
            self._idle = loop.create_future()
            await asyncio.wait([self._idle], timeout=until - monotonic())
            if monotonic() >= until:
                break
        self._idle = None

    def close(self) -> None:
        """No timer is left behind."""
        if self._line is not None:
            self._line.close()

    def _flush_soon(self) -> None:
        """At the end of this turn of the loop, so that all who come in it go together."""
        self._flush_is_due = True
        assert self._loop is not None
        self._loop.call_soon(self.flush)

    def _landed(self, answer: Answer) -> None:
        assert self._in_flight is not None
        assert self._line is not None
        errands, tickets = self._in_flight
        self._in_flight = None
        self._line.landed()
        if isinstance(answer, StoreLost):
            self._orders.lost(errands)
            self._failed([ticket for ticket in tickets if not ticket.future.done()], str(answer))
        else:
            self._answered(errands, tickets, answer)
        if not self._flush_is_due:
            self.flush()
        if self._idle is not None and self._in_flight is None and not self._idle.done():
            self._idle.set_result(None)
