"""The endpoints of one upstream by role, and the choice of one.

Which endpoints of a role may be used is worked out when their health changes, not when an exchange asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

from proxy.upstreams.endpoint import Endpoint
from proxy.upstreams.gate import Gate
from proxy.upstreams.gate_status import gate_status
from proxy.upstreams.health import NEVER
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.retry import RetryBudget
from proxy.upstreams.selection import POLICIES

__all__ = ["Group", "Role"]


class Role(Generic[ConnectionT]):
    """Endpoints that may take the same exchanges. Also the state of the selection policy for them."""

    __slots__ = ("available", "endpoints", "turn")

    def __init__(self, endpoints: Sequence[Endpoint[ConnectionT]]) -> None:
        self.endpoints = tuple(endpoints)
        self.available: tuple[Endpoint[ConnectionT], ...] = ()
        self.turn = -1
        self.refresh()

    def refresh(self) -> None:
        self.available = tuple(endpoint for endpoint in self.endpoints if endpoint.healthy)


class Group(Generic[ConnectionT]):
    """One upstream, alive. `drop_at` is set when the configuration has no such upstream any more."""

    __slots__ = ("_pick", "budget", "drop_at", "endpoints", "gate", "primary", "replicas")

    def __init__(
        self,
        select: str,
        primary: Role[ConnectionT],
        replicas: Role[ConnectionT],
        budget: RetryBudget,
        gate: Gate[ConnectionT] | None = None,
    ) -> None:
        self._pick = POLICIES[select]
        self.primary = primary
        self.replicas = replicas
        self.endpoints = tuple(dict.fromkeys(primary.endpoints + replicas.endpoints))
        self.budget = budget
        self.drop_at = NEVER
        pool = self.endpoints[0].pool
        self.gate = gate if gate is not None else Gate(pool.numbers, pool.clock)  # kept over a reload
        for endpoint in self.endpoints:
            self.gate.attach(endpoint.pool)
        self.gate.resize(pool.numbers)
        self._lead()

    def refresh(self) -> None:
        """The health of an endpoint has changed."""
        self.primary.refresh()
        self.replicas.refresh()
        self._lead()

    def select(self, use_replicas: bool, exclude: Endpoint[ConnectionT] | None) -> Endpoint[ConnectionT]:
        """See Registry.select."""
        role = self.replicas
        if not use_replicas or not role.available:
            role = self.primary
        available = role.available
        if exclude is not None or not available:
            return self._select_otherwise(use_replicas, exclude)
        return available[0] if len(available) == 1 else self._pick(available, role)

    def select_replica(self, exclude: Endpoint[ConnectionT] | None) -> Endpoint[ConnectionT] | None:
        """See Registry.select_replica."""
        available = tuple(endpoint for endpoint in self.replicas.available if endpoint is not exclude)
        return self._pick(available, self.replicas) if available else None

    def _select_otherwise(self, use_replicas: bool, exclude: Endpoint[ConnectionT] | None) -> Endpoint[ConnectionT]:
        """Another endpoint than `exclude`; else `exclude` if it is not out; else the one that failed longest ago."""
        roles = (self.replicas, self.primary) if use_replicas else (self.primary,)
        for role in roles:
            others = tuple(endpoint for endpoint in role.available if endpoint is not exclude)
            if others:
                return self._pick(others, role)
        if exclude is not None and any(exclude in role.available for role in roles):
            return exclude
        endpoints = [endpoint for role in roles for endpoint in role.endpoints]
        return min(endpoints, key=lambda endpoint: endpoint.health.failed_at)

    def spend_retry(self, now: float) -> bool:
        return self.budget.spend(sum(endpoint.requests for endpoint in self.endpoints), now)

    def status(self, now: float) -> dict[str, Any]:
        return {
            "available": bool(self.primary.available),
            "healthy": all(endpoint.healthy for endpoint in self.endpoints),
            "pool": self.gate.stats_now(),
            "queue": gate_status(self.gate, now),
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
