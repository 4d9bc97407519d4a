"""Everything that watches, in one place: what `stage.record` and the composition root hold on to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.core.errors import ErrorKind, ProxyError, Side
from proxy.observe.access_log import AccessLog
from proxy.observe.audit import Audit
from proxy.observe.events import Event, Events
from proxy.observe.loop_lag import LoopLag
from proxy.observe.malformed import MalformedRequests
from proxy.observe.metrics import StatsRegistry

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.observe.settings import AccessLogSettings


class Observe:
    """One per worker. Survives every reload; `apply` follows the new configuration."""

    __slots__ = ("access_log", "audit", "events", "loop_lag", "malformed", "routes", "unmatched")

    def __init__(self) -> None:
        self.events = Events()
        self.audit = Audit(self.events)
        self.routes = StatsRegistry()
        self.unmatched = self.routes.unmatched
        self.malformed = MalformedRequests(self.events)
        self.access_log = AccessLog(self._access_log_failed)
        self.loop_lag = LoopLag()

    def start(self, settings: AccessLogSettings, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError when the access log cannot be opened."""
        self.access_log.apply(settings)
        self.loop_lag.start(loop)

    def apply(self, settings: AccessLogSettings, route_names: set[str]) -> None:
        """Follow a reload. Raises OSError when the access log cannot be opened; then nothing changes."""
        self.access_log.apply(settings)
        self.routes.retain(route_names)

    def failed(self, exchange: Exchange, error: ProxyError) -> None:
        """An exchange could not go on. What an upstream or Weir did is an event, with the detail no client sees."""
        side = error.kind.side
        if side is Side.UPSTREAM or side is Side.INTERNAL:
            self.events.say(
                Event.EXCHANGE_FAILED,
                error.kind.title,
                reason=error.kind.value,
                detail=error.detail,
                route=exchange.route.name if exchange.route is not None else None,
                request_id=exchange.id.decode("ascii", "backslashreplace"),
            )

    def crashed(self, exchange: Exchange, bug: BaseException) -> ProxyError:
        """A defect of ours stopped an exchange: its traceback is logged, and the client gets what this returns."""
        exchange.error = ErrorKind.INTERNAL
        self.events.say(
            Event.EXCHANGE_CRASHED,
            "A defect stopped a request; please report it.",
            bug=bug,
            route=exchange.route.name if exchange.route is not None else None,
            request_id=exchange.id.decode("ascii", "backslashreplace"),
        )
        return ProxyError(ErrorKind.INTERNAL, type(bug).__name__)

    def reopen(self) -> None:
        """SIGUSR1: open the access log anew. A failure is an event; lines go on to the old file."""
        try:
            self.access_log.reopen()
        except OSError as error:
            self._access_log_failed(error.strerror or str(error))

    def stop(self, timeout_s: float = 1.0) -> None:
        """Write what is queued. Waits at most `timeout_s`, so call it when the last exchange is over."""
        self.loop_lag.stop()
        lost = self.access_log.stop(timeout_s)
        if lost:
            self.events.say(Event.ACCESS_LOG_FAILED, "Lines of the access log could not be written.", lines=lost)

    def _access_log_failed(self, why: str) -> None:
        self.events.say(
            Event.ACCESS_LOG_FAILED, "The access log cannot be written; lines are dropped and counted.", error=why
        )
