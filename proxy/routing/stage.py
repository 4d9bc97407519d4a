"""route: which route a request belongs to, and what that route adds to the response in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.errors import ErrorKind
from proxy.http.message import Response, field
from proxy.http.problems import problem_response
from proxy.routing.cors import is_preflight, known_origin, preflight_response
from proxy.routing.decoration import Decoration
from proxy.routing.table import Match, Refusal

if TYPE_CHECKING:
    from proxy.exchange import Exchange


def match_route(exchange: Exchange) -> Response | None:
    """Set the route of the exchange, or answer: 404, 405, 421, 400 for an ambiguous path, 204 for a preflight.

    A preflight is answered here and at once: browsers send it without credentials, so neither identity nor a limit
    could make sense of it, and it never reaches the backend.
    """
    request = exchange.request
    routes = exchange.snapshot.routes
    if request.method == b"OPTIONS" and is_preflight(request):
        wanted = routes.match(request.host, request.index[b"access-control-request-method"], request.path)
        if isinstance(wanted, Match) and wanted.route.cors is not None:
            exchange.route = wanted.route
            return preflight_response(wanted.route.cors, request)
    if request.matched_by is routes:
        match: Match = request.matched
        exchange.route = match.route
        exchange.params = match.params
        return None
    found = routes.match(request.host, request.method, request.path)
    if isinstance(found, Refusal):
        return _refuse(exchange, found)
    request.matched, request.matched_by = found, routes
    exchange.route = found.route
    exchange.params = found.params
    return None


def decorate(exchange: Exchange, response: Response) -> Response:
    """Add what the route says to a response, whoever made it, and return it. Cheap for a head that comes again."""
    route = exchange.route
    if route is None or not (route.response_rules or route.cors is not None or route.security_headers):
        return response
    request = exchange.request
    origin = None if route.cors is None else known_origin(route.cors, request.index.get(b"origin"))
    decoration = route.decorations.get((request.scheme, origin))
    if decoration is None:  # at most two schemes, and as many origins as are configured
        decoration = route.decorations[request.scheme, origin] = Decoration(route, request.scheme, origin)
    if (block := response.block) is not None:
        response.block = decoration.on_block(block)
    else:
        response.fields = decoration.on_fields(response.fields)
    return response


def _refuse(exchange: Exchange, refusal: Refusal) -> Response:
    exchange.error = refusal.kind
    extra = (field("Allow", refusal.allow),) if refusal.kind is ErrorKind.METHOD_NOT_ALLOWED else ()
    return problem_response(refusal.kind, exchange.id, extra)
