"""Cross-origin requests (Fetch standard §3.2, "CORS protocol"): the answer to a preflight, and what responses carry.

The browser enforces; the fields only say what is allowed. For an origin that is not allowed they are left out, which is
how the protocol says no. Everything that does not depend on the request is built once for each allowed origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from proxy.http.message import Field, Request, Response, field
from proxy.routing.route import Cors

if TYPE_CHECKING:
    from proxy.routing.settings import CorsSettings

_USUAL_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_VARY_ORIGIN: Final = field("Vary", b"Origin")
# A cache between us must not give one preflight's answer to another.
_VARY_PREFLIGHT: Final = field("Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
_NAME_LIST: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~, "
_LONGEST_REFLECTED: Final = 1024  # bytes of Access-Control-Request-Headers
# With a CORS rule the backend's own word on these is replaced: two values would allow nothing.
REPLACED: Final = frozenset(
    {b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers"}
)


def compile_cors(settings: CorsSettings | None, route_methods: Iterable[bytes] = ()) -> Cors | None:
    """`route_methods` are those of the route, which count when the settings name none."""
    if settings is None:
        return None
    own = sorted({method.decode("ascii") for method in route_methods})
    any_origin = "*" in settings.origins
    origins = frozenset(origin.encode("ascii") for origin in settings.origins if origin != "*")
    cors = Cors(
        origins=origins,
        any_origin=any_origin,
        methods=", ".join(settings.methods or own or _USUAL_METHODS).encode("ascii"),
        headers=", ".join(settings.headers).encode("ascii"),
        expose=", ".join(settings.expose).encode("ascii"),
        credentials=settings.credentials,
        max_age_s=int(settings.max_age),
    )
    for origin in origins or (b"*",):
        cors.on_responses[origin] = _on_responses(cors, origin)
        cors.on_preflights[origin] = _on_preflights(cors, origin)
    return cors


def is_preflight(request: Request) -> bool:
    """A CORS-preflight request is known by its method and these two fields (Fetch §4.8)."""
    index = request.index
    return request.method == b"OPTIONS" and b"origin" in index and b"access-control-request-method" in index


def preflight_response(cors: Cors, request: Request) -> Response:
    """The whole answer to a preflight: 204, and what an allowed origin may do."""
    fields = [_VARY_PREFLIGHT]
    allowed = cors.on_preflights.get(b"*" if cors.any_origin else request.index[b"origin"])
    if allowed is not None:
        fields += allowed
        wanted = request.index.get(b"access-control-request-headers", b"")
        if wanted and not cors.headers and len(wanted) <= _LONGEST_REFLECTED and not wanted.translate(None, _NAME_LIST):
            fields.append(field("Access-Control-Allow-Headers", wanted))
    return Response(204, b"No Content", fields)


def apply_cors(fields: list[Field], cors: Cors, origin: bytes | None) -> list[Field]:
    """The fields of a response, with what the origin of its request may do with it."""
    kept = [line for line in fields if line[0] not in REPLACED]
    if cors.any_origin:
        return [*kept, *cors.on_responses[b"*"]]
    if origin is not None and (allowed := cors.on_responses.get(origin)) is not None:
        kept += allowed
    # also without an Origin: caches must not give this response to a request that has one (Fetch §3.2.5)
    if not any(line[0] == b"vary" and _names_origin(line[2]) for line in kept):
        kept.append(_VARY_ORIGIN)
    return kept


def known_origin(cors: Cors, origin: bytes | None) -> bytes | None:
    """`origin` when it makes a difference, else None."""
    return origin if origin in cors.origins else None


def _names_origin(vary: bytes) -> bool:
    return any(name.strip(b" \t") in (b"origin", b"*") for name in vary.lower().split(b","))


def _on_responses(cors: Cors, origin: bytes) -> tuple[Field, ...]:
    fields = [field("Access-Control-Allow-Origin", origin)]
    if cors.credentials:
        fields.append(field("Access-Control-Allow-Credentials", b"true"))
    if cors.expose:
        fields.append(field("Access-Control-Expose-Headers", cors.expose))
    return tuple(fields)


def _on_preflights(cors: Cors, origin: bytes) -> tuple[Field, ...]:
    fields = [
        field("Access-Control-Allow-Origin", origin),
        field("Access-Control-Allow-Methods", cors.methods),
        field("Access-Control-Max-Age", b"%d" % cors.max_age_s),
    ]
    if cors.credentials:
        fields.append(field("Access-Control-Allow-Credentials", b"true"))
    if cors.headers:
        fields.append(field("Access-Control-Allow-Headers", cors.headers))
    return tuple(fields)
