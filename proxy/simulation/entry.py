"""Entry: what one line of an access log says of a request, whatever the log's format."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.http.message import Field


class Entry:
    """One request as a log tells it. Plain slots: there are millions."""

    __slots__ = (
        "address",
        "at_wall",
        "bytes_sent",
        "costs",
        "fields",
        "host",
        "method",
        "status",
        "target",
        "took_s",
        "user",
        "weight",
    )

    def __init__(
        self,
        at_wall: float,
        address: str,
        method: bytes,
        target: bytes,
        status: int,
        bytes_sent: int = 0,
        host: bytes = b"",
        user: str | None = None,
        took_s: float | None = None,
        fields: tuple[Field, ...] = (),
        weight: float = 1.0,
    ) -> None:
        self.at_wall = at_wall  # when the request came, as far as the log tells
        self.address = address  # of the client, or of the connection: as written
        self.method = method  # empty: the line is about no request, such as a handshake that failed
        self.target = target
        self.status = status  # 0 when the log has none
        self.bytes_sent = bytes_sent  # content bytes of the response
        self.host = host
        self.user = user
        self.took_s = took_s  # until the response had ended; None when the log has no duration
        self.fields = fields  # request fields that the log has
        self.costs = None  # by response field: no log has them
        self.weight = weight  # how many requests the line stands for: more than 1 in a sampled log

    @property
    def is_good(self) -> bool:
        """Whether the request succeeded: 2xx or 3xx."""
        return 200 <= self.status < 400

    def __repr__(self) -> str:
        return f"<Entry {self.at_wall:.3f} {self.address} {self.method!r} {self.target!r} {self.status}>"


ReadLine = Callable[[bytes], "Entry | str"]
"""A line without its end becomes an entry; or the reason why it does not, a few words."""


def split_request(request: bytes) -> tuple[bytes, bytes]:
    """(method, target) of a request line, `GET / HTTP/1.1`; both empty when it is none.

    A log may hold whatever came down a connection: handshakes of TLS, blanks, half a line.
    """
    parts = request.split(b" ")
    if len(parts) == 3 and parts[2][:5] == b"HTTP/" and parts[0] and parts[1]:
        return parts[0], parts[1]
    return b"", b""
