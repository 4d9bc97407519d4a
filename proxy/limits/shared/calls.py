"""Calls of the store, each for everybody who waits: **group commit**.

What arrives while a large call is in flight goes out together in the next one, so the dearer a round trip is, the more
requests share it. Small calls do not wait for one another: where little is asked, nobody stands behind a round trip
that is not his own. There is no task here: the end of a turn of the loop sends a call, and each answer the next. Where
requests come one by one not even the end of the turn is waited for.
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

_LARGEST_GROUP: Final = 128  # keeps one call, which holds up the whole store, near a millisecond at the worst
_MOST_ORDERS: Final = 64  # of a group, besides
_MOST_CALLS: Final = 4  # in flight at once
_SMALL: Final = 4  # questions; behind a larger group the next one waits, and grows meanwhile
_APART_S: Final = 0.0005  # requests that come further apart than this will not share a call
_APART: Final = 3  # so many of them in a row, and the next one is sent at once
_DRAIN_S: Final = 1.5  # a link gives up on a call after a second

Answered = Callable[[list[Order], list[Ticket], list["int | None"]], None]
Failed = Callable[[list[Ticket], str], None]
"""The tickets are those that still wait; the store may have charged them."""


class _Call:
    """One on its way: what it carries, and who is told when it lands."""

    __slots__ = ("_landed", "orders", "sent_at", "tickets")

    def __init__(
        self, orders: list[Order], tickets: list[Ticket], sent_at: float, landed: Callable[[_Call, Answer], None]
    ) -> None:
        self.orders = orders
        self.tickets = tickets
        self.sent_at = sent_at
        self._landed = landed

    def land(self, answer: Answer) -> None:
        self._landed(self, answer)


class Calls:
    """Belongs to the running loop, from `start` on. Nothing is taken before `is_open` is set."""

    __slots__ = (
        "_answered",
        "_apart",
        "_asked_at",
        "_broken",
        "_failed",
        "_flush_is_due",
        "_idle",
        "_in_flight",
        "_line",
        "_link",
        "_loop",
        "_lost",
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
        self._in_flight: list[_Call] = []  # in the order in which they were sent
        self._lost: list[Ticket] = []  # of calls that a connection took with it, until the last of them is told
        self._flush_is_due = False
        self._asked_at = 0.0  # the last request
        self._apart = 0  # requests in a row that nobody else came with
        self._idle: asyncio.Future[None] | None = None  # set while somebody waits for the call in flight
        self.is_open = False  # requests may stand in line
        self.sent_at = 0.0  # when the call set out that is being answered

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
    ) -> Ticket:
        """Stand in line. Only while `is_open`."""
        assert self._line is not None
        ticket = self._line.add(policies, keys, now, member, parts)
        apart_s = now - self._asked_at
        self._asked_at = now
        if apart_s < _APART_S:
            self._apart = 0
        else:
            self._apart += 1
        if not self._flush_is_due and (not self._in_flight or self._has_room()):
            if self._apart > _APART:
                self.flush()
            else:
                self._flush_soon()
        return ticket

    def do(self, order: Order) -> None:
        """Go along with the next call, or be kept until there is one again."""
        if not self.is_open:
            self._orders.keep(order)
            return
        self._orders.add(order)
        if not self._flush_is_due and (not self._in_flight or self._has_room()):
            self._flush_soon()

    def add(self, order: Order) -> None:
        """What an outage owes the store, however much it is: it goes along with the next calls."""
        self._orders.add(order)

    def flush(self) -> None:
        """Send a group, unless it has to wait for those in flight: then an answer sends it."""
        self._flush_is_due = False
        line = self._line
        if not self.is_open or line is None or (self._in_flight and not self._has_room()):
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
        now = monotonic()
        group: list[Asked] = [order.asked(now) for order in errands]
        group += tickets
        call = _Call(errands, tickets, now, self._landed)
        self._in_flight.append(call)
        self._link.send(group, call.land)

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
        while self._in_flight or (self.is_open and self._orders and self._link.is_open):
            self._idle = loop.create_future()
            await asyncio.wait([self._idle], timeout=until - monotonic())
            if monotonic() >= until:
                break
        self._idle = None

    def close(self) -> None:
        """No timer is left behind."""
        if self._line is not None:
            self._line.close()

    def _has_room(self) -> bool:
        """One more call may go out beside those in flight: there are few of them, and the last one was small."""
        in_flight = self._in_flight
        last = in_flight[-1]
        return len(in_flight) < _MOST_CALLS and len(last.tickets) + len(last.orders) < _SMALL

    def _flush_soon(self) -> None:
        """At the end of this turn of the loop, so that all who come in it go together."""
        self._flush_is_due = True
        assert self._loop is not None
        self._loop.call_soon(self.flush)

    def _landed(self, call: _Call, answer: Answer) -> None:
        assert self._line is not None
        self._in_flight.remove(call)
        self._line.landed(call.tickets)
        self.sent_at = call.sent_at
        if isinstance(answer, StoreLost):
            self._orders.lost(call.orders)
            self._lost += [ticket for ticket in call.tickets if not ticket.done()]
            if self._link.is_open or not self._in_flight:  # else it is one loss, and the others are told next
                lost, self._lost = self._lost, []
                self._failed(lost, str(answer))
        else:
            self._answered(call.orders, call.tickets, answer)
        if not self._flush_is_due:
            self.flush()
        if self._idle is not None and not self._in_flight and not self._idle.done():
            self._idle.set_result(None)
