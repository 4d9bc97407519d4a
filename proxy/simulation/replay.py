"""A log against the limits: every entry becomes a request, and what becomes of it is counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

from proxy.clients.client import Client
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Request
from proxy.limits.settlement import actual_cost
from proxy.simulation.engine import Engine, Played, at_address, named
from proxy.simulation.tally import Tally

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.limits.policy import LimitPolicy
    from proxy.simulation.entry import Entry
    from proxy.snapshot import Snapshot

_REMEMBERED: Final = 65_536  # requests and clients; most come again
_MALFORMED: Final = ErrorKind.REQUEST_MALFORMED.status


class Replay:
    """One simulation. The clock of the engine is the log's."""

    __slots__ = (
        "_clients",
        "_host",
        "_requests",
        "engine",
        "has_fields",
        "has_hosts",
        "has_users",
        "tally",
    )

    def __init__(self, snapshot: Snapshot, host: str = "localhost") -> None:
        """`host`: what requests ask for where the log does not say."""
        self.engine = Engine(snapshot, 0.0)
        self.tally = Tally()
        self.has_hosts = False  # whether any entry had one
        self.has_users = False
        self.has_fields = False
        self._host = host.encode("ascii", "replace")
        self._requests: dict[tuple[bytes, bytes, bytes], Request | int] = {}
        self._clients: dict[tuple[str, str | None], tuple[Client, Client]] = {}

    def run(self, requests: Iterable[tuple[float, Entry]]) -> Tally:
        """Play all of them. `requests` must be in the order of their instants."""
        for at, entry in requests:
            self.add(at, entry)
        return self.tally

    def add(self, at: float, entry: Entry) -> None:
        tally, engine = self.tally, self.engine
        tally.saw(at)
        if not entry.method:
            tally.no_requests += 1
            return
        request = self._request(entry)
        if isinstance(request, int):
            tally.refused[request] = tally.refused.get(request, 0) + 1
            return
        peer, known = self._client(entry)
        if entry.fields:  # they may say more about who asks, or from where
            known = None if entry.user is None else named(engine.origin(peer, request), entry.user)
        if not engine.start_wall:
            engine.start_wall = at  # small instants are exact to the nanosecond; those since 1970 are not
        now = at - engine.start_wall
        played = engine.play(request, peer, now, known)
        if played.stage == "route" and played.answer is not None:
            status = played.answer.status
            tally.refused[status] = tally.refused.get(status, 0) + 1
            return
        self._count(at, entry, played)
        if played.exchange.settles is not None:
            engine.end(played, now + (entry.took_s or 0.0), entry.status, entry.bytes_sent)

    def _count(self, at: float, entry: Entry, played: Played) -> None:
        exchange = played.exchange
        route, client, verdict = exchange.route, exchange.client, played.first
        assert route is not None
        who = (client.address, client.user)
        is_denied = played.stage == "admit"
        asked: Iterable[tuple[LimitPolicy, bytes, int | None]]
        violated: tuple[LimitPolicy, ...]
        if verdict is not None:
            violated = verdict.violated + verdict.would_deny if verdict.would_deny else verdict.violated
            asked = [
                (policy, key, final_cost(policy, entry) if policy.is_settled else None)
                for policy, key in zip(verdict.policies, verdict.keys, strict=True)
            ]
        else:  # no limit was asked; if it is denied, somebody is banned or on a list
            names = played.refusers
            blocking = [limit for limit in route.limits if limit.name in names]
            violated = tuple([limit.live for limit in blocking])
            asked = [(limit.live, limit.key(client, exchange.request, route) or b"", None) for limit in blocking]
        self.tally.add(at, entry, route.name, who, asked, violated, is_denied=is_denied)

    def _request(self, entry: Entry) -> Request | int:
        """The request, or the status with which the wire would refuse it."""
        if entry.host:
            self.has_hosts = True
        host = entry.host or self._host
        if entry.fields:
            self.has_fields = True
            return self._read(entry, host)
        what = (entry.method, entry.target, host)
        request = self._requests.get(what)
        if request is None:
            if len(self._requests) >= _REMEMBERED:
                self._requests.clear()
            request = self._requests[what] = self._read(entry, host)
        return request

    def _read(self, entry: Entry, host: bytes) -> Request | int:
        target = entry.target
        if not target.isascii() or b" " in target or not target.decode("ascii").isprintable():
            return _MALFORMED
        try:
            return self.engine.read(entry.method, target, host, entry.fields)
        except ProxyError as error:
            return error.kind.status

    def _client(self, entry: Entry) -> tuple[Client, Client | None]:
        """(the connection, who asks as far as the log says)."""
        who = (entry.address, entry.user)
        known = self._clients.get(who)
        if known is None:
            if len(self._clients) >= _REMEMBERED:
                self._clients.clear()
            peer = at_address(entry.address)
            self.has_users = self.has_users or entry.user is not None
            known = self._clients[who] = peer, named(peer, entry.user) if entry.user is not None else peer
        return known


def final_cost(policy: LimitPolicy, entry: Entry) -> int:
    """What the request is charged once it is over, whether it was admitted this time or not."""
    return actual_cost(policy, cast("Exchange", entry))  # it asks for status, bytes_sent and costs alone
