"""Admit: every limit of the route is asked, and all are charged or none.

The ordinary way, in `admit` and `_tell`, is for clients whose limits are enforced and nothing else. Whatever is
special about a client or a limit is known from its terms, and takes the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

from proxy.core.clock import monotonic, wall
from proxy.core.errors import ErrorKind
from proxy.core.units import format_duration
from proxy.http.message import Response
from proxy.limits.denial import RATE_LIMITED, REASON, STATUS, Denied, blocked, document_head, killed, listed
from proxy.limits.fields import FieldRenderer
from proxy.limits.held import Held
from proxy.limits.ladder import Ladder, Step, common
from proxy.limits.policy import LimitPolicy
from proxy.limits.settings import LimiterSettings
from proxy.limits.settlement import give_back, owe, release
from proxy.limits.store import LimitStore
from proxy.limits.terms import NO_CONTROLS, InForce, Terms, replica_terms, settle_terms
from proxy.limits.turns import Turns
from proxy.limits.verdict import DENY, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proxy.exchange import Exchange

Known = tuple[Any, int, tuple[LimitPolicy, ...], Sequence[bytes], Terms | None]
"""(route, generation of the controls, policies, keys, terms if they are special): `limit_keys` of a client."""

_MOST_DOCUMENTS: Final = 4096  # there is one for each set of limits that were violated together
_MOST_SETS: Final = 4096  # of limits that are asked together

UNDECIDED: Final = Response(STATUS, REASON, [])
"""What `admit` says instead of a refusal when `exchange.ladder` has steps to try first."""


class Limiter:
    """A store, and how its verdicts are told. After a reload: a new Limiter over the same store, controls and held."""

    __slots__ = ("_documents", "_sets", "clock", "controls", "fields", "held", "silent_fields", "store", "turns")

    def __init__(
        self,
        settings: LimiterSettings,
        store: LimitStore,
        controls: InForce = NO_CONTROLS,
        held: Held | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.store = store
        self.controls = controls
        self.held = held or Held()
        self.clock = clock
        self.fields = FieldRenderer(settings)
        self.silent_fields = FieldRenderer(settings.model_copy(update={"fields": ()}))
        self.turns = Turns(settings.max_delayed)
        self._documents: dict[tuple[LimitPolicy, ...], bytes] = {}
        self._sets: dict[tuple[LimitPolicy, ...], tuple[LimitPolicy, ...]] = {}

    def same(self, policies: tuple[LimitPolicy, ...]) -> tuple[LimitPolicy, ...]:
        """The one tuple of these policies for all clients: what is remembered for it is found by identity."""
        found = self._sets.get(policies)
        if found is None:
            if len(self._sets) >= _MOST_SETS:
                self._sets.clear()
            found = self._sets[policies] = policies
        return found

    def document_head(self, violated: tuple[LimitPolicy, ...]) -> bytes:
        """The problem document up to the request's identifier, for limits that refused together."""
        head = self._documents.get(violated)
        if head is None:
            if len(self._documents) >= _MOST_DOCUMENTS:
                self._documents.clear()
            head = self._documents[violated] = document_head([policy.name for policy in violated])
        return head


def admit(exchange: Exchange, limiter: Limiter) -> Response | Coroutine[Any, Any, Response | None] | None:
    """None when the request may pass, else what it gets instead, or UNDECIDED: then `on_limit` has more to try.

    A coroutine when the store has to be waited for, `store_timeout` at most: await it for one of these. Never raises.
    """
    known = exchange.client.limit_keys
    if known is None or known[0] is not exchange.route or known[1] != limiter.controls.generation:
        known = _settle(exchange, limiter)
    verdict: Any
    if known[4] is not None:
        verdict = _ask(exchange, limiter, known[4])
        if verdict is None or type(verdict) is Response:
            return verdict
        if type(verdict) is not Verdict:
            return _wait(exchange, limiter, known[4], verdict)
        return _conclude(exchange, limiter, known[4], verdict)
    verdict = limiter.store.decide(known[2], known[3], exchange.received_at)
    if type(verdict) is not Verdict:
        return _wait(exchange, limiter, None, verdict)
    return _tell(exchange, limiter, verdict)


async def _wait(
    exchange: Exchange, limiter: Limiter, terms: Terms | None, decided: Awaitable[Verdict]
) -> Response | None:
    """`admit`, from the moment that the store is asked."""
    verdict = await decided
    if terms is not None:
        return _conclude(exchange, limiter, terms, verdict)
    return _tell(exchange, limiter, verdict)


def _tell(exchange: Exchange, limiter: Limiter, verdict: Verdict) -> Response | None:
    """The ordinary way, from the verdict on."""
    verdict.fields = limiter.fields
    exchange.decision = verdict
    if verdict.denied:
        return _deny(exchange, limiter, verdict)
    for policy in verdict.policies:
        policy.stats.allowed += 1
    policy = verdict.policy
    if verdict.remaining <= policy.near_at:
        policy.stats.near += 1
    return None


def refuse(exchange: Exchange, limiter: Limiter) -> Response:
    """The 429, once nothing else is left to try: counted, and held against the key where there is a penalty box."""
    verdict = exchange.decision
    assert verdict is not None
    for policy in verdict.violated:
        if policy.penalty is not None and (block_s := _punish(exchange, limiter, policy)) > 0.0:
            policy.stats.denied += 1
            _note_offender(exchange, verdict)
            return _block(exchange, policy, block_s)
    return _deny(exchange, limiter, verdict)


async def wait_for_turn(exchange: Exchange, limiter: Limiter) -> bool:
    """Wait as long as the verdict on an admitted request says. False when it must not wait: then it is denied.

    What it was charged is given back then, and when the client leaves meanwhile.
    """
    verdict = exchange.decision
    assert verdict is not None
    if verdict.denied:
        return False
    try:
        has_waited = await limiter.turns.wait(verdict.delay_s)
    except BaseException:
        give_back(exchange, limiter)
        raise
    delayed = tuple([policy for policy in verdict.policies if policy.delay_s])
    if not has_waited:
        give_back(exchange, limiter)
        verdict.denied, verdict.violated, verdict.retry_after_s = True, delayed, verdict.delay_s
        return False
    for policy in delayed:
        policy.stats.delayed += 1
    _count(verdict)
    return True


async def admit_to_replica(exchange: Exchange, limiter: Limiter) -> bool:
    """Ask again with the second budgets of the limits that refused, which are for replicas alone. May wait as `admit`.

    A request whose turn would come later is asked for too: a replica now is better than the primary in a while.
    """
    first = exchange.decision
    assert first is not None
    violated = first.violated or tuple([policy for policy in first.policies if policy.delay_s])
    found = replica_terms(first.policies, first.keys, violated)
    if found is None:
        return False
    policies, keys = found
    member = limiter.held.name() if any([policy.is_held for policy in policies]) else b""
    second: Any = limiter.store.decide(policies, keys, exchange.received_at, member)
    if type(second) is not Verdict:
        second = await second
    if second.denied:
        return False
    if not first.denied:
        give_back(exchange, limiter)
    second.fields = first.fields
    exchange.decision = second
    owe(exchange, limiter, second, member)
    if second.delay_s > 0.0:
        return await wait_for_turn(exchange, limiter)
    _count(second)
    divert(exchange, violated)
    exchange.replicas_only = True
    return True


def divert(exchange: Exchange, violated: Sequence[LimitPolicy] | None = None) -> None:
    """The request got something better than a 429 after all, from the cache or a replica."""
    verdict = exchange.decision
    assert verdict is not None
    for policy in violated or verdict.violated or verdict.policies:
        policy.stats.diverted += 1
    exchange.decision = verdict.diverted()
    exchange.error = None


def _settle(exchange: Exchange, limiter: Limiter) -> Known:
    """Settle the client's terms, and remember them unless a key reads what only this request has."""
    route: Any = exchange.route
    client: Any = exchange.client
    controls = limiter.controls
    terms = settle_terms(client, exchange.request, route, controls)
    terms.policies = limiter.same(terms.policies)
    special = None if terms.is_ordinary else terms
    known = route, controls.generation, terms.policies, terms.keys, special
    if not any([limit.reads_fields for limit in route.limits]):
        client.limit_keys = known  # the same for every request of this client on this route
    return known


def _ask(exchange: Exchange, limiter: Limiter, terms: Terms) -> Response | Verdict | Awaitable[Verdict] | None:
    """The special way, up to the store: a refusal that needs no counting, None for nothing to ask, or the verdict."""
    if terms.kill is not None:
        exchange.error = ErrorKind.SWITCHED_OFF
        return killed(exchange.id, terms.until_wall - wall())
    if terms.banned is not None:
        return _block(exchange, terms.banned.live, terms.until_wall - wall())
    if terms.listed is not None:
        terms.listed.stats.blocked += 1
        exchange.error = ErrorKind.FORBIDDEN
        return listed(exchange.id, terms.listed.name)
    if (missing := terms.keyless) is not None:
        # the rate's window stands in for a reset that has no time: no wait will bring the key
        return Verdict((missing,), (b"",), missing, b"", 0, missing.window_s, inf, (missing,), DENY)
    if not terms.policies:
        return None
    member = b""
    if terms.is_held:
        member = limiter.held.name()
        # already now: who leaves while the store decides must not hold anything afterwards
        exchange.settles = terms.policies, terms.keys, member
    return limiter.store.decide(terms.policies, terms.keys, exchange.received_at, member)


def _conclude(exchange: Exchange, limiter: Limiter, terms: Terms, verdict: Verdict) -> Response | None:
    """The special way, from the verdict on."""
    verdict.fields = limiter.silent_fields if terms.is_silent else limiter.fields
    exchange.decision = verdict
    for policy in verdict.would_deny:
        if policy.is_candidate:
            policy.stats.candidate_denied += 1
        else:
            policy.stats.would_deny += 1
    if verdict.denied:
        if exchange.settles is not None:
            release(exchange, limiter)  # nothing is held, unless a store that did not answer in time did it
        if terms.keyless is None:
            exchange.ladder = _without_delay(common([policy.ladder for policy in verdict.violated]))
        return UNDECIDED if exchange.ladder else refuse(exchange, limiter)
    if terms.is_settled:
        owe(exchange, limiter, verdict, exchange.settles[2] if exchange.settles is not None else b"")
    if verdict.delay_s > 0.0:
        exchange.charged_at = limiter.clock()
        exchange.ladder = common([policy.ladder for policy in verdict.policies if policy.delay_s])
        return UNDECIDED
    _count(verdict)
    return None


def _count(verdict: Verdict) -> None:
    for policy in verdict.policies:
        if not policy.is_candidate:
            policy.stats.allowed += 1
    policy = verdict.policy
    if policy.is_enforced and verdict.remaining <= policy.near_at:
        policy.stats.near += 1


def _punish(exchange: Exchange, limiter: Limiter, policy: LimitPolicy) -> float:
    """Count the denial against the key. The seconds that it is blocked for, or 0.0."""
    verdict = exchange.decision
    assert verdict is not None
    assert policy.penalty is not None
    if verdict.mode is DENY:  # it was not the key that spent too much
        return 0.0
    key = verdict.keys[verdict.policies.index(policy)]
    block_s = policy.box.denied(policy.penalty, key, exchange.received_at)
    if block_s > 0.0:
        reason = f"{policy.penalty.after} denials within {format_duration(policy.penalty.within_s)}"
        if not limiter.controls.ban(policy.name, key, block_s, reason):
            return 0.0
    return block_s


def _block(exchange: Exchange, policy: LimitPolicy, rest_s: float) -> Response:
    policy.stats.blocked += 1
    exchange.decision = None  # a quota means nothing to who is not let in
    exchange.error = ErrorKind.BLOCKED
    return blocked(exchange.id, policy.name, rest_s)


def _deny(exchange: Exchange, limiter: Limiter, verdict: Verdict) -> Response:
    violated = verdict.violated
    for policy in violated:
        policy.stats.denied += 1
    if verdict.mode is not DENY:  # as in _note_offender, without the call
        verdict.policy.stats.offenders.note(verdict.key, exchange.received_at)
    exchange.error = RATE_LIMITED
    return Denied((violated[0].denial if len(violated) == 1 else limiter.document_head(violated)) + exchange.id)


def _note_offender(exchange: Exchange, verdict: Verdict) -> None:
    """Only with the limit that refuses for longest: one look at one sketch, whatever else was violated."""
    if verdict.mode is not DENY:
        verdict.policy.stats.offenders.note(verdict.key, exchange.received_at)


def _without_delay(steps: Ladder) -> Ladder:
    """Waiting is the store's to offer: who was denied would have to wait for too long."""
    return tuple([step for step in steps if step is not Step.DELAY]) if Step.DELAY in steps else steps
