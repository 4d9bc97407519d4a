"""What an operator, or the penalty box, has decided about single keys and clients, in force beside the policies.

Four kinds: a **ban** refuses a key of a limit, an **allow** exempts it, an **override** gives it other numbers, and a
**kill** switch refuses whole requests: all of them, or those of a route, a tenant or a user. Every one has an end, at
most 30 days away, a reason, and somebody who answers for it.

`generation` counts every change and every end. Whoever remembers something that depends on a client also remembers the
generation, and looks again when it is another one. So a request pays one comparison, and the lookups here are made
once for each client and change, not for each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final, Literal, Protocol

import msgspec

from proxy.core.units import Rate

MAX_ENTRIES: Final = 10_000
MAX_PENALTIES: Final = 9_000  # of them: however many clients misbehave, the operator has room to act
LONGEST_S: Final = 30 * 86400.0
PENALTY: Final = "penalty"  # who set a ban that no person did

Scope = Literal["all", "route", "tenant", "user"]
Slot = tuple[str, str, bytes]
"""(kind, limit or scope, key or name): one entry at a time can have it."""


class Person(Protocol):
    """What a kill switch asks of the client (clients.client.Client)."""

    @property
    def user(self) -> str | None: ...
    @property
    def tenant(self) -> str | None: ...


class _Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all kinds have. `*_wall` are Unix times by this machine's clock."""

    since_wall: float
    until_wall: float
    reason: str
    who: str


class _OfKey(_Entry, frozen=True, kw_only=True, tag_field="kind"):
    limit: str
    key: bytes  # as the store has it

    @property
    def slot(self) -> Slot:
        return str(self.__struct_config__.tag), self.limit, self.key


class Ban(_OfKey, frozen=True, kw_only=True, tag_field="kind", tag="ban"):
    """The limit refuses the key whatever it has left."""


class Allow(_OfKey, frozen=True, kw_only=True, tag_field="kind", tag="allow"):
    """The limit does not count the key."""


class Override(_OfKey, frozen=True, kw_only=True, tag_field="kind", tag="override"):
    """The limit has other numbers for the key. What the key has spent stays spent."""

    rate: Rate
    burst: int | None = None


class Kill(_Entry, frozen=True, kw_only=True, tag_field="kind", tag="kill"):
    """No request passes: none at all, or none of the route, tenant or user `name`."""

    scope: Scope
    name: str = ""  # empty for the scope `all`

    @property
    def slot(self) -> Slot:
        return "kill", self.scope, self.name.encode()


Entry = Ban | Allow | Override | Kill
Publish = Callable[[Slot, Entry | None], None]
Changed = Callable[[bool], None]

_OPPOSITES: Final = {"ban": "allow", "allow": "ban"}


class ControlsFull(Exception):
    """There are MAX_ENTRIES already."""


class Controls:
    """Everything that is in force. One per worker; belongs to its event loop. Nothing here waits.

    `wall` is the clock that ends are counted from. `expire` must be called when `next_end_wall` has come: an entry
    stays in force until then.
    """

    __slots__ = (
        "_allows",
        "_bans",
        "_ends",
        "_entries",
        "_kills",
        "_overrides",
        "_penalties",
        "_wall",
        "changed",
        "generation",
        "is_empty",
        "publish",
    )

    def __init__(self, wall: Callable[[], float]) -> None:
        self.generation = 0
        self.is_empty = True
        self.publish: Publish | None = None
        """Told what was decided here, for the other Weirs: an entry, or None for one that was taken back."""
        self.changed: Changed | None = None
        """Told after every change; True when a key may now have more left than somebody remembers."""
        self._wall = wall
        self._entries: dict[Slot, Entry] = {}
        self._bans: dict[tuple[str, bytes], Ban] = {}
        self._allows: dict[tuple[str, bytes], Allow] = {}
        self._overrides: dict[tuple[str, bytes], Override] = {}
        self._kills: dict[tuple[str, str], Kill] = {}
        self._ends: list[tuple[float, Slot]] = []  # a heap; may name what was replaced since
        self._penalties = 0

    # What the stage asks.

    def kill_for(self, route_name: str, client: Person) -> Kill | None:
        """The switch that stops this client's requests on this route; of several the one that lasts longest."""
        kills = self._kills
        if not kills:
            return None
        found = [kills.get(("all", "")), kills.get(("route", route_name))]
        if client.tenant:
            found.append(kills.get(("tenant", client.tenant)))
        if client.user:
            found.append(kills.get(("user", client.user)))
        return max((kill for kill in found if kill is not None), key=_end, default=None)

    def ban_of(self, limit_name: str, key: bytes) -> Ban | None:
        return self._bans.get((limit_name, key))

    def is_allowed(self, limit_name: str, key: bytes) -> bool:
        return (limit_name, key) in self._allows

    def override_of(self, limit_name: str, key: bytes) -> Override | None:
        return self._overrides.get((limit_name, key))

    def ban(self, limit_name: str, key: bytes, for_s: float, reason: str, by: str = PENALTY) -> bool:
        """Refuse a key for a while, here and soon in every Weir. For the penalty box: never raises.

        False when nothing was done: an operator has allowed the key, a ban in force lasts longer, or there is no room.
        """
        now_wall = self._wall()
        until_wall = now_wall + min(for_s, LONGEST_S)
        old = self._bans.get((limit_name, key))
        if (old is not None and old.until_wall >= until_wall) or self.is_allowed(limit_name, key):
            return False
        ban = Ban(limit=limit_name, key=key, since_wall=now_wall, until_wall=until_wall, reason=reason, who=by)
        try:
            self.decide(ban)
        except ControlsFull:
            return False
        return True

    # What the operator does.

    def decide(self, entry: Entry) -> Entry | None:
        """Put an entry in force here, and have it published. Gives what it replaces. Raises ControlsFull.

        A ban ends an allow of the same key, and the other way round.
        """
        slot = entry.slot
        old = self._entries.get(slot)
        if old is None:
            self._require_room(entry)
        opposite = _opposite(slot)
        has_opposite = opposite is not None and self._remove(opposite)
        self._put(slot, entry)
        if self.publish is not None:
            if has_opposite and opposite is not None:
                self.publish(opposite, None)
            self.publish(slot, entry)
        self._tell(is_generous=slot[0] == "override")  # no other kind changes what a key has left
        return old

    def revoke(self, slot: Slot) -> Entry | None:
        """End an entry before its time, here and everywhere. Gives it; None: there was none, and nothing is done."""
        old = self._entries.get(slot)
        if old is None:
            return None
        self._remove(slot)
        if self.publish is not None:
            self.publish(slot, None)
        self._tell(is_generous=slot[0] == "override")
        return old

    def get(self, slot: Slot) -> Entry | None:
        return self._entries.get(slot)

    def entries(self) -> list[Entry]:
        """All in force, those that end first in front."""
        return sorted(self._entries.values(), key=_end)

    def of_key(self, limit_name: str, key: bytes) -> list[Entry]:
        """What is in force on one key of a limit."""
        slots = ((kind, limit_name, key) for kind in ("ban", "allow", "override"))
        return [entry for slot in slots if (entry := self._entries.get(slot)) is not None]

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {
            "ban": len(self._bans) - self._penalties,
            "penalty": self._penalties,
            "allow": len(self._allows),
            "override": len(self._overrides),
            "kill": len(self._kills),
        }

    # What time and the other Weirs do.

    def next_end_wall(self) -> float | None:
        """When `expire` has something to do. None: nothing is in force."""
        return self._ends[0][0] if self._ends else None

    def expire(self, now_wall: float) -> list[Entry]:
        """End what is over. Gives it."""
        over: list[Entry] = []
        ends = self._ends
        while ends and ends[0][0] <= now_wall:
            _, slot = heappop(ends)
            entry = self._entries.get(slot)
            if entry is not None and entry.until_wall <= now_wall:
                self._remove(slot)
                over.append(entry)
        if over:
            self._tell(is_generous=any(isinstance(entry, Override) for entry in over))
        return over

    def learn(self, changes: Iterable[tuple[Slot, Entry | None]], *, is_generous: bool = False) -> None:
        """Take over what another Weir decided. Bounds were held there; what is over already is left out.

        `is_generous`: besides, something has happened that makes a remembered denial wrong, such as a reset.
        """
        now_wall = self._wall()
        is_changed = is_generous
        for slot, entry in changes:
            if entry is not None and entry.until_wall > now_wall:
                if entry != self._entries.get(slot):
                    self._put(slot, entry)
                    is_changed = True
                    is_generous = is_generous or slot[0] == "override"
            elif self._remove(slot):
                is_changed = True
                is_generous = is_generous or slot[0] == "override"
        if is_changed:
            self._tell(is_generous)

    def replace(self, entries: dict[Slot, Entry]) -> None:
        """Take over everything that is in force elsewhere, and nothing else."""
        gone: list[tuple[Slot, Entry | None]] = [(slot, None) for slot in self._entries if slot not in entries]
        self.learn([*gone, *entries.items()], is_generous=True)

    def touch(self) -> None:
        """Something else has changed for some key, such as a reset: whoever remembers looks again."""
        self._tell(is_generous=True)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts().items() if count)
        return f"<Controls {kinds or 'none'}, generation {self.generation}>"

    def _require_room(self, entry: Entry) -> None:
        if len(self._entries) >= MAX_ENTRIES or (entry.who == PENALTY and self._penalties >= MAX_PENALTIES):
            raise ControlsFull

    def _put(self, slot: Slot, entry: Entry) -> None:
        self._remove(slot)
        self._entries[slot] = entry
        match entry:
            case Ban():
                self._bans[entry.limit, entry.key] = entry
                self._penalties += entry.who == PENALTY
            case Allow():
                self._allows[entry.limit, entry.key] = entry
            case Override():
                self._overrides[entry.limit, entry.key] = entry
            case Kill():
                self._kills[entry.scope, entry.name] = entry
        if len(self._ends) > 2 * len(self._entries) + 64:  # mostly what was replaced or taken back
            self._ends = [(other.until_wall, at) for at, other in self._entries.items()]
            heapify(self._ends)
        else:
            heappush(self._ends, (entry.until_wall, slot))

    def _remove(self, slot: Slot) -> bool:
        entry = self._entries.pop(slot, None)
        match entry:
            case None:
                return False
            case Ban():
                del self._bans[entry.limit, entry.key]
                self._penalties -= entry.who == PENALTY
            case Allow():
                del self._allows[entry.limit, entry.key]
            case Override():
                del self._overrides[entry.limit, entry.key]
            case Kill():
                del self._kills[entry.scope, entry.name]
        return True

    def _tell(self, is_generous: bool) -> None:
        self.generation += 1
        self.is_empty = not self._entries
        if self.changed is not None:
            self.changed(is_generous)


def _opposite(slot: Slot) -> Slot | None:
    kind = _OPPOSITES.get(slot[0])
    return None if kind is None else (kind, slot[1], slot[2])


def _end(entry: Entry) -> float:
    return entry.until_wall
