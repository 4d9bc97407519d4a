"""accept: a request that a connection has read becomes an exchange on the line."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from proxy.core.clock import monotonic
from proxy.core.ids import RequestIds
from proxy.exchange import Exchange
from proxy.pipeline import serve

if TYPE_CHECKING:
    from proxy.http.message import Request
    from proxy.services import Services
    from proxy.wire.downstream import DownstreamConnection

_IDENTIFIER: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def accept(services: Services, connection: DownstreamConnection, request: Request) -> Coroutine[Any, Any, None]:
    """The line for this request, to be driven by the caller."""
    is_trusted = connection.peer_is_trusted
    exchange = Exchange(
        request,
        services.snapshot,
        connection,
        connection.peer,
        is_trusted,
        _identifier(request, services.ids) if is_trusted else services.ids.next(),
        monotonic(),
    )
    return serve(exchange, services)


def _identifier(request: Request, ids: RequestIds) -> bytes:
    """The request id of a trusted peer when it is well formed, else a new one."""
    given = request.index.get(b"x-request-id")
    if given is not None and 8 <= len(given) <= 128 and _IDENTIFIER.issuperset(given):
        return given
    return ids.next()
