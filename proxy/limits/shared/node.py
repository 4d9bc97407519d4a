"""One master of a cluster, as seen from here."""

from __future__ import annotations

from proxy.store.dial import dial
from proxy.store.errors import StoreLost
from proxy.store.url import Endpoint
from proxy.store.wire import Wire


class Node:
    """A connection that comes and goes, and what is known of the server behind it."""

    __slots__ = ("endpoint", "is_late", "is_well", "trouble", "wire")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.wire: Wire | None = None
        self.is_late = False  # owes an answer for longer than the patience
        self.is_well = True  # its last answer was a decision
        self.trouble = ""

    @property
    def is_open(self) -> bool:
        return self.wire is not None and self.wire.is_open

    @property
    def is_usable(self) -> bool:
        """It decides, and in time, as far as is known."""
        return self.is_open and self.is_well and not self.is_late

    async def connect(self) -> None:
        """Never raises: why it did not succeed is in `trouble`."""
        try:
            self.wire = await dial(self.endpoint)
        except StoreLost as lost:
            self.trouble = str(lost)
        else:
            self.is_late = False
            self.is_well = True
            self.trouble = ""

    def close(self) -> None:
        if self.wire is not None:
            self.wire.close()


def address_in(redirection: str, asked: Endpoint) -> tuple[str, int]:
    """Of "slot host:port", as in MOVED and ASK. No host means: the one that was asked."""
    host, _, port = redirection.rpartition(" ")[2].rpartition(":")
    return host or asked.host, int(port) if port.isdigit() else 0


def why_not(node: Node | None) -> str:
    if node is None:
        return "no master for this hash slot"
    return f"{node.endpoint}: {node.trouble or 'not connected'}"
