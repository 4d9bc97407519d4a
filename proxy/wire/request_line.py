"""Where a request line stands in the bytes that were read, and that nothing but one empty line stands before it.

llhttp forgives empty lines before a request line, more than one space in it, and the names of other protocols, and does
not say so. Two readers could take such a message in two ways, so it is looked for in the bytes themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.core.errors import ErrorKind, ProxyError

if TYPE_CHECKING:
    from proxy.http.message import Request

HEAD_END: Final = b"\r\n\r\n"
_BETWEEN: Final = b"\r\n\r\n\r\n"  # the end of a head or of chunked content, and one empty line


def find_line(read: bytes, read_at: int, method: bytes, target: bytes, before: Request | None, left: int | None) -> int:
    """The position of the line in `read`; negative when its first letters came in the read before.

    `read_at` is behind the request line found last, 0 when the read began with this message, -1 when content of
    another message comes first: `left` bytes of it, None when it is chunked. `before` is the request before this one
    on the connection. Raises ProxyError.
    """
    line = b"%b %b HTTP/1." % (method, target)
    if read_at == 0:
        if (at := _right_at(read, 0, line)) >= 0:
            return at
        for cut in range(1, len(method) + 1):
            if read.startswith(line[cut:]):
                return -cut
    elif read_at < 0 and left is not None:
        at = _right_at(read, left, line)
    elif read_at > 0 and before is not None and b"transfer-encoding" not in before.index:
        at = _right_at(read, read.find(HEAD_END, read_at) + 4 + (before.content_length or 0), line)
    else:
        at = _behind_chunks(read, max(read_at, 0), line)
    if at < 0:
        raise ProxyError(ErrorKind.REQUEST_MALFORMED, "malformed request line")
    return at


def _right_at(read: bytes, end: int, line: bytes) -> int:
    """Where the line is when it stands at `end` or behind one empty line (RFC 9112 §2.2), else -1."""
    if read.startswith(line, end):
        return end
    return end + 2 if read.startswith(b"\r\n", end) and read.startswith(line, end + 2) else -1


def _behind_chunks(read: bytes, start: int, line: bytes) -> int:
    """Where the line stands behind chunked content, whose end only the parser knows; content may look like it."""
    at = read.find(line, start)
    while at >= 0:
        rest = read[start:at]
        if _BETWEEN.endswith(rest[len(rest.rstrip(b"\r\n")) :]):
            return at
        at = read.find(line, at + 1)
    return -1
