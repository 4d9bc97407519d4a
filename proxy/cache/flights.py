"""Flights: one fetch at a time for what several requests want, and the others wait for it (RFC 9111 §4).

The first request leads; the rest have a future each. When the head is here and content follows, all who wait get what
has landed (`landed`), and so does who comes while the content does. Its errand ends a flight in exactly one way: what
it brought can be looked up (`complete`), it is not for others (`release`), the origin failed (`fail`), or it brought
nothing for a reason of its own (`abandon`): then the first of those who wait leads.
"""

from __future__ import annotations

import asyncio
from enum import Enum, unique
from typing import TYPE_CHECKING, Final

from proxy.cache.freshness import Index
from proxy.cache.landing import Landing
from proxy.cache.policy import CachePolicy
from proxy.cache.selecting import Selection, selection

if TYPE_CHECKING:
    from proxy.cache.purges.purge import Purge

MAX_FLIGHTS: Final = 32  # at a time under one key: as many as there may be variants
_MAX_GUESSES: Final = 1024
BARREN: Final = 256  # URIs in a row: of a route with one storable in a hundred, one time in thirteen


@unique
class Word(Enum):
    """What ends a wait, unless it is the failure of the origin."""

    LEAD = "lead"  # the leader left: it is your turn
    LOOK = "look"  # look again
    ALONE = "alone"  # what comes is not for you: fetch without waiting for anybody


class Failure:
    """The origin failed the leader; whoever waited need not try the same again."""

    __slots__ = ("error", "status")

    def __init__(self, error: Exception | None, status: int | None = None) -> None:
        self.error = error
        self.status = status  # of an error response, which is for its own client only


Outcome = Word | Failure | Landing


class Flight:
    """A fetch under way."""

    __slots__ = ("_flights", "_is_over", "_names", "_selection", "_waiting", "is_from_shared", "key", "landing")

    def __init__(self, flights: Flights, key: bytes, names: tuple[bytes, ...] | None, index: Index) -> None:
        self.key = key
        self._flights = flights
        self._names = names  # of the selecting fields; None while nobody knows
        self._selection: Selection = () if names is None else selection(names, index)
        self._waiting: dict[asyncio.Future[Outcome], Index] = {}
        self._is_over = False
        self.is_from_shared = False  # another Weir had it
        self.landing: Landing | None = None  # once there is something to join: nobody waits any more

    def __repr__(self) -> str:
        return f"<Flight {self.key!r}, {len(self._waiting)} waiting>"

    @property
    def is_awaited(self) -> bool:
        return bool(self._waiting)

    def takes(self, index: Index) -> bool:
        """What it brings may be what this request wants."""
        return self._names is None or selection(self._names, index) == self._selection

    async def wait(self, index: Index) -> Outcome:
        """Wait until the flight ends for this request."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[future] = index
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.pop(future, None)
            # chosen to lead, and gone before it heard of it
            if future.done() and not future.cancelled() and future.result() is Word.LEAD:
                self.abandon()
            raise

    def landed(self, landing: Landing) -> None:
        """The head is here and content follows: all whom it suits get it, and the others look again."""
        self.landing = landing
        self._names, self._selection = landing.entry.vary, landing.entry.selection
        waiting, self._waiting = self._waiting, {}
        for future, index in waiting.items():
            _tell(future, landing if self.takes(index) else Word.LOOK)

    def complete(self) -> None:
        """The response can be looked up."""
        self._end(Word.LOOK)

    def release(self) -> None:
        """Whatever comes is for the leader alone."""
        self._end(Word.ALONE)

    def fail(self, failure: Failure) -> None:
        """The origin failed."""
        self._end(failure)

    def abandon(self) -> None:
        """The leader will not bring anything."""
        while self._waiting:
            future = next(iter(self._waiting))
            del self._waiting[future]
            if not future.done():
                _tell(future, Word.LEAD)
                return
        self._end(Word.LOOK)

    def _end(self, outcome: Outcome) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._flights.forget(self)
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            _tell(future, outcome)


class Flights:
    """All fetches that may be waited for."""

    __slots__ = ("_flying", "_fruitless", "_guesses", "orphans")

    def __init__(self) -> None:
        self.orphans = 0  # fetches whose clients left before the head
        self._flying: dict[bytes, list[Flight]] = {}
        self._guesses: dict[CachePolicy, tuple[bytes, ...]] = {}
        self._fruitless: dict[CachePolicy, int] = {}  # URIs in a row that brought nothing for anybody else

    def __len__(self) -> int:
        return sum(map(len, self._flying.values()))

    def find(self, key: bytes, index: Index) -> Flight | None:
        """The flight that may bring what this request wants."""
        for flight in self._flying.get(key, ()):
            if flight.takes(index):
                return flight
        return None

    def start(self, key: bytes, names: tuple[bytes, ...] | None, index: Index) -> Flight | None:
        """A new flight, led by the caller; None when there are too many under this key."""
        flying = self._flying.setdefault(key, [])
        if len(flying) >= MAX_FLIGHTS:
            return None
        flight = Flight(self, key, names, index)
        flying.append(flight)
        return flight

    def learn(self, policy: CachePolicy, names: tuple[bytes, ...]) -> None:
        """The selecting fields of a response of a route. Its next one will have the same, most likely."""
        if len(self._guesses) >= _MAX_GUESSES:
            self._guesses.clear()  # those of routes that are no more, after very many reloads
        self._guesses[policy] = names
        self._fruitless.pop(policy, None)

    def learn_fruitless(self, policy: CachePolicy) -> None:
        """Another URI of a route brought nothing that could be stored."""
        if len(self._fruitless) >= _MAX_GUESSES:
            self._fruitless.clear()
        self._fruitless[policy] = self._fruitless.get(policy, 0) + 1

    def is_barren(self, policy: CachePolicy) -> bool:
        """A route brings nothing to wait for: so many URIs in a row, and no response that could be stored among them.
        A wrong guess costs the fetches of one crowd, for the first response that is stored ends it."""
        return self._fruitless.get(policy, 0) >= BARREN

    def guess(self, policy: CachePolicy) -> tuple[bytes, ...] | None:
        """The selecting fields of what nobody has seen yet, so that its variants are fetched side by side. A wrong
        guess costs a fetch."""
        return self._guesses.get(policy)

    def forget(self, flight: Flight) -> None:
        """Nobody joins it any more; who waits still hears of its end. Without effect when it is forgotten."""
        flying = self._flying.get(flight.key)
        if flying is not None and flight in flying:
            flying.remove(flight)
            if not flying:
                del self._flying[flight.key]

    def forget_key(self, key: bytes) -> None:
        """What is under way was asked before a write: nobody who comes after it may wait for that."""
        self._flying.pop(key, None)

    def forget_covered(self, purge: Purge) -> None:
        """The same for all that `purge` may be about, whatever their tags will be. As many steps as there are keys."""
        for key in [key for key in self._flying if purge.may_cover(key)]:
            del self._flying[key]


def _tell(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
