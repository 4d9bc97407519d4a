"""Exchange: one request with its response, the record that travels down the line.

Each field names the one stage that writes it; every later stage may read it. Features meet here and in Snapshot and
nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.clients.client import Client
    from proxy.core.errors import ErrorKind
    from proxy.http.message import Field, Request
    from proxy.limits.verdict import Verdict
    from proxy.routing.route import Route
    from proxy.snapshot import Snapshot


class Exchange:
    """Mutable, one per request. What a stage has not written yet is read from the class: building one for every
    request costs only what differs."""

    # route
    route: Route | None = None
    params: dict[str, str] | None = None
    # admit
    decision: Verdict | None = None  # what the rate-limit fields say
    ladder: tuple[Any, ...] = ()  # limits.ladder.Step: what to try before the 429
    replicas_only: bool = False  # admitted by the budget that is for replicas alone
    settles: tuple[Any, Any, bytes] | None = None  # owed after the response: policies, keys, name of what is held
    charged_at: float = 0.0  # monotonic, after the charge; set where something may be given back
    costs: dict[bytes, int] | None = None  # what the backend says that the request cost, by field
    # look up, store
    cache_status: bytes = b""  # our member of Cache-Status (RFC 9211), without our name
    is_fresh: bool = False  # answered from a fresh response, and nothing else had to be looked at
    flight: Any = None  # the right and the duty to fill an entry
    conditions: tuple[Field, ...] | None = None  # sent upstream instead of the client's If-* and Range
    has_stand_in: bool = False  # what is stored may be served if nobody can be asked
    # replicas, before select
    need: Any = None  # replicas.session.Need: what an answer must show to this client
    readers: frozenset[Any] | None = None  # addresses of the replicas that may answer; None: any, empty: the primary
    as_of: Any = None  # (history, position): how new the answer is at least; before that, how new it must be
    # select, forward
    endpoint: Any = None  # upstreams.registry.Endpoint
    attempts: int = 0
    bytes_sent_up: int = 0  # of the request, in the last attempt
    queue_s: float = 0.0  # seconds spent waiting for a slot and a connection
    upstream_s: float = 0.0  # seconds from the first byte sent upstream to the response head
    # respond
    status: int = 0  # as sent; 499 when the client left before the head
    bytes_sent: int = 0  # content bytes
    bytes_received: int = 0  # content bytes
    error: ErrorKind | None = None  # why it is not the backend's own answer, if something failed

    def __init__(
        self,
        request: Request,
        snapshot: Snapshot,
        downstream: Any,
        peer: Client,
        peer_is_trusted: bool,
        identifier: bytes,
        now: float,
    ) -> None:
        # accept
        self.request = request
        self.snapshot = snapshot
        self.downstream = downstream  # wire.downstream.DownstreamConnection; None for a background refresh
        self.peer = peer  # the bare connection: an address only, shared by its exchanges
        self.peer_is_trusted = peer_is_trusted
        self.id = identifier  # ASCII bytes
        self.received_at = now  # monotonic: the head was complete
        # identify
        self.client = peer
