"""What the line asks of replicas: who may answer a read, and what a client has seen after it.

Nothing here is slower than it must be when nothing is special; a route without consistency never comes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.replicas.choice import Reason
from proxy.replicas.lsn import History
from proxy.replicas.monitor import Monitor, Rotation
from proxy.replicas.node import STALE_S, Node
from proxy.replicas.recalling import FOREVER, is_known, recall, scope_of
from proxy.replicas.session import NOTHING, Need, both

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.replicas.consistency import Consistency
    from proxy.replicas.replicas import Replicas

READS: Final = frozenset({b"GET", b"HEAD"})
SAFE: Final = READS | {b"OPTIONS"}
_NOBODY: Final[frozenset[object]] = frozenset()
_FALLS_BACK: Final = frozenset({Reason.UNKNOWN, Reason.LAGGING, Reason.BEHIND, Reason.HISTORY, Reason.AHEAD})


async def choose_readers(exchange: Exchange, replicas: Replicas) -> bool:
    """Set `exchange.readers`: the addresses of the replicas that may answer this read. True: a replica may, or could
    have answered, if it had not been too far behind; False: it is for the primary by rule.

    May wait, up to the `wait` of the configuration. Sets `exchange.as_of` too: how new the answer is at least.
    """
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    counts = replicas.counts_of(consistency.upstream).reads
    need = await recall(exchange, replicas)
    now = replicas.clock()
    if route.read_primary or replicas.lessons.is_pinned(route.name, now):
        if not route.read_primary:
            counts["route"] += 1
        _to_primary(exchange, consistency, replicas, need, now)
        return False
    if consistency.primary is None:
        if need.pinned_until > now:
            counts["pinned"] += 1
            _to_primary(exchange, consistency, replicas, need, now)
        else:
            counts["replica"] += 1
            exchange.readers = None  # any that is up
            exchange.as_of = (None, now - consistency.pin_s)
        return need.pinned_until <= now
    monitor = replicas.monitors.get(consistency.primary)
    if monitor is None:
        counts["unknown"] += 1
        _to_primary(exchange, consistency, replicas, need, now)
        return True
    need = _at_least(exchange, need)
    rotation = monitor.rotations.get(consistency) or _rotation(consistency, monitor, now)
    if (
        rotation is not None
        and now <= rotation.until
        and not need.sights
        and need.lsn <= rotation.lsn
        and (not need.lsn or need.history == rotation.history)
        and need.pinned_until <= now
    ):
        counts["replica"] += 1
        exchange.readers, exchange.as_of = rotation.readers, rotation.as_of
        return True
    servers = tuple(consistency.databases.values())
    choice = monitor.choose(servers, need, consistency.rules, now)
    began_at = now
    while choice.wait_s > 0.0:
        await monitor.news(choice.wait_s)
        now = replicas.clock()
        choice = monitor.choose(servers, need, consistency.rules, now, now - began_at)
    if not choice.readers:
        is_forever = need.pinned_until == FOREVER
        counts["store" if is_forever else choice.reason.value] += 1
        _to_primary(exchange, consistency, replicas, need, now)
        return choice.reason in _FALLS_BACK or is_forever
    counts["replica" if now == began_at else "waited"] += 1
    chosen = choice.readers
    exchange.readers = _addresses(consistency, monitor, chosen)
    exchange.as_of = _least(chosen)
    return True


async def may_read_replica(exchange: Exchange, replicas: Replicas) -> bool:
    """Whether a replica could answer this read now, for a request that only a replica may answer."""
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    need, now = await recall(exchange, replicas), replicas.clock()
    if replicas.lessons.is_pinned(route.name, now):
        return False
    if consistency.primary is None:
        return need.pinned_until <= now
    monitor = replicas.monitors.get(consistency.primary)
    servers = tuple(consistency.databases.values())
    return monitor is not None and bool(monitor.choose(servers, need, consistency.rules, now).readers)


def last_resort(exchange: Exchange, replicas: Replicas) -> bool:
    """The primary endpoints fail a read, and the primary database does not answer either. True: `exchange.readers` has
    the replicas that have what this client must see, whatever else they may lack by now."""
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    monitor = None if consistency.primary is None else replicas.monitors.get(consistency.primary)
    if monitor is None or exchange.need is None:
        return False
    readers = monitor.left(tuple(consistency.databases.values()), exchange.need, replicas.clock())
    if not readers:
        return False
    exchange.readers = _addresses(consistency, monitor, readers)
    exchange.as_of = None
    return True


def note_read(exchange: Exchange, replicas: Replicas) -> None:
    """The response to a read has come: a client with identity must not go back behind it."""
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    if not consistency.is_monotonic or consistency.primary is None or not is_known(exchange):
        return
    monitor = replicas.monitors.get(consistency.primary)
    sessions = replicas.sessions.get(consistency.source)
    if monitor is None or sessions is None or exchange.endpoint is None:
        return
    scope = scope_of(consistency, exchange)
    server = consistency.databases.get(exchange.endpoint.address)
    node = monitor.primary if server is None or exchange.readers == _NOBODY else monitor.replicas.get(server)
    session = sessions.open(scope, replicas.clock())
    session.sees(node or monitor.primary, is_write=False, owner=scope if replicas.store is not None else None)
    if node is monitor.primary:
        monitor.capture()  # the sooner its position is known, the fewer reads follow it there


def _rotation(consistency: Consistency, monitor: Monitor, now: float) -> Rotation | None:
    """All replicas in rotation, worked out once for each answer of a server; None: there is none."""
    choice = monitor.choose(tuple(consistency.databases.values()), NOTHING, consistency.rules, now)
    if not choice.readers:
        return None
    asked_at = min([node.sample.asked_at for node in (monitor.primary, *choice.readers) if node.sample is not None])
    as_of = _least(choice.readers)
    rotation = Rotation(asked_at + STALE_S, as_of[0], as_of[1], _addresses(consistency, monitor, choice.readers), as_of)
    monitor.rotations[consistency] = rotation
    return rotation


def _least(nodes: tuple[Node, ...]) -> tuple[History, int]:
    """The position that all of these have."""
    samples = [node.sample for node in nodes if node.sample is not None]
    return samples[0].history, min(sample.lsn for sample in samples)


def _addresses(consistency: Consistency, monitor: Monitor, nodes: tuple[Node, ...]) -> frozenset[Any]:
    return frozenset(
        [address for address, server in consistency.databases.items() if monitor.replicas.get(server) in nodes]
    )


def _to_primary(exchange: Exchange, consistency: Consistency, replicas: Replicas, need: Need, now: float) -> None:
    exchange.readers = _NOBODY
    exchange.as_of = None
    if consistency.primary is None:
        exchange.as_of = (None, now)
        return
    monitor = replicas.monitors.get(consistency.primary)
    known = monitor.primary.sample if monitor is not None and monitor.primary.is_as_expected else None
    if known is not None:
        lsn = known.lsn
        need = need.settled()
        if need.history == known.history:
            lsn = max(lsn, need.lsn)  # it has all that was ever written
        exchange.as_of = (known.history, lsn)


def _at_least(exchange: Exchange, need: Need) -> Need:
    """A stored response is never replaced by an older one: what fetches it anew says so in `exchange.as_of`."""
    as_of = exchange.as_of
    if as_of is None or as_of[0] is None:
        return need
    return both(need, Need(as_of[0], int(as_of[1])))
