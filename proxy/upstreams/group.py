"""The endpoints of one upstream by role, and the choice of one.

Which endpoints of a role may be used is worked out when something about them changes, not when an exchange asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import Address
from proxy.upstreams.ejection import State
from proxy.upstreams.endpoint import Endpoint
from proxy.upstreams.gate import Gate
from proxy.upstreams.gate_status import gate_status
from proxy.upstreams.health import NEVER
from proxy.upstreams.hedging import Hedging
from proxy.upstreams.hold import Held, Hold
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.retry import RetryBudget
from proxy.upstreams.selection import POLICIES
from proxy.upstreams.upstream import Upstream

__all__ = ["Group", "Role"]

_SHORTEST_RETRY_AFTER_S: Final = 1.0


class Role(Generic[ConnectionT]):
    """Endpoints that may take the same exchanges. Also the state of the selection policy for them."""

    __slots__ = ("available", "endpoints", "is_special", "trials", "turn")

    def __init__(self, endpoints: Sequence[Endpoint[ConnectionT]], panic: float) -> None:
        self.endpoints = tuple(endpoints)
        self.available: tuple[Endpoint[ConnectionT], ...] = ()
        self.trials: tuple[Endpoint[ConnectionT], ...] = ()  # ejected, and the next exchange is to try them
        self.is_special = False  # there is a trial to make, or somebody starts slowly
        self.turn = -1
        self.refresh(panic)

    def refresh(self, panic: float) -> None:
        """Work out `available`: those that are in. When too few of those that can be reached at all are in, the
        verdicts are worth less than the places: all of them. Checks that find nobody well are not believed either.
        """
        reachable = tuple(endpoint for endpoint in self.endpoints if not endpoint.health.is_refusing)
        available = tuple(endpoint for endpoint in reachable if endpoint.healthy)
        if not available:
            available = tuple(endpoint for endpoint in reachable if endpoint.ejection.is_in)
        elif len(available) < panic * len(reachable):
            available = reachable
        self.available = available
        self.trials = tuple(
            endpoint for endpoint in reachable if endpoint.ejection.state is State.TRIAL and endpoint.health.healthy
        )
        self.is_special = bool(self.trials) or any(endpoint.share < 1.0 for endpoint in available)


class Group(Generic[ConnectionT]):
    """One upstream, alive. `drop_at` is set when the configuration has no such upstream any more."""

    __slots__ = (
        "_clock",
        "_pick",
        "_rng",
        "budget",
        "drop_at",
        "endpoints",
        "gate",
        "hedging",
        "hold",
        "primary",
        "replicas",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        primary: Sequence[Endpoint[ConnectionT]],
        replicas: Sequence[Endpoint[ConnectionT]],
        budget: RetryBudget,
        hold: Hold,
        clock: Callable[[], float],
        rng: Callable[[], float],
        gate: Gate[ConnectionT] | None = None,
    ) -> None:
        self.upstream = upstream
        self._pick = POLICIES[upstream.select]
        self._clock = clock
        self._rng = rng
        self.primary = Role(primary, self._panic)
        self.replicas = Role(replicas, self._panic)
        self.endpoints = tuple(dict.fromkeys(self.primary.endpoints + self.replicas.endpoints))
        self.budget = budget
        self.hold = hold
        self.hedging: Hedging | None = None  # the registry keeps it over a reload
        self.drop_at = NEVER
        pool = self.endpoints[0].pool
        self.gate = gate if gate is not None else Gate(pool.numbers, pool.clock)  # kept over a reload
        for endpoint in self.endpoints:
            self.gate.attach(endpoint.pool)
        self.gate.resize(pool.numbers)
        for endpoint in self.endpoints:
            endpoint.adaptive = self.gate.adaptive
        self._find_last()
        self._lead()

    def refresh(self) -> None:
        """Something about an endpoint has changed."""
        self.primary.refresh(self._panic)
        self.replicas.refresh(self._panic)
        self._find_last()
        self._lead()

    # -- selection --

    def select(self, use_replicas: bool, exclude: Endpoint[ConnectionT] | None, is_safe: bool) -> Endpoint[ConnectionT]:
        """See Registry.select."""
        role = self.replicas
        if not use_replicas or not (role.available or role.trials):
            role = self.primary
        available = role.available
        if exclude is not None or not available or role.is_special:
            return self._select_otherwise(role, use_replicas, exclude, is_safe)
        return available[0] if len(available) == 1 else self._pick(available, role)

    def select_replica(
        self, exclude: Endpoint[ConnectionT] | None, readers: frozenset[Address] | None = None
    ) -> Endpoint[ConnectionT] | None:
        """See Registry.select_replica."""
        available = tuple(endpoint for endpoint in self.replicas.available if endpoint is not exclude)
        if readers is not None:
            available = tuple(endpoint for endpoint in available if endpoint.address in readers)
        return self._pick(available, self.replicas) if available else None

    def has_other(self, use_replicas: bool, endpoint: Endpoint[ConnectionT]) -> bool:
        """An attempt at another endpoint than this one can be made."""
        roles = (self.replicas, self.primary) if use_replicas else (self.primary,)
        return any(other is not endpoint for role in roles for other in role.available)

    def _select_otherwise(
        self, role: Role[ConnectionT], use_replicas: bool, exclude: Endpoint[ConnectionT] | None, is_safe: bool
    ) -> Endpoint[ConnectionT]:
        """A trial if one is due; else another endpoint than `exclude`; else `exclude` if it is not out; else, when all
        refuse, the one that failed longest ago. Raises ProxyError when the breaker is open."""
        if exclude is None:
            for endpoint in role.trials:
                if is_safe or endpoint.ejection.all_may_try:
                    endpoint.begin_trial(self._clock())
                    return endpoint
        roles = (self.replicas, self.primary) if use_replicas else (self.primary,)
        for other_role in roles:
            others = tuple(endpoint for endpoint in other_role.available if endpoint is not exclude)
            if others:
                return self._pick_warm(others, other_role)
        if exclude is not None and any(exclude in other_role.available for other_role in roles):
            return exclude
        endpoints = [endpoint for other_role in roles for endpoint in other_role.endpoints]
        ejected = [endpoint for endpoint in endpoints if not endpoint.ejection.is_in]
        if ejected:
            wait_s = min(endpoint.ejection.until_at for endpoint in ejected) - self._clock()
            raise ProxyError(
                ErrorKind.NO_ENDPOINT,
                f"{self.upstream.name}: no endpoint is of use; {ejected[0].address.label}: {ejected[0].last_error}",
                retry_after_s=max(wait_s, _SHORTEST_RETRY_AFTER_S),
            )
        return min(endpoints, key=lambda endpoint: endpoint.health.failed_at)

    def _pick_warm(
        self, candidates: tuple[Endpoint[ConnectionT], ...], role: Role[ConnectionT]
    ) -> Endpoint[ConnectionT]:
        """One that starts slowly takes its share of the turns that it gets, and leaves the others to the rest."""
        picked = self._pick(candidates, role)
        if picked.share >= 1.0 or self._rng() < picked.share:
            return picked
        rest = tuple(endpoint for endpoint in candidates if endpoint.share >= 1.0)
        return self._pick(rest, role) if rest else picked

    def _find_last(self) -> None:
        """Who of the primary is the only one left: it is ejected on stronger evidence, for nobody stands in."""
        left = [endpoint for endpoint in self.primary.endpoints if endpoint.healthy]
        for endpoint in self.endpoints:
            endpoint.is_last = endpoint in self.primary.endpoints and (not left or left == [endpoint])

    @property
    def name(self) -> str:
        return self.upstream.name

    @property
    def _panic(self) -> float:
        return self.upstream.eject.panic if self.upstream.eject is not None else 0.0

    # -- retries, and requests that wait for somebody to be back --

    def spend_retry(self, now: float) -> bool:
        attempts = sum(endpoint.requests for endpoint in self.endpoints)
        return self.budget.spend(attempts, now, self.upstream.retry)

    def wait_back(self, use_replicas: bool, content_bytes: int, deadline_at: float) -> Held | None:
        """See Registry.wait_back."""
        rules = self.upstream.hold
        if rules.on_refused_s <= 0.0 or self.primary.available or (use_replicas and self.replicas.available):
            return None
        refusing = [endpoint for endpoint in self.endpoints if endpoint.health.is_refusing]
        if not refusing:
            return None
        until_at = min(max(endpoint.health.out_since for endpoint in refusing) + rules.on_refused_s, deadline_at)
        now = self._clock()
        if until_at <= now:
            return None
        for endpoint in refusing:
            endpoint.health.hurry(now)
        return self.hold.enter(content_bytes, until_at, rules)

    def release_held(self) -> None:
        """Let those go on who wait, while a pool has room: what is let go takes its slot before this looks again."""
        hold = self.hold
        while len(hold) and any(e.pool.has_room for role in (self.primary, self.replicas) for e in role.available):
            hold.release_one()

    def tick(self, now: float) -> None:
        """Move those who wait, and what is learned. Called with every tick of the registry."""
        if self.hedging is not None:
            self.hedging.tick(now)
        if len(self.hold):
            self.release_held()
            self.hold.expire(now)
            for endpoint in self.endpoints:
                if len(self.hold):
                    endpoint.health.hurry(now)

    def status(self, now: float) -> dict[str, Any]:
        return {
            "available": any(endpoint.healthy for endpoint in self.primary.endpoints),
            "healthy": all(endpoint.healthy for endpoint in self.endpoints),
            "pool": self.gate.stats_now(),
            "queue": gate_status(self.gate, now),
            "held": len(self.hold),
            "endpoints": [{"roles": self._roles_of(endpoint), **endpoint.status(now)} for endpoint in self.endpoints],
        }

    def _lead(self) -> None:
        """Tell the gate which endpoints those who wait may have; where all are out, any of them."""
        primaries = self.primary.available or self.primary.endpoints
        replicas = self.replicas.available or self.replicas.endpoints
        reads = self.replicas.available or primaries  # reads go to the primary when no replica is up
        self.gate.lead_to([[endpoint.pool for endpoint in role] for role in (primaries, reads, replicas)])

    def _roles_of(self, endpoint: Endpoint[ConnectionT]) -> list[str]:
        roles = (("primary", self.primary), ("replica", self.replicas))
        return [name for name, role in roles if endpoint in role.endpoints]
