"""Terms: what limits mean for one client on one route, settled once and remembered on the client.

The order: a kill switch stops everything; then for each limit the deny list, the allow list, the key, and what the
operator decided about that key. Only then numbers are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from proxy.limits.key import Caller
from proxy.limits.subjects import Subject

if TYPE_CHECKING:
    from proxy.http.message import Request
    from proxy.limits.limit import Limit, Numbers
    from proxy.limits.policy import LimitPolicy


class Ending(Protocol):
    """A kill switch or a ban (limits.controls)."""

    @property
    def until_wall(self) -> float: ...


class Party(Caller, Subject, Protocol):
    """The client, as far as limits look at it (clients.client.Client)."""

    @property
    def plan(self) -> str | None: ...


class Ruled(Protocol):
    """The route, as far as limits look at it."""

    @property
    def name(self) -> str: ...
    @property
    def limits(self) -> Sequence[Limit]: ...
    @property
    def announces_limits(self) -> bool: ...


class InForce(Protocol):
    """What operators have decided (limits.controls.Controls). `generation` changes with every change of it."""

    @property
    def generation(self) -> int: ...
    @property
    def is_empty(self) -> bool: ...

    def kill_for(self, route_name: str, client: Party, /) -> Ending | None: ...
    def ban_of(self, limit_name: str, key: bytes, /) -> Ending | None: ...
    def is_allowed(self, limit_name: str, key: bytes, /) -> bool: ...
    def override_of(self, limit_name: str, key: bytes, /) -> Numbers | None: ...
    def ban(self, limit_name: str, key: bytes, for_s: float, reason: str, /) -> bool: ...


class NoControls:
    """Nothing is in force, and nothing can be: the penalty box blocks nobody."""

    generation = 0
    is_empty = True

    def kill_for(self, route_name: str, client: Party, /) -> None:
        return None

    def ban_of(self, limit_name: str, key: bytes, /) -> None:
        return None

    def is_allowed(self, limit_name: str, key: bytes, /) -> bool:
        return False

    def override_of(self, limit_name: str, key: bytes, /) -> None:
        return None

    def ban(self, limit_name: str, key: bytes, for_s: float, reason: str, /) -> bool:
        return False


NO_CONTROLS: Final = NoControls()


class Terms:
    """Plain slots. At most one of `kill`, `banned`, `listed` and `keyless` is set: then the request is refused."""

    __slots__ = (
        "banned",
        "is_held",
        "is_settled",
        "is_silent",
        "keyless",
        "keys",
        "kill",
        "listed",
        "policies",
        "until_wall",
    )

    def __init__(self) -> None:
        self.policies: tuple[LimitPolicy, ...] = ()  # to be asked; a tuple, by which templates are found
        self.keys: list[bytes] = []
        self.kill: Ending | None = None
        self.banned: Limit | None = None
        self.listed: Limit | None = None  # the client is on its deny list
        self.keyless: LimitPolicy | None = None  # `missing: deny`, and the request has no key
        self.until_wall = 0.0  # of the kill switch or ban
        self.is_silent = False  # the route says nothing about its limits
        self.is_held = False
        self.is_settled = False  # something is owed after the response

    @property
    def is_ordinary(self) -> bool:
        """Ask the store, and admit or deny: there is nothing else to it."""
        return (
            bool(self.policies)
            and not self.is_silent
            and not any((self.kill, self.banned, self.listed, self.keyless))
            and all([policy.is_ordinary for policy in self.policies])
        )


def settle_terms(client: Party, request: Request, route: Ruled, controls: InForce) -> Terms:
    """What holds for the client on the route. The same for all its requests there if no key reads a field."""
    terms = Terms()
    terms.is_silent = not route.announces_limits
    if (kill := controls.kill_for(route.name, client)) is not None:
        terms.kill = kill
        terms.until_wall = kill.until_wall
        return terms
    policies: list[LimitPolicy] = []
    for limit in route.limits:
        if limit.mode == "off":
            continue
        if limit.deny and limit.deny.find(client) is not None and limit.mode == "enforce":
            terms.listed = limit
            return terms
        if limit.allow and limit.allow.find(client) is not None:
            continue
        key = limit.key(client, request, route)
        if key is None:
            if limit.live.missing == "deny" and limit.mode == "enforce":
                terms.keyless = terms.keyless or limit.live
            continue
        if controls.is_allowed(limit.name, key):
            continue
        if (ban := controls.ban_of(limit.name, key)) is not None and limit.mode == "enforce":
            terms.banned = limit
            terms.until_wall = ban.until_wall
            return terms
        for policy in limit.policies(key, client.plan, controls.override_of(limit.name, key)):
            policies.append(policy)
            # a candidate counts under keys of its own: the same parts behind another prefix
            is_own = policy.prefix == limit.prefix
            terms.keys.append(key if is_own else policy.prefix + key[len(limit.prefix) :])
    if terms.keyless is None:
        terms.policies = tuple(policies)
        terms.is_held = any([policy.is_held and not policy.is_candidate for policy in policies])
        terms.is_settled = terms.is_held or any([policy.is_settled for policy in policies])
    return terms


def replica_terms(
    policies: Sequence[LimitPolicy], keys: Sequence[bytes], violated: Sequence[LimitPolicy]
) -> tuple[tuple[LimitPolicy, ...], list[bytes]] | None:
    """The same limits with the second budget of those that refused. None when one of them has none."""
    asked: list[LimitPolicy] = []
    its_keys: list[bytes] = []
    for policy, key in zip(policies, keys, strict=True):
        if policy in violated:
            beside = policy.beside
            if beside is None:
                return None
            asked.append(beside)
            its_keys.append(beside.prefix + key[len(policy.prefix) :])
        else:
            asked.append(policy)
            its_keys.append(key)
    return tuple(asked), its_keys
