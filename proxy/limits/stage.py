"""Admit: every limit of the route is asked, and all are charged or none."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

from proxy.core.errors import ErrorKind
from proxy.http.message import Response
from proxy.limits.denial import BLOCK, DOCUMENT_END, REASON, STATUS, document_head
from proxy.limits.fields import FieldRenderer
from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import LimiterSettings
from proxy.limits.store import LimitStore
from proxy.limits.verdict import DENY, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proxy.exchange import Exchange

_RATE_LIMITED: Final = ErrorKind.RATE_LIMITED
_MOST_DOCUMENTS: Final = 4096  # there is one for each set of limits that were violated together


class Limiter:
    """A store, and how its verdicts are told. After a reload: a new Limiter over the same store."""

    __slots__ = ("_documents", "fields", "is_immediate", "store")

    def __init__(self, settings: LimiterSettings, store: LimitStore) -> None:
        self.store = store
        self.fields = FieldRenderer(settings)
        self.is_immediate = store.is_immediate  # then `admit_now` will do
        self._documents: dict[tuple[LimitPolicy, ...], bytes] = {}

    def document_head(self, violated: tuple[LimitPolicy, ...]) -> bytes:
        """The problem document up to the request's identifier, for limits that refused together."""
        head = self._documents.get(violated)
        if head is None:
            if len(self._documents) >= _MOST_DOCUMENTS:
                self._documents.clear()
            head = self._documents[violated] = document_head([policy.name for policy in violated])
        return head


async def admit(exchange: Exchange, limiter: Limiter) -> Response | None:
    """None when the request may pass, else the 429. May wait for the store, `store_timeout` at most. Never raises."""
    verdict = _ask(exchange, limiter)
    if verdict is None:
        return None
    if not isinstance(verdict, Verdict):
        verdict = await verdict
    return _conclude(exchange, limiter, verdict)


def admit_now(exchange: Exchange, limiter: Limiter) -> Response | None:
    """`admit` without waiting, for a limiter that `is_immediate`."""
    verdict = _ask(exchange, limiter)
    if verdict is None:
        return None
    assert isinstance(verdict, Verdict)
    return _conclude(exchange, limiter, verdict)


def _ask(exchange: Exchange, limiter: Limiter) -> Verdict | Awaitable[Verdict] | None:
    """The verdict on the limits that the request has the keys for. None: there is no limit to ask."""
    route = exchange.route
    assert route is not None
    client = exchange.client
    known = client.limit_keys
    if known is not None and known[0] is route:
        return limiter.store.decide(known[1], known[2], 1, exchange.received_at)
    policies: Any = route.limits  # a tuple: it also finds the fields' template
    request = exchange.request
    keys: Any = [policy.key(client, request, route) for policy in policies]
    if None in keys:
        missing = _first_denying(policies, keys)
        if missing is not None:
            # the rate's window stands in for a reset that has no time: no wait will bring the key
            return Verdict((missing,), missing, b"", 0, missing.window_s, inf, (missing,), DENY)
        policies = tuple([policy for policy, key in zip(policies, keys, strict=True) if key is not None])
        keys = [key for key in keys if key is not None]
    if not policies:
        return None
    if not any([policy.reads_fields for policy in route.limits]):
        client.limit_keys = route, policies, keys  # the same for every request of this client on this route
    return limiter.store.decide(policies, keys, 1, exchange.received_at)


def _first_denying(policies: Sequence[LimitPolicy], keys: Sequence[bytes | None]) -> LimitPolicy | None:
    for policy, key in zip(policies, keys, strict=True):
        if key is None and policy.missing == "deny":
            return policy
    return None


def _conclude(exchange: Exchange, limiter: Limiter, verdict: Verdict) -> Response | None:
    """Count the verdict and leave it on the exchange; the stage that responds renders its lines."""
    verdict.fields = limiter.fields
    exchange.decision = verdict
    if not verdict.denied:
        for policy in verdict.policies:
            policy.stats.allowed += 1
        return None
    violated = verdict.violated
    for policy in violated:
        policy.stats.denied += 1
    head = violated[0].denial if len(violated) == 1 else limiter.document_head(violated)
    response = Response(STATUS, REASON, [], head + exchange.id + DOCUMENT_END)
    response.block = BLOCK
    response.error = exchange.error = _RATE_LIMITED
    return response
