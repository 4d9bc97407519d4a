r"""The common and the combined log format, as Apache and nginx write them by default.

    203.0.113.7 - alice [10/Oct/2026:13:55:36 +0000] "GET /api HTTP/1.1" 200 2326 "https://a.example/" "Mozilla/5.0"

What follows the size is not looked at, so logs with fields of their own at the end are read too. `vhost_combined`, in
which `host:port` comes first, is recognised line by line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from proxy.clients.ip_text import canonical_address
from proxy.simulation.entry import Entry, split_request
from proxy.simulation.escapes import unescape
from proxy.simulation.instants import common_time

_LINE: Final = re.compile(
    rb"(\S+) (\S+) ([^\[]*?) ?\[([^\]]{20,30})\] "  # client, identity, user, time
    rb'"([^"\\]*(?:\\.[^"\\]*)*)" (\d{3}|-) (\d{1,18}|-)(?: |$)',  # request, status, bytes
    re.DOTALL,
)


def read_combined(line: bytes) -> Entry | str:
    """One line. A user with a `[` in the name is not read: no server escapes it."""
    match = _LINE.match(line)
    if match is None:
        return "not in the combined log format"
    client, identity, user, when, request, status, size = match.groups()
    at_wall = common_time(when)
    if at_wall is None:
        return "its time cannot be read"
    host = b""
    if not _is_address(client) and _is_address(identity):  # vhost_combined: everything is one place further right
        host, client, user = client, identity, user.partition(b" ")[2]
    method, target = split_request(unescape(request))
    return Entry(
        at_wall,
        client.decode("latin-1"),
        method,
        target,
        int(status) if status != b"-" else 0,
        int(size) if size != b"-" else 0,
        host,
        None if user in (b"-", b"", b'""') else unescape(user).decode("utf-8", "replace"),
    )


@lru_cache(maxsize=16384)
def _is_address(text: bytes) -> bool:
    return canonical_address(text.decode("latin-1")) is not None
