"""What follows from an attempt that came to nothing: another one, at once or after a wait, or the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.retry import READS, delay_s, is_safe_again, retry_after_s

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response
    from proxy.routing.route import Route
    from proxy.upstreams.endpoint import Endpoint
    from proxy.upstreams.registry import Registry
    from proxy.upstreams.retry import RetryRules

_DEATHS: Final = frozenset({ErrorKind.REUSED_CONNECTION_CLOSED, ErrorKind.CONNECTION_RESET})
_MOST_DEATHS: Final = 2
_A_MOMENT_S: Final = 0.025


class Again:
    """The attempts of one exchange, from its first failure on. Attributes are for the attempt that comes next."""

    __slots__ = (
        "_deadline_at",
        "_deaths",
        "_exchange",
        "_registry",
        "_retries",
        "_route",
        "_use_replicas",
        "failed",
        "fresh",
        "has_waited",
    )

    def __init__(
        self, exchange: Exchange, registry: Registry[Any], route: Route, deadline_at: float, use_replicas: bool
    ) -> None:
        self.failed: Endpoint[Any] | None = None  # keep clear of it, where there is another
        self.fresh = False  # on a new connection
        self.has_waited = False  # while every endpoint refused: whoever answers now ends the wait of the others
        self._exchange = exchange
        self._registry = registry
        self._route = route
        self._deadline_at = deadline_at
        self._use_replicas = use_replicas
        self._retries = 0
        self._deaths = 0  # connections that ended under this request

    async def after_error(self, error: ProxyError) -> bool:
        """Wait until it is time for another attempt; False: `error` is the answer."""
        exchange, registry, upstream = self._exchange, self._registry, self._route.upstream
        kind, request = error.kind, exchange.request
        body = request.body
        if not is_safe_again(kind, request.method, body is None or body.may_replay, exchange.bytes_sent_up):
            return False
        endpoint = exchange.endpoint
        assert endpoint is not None
        if kind in _DEATHS:
            self._deaths += 1
            is_alone = not self._has_other(endpoint)
            was_slow = is_alone and exchange.upstream_s > upstream.retry.again_within_s
            if kind is ErrorKind.REUSED_CONNECTION_CLOSED and self._deaths == 1 and not was_slow:
                # No failure of the endpoint, so no retry, and none of the budget: a connection can only be reused
                # after an exchange that went well, so there are never more of these than of those.
                self.fresh, self.failed = True, None
                return True
            if self._deaths > _MOST_DEATHS:
                return False  # connections die under this request: it may be what kills them
            if (self._deaths == _MOST_DEATHS and is_alone) or (was_slow and upstream.retry.allow(kind, self._retries)):
                if not await self._refuses(endpoint):
                    return False
                kind = ErrorKind.CONNECT_REFUSED
        self.fresh, self.failed = False, endpoint
        if kind is ErrorKind.CONNECT_REFUSED and await self._is_back():
            self.has_waited, self.failed = True, None
            return True
        if not upstream.retry.allow(kind, self._retries) or not registry.spend_retry(upstream, monotonic()):
            return False
        wait_s = 0.0
        if exchange.bytes_sent_up or not self._has_other(endpoint):
            wait_s = delay_s(upstream.retry, self._retries, registry.rng())
        if monotonic() + wait_s >= self._deadline_at:
            return False
        await self._retry_in(wait_s)
        return True

    async def after_answer(self, endpoint: Endpoint[Any], response: Response) -> bool:
        """Wait until it is time to ask another endpoint than the one that gave `response`; False: it is the answer."""
        wait_s = self._other_in_s(endpoint, response)
        if wait_s is None:
            return False
        self.fresh, self.failed = False, endpoint
        content: Any = response.content
        if content is not None and type(content) is not bytes:
            content.cancel()
        await self._retry_in(wait_s)
        return True

    async def _retry_in(self, wait_s: float) -> None:
        self._retries += 1
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)

    def _has_other(self, endpoint: Endpoint[Any]) -> bool:
        return self._registry.has_other(self._route.upstream, self._use_replicas, endpoint)

    def _other_in_s(self, endpoint: Endpoint[Any], response: Response) -> float | None:
        """None: nobody else is asked. A Retry-After is heard: it is waited for, or the client is told."""
        exchange, registry, upstream = self._exchange, self._registry, self._route.upstream
        request = exchange.request
        rules: RetryRules = upstream.retry
        if (
            response.status not in rules.on_statuses
            or self._retries >= rules.attempts
            or request.method not in READS
            or request.upgrade
            or exchange.replicas_only
            or not (request.body is None or request.body.may_replay)
            or not self._has_other(endpoint)
        ):
            return None
        asked_s = retry_after_s(response.get(b"retry-after"))
        if asked_s is None or asked_s > rules.retry_after_s:
            return None
        wait_s = max(asked_s, delay_s(rules, self._retries, registry.rng()))
        now = monotonic()
        return wait_s if now + wait_s < self._deadline_at and registry.spend_retry(upstream, now) else None

    async def _refuses(self, endpoint: Endpoint[Any]) -> bool:
        """Whether the endpoint, which just ended a fresh connection, takes no others: then it is being restarted.

        A process that is killed may lose its connections before the socket that it listens on.
        """
        await asyncio.sleep(_A_MOMENT_S)
        try:
            lease = await endpoint.pool.lease(self._deadline_at, monotonic(), fresh=True)
        except ProxyError as error:
            endpoint.failed(error.kind, monotonic())
            return error.kind is ErrorKind.CONNECT_REFUSED
        lease.release(False)  # it has proved nothing: whoever found it idle would take it for one that works
        return False

    async def _is_back(self) -> bool:
        """Wait while every endpoint refuses connections. False: not for this request, or not in time.

        Not where a stored response stands in, or where a policy sent the request to replicas only.
        """
        exchange, registry, upstream = self._exchange, self._registry, self._route.upstream
        if exchange.has_stand_in or exchange.replicas_only:
            return False
        body = exchange.request.body
        held_bytes = 0 if body is None else body.held_bytes
        held = registry.wait_back(upstream, self._use_replicas, held_bytes, self._deadline_at)
        if held is None:
            return False
        began_at = monotonic()
        try:
            return await held.signal
        finally:
            exchange.queue_s += monotonic() - began_at
            registry.stop_waiting(upstream, held)
