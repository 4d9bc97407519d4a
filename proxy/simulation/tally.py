"""What came of the requests: by limit, by key, by route and by client. Counting only; nothing is decided here."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from zlib import crc32

from proxy.simulation.timeline import Timeline

if TYPE_CHECKING:
    from proxy.limits.policy import LimitPolicy
    from proxy.simulation.entry import Entry

MAX_ARRIVALS: Final = 4_000_000  # instants kept for one limit, 32 MB; beyond it every second key is let go
REQUESTS: Final = "requests"
DENIED: Final = "denied"


class Spell:
    """Denials of one key or client in a row: nothing of it was admitted in between."""

    __slots__ = ("_from", "_last", "longest_at", "longest_s")

    def __init__(self) -> None:
        self.longest_s = 0.0  # from the first denial to the last
        self.longest_at = 0.0
        self._from = -1.0

    def denied(self, at: float) -> None:
        if self._from < 0.0:
            self._from = at
        if at - self._from >= self.longest_s:
            self.longest_s = at - self._from
            self.longest_at = self._from

    def admitted(self) -> None:
        self._from = -1.0


class KeyTally:
    """One key of one limit."""

    __slots__ = ("arrivals", "denied", "good_denied", "requests", "spell", "units")

    def __init__(self) -> None:
        self.requests = 0
        self.denied = 0
        self.good_denied = 0  # of them, those that had succeeded
        self.spell: Spell | None = None  # once it was denied
        self.arrivals: array[float] | None = array("d")  # None: let go, for want of memory
        self.units: array[int] | None = None  # what each request was charged in the end, if that varies


class LimitTally:
    """One limit."""

    __slots__ = ("_kept", "_share", "asked", "candidate_denied", "denied", "good_denied", "keys", "would_deny")

    def __init__(self) -> None:
        self.asked = 0
        self.denied = 0  # by the limit where it is enforced, and what it would have denied where it is not
        self.would_deny = 0  # of them, where it is not enforced
        self.good_denied = 0
        self.candidate_denied = 0  # by its candidate in the configuration
        self.keys: dict[bytes, KeyTally] = {}
        self._kept = 0  # instants
        self._share = 1  # one of so many keys keeps its instants

    @property
    def sample_of_keys(self) -> int:
        """1 when the instants of all keys are there; else only one key of so many has them."""
        return self._share

    def add(self, key: bytes, at: float, units: int | None, *, is_denied: bool, is_good: bool) -> None:
        """A request. `units`: what it is charged once its outcome is known; None: the same as any other."""
        self.asked += 1
        tally = self.keys.get(key)
        if tally is None:
            tally = self.keys[key] = KeyTally()
            if self._share > 1 and crc32(key) % self._share:
                tally.arrivals = None
        tally.requests += 1
        if tally.arrivals is not None:
            tally.arrivals.append(at)
            if units is not None:
                if tally.units is None:
                    tally.units = array("q")
                tally.units.append(units)
            self._kept += 1
            if self._kept > MAX_ARRIVALS:
                self._let_go()
        if is_denied:
            self.denied += 1
            tally.denied += 1
            if is_good:
                self.good_denied += 1
                tally.good_denied += 1
            if tally.spell is None:
                tally.spell = Spell()
            tally.spell.denied(at)
        elif tally.spell is not None:
            tally.spell.admitted()

    def _let_go(self) -> None:
        """Halve the keys whose instants are kept. Which key stays is a matter of its hash, not of what it did."""
        self._share *= 2
        self._kept = 0
        for key, tally in self.keys.items():
            if crc32(key) % self._share:
                tally.arrivals = tally.units = None
            elif tally.arrivals is not None:
                self._kept += len(tally.arrivals)


class RouteTally:
    """One route."""

    __slots__ = ("denied", "good_denied", "requests")

    def __init__(self) -> None:
        self.requests = self.denied = self.good_denied = 0


class ClientTally:
    """One client: an address, and a user where the log has one."""

    __slots__ = ("denied", "good_denied", "limits", "requests", "spell")

    def __init__(self) -> None:
        self.requests = self.denied = self.good_denied = 0
        self.limits: dict[str, int] = {}  # that denied it, how often
        self.spell: Spell | None = None


class Tally:
    """Everything about one simulation."""

    def __init__(self) -> None:
        self.requests = 0  # that a route was found for
        self.good = 0  # of them, those that had succeeded
        self.denied = 0
        self.good_denied = 0
        self.refused: dict[int, int] = {}  # by the status that routing answers: 404, 405, 421, 400
        self.no_requests = 0  # lines about no request
        self.first_at = self.last_at = 0.0
        self.limits: dict[str, LimitTally] = {}
        self.routes: dict[str, RouteTally] = {}
        self.clients: dict[tuple[str, str | None], ClientTally] = {}
        self.timeline = Timeline()

    def saw(self, at: float) -> None:
        """A line of a time, whatever it is about."""
        if not self.first_at:
            self.first_at = at
        self.last_at = at

    def add(
        self,
        at: float,
        entry: Entry,
        route: str,
        client: tuple[str, str | None],
        asked: Iterable[tuple[LimitPolicy, bytes, int | None]],
        violated: Sequence[LimitPolicy],
        *,
        is_denied: bool,
    ) -> None:
        """One request. `asked` are its limits, its keys, and what it is charged if that is known only afterwards;
        `violated` are those that refuse it or would."""
        is_good = entry.is_good
        self.requests += 1
        self.good += is_good
        by_route = self.routes.get(route)
        if by_route is None:
            by_route = self.routes[route] = RouteTally()
        by_client = self.clients.get(client)
        if by_client is None:
            by_client = self.clients[client] = ClientTally()
        by_route.requests += 1
        by_client.requests += 1
        timeline = self.timeline
        slot = timeline.slot(at)
        timeline.add(REQUESTS, slot)
        for policy, key, units in asked:
            name = policy.name
            limit = self.limits.get(name)
            if limit is None:
                limit = self.limits[name] = LimitTally()
            is_violated = policy in violated
            if policy.is_candidate:
                limit.candidate_denied += is_violated
                continue
            limit.add(key, at, units, is_denied=is_violated, is_good=is_good)
            timeline.add(name, slot)
            if is_violated:
                limit.would_deny += not policy.is_enforced
                timeline.add(f"{DENIED} {name}", slot)
        if is_denied:
            timeline.add(DENIED, slot)
            self._deny(at, by_route, by_client, violated, is_good=is_good)
        elif by_client.spell is not None:
            by_client.spell.admitted()

    def _deny(
        self,
        at: float,
        by_route: RouteTally,
        by_client: ClientTally,
        violated: Sequence[LimitPolicy],
        *,
        is_good: bool,
    ) -> None:
        self.denied += 1
        by_route.denied += 1
        by_client.denied += 1
        if is_good:
            self.good_denied += 1
            by_route.good_denied += 1
            by_client.good_denied += 1
        for policy in violated:
            by_client.limits[policy.name] = by_client.limits.get(policy.name, 0) + 1
        if by_client.spell is None:
            by_client.spell = Spell()
        by_client.spell.denied(at)
