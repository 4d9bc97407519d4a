"""Problem documents (RFC 9457): how Weir says that something went wrong.

They carry the reason's word, the request id and what a rule adds. They never repeat what the client sent, never name
an internal address, and never carry a stack.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxy.core.errors import ErrorKind
from proxy.http.message import Field, Response, field

_encode = msgspec.json.encode
_CONTENT_TYPE: Final[Field] = field("Content-Type", b"application/problem+json")
_NO_STORE: Final[Field] = field("Cache-Control", b"no-store")

REASONS: Final[dict[int, bytes]] = {
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


def problem_response(
    kind: ErrorKind, identifier: bytes, extra_fields: list[Field] | tuple[Field, ...] = (), **members: Any
) -> Response:
    """A complete response of ours for `kind`. `members` are added to the document and must be safe to show."""
    status = kind.status
    document = {
        "type": "about:blank",
        "title": kind.title,
        "status": status,
        "reason": kind.value,
        "instance": "urn:uuid:" + identifier.decode("ascii", "replace"),
        **members,
    }
    # RFC 9111 §4.2.2: a 404 or 414 without a lifetime could be stored by a cache; an error of ours must not be
    fields = [_CONTENT_TYPE, _NO_STORE, *extra_fields]
    response = Response(status, REASONS[status], fields, _encode(document))
    response.error = kind
    return response
