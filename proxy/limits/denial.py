"""The 429 and what is like it: everything about it that is known before the request is.

The types of the documents and `violated-policies` are those of draft-ietf-httpapi-ratelimit-headers-11 §5.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from typing import Final

from proxy.core.errors import ErrorKind
from proxy.http.message import Field, Response, field
from proxy.http.problems import REASONS, problem_response

RATE_LIMITED: Final = ErrorKind.RATE_LIMITED  # looked up once: an Enum takes its time
STATUS: Final = RATE_LIMITED.status
REASON: Final = REASONS[STATUS]
# RFC 6585 §4: a 429 must not be stored by a cache
BLOCK: Final = b"HTTP/1.1 %d %b\r\n" % (STATUS, REASON) + (
    b"Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"
)
"""The status line and the field lines that every denial has. Each ends in CRLF; the blank line is not there."""

DOCUMENT_END: Final = b'"}'
KILL_SWITCH: Final = "kill-switch"
"""The policy that a kill switch is told as: which one it is, is nobody's business outside."""

_TYPES: Final = "https://iana.org/assignments/http-problem-types#"


class Denied(Response):
    """The 429 of a limit."""

    status = STATUS
    reason = REASON
    block: bytes | None = BLOCK
    content_length: int | None = None

    def __init__(self, document: bytes) -> None:
        """`document`: all but DOCUMENT_END."""
        self.error = RATE_LIMITED
        self.fields = []
        self.content = document + DOCUMENT_END


def document_head(violated: Sequence[str]) -> bytes:
    """The problem document (RFC 9457) up to the request's identifier; `DOCUMENT_END` goes behind that."""
    document = {
        "type": _TYPES + "quota-exceeded",
        "title": RATE_LIMITED.title,
        "status": STATUS,
        "reason": RATE_LIMITED.value,
        "violated-policies": list(violated),
        "instance": "urn:uuid:",
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii").removesuffix(DOCUMENT_END)


def killed(identifier: bytes, rest_s: float) -> Response:
    """The 503 of a kill switch that ends in `rest_s`."""
    return _refusal(ErrorKind.SWITCHED_OFF, "temporary-reduced-capacity", KILL_SWITCH, identifier, rest_s)


def blocked(identifier: bytes, limit: str, rest_s: float) -> Response:
    """The 429 of a ban, by an operator or by the penalty box, that ends in `rest_s`."""
    return _refusal(ErrorKind.BLOCKED, "abnormal-usage-detected", limit, identifier, rest_s)


def listed(identifier: bytes, limit: str) -> Response:
    """The 403 of a deny list. Waiting will not help, so it names no time."""
    return problem_response(ErrorKind.FORBIDDEN, identifier, (), **{"violated-policies": [limit]})


def _refusal(kind: ErrorKind, word: str, policy: str, identifier: bytes, rest_s: float) -> Response:
    fields: tuple[Field, ...] = (field("Retry-After", b"%d" % max(ceil(rest_s), 1)),)
    return problem_response(kind, identifier, fields, type=_TYPES + word, **{"violated-policies": [policy]})
