"""What is known of one Postgres server, and the sights that wait to be told where it stood."""

from __future__ import annotations

from enum import Enum, unique
from typing import Any, Final, NamedTuple

from proxy.replicas.lsn import History
from proxy.replicas.ring import Lag

STALE_S: Final = 1.0  # a sample of this age says nothing any more
MAX_SIGHTS: Final = 100_000
_AGREEING: Final = 2  # samples in a row that make a server's change of role believed
UNKNOWN: Final = Lag(0.0, float("inf"))


@unique
class Role(Enum):
    PRIMARY = "primary"
    STANDBY = "standby"


class Sample(NamedTuple):
    """One answer of a server. Instants are monotonic."""

    asked_at: float
    answered_at: float
    role: Role
    lsn: int  # a primary's insert position: whatever was committed before it was asked lies before; a standby's replay
    flushed: int  # a primary's: what a standby may have; a standby's: what it has, half a record at its end included
    history: History


class Sight:
    """A client saw what a server had at a moment. `lsn` is 0 until that server was asked after the moment.

    Until then only the very server may answer that client: it does not go back, unless it restarts, which changes its
    `epoch`.
    """

    __slots__ = ("closes", "epoch", "history", "is_asked", "is_write", "lsn", "node", "owner")

    def __init__(self, node: Node, *, is_write: bool, owner: Any = None, closes: bool = False) -> None:
        self.node = node
        self.epoch = node.epoch
        self.is_write = is_write
        self.owner = owner  # whose sight it is, for the shared store
        self.closes = closes  # the shared store was told that a write begins
        self.is_asked = False  # the answer that will resolve it is on its way
        self.lsn = 0
        self.history: History | None = None


class Node:
    """One server. Whoever asks it calls `begin`, then `observe` or `lost`."""

    __slots__ = (
        "_asked",
        "_differing",
        "_noted",
        "epoch",
        "error",
        "expected",
        "label",
        "lag",
        "role",
        "sample",
    )

    def __init__(self, label: str, expected: Role) -> None:
        self.label = label  # address and database, without secrets
        self.expected = expected  # by the configuration
        self.sample: Sample | None = None  # the last one that agrees with `role`
        self.role: Role | None = None
        self.lag = UNKNOWN  # a standby's, as of the sample
        self.epoch = 0  # counts connections lost: what was seen before may be gone
        self.error: str | None = "not asked yet"
        self._differing = 0
        self._noted: list[Sight] = []
        self._asked: list[Sight] = []

    @property
    def is_as_expected(self) -> bool:
        return self.role is self.expected

    def knows(self, now: float) -> bool:
        """There is a sample, and it is young enough."""
        return self.sample is not None and now - self.sample.asked_at <= STALE_S

    def note(self, sight: Sight) -> None:
        """Have `sight` told the position of the next sample that is asked for from now on."""
        noted = self._noted
        noted.append(sight)
        if len(noted) > MAX_SIGHTS:  # nobody was told anything for long; those who wait longest are forgotten, and
            del noted[: MAX_SIGHTS // 2]  # the primary answers their clients for as long as their sessions last

    @property
    def has_noted(self) -> bool:
        return bool(self._noted)

    def begin(self) -> None:
        """The server is being asked. What was seen until now lies before its answer."""
        for sight in self._noted:
            sight.is_asked = True
        self._asked += self._noted
        self._noted = []

    def observe(self, sample: Sample) -> list[Sight]:
        """Take an answer. Gives the sights that know their position now.

        An answer in another role than the last ones is put aside until a second one agrees: behind one name there may
        be several servers for a moment.
        """
        self.error = None
        if self.role is None:
            self.role = sample.role
        elif sample.role is not self.role:
            self._differing += 1
            if self._differing < _AGREEING:
                return []
            self.role = sample.role
            self.epoch += 1
        self._differing = 0
        self.sample = sample
        if not self.is_as_expected:
            return []
        told, self._asked = self._asked, []
        for sight in told:
            sight.lsn, sight.history = sample.lsn, sample.history
        return told

    def lost(self, error: str) -> list[Sight]:
        """It does not answer. Gives the sights that nobody will resolve: they belong to the primary now, which is
        ahead of whatever was seen. A primary keeps its own until it is back."""
        self.error = error
        self.sample = None
        self.role = None
        self.lag = UNKNOWN
        self.epoch += 1
        self._differing = 0
        if self.expected is Role.PRIMARY:
            self.adopt(self._asked)
            self._asked = []
            return []
        left, self._asked, self._noted = self._asked + self._noted, [], []
        return left

    def adopt(self, sights: list[Sight]) -> None:
        """The sights of a server that was lost; for a primary."""
        for sight in sights:
            sight.node, sight.epoch, sight.is_asked = self, self.epoch, False
        self._noted += sights
