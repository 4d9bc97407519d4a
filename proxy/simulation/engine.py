"""The line without its wire: route, identify, admit and settle, as the stages themselves do it, on a given clock.

A limit is tried out by the code that will enforce it. Nothing is sent, nothing waits, and the counts are in memory,
whatever store the configuration names.
"""

from __future__ import annotations

import json
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, Literal

from proxy.clients.addresses import connection_client, forwarded_client
from proxy.clients.client import Client, Finding
from proxy.clients.stage import identify
from proxy.exchange import Exchange
from proxy.http.heads import check_method, index_head, read_request
from proxy.http.message import Field, Request, Response, field
from proxy.limits.controls import Controls
from proxy.limits.held import Held
from proxy.limits.ladder import Step
from proxy.limits.limit import Limit
from proxy.limits.memory_store import MemoryStore
from proxy.limits.settlement import settle, take_costs
from proxy.limits.stage import UNDECIDED, Limiter, admit, admit_to_replica, refuse
from proxy.routing.stage import match_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limits.verdict import Verdict
    from proxy.snapshot import Snapshot

MAX_KEYS: Final = 5_000_000  # counted apart; a real Weir merges the least spent beyond `limiter.max_keys`

Stage = Literal["route", "admit", "identify", ""]


class Played:
    """A request that was played: its exchange, and the stage that answered it, if one did."""

    __slots__ = ("answer", "banned_s", "exchange", "first", "stage")

    def __init__(self, exchange: Exchange, stage: Stage, answer: Response | None, first: Verdict | None = None) -> None:
        self.exchange = exchange
        self.stage = stage  # "": it went on to the cache or the backend
        self.answer = answer
        self.first = first  # the verdict before anything of `on_limit` was tried
        self.banned_s = 0.0  # what is left of the ban that it met

    @property
    def refusers(self) -> tuple[str, ...]:
        """The names of the limits that refuse it. None of them for a kill switch, or when it was admitted."""
        if self.stage != "admit" or self.answer is None:
            return ()
        verdict = self.exchange.decision
        if verdict is not None:
            return tuple(policy.name for policy in verdict.violated)
        # a ban or a list was asked before any count: only the answer says which
        said = json.loads(self.answer.content) if isinstance(self.answer.content, bytes) else {}
        return tuple(said.get("violated-policies", ()))

    @property
    def retry_after_s(self) -> float:
        """How long it is told to wait; 0.0 when it is told nothing of the kind, infinite when it never may."""
        verdict = self.exchange.decision
        return self.banned_s if verdict is None or self.stage != "admit" else float(verdict.retry_after_s)


class Engine:
    """One Weir with limits and nothing behind it. Instants are seconds from its start, and must not go back."""

    __slots__ = ("_controls", "_due", "_held", "_now", "_number", "limiter", "snapshot", "start_wall", "store")

    def __init__(self, snapshot: Snapshot, start_wall: float) -> None:
        """`start_wall`: what the clock on the wall shows at 0."""
        self.snapshot = snapshot
        for limit in snapshot.limits:  # counters and penalty boxes belong to limits, and shall be those of nobody else
            limit.take_over(Limit(limit.name, limit.settings, limit.where))
        self.start_wall = start_wall
        self._now = 0.0
        self._number = 0
        # exchanges under way that something is owed for, by the instant of their end
        self._due: list[tuple[float, int, Exchange]] = []
        self.store = MemoryStore(
            max(MAX_KEYS, snapshot.limiter.max_keys), wall_of=lambda now: self.start_wall + now, clock=self._clock
        )
        self._controls = Controls(lambda: self.start_wall + self._now)
        self._held = Held(self._clock)
        self.limiter = Limiter(snapshot.limiter, self.store, self._controls, self._held, self._clock)

    def read(self, method: bytes, target: bytes, host: bytes, fields: Sequence[Field] = ()) -> Request:
        """The request that a connection would have read. Raises ProxyError for one that it would refuse."""
        check_method(method)
        lines = [line for line in fields if line[0] != b"host"] if host else list(fields)
        if host:
            lines.insert(0, field("Host", host))
        lines, index = index_head(lines, self.snapshot.wire.underscore_fields)
        return read_request(method, target, 1, lines, index, "http")

    def origin(self, peer: Client, request: Request) -> Client:
        """Whom the connection speaks for."""
        trusted = self.snapshot.trusted_proxies
        return forwarded_client(peer, request, trusted) if trusted.trusts(peer.address) else peer

    def play(self, request: Request, peer: Client, now: float, known: Client | None = None) -> Played:
        """Carry a request as far as the cache. `known`: who asks; None: what the request itself says of that."""
        self.advance(now)
        snapshot = self.snapshot
        self._number += 1
        is_trusted = snapshot.trusted_proxies.trusts(peer.address)
        exchange = Exchange(request, snapshot, None, peer, is_trusted, b"%032x" % self._number, now)
        answer = match_route(exchange)
        if answer is not None:
            return Played(exchange, "route", answer)
        challenge = first = None
        if known is not None:
            exchange.client = known
        else:
            challenge = identify(exchange)
        route = exchange.route
        assert route is not None
        if route.limits:
            refused = admit(exchange, self.limiter)
            assert refused is None or isinstance(refused, Response), "counts in memory are there at once"
            answer = refused
            first = exchange.decision
            if answer is UNDECIDED:
                answer = self._try_instead(exchange)
            if answer is not None:
                played = Played(exchange, "admit", answer, exchange.decision and first)
                if exchange.decision is None:
                    played.banned_s = self._rest_of_ban(exchange)
                return played
        return Played(exchange, "identify" if challenge is not None else "", challenge, first)

    def end(
        self, played: Played, at: float, status: int, bytes_sent: int = 0, fields: Sequence[Field] | None = None
    ) -> None:
        """Say how the backend answered what was admitted, and when the response had ended. Settled at that instant."""
        exchange = played.exchange
        if exchange.settles is None:
            return
        exchange.status = status
        exchange.bytes_sent = bytes_sent
        assert exchange.route is not None
        if fields and exchange.route.cost_fields:
            take_costs(exchange, Response(status, b"", list(fields)))
        if at <= self._now:
            settle(exchange, self.limiter)
        else:
            heappush(self._due, (at, self._number, exchange))

    def advance(self, now: float) -> None:
        """Let time pass: what ends by then is settled, bans end, and what is held is renewed."""
        due = self._due
        while due and due[0][0] <= now:
            at, _, exchange = heappop(due)
            self._pass(at)
            settle(exchange, self.limiter)
        self._pass(now)

    def _pass(self, now: float) -> None:
        self._now = max(self._now, now)
        if self._held.count:
            self._held.renew(self.store, self._now)
        end_wall = self._controls.next_end_wall()
        if end_wall is not None and end_wall <= self.start_wall + now:
            self._controls.expire(self.start_wall + now)

    def _try_instead(self, exchange: Exchange) -> Response | None:
        """What `on_limit` says. A turn that would have to be waited for comes; every replica is up; no cache has
        anything stored."""
        assert exchange.decision is not None
        if not exchange.decision.denied:
            return None
        if Step.REPLICA in exchange.ladder and _may_read_a_replica(exchange):
            attempt = admit_to_replica(exchange, self.limiter)
            try:
                attempt.send(None)  # with counts in memory it waits for nothing but a turn
            except StopIteration as done:
                if done.value:
                    return None
            else:
                attempt.close()
        return refuse(exchange, self.limiter)

    def _rest_of_ban(self, exchange: Exchange) -> float:
        """Of the ban that refused the request; 0.0 when it was a list."""
        assert exchange.route is not None
        for limit in exchange.route.limits:
            key = limit.key(exchange.client, exchange.request, exchange.route)
            ban = None if key is None else self._controls.ban_of(limit.name, key)
            if ban is not None:
                return ban.until_wall - self.start_wall - self._now
        return 0.0

    def _clock(self) -> float:
        return self._now


def _may_read_a_replica(exchange: Exchange) -> bool:
    route, request = exchange.route, exchange.request
    assert route is not None
    is_read = request.method in (b"GET", b"HEAD") and not request.upgrade
    return is_read and not route.read_primary and bool(route.upstream.replicas)


def named(
    base: Client, user: str | None, tenant: str | None = None, api_key: str | None = None, plan: str | None = None
) -> Client:
    """`base` as somebody whom a source of identity has verified."""
    return base.known_as(Finding("given", user, api_key=api_key), tenant, plan)


def at_address(address: str) -> Client:
    """The client of a connection from there. What is no address is taken for the name of one, as some logs have it."""
    client = connection_client((address, 0))
    if client.key_address == b"unix" and not address.startswith("unix") and address:
        text = address.encode("utf-8", "replace")[:255]
        return Client(address, text, text)
    return client
