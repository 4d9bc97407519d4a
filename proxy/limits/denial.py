"""The 429: everything about it that is known before the request is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from proxy.core.errors import ErrorKind
from proxy.http.problems import REASONS

STATUS: Final = ErrorKind.RATE_LIMITED.status
REASON: Final = REASONS[STATUS]
# RFC 6585 §4: a 429 must not be stored by a cache
BLOCK: Final = b"HTTP/1.1 %d %b\r\n" % (STATUS, REASON) + (
    b"Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"
)
"""The status line and the field lines that every denial has. Each ends in CRLF; the blank line is not there."""

DOCUMENT_END: Final = b'"}'


def document_head(violated: Sequence[str]) -> bytes:
    """The problem document (RFC 9457) up to the request's identifier; `DOCUMENT_END` goes behind that.

    The type and `violated-policies` are those of draft-ietf-httpapi-ratelimit-headers-11 §5.
    """
    document = {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": ErrorKind.RATE_LIMITED.title,
        "status": STATUS,
        "reason": ErrorKind.RATE_LIMITED.value,
        "violated-policies": list(violated),
        "instance": "urn:uuid:",
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii").removesuffix(DOCUMENT_END)
