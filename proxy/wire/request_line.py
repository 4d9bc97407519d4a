"""Where a request line stands in the bytes that were read, and that nothing but one empty line stands before it.

llhttp forgives empty lines before a request line, more than one space in it, and the names of other protocols, and does
not say so. Two readers could take such a message in two ways, so it is looked for in the bytes themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.errors import ErrorKind, ProxyError

if TYPE_CHECKING:
    from proxy.http.message import Request

HEAD_END = b"\r\n\r\n"
_NOTHING = (b"", b"\r\n")  # RFC 9112 §2.2: one empty line is forgiven
_BETWEEN = b"\r\n\r\n\r\n"  # the end of a head or of chunked content, and one empty line


def find_line(read: bytes, read_at: int, method: bytes, target: bytes, before: Request | None, left: int | None) -> int:
    """The position of the line in `read`; negative when its first letters came in the read before.

    `read_at` is behind the request line found last, 0 when the read began with this message, -1 when content of
    another message comes first: `left` bytes of it, None when it is chunked. `before` is the request before this one
    on the connection. Raises ProxyError.
    """
    start = max(read_at, 0)
    line = b"%b %b HTTP/1." % (method, target)
    at = read.find(line, start)
    if read_at == 0:
        if at < 0:
            for cut in range(1, len(method) + 1):
                if read.startswith(line[cut:]):
                    return -cut
        is_plain = at == 0 or (at == 2 and read[0] == 13)
    elif read_at < 0 and left is not None:
        is_plain = read[left:at] in _NOTHING
    else:
        is_plain = at >= 0 and _follows(read, start, at, before)
    if not is_plain:
        raise ProxyError(ErrorKind.REQUEST_MALFORMED, "malformed request line")
    return at


def _follows(read: bytes, start: int, at: int, before: Request | None) -> bool:
    """Whether the line at `at` comes right behind the message before it, or behind one empty line."""
    length = None if before is None else before.content_length
    if length:  # content of a given length may end in anything, also in line ends
        return read[read.find(HEAD_END, start) + 4 + length : at] in _NOTHING
    rest = read[start:at]
    line_ends = rest[len(rest.rstrip(b"\r\n")) :]
    return before is None or _BETWEEN.endswith(line_ends)
