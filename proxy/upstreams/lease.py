"""A connection to an endpoint, and the right to use it for one exchange."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Connection", "ConnectionT", "LateLease", "Lease", "Lender"]


class Connection(Protocol):
    """What a pool needs to know about a connection. The wire has the rest.

    `on_closed` is set by the pool. The connection calls it with itself as soon as it dies while no exchange uses it;
    an idle connection that receives any byte or an end of file dies (W1). Calling it at other times is harmless.
    """

    opened_at: float
    retires_at: float  # set by the pool: not used again from then on
    on_closed: Callable[[Any], None] | None

    @property
    def is_clean(self) -> bool:
        """Alive, between two exchanges, and nothing unread: it may carry the next exchange."""

    def close(self) -> None:
        """Close at once. Called once by the pool; must be harmless on a dead connection."""


ConnectionT = TypeVar("ConnectionT", bound=Connection)
_LentT = TypeVar("_LentT", bound=Connection, contravariant=True)


class Lender(Protocol[_LentT]):
    """Who gets the connection back."""

    endpoint: Any  # upstreams.endpoint.Endpoint, whose connections it lends

    def take_back(self, connection: _LentT, clean: bool) -> None:
        """Called once for every lease."""


class Lease(Generic[ConnectionT]):
    """The use of `connection` until `release`. Whoever took the lease releases it, on every way out.

    As an async context manager it is released as not clean unless that was done before.
    """

    __slots__ = ("_lender", "connection", "reused")

    queue_s: float = 0.0  # seconds spent waiting for a slot, the time to connect left out

    def __init__(self, lender: Lender[ConnectionT], connection: ConnectionT, reused: bool) -> None:
        self._lender: Lender[ConnectionT] | None = lender
        self.connection = connection
        self.reused = reused  # it has carried an exchange or waited before: it may be dead without knowing

    @property
    def endpoint(self) -> Any:
        """Whose connection it is: of several that would do, the one that was free first. None once it is released."""
        return None if self._lender is None else self._lender.endpoint

    def release(self, clean: bool) -> None:
        """Give the connection back. `clean` says that request and response are complete on it and that both sides
        keep it open; anything else closes it (a reply cut short would be read as the next one's beginning).
        Only the first call counts. Never waits.
        """
        lender = self._lender
        if lender is not None:
            self._lender = None
            lender.take_back(self.connection, clean)

    async def __aenter__(self) -> Lease[ConnectionT]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release(False)


class LateLease(Lease[ConnectionT]):
    """A lease that was waited for. Apart, because most are not, and a field that is not written costs nothing."""

    __slots__ = ("queue_s",)

    def __init__(self, lender: Lender[ConnectionT], connection: ConnectionT, reused: bool, queue_s: float) -> None:
        super().__init__(lender, connection, reused)
        self.queue_s = queue_s
