"""Courier: fetches for an exchange, and goes on when its client leaves.

What it fetches belongs to the entry, not to the client who happened to be first: the others wait on, and so it is
stored even when nobody waits any more. But who asks for one thing after the other and leaves at once shall not keep the
endpoints busy: of fetches that nobody waits for only so many go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from proxy.cache.arrival import receive
from proxy.cache.errand import Errand
from proxy.cache.flights import Failure, Flights
from proxy.core.errors import ProxyError, Side
from proxy.core.tasks import Signal, start_now

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response

MAX_ORPHANS: Final = 32  # half of what an endpoint serves at a time, as it is configured by default
Ask = Callable[["Exchange", Errand], Awaitable["Response"]]


async def carry(exchange: Exchange, errand: Errand, ask: Ask) -> Response:
    """The upstream's response, as `ask` brings it. When the caller is cancelled the errand is carried out all the same.

    The exchange may then be recorded already: it is written to until its errand is done, and no one reads it.
    """
    courier = _Courier(exchange, errand)
    run = start_now(courier.go(ask))
    try:
        return await courier.arrival
    except asyncio.CancelledError:
        exchange.flight = None  # it is not for the exchange any more to end it
        errand.cache.stats.misses += 1
        if not courier.goes_on() and run is not None:
            run.cancel()
        raise


class _Courier:
    __slots__ = ("_errand", "_exchange", "_orphanage", "arrival")

    def __init__(self, exchange: Exchange, errand: Errand) -> None:
        self._exchange = exchange
        self._errand = errand
        self.arrival: Signal[Response] = Signal()
        self._orphanage: Flights | None = None  # once the client left: where that is counted

    def goes_on(self) -> bool:
        """The client leaves. False: nobody waits, and enough that nobody waits for is under way."""
        flights, flight = self._errand.cache.flights, self._errand.flight
        if flights.orphans >= MAX_ORPHANS and (flight is None or not flight.is_awaited):
            return False
        flights.orphans += 1
        self._orphanage = flights
        return True

    async def go(self, ask: Ask) -> None:
        try:
            response = await ask(self._exchange, self._errand)
        except Exception as error:
            if self._orphanage is None:
                self.arrival.set_exception(error)
            else:
                self._orphanage.orphans -= 1
                self._fail(error)
            return
        except BaseException:
            self._errand.abandon()
            raise
        if self._orphanage is None:
            self.arrival.set_result(response)
        else:
            self._orphanage.orphans -= 1
            self._keep(response)

    def _keep(self, response: Response) -> None:
        content = receive(self._exchange, self._errand, response).content
        if content is not None and not isinstance(content, bytes):
            content.cancel()  # a Fill collects on; anything else is of no use to anybody

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, ProxyError):
            self._errand.abandon()
            raise error
        if error.kind.side is Side.UPSTREAM:
            self._errand.fail(Failure(error))
        else:
            self._errand.abandon()
