"""What a client's connection needs from whoever accepted it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.core.errors import ProxyError
    from proxy.http.message import Request
    from proxy.wire.downstream import DownstreamConnection
    from proxy.wire.limits import WireLimits
    from proxy.wire.timers import Timers


class Host:
    """One per worker; `limits` is swapped on a reload."""

    __slots__ = ("accepted", "connections", "is_draining", "limits", "refuse", "serve", "timers", "welcome")

    def __init__(
        self,
        *,
        limits: WireLimits,
        timers: Timers,
        serve: Callable[[DownstreamConnection, Request], Coroutine[Any, Any, None]],
        refuse: Callable[[DownstreamConnection, ProxyError], bytes],
        welcome: Callable[[DownstreamConnection], None],
    ) -> None:
        self.limits = limits
        self.timers = timers
        self.serve = serve  # carries one exchange; calls connection.end(now) when it is over
        self.refuse = refuse  # the whole answer to something that never became an exchange; also records it
        self.welcome = welcome  # sets `peer` and `peer_is_trusted`
        self.connections: set[DownstreamConnection] = set()
        self.accepted = 0
        self.is_draining = False
