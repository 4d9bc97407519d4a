"""What a client must see at least: a position of what it wrote, and one of what it saw.

Pure bookkeeping. A position is only known a moment after the fact; until then the session holds the sight (node.py).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple

from proxy.replicas.lsn import History
from proxy.replicas.node import Node, Sight

MAX_SESSIONS: Final = 100_000


class Need(NamedTuple):
    """What an answer must have in it. Instants are monotonic."""

    history: History | None  # None: of any
    lsn: int
    wrote: int = 0  # the part of `lsn` that the client wrote itself: a stored response must have that
    sights: tuple[Sight, ...] = ()  # whose positions are not known yet
    pinned_until: float = 0.0  # before it only the primary will do, whatever the positions say
    wrote_at: float = 0.0  # where time decides: a stored response must not be older than this
    is_after_start: bool = False  # nobody knows who wrote before this process began

    @property
    def is_nothing(self) -> bool:
        return not (self.lsn or self.sights or self.pinned_until or self.wrote_at)

    def settled(self) -> Need:
        """The same, as far as its sights are known by now: they may have been told while a read waited."""
        if not any([sight.lsn for sight in self.sights]):
            return self
        session = Session()
        session.merge(self.history, self.wrote, self.lsn)
        session.sights = list(self.sights)
        need = session.need(monotonic=True)
        return need._replace(pinned_until=self.pinned_until, wrote_at=self.wrote_at, is_after_start=self.is_after_start)

    def is_met_by(self, as_of: AsOf | None, now: float) -> bool:
        """Whether a response that is at least as new as `as_of` has what the client wrote."""
        if self.wrote_at:
            return as_of is not None and as_of[0] is None and as_of[1] >= self.wrote_at
        need = self.settled()
        if need.pinned_until > now or any([sight.is_write for sight in need.sights]):
            return False
        if not need.wrote:
            return True
        return as_of is not None and as_of[0] == need.history and as_of[1] >= need.wrote

    def allows_others(self, now: float) -> bool:
        """Whether a response that another Weir stored will do: of those nobody knows how new they are."""
        return not self.is_after_start and self.is_met_by(None, now)


AsOf = tuple[History | None, float]
"""How new an answer is at least: a position in a history, or with None a monotonic instant."""

NOTHING: Final = Need(None, 0)
Scope = tuple[str, ...]
"""Whose session: the source, then tenant and user."""


class Session:
    """Of one client with one database. It only grows; when it is over it is forgotten whole."""

    __slots__ = ("expires_at", "history", "pinned_until", "saw", "sights", "wrote", "wrote_at")

    def __init__(self) -> None:
        self.history: History | None = None
        self.wrote = 0
        self.saw = 0  # including what it wrote
        self.sights: list[Sight] = []
        self.pinned_until = 0.0
        self.wrote_at = 0.0
        self.expires_at = 0.0

    def merge(self, history: History | None, wrote: int, saw: int) -> None:
        """Raise the positions. Those of an older history are dropped: nobody can compare them (`choice` sends such a
        client to the primary); of two clusters the one that is told last counts."""
        if history is None or not saw:
            return
        mine = self.history
        if mine is not None and mine != history:
            if mine.system_id == history.system_id and mine.timeline > history.timeline:
                return
            self.wrote = self.saw = 0
        self.history = history
        self.wrote = max(self.wrote, wrote)
        self.saw = max(self.saw, saw, wrote)

    def settle(self) -> None:
        """Fold the sights that have been resolved."""
        if not self.sights:
            return
        left = []
        for sight in self.sights:
            if sight.lsn:
                self.merge(sight.history, sight.lsn if sight.is_write else 0, sight.lsn)
            else:
                left.append(sight)
        self.sights = left

    def sees(self, node: Node, *, is_write: bool, owner: Any = None, closes: bool = False) -> Sight:
        """The client has just seen what `node` had, or written to it. `closes`: the store was told that it writes."""
        if not closes:
            for sight in self.sights:  # one that is not being asked about yet will do for both
                if sight.node is node and not sight.is_asked and (sight.is_write or not is_write) and not sight.lsn:
                    return sight
        sight = Sight(node, is_write=is_write, owner=owner, closes=closes)
        self.sights.append(sight)
        node.note(sight)
        return sight

    def need(self, *, monotonic: bool) -> Need:
        """For a read: what it wrote and, with `monotonic`, what it saw."""
        self.settle()
        sights = self.sights if monotonic else [sight for sight in self.sights if sight.is_write]
        lsn = self.saw if monotonic else self.wrote
        return Need(self.history, lsn, self.wrote, tuple(sights), self.pinned_until, self.wrote_at)

    def pin(self, wrote_at: float, until: float) -> None:
        """It wrote, and only time will tell when the replicas have it."""
        self.wrote_at = max(self.wrote_at, wrote_at)
        self.pinned_until = max(self.pinned_until, until)


class Sessions:
    """The sessions of one database, by client. What is evicted is asked of everybody from then on."""

    __slots__ = ("_by_scope", "_everybody", "_size", "disturbed_until", "ttl_s")

    def __init__(self, ttl_s: float, size: int = MAX_SESSIONS) -> None:
        self.ttl_s = ttl_s
        self.disturbed_until = 0.0  # monotonic; before it even stored responses must meet what is asked of everybody
        self._size = size
        self._by_scope: OrderedDict[Scope, Session] = OrderedDict()
        self._everybody = Session()

    def __len__(self) -> int:
        return len(self._by_scope)

    def find(self, scope: Scope, now: float) -> Session | None:
        session = self._by_scope.get(scope)
        return session if session is not None and now < session.expires_at else None

    def open(self, scope: Scope, now: float) -> Session:
        """The session of a client, kept for another `ttl_s`."""
        session = self._by_scope.get(scope)
        if session is None or now >= session.expires_at:
            session = self._by_scope[scope] = Session()
        self._by_scope.move_to_end(scope)
        session.expires_at = now + self.ttl_s
        self._shrink(now)
        return session

    def floor(self, now: float) -> Need:
        """What everybody must see: of clients whose sessions were lost, here or at a restart."""
        everybody = self._everybody
        return NOTHING if now >= everybody.expires_at else everybody.need(monotonic=True)

    def begin(self, now: float, history: History, lsn: int) -> None:
        """A history begins for this process. Nobody knows who wrote what before; but all of it lies before `lsn`."""
        is_first = self._everybody.history is None
        if not is_first:  # a promotion: what is stored is of the old history
            self.disturbed_until = now + self.ttl_s
        # what this process has stored was read under this floor, so it needs no look at it
        self._floor(now).merge(history, 0 if is_first else lsn, lsn)

    def see(self, primary: Node, now: float) -> None:
        """Ask of everybody what `primary` has now."""
        self.disturbed_until = now + self.ttl_s
        self._floor(now).sees(primary, is_write=True)

    def _floor(self, now: float) -> Session:
        if now >= self._everybody.expires_at:
            self._everybody = Session()
        self._everybody.expires_at = now + self.ttl_s
        return self._everybody

    def _shrink(self, now: float) -> None:
        by_scope = self._by_scope
        while by_scope:
            scope, oldest = next(iter(by_scope.items()))
            if now < oldest.expires_at:
                if len(by_scope) <= self._size:
                    return
                self._evict(oldest, now)
            del by_scope[scope]

    def _evict(self, session: Session, now: float) -> None:
        self.disturbed_until = now + self.ttl_s
        session.settle()
        floor = self._floor(now)
        floor.merge(session.history, session.wrote, session.saw)
        floor.sights += session.sights
        floor.pin(session.wrote_at, session.pinned_until)


def both(one: Need, other: Need) -> Need:
    """What satisfies both. Of two timelines the newer one counts; of different clusters, that of `one`."""
    if other.is_nothing:
        return one
    if one.is_nothing:
        return other
    merged = Session()
    merged.merge(other.history, other.wrote, other.lsn)
    merged.merge(one.history, one.wrote, one.lsn)
    return Need(
        merged.history,
        merged.saw,
        merged.wrote,
        one.sights + other.sights,
        max(one.pinned_until, other.pinned_until),
        max(one.wrote_at, other.wrote_at),
    )
