"""May a replica answer this read, and which? The whole decision, without a clock and without a wait of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from proxy.replicas.lsn import History
from proxy.replicas.node import Node, Role
from proxy.replicas.ring import LsnRing
from proxy.replicas.session import Need

MAX_AHEAD_BYTES: Final = 256 * 1024 * 1024  # of the primary, in a token that is to be believed


@unique
class Reason(Enum):
    """Why a read goes where it goes. The value is the word in metrics."""

    REPLICA = "replica"
    UNKNOWN = "unknown"  # the primary, or every replica, does not tell where it stands
    LAGGING = "lagging"  # no replica is in rotation
    BEHIND = "behind"  # none has what the client must see
    HISTORY = "history"  # the client's position is of another history
    AHEAD = "ahead"  # the client's position lies where nobody can have been
    PINNED = "pinned"  # for a time, whatever the positions say


@unique
class Out(Enum):
    """Why a replica is not in rotation."""

    UNREACHABLE = "unreachable"
    NOT_A_STANDBY = "not a standby"
    OTHER_HISTORY = "of another cluster or timeline"
    LAG = "too far behind"
    NO_PRIMARY = "the primary's position is unknown"


@dataclass(frozen=True, slots=True)
class Choice:
    """`readers` is empty for the primary. Then a wait of up to `wait_s` may change that, if it is not 0."""

    reason: Reason
    readers: tuple[Node, ...] = ()
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    max_lag_s: float = 0.5
    wait_s: float = 0.05


def why_out(node: Node, primary: Node, rules: Rules, now: float) -> Out | None:
    """Why this replica may answer nobody; None: it may."""
    sample = node.sample
    if sample is None or not node.knows(now):
        return Out.UNREACHABLE
    if node.role is not Role.STANDBY:
        return Out.NOT_A_STANDBY
    known = primary.sample
    if known is None or not primary.is_as_expected or not primary.knows(now):
        return Out.NO_PRIMARY
    if sample.history != known.history:
        return Out.OTHER_HISTORY
    return Out.LAG if node.lag.most_s > rules.max_lag_s else None


def choose(
    replicas: Sequence[Node], primary: Node, ring: LsnRing, need: Need, rules: Rules, now: float, waited_s: float = 0.0
) -> Choice:
    """Who may answer a read that needs `need`, after it has waited for `waited_s` already."""
    if need.pinned_until > now:
        return Choice(Reason.PINNED)
    need = need.settled()
    known = primary.sample
    if known is None or not primary.is_as_expected or not primary.knows(now):
        return Choice(Reason.UNKNOWN)
    if need.lsn:
        if need.history != known.history:
            return Choice(Reason.HISTORY)
        if need.lsn > known.lsn + MAX_AHEAD_BYTES:
            return Choice(Reason.AHEAD)
    rotation = [node for node in replicas if why_out(node, primary, rules, now) is None]
    if not rotation:
        heard = any(node.knows(now) for node in replicas)
        return Choice(Reason.LAGGING if heard else Reason.UNKNOWN)
    readers = tuple([node for node in rotation if _has(node, need)])
    if readers:
        return Choice(Reason.REPLICA, readers)
    return Choice(Reason.BEHIND, (), _worth_waiting(rotation, ring, need, rules.wait_s - waited_s, now))


def left(replicas: Sequence[Node], primary: Node, history: History | None, need: Need, now: float) -> tuple[Node, ...]:
    """The replicas that have what a client must see, while the primary cannot be asked: nobody knows how old they are,
    but an old answer is better than none. `history` is the last one that was the primary's."""
    need = need.settled()
    if primary.knows(now) or history is None or need.pinned_until > now or (need.lsn and need.history != history):
        return ()
    return tuple(
        [
            node
            for node in replicas
            if node.sample is not None
            and node.knows(now)
            and node.role is Role.STANDBY
            and node.sample.history == history
            and _has(node, need)
        ]
    )


def _has(node: Node, need: Need) -> bool:
    sample = node.sample
    assert sample is not None
    if sample.lsn < need.lsn:
        return False
    # of what was seen a moment ago only this is known: the server that showed it still has it
    return all([sight.node is node and sight.epoch == node.epoch for sight in need.sights])


def _worth_waiting(rotation: Sequence[Node], ring: LsnRing, need: Need, left_s: float, now: float) -> float:
    """`left_s` when some replica is likely to get there in that time, else 0. One that is a second behind will not
    have in 50 ms what was written just now; then waiting would only make the answer later."""
    if left_s <= 0.0:
        return 0.0
    reached_at = now
    if need.lsn and not need.sights:
        since = ring.reached_at(need.lsn)
        reached_at = now if since is None else since
    soonest_at = reached_at + min(node.lag.least_s for node in rotation)
    return left_s if soonest_at <= now + left_s else 0.0
