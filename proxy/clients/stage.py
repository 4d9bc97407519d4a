"""identify: who asks. Sets `exchange.client`; never waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.clients.addresses import forwarded_client
from proxy.core.clock import wall
from proxy.core.errors import ErrorKind
from proxy.http.message import Field, Response, field
from proxy.http.problems import problem_response

if TYPE_CHECKING:
    from proxy.clients.identity import Identity
    from proxy.exchange import Exchange

# RFC 6750 §3.1: without credentials no error code; with bad ones `invalid_token`. Only an expired one is told so: its
# owner can act on it, and a forger learns nothing.
_NO_TOKEN: Final[tuple[Field, ...]] = (field("WWW-Authenticate", b"Bearer"),)
_BAD_TOKEN: Final[tuple[Field, ...]] = (field("WWW-Authenticate", b'Bearer error="invalid_token"'),)
_EXPIRED: Final[tuple[Field, ...]] = (
    field("WWW-Authenticate", b'Bearer error="invalid_token", error_description="The token has expired"'),
)


def identify(exchange: Exchange) -> Response | None:
    """Know the client, or answer 401 when the route requires a user and there is none.

    Wrong credentials mean "no user" where none is required: whether that is an error is the backend's to say.
    """
    snapshot = exchange.snapshot
    client = exchange.peer
    is_trusted = exchange.peer_is_trusted
    if is_trusted:
        exchange.client = client = forwarded_client(client, exchange.request, snapshot.trusted_proxies)
    identity: Identity = snapshot.identity
    if identity.is_active:
        exchange.client = client = identity.client_of(client, exchange.request, is_trusted, wall())
    route = exchange.route
    if route is not None and route.requires_user and client.user is None:
        exchange.error = ErrorKind.UNAUTHENTICATED
        challenge = _NO_TOKEN if client.error is None else _EXPIRED if client.fault == "expired" else _BAD_TOKEN
        return problem_response(ErrorKind.UNAUTHENTICATED, exchange.id, challenge)
    return None
