"""Reads everybody's counters and turns them into metric families, at scrape time and only then.

Features keep their numbers in plain attributes; `views.py` says which ones are read. A part that is absent (no shared
store, no cache) has no series.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client import ProcessCollector

from proxy import __version__
from proxy.core.build import build
from proxy.core.clock import monotonic
from proxy.observe import definitions as d
from proxy.observe.events import Event
from proxy.observe.families import Family, Values, edges_of, histograms, numbers, summaries
from proxy.observe.loop_lag import BOUNDS_S
from proxy.observe.metrics import DURATION_BOUNDS_S, MAX_OUTCOMES, MAX_ROUTES, OVERFLOW, RouteStats
from proxy.observe.queues import queues
from proxy.observe.views import (
    CacheView,
    ConnectionsView,
    ControlsView,
    DatabasePoolView,
    EndpointView,
    GateView,
    LimitStoreView,
    LimitView,
    PoolerView,
    PrecomputeView,
    PurgesView,
    ReplicasView,
    RouteCacheView,
    SharedCacheView,
    UpstreamView,
)

if TYPE_CHECKING:
    from proxy.observe.observe import Observe
    from proxy.snapshot import Snapshot

_DURATION_EDGES = edges_of(DURATION_BOUNDS_S)
_LAG_EDGES = edges_of(BOUNDS_S)


def _nothing() -> Iterable[EndpointView]:
    return ()


def _no_gates() -> Mapping[str, GateView]:
    return {}


def _no_upstreams() -> Iterable[UpstreamView]:
    return ()


@dataclass(slots=True)
class Sources:
    """Where the numbers are. What is None has no series."""

    observe: Observe
    snapshot: Callable[[], Snapshot | None] = field(default=lambda: None)
    limit_store: LimitStoreView | None = None
    cache: CacheView | None = None
    endpoints: Callable[[], Iterable[EndpointView]] = field(default=_nothing)
    gates: Callable[[], Mapping[str, GateView]] = field(default=_no_gates)
    upstreams: Callable[[], Iterable[UpstreamView]] = field(default=_no_upstreams)
    connections: ConnectionsView | None = None
    controls: ControlsView | None = None
    database: PoolerView | None = None
    replicas: ReplicasView | None = None
    precompute: PrecomputeView | None = None
    purges: PurgesView | None = None


class Collector:
    """Yields one family after the other. Numbers are read when a family's samples are taken."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._process = ProcessCollector(registry=None)

    def families(self) -> Iterator[Family]:
        sources = self._sources
        observe, snapshot = sources.observe, sources.snapshot()
        yield from _requests(observe)
        if sources.connections is not None:
            yield _one(d.CONNECTIONS, len(sources.connections.connections))
            yield _one(d.ACCEPTED, sources.connections.accepted)
        yield _each(d.MALFORMED, observe.malformed.counts)
        if snapshot is not None:
            yield from _limits(snapshot.limits)
        if sources.controls is not None:
            yield _each(d.LIMIT_CONTROLS, sources.controls.counts())
        if sources.limit_store is not None:
            yield from _limit_store(sources.limit_store)
        if sources.cache is not None:
            yield from _cache(sources.cache)
        if sources.precompute is not None:
            yield from _precompute(sources.precompute)
        if sources.purges is not None:
            yield from _purges(sources.purges)
        yield from _endpoints(list(sources.endpoints()))
        yield from _upstreams(list(sources.upstreams()))
        yield from queues(sources.gates(), monotonic())
        if sources.database is not None and sources.database.is_on:
            yield from _database(sources.database)
        if sources.replicas is not None:
            yield from _replicas(sources.replicas)
        yield from _weir(observe, snapshot)
        yield from _process(self._process)


def _requests(observe: Observe) -> Iterator[Family]:
    routes = observe.routes.all()
    yield numbers(d.REQUESTS, _outcomes(routes), MAX_OUTCOMES + MAX_ROUTES + 2)  # bounded where they are counted
    used = [stats for stats in routes if stats.outcomes]  # routes appear with their first request
    durations = (((stats.route,), stats.duration_buckets, stats.duration_s) for stats in used)
    yield histograms(d.DURATION, durations, _DURATION_EDGES)
    durations = (((stats.route,), stats.upstream_buckets, stats.upstream_s) for stats in used)
    yield histograms(d.UPSTREAM_DURATION, durations, _DURATION_EDGES)
    yield summaries(d.QUEUE_WAIT, (((stats.route,), stats.queued, stats.queue_s) for stats in used))
    yield numbers(d.RETRIES, (((stats.route,), stats.retries) for stats in used))
    yield numbers(d.ROUTE_HITS, (((stats.route,), stats.cache_hits) for stats in used))
    yield numbers(d.BYTES_RECEIVED, (((stats.route,), stats.bytes_received) for stats in used))
    yield numbers(d.BYTES_SENT, (((stats.route,), stats.bytes_sent) for stats in used))
    yield _one(d.OVERFLOW, sum(stats.overflowed for stats in routes))


def _outcomes(routes: Iterable[RouteStats]) -> Iterator[tuple[Values, float]]:
    for stats in routes:
        for (method, status, reason), count in stats.outcomes.items():
            yield (stats.route, method.decode("ascii"), str(status) if status else OVERFLOW, reason), count


def _limits(limits: Sequence[LimitView]) -> Iterator[Family]:
    yield numbers(d.DECISIONS, _decisions(limits))
    yield numbers(d.LIMIT_NEAR, (((limit.name,), limit.stats.near) for limit in limits))
    yield numbers(d.LIMIT_SETTLED, (((limit.name,), limit.stats.settled) for limit in limits))


def _decisions(limits: Iterable[LimitView]) -> Iterator[tuple[Values, float]]:
    """Always the same few for a limit, however many clients there are."""
    for limit in limits:
        name, stats = limit.name, limit.stats
        yield (name, "allowed"), stats.allowed
        yield (name, "denied"), stats.denied
        yield (name, "blocked"), stats.blocked
        yield (name, "delayed"), stats.delayed
        yield (name, "diverted"), stats.diverted
        yield (name, "would_deny"), stats.would_deny
        yield (name, "candidate_denied"), stats.candidate_denied


def _limit_store(store: LimitStoreView) -> Iterator[Family]:
    stats, status = store.stats, store.status()
    yield _each(d.STORE_REQUESTS, {"shared": stats.requests, "degraded": stats.degraded})
    yield summaries(d.STORE_ROUND_TRIP, [((), stats.calls, stats.latency_sum_s)])
    yield _one(d.STORE_ERRORS, stats.errors)
    yield _one(d.STORE_TIMEOUTS, stats.timeouts)
    yield _one(d.STORE_BREAKER, stats.breaker_openings)
    yield _each(d.STORE_MODE, {mode: int(status["mode"] == mode) for mode in ("shared", "local")})
    yield _one(d.STORE_DEGRADED, status.get("error") is not None)
    yield _one(d.DENY_CACHE_HITS, stats.deny_cache_hits)
    yield _one(d.DENY_CACHE_KEYS, stats.deny_cache_size)
    fates = {"taken": stats.leased_units, "returned": stats.returned_units, "stranded": stats.stranded_units}
    yield _each(d.LEASED_UNITS, fates)
    yield _one(d.MERGED_UNITS, stats.merged_units)
    yield _one(d.FLEET_SIZE, stats.fleet_size)
    yield _one(d.LOCAL_SHARE, stats.local_share)
    if "keys" in status:
        yield _one(d.LIMIT_KEYS, status["keys"])
    yield _one(d.LIMIT_EVICTIONS, stats.evictions)
    yield _one(d.LIMIT_OVERFLOWS, stats.overflows)


def _cache(cache: CacheView) -> Iterator[Family]:
    stats = cache.stats
    results = {"hit": stats.hits, "stale": stats.stale, "miss": stats.misses, "bypass": stats.bypass}
    yield _each(d.CACHE_REQUESTS, results)
    yield _one(d.CACHE_STORED, stats.stored)
    yield _one(d.CACHE_EVICTED, stats.evicted)
    yield _one(d.CACHE_COLLAPSED, stats.collapsed)
    yield _one(d.CACHE_PURGES, stats.purges)
    yield _one(d.CACHE_PURGED, stats.purged)
    yield _one(d.CACHE_BYTES, cache.bytes)
    yield _one(d.CACHE_FILL_BYTES, cache.fill_bytes)
    yield _one(d.CACHE_ENTRIES, cache.entries)
    yield _one(d.CACHE_TAGS, cache.tags)
    if (disk := cache.disk) is not None:
        yield _one(d.CACHE_DISK_UP, disk.is_ready)
        yield _one(d.CACHE_DISK_BYTES, disk.used_bytes)
        yield _one(d.CACHE_DISK_UNSTORED, disk.unstored_bytes)
        yield _one(d.CACHE_DISK_FILES, len(disk))
        yield _one(d.CACHE_DISK_EVICTED, disk.evicted)
        yield _one(d.CACHE_DISK_ERRORS, disk.errors)
    routes = list(stats.routes.items())
    yield numbers(d.CACHE_ROUTE_REQUESTS, _cache_results(routes))
    refusals = (((name, word), n) for name, route in routes for word, n in list(route.not_stored.items()))
    yield numbers(d.CACHE_NOT_STORED, refusals)
    yield numbers(d.CACHE_ROUTE_EVICTED, (((name,), route.evicted) for name, route in routes))
    yield numbers(d.CACHE_ROUTE_ENTRIES, (((name,), route.entries) for name, route in routes))
    yield numbers(d.CACHE_ROUTE_BYTES, (((name,), route.bytes) for name, route in routes))
    if cache.shared is not None:
        yield from _shared_cache(cache.shared)


def _shared_cache(shared: SharedCacheView) -> Iterator[Family]:
    stats = shared.stats
    yield _one(d.SHARED_UP, int(shared.is_up))
    yield _each(d.SHARED_LOOKUPS, stats.lookups)
    yield _one(d.SHARED_WAITS, stats.waits)
    yield _one(d.SHARED_UNREADABLE, stats.unreadable)
    yield _each(d.SHARED_WRITES, stats.writes)
    yield _each(d.SHARED_BYTES, {"read": stats.read_bytes, "written": stats.written_bytes})
    yield _one(d.SHARED_QUEUED, shared.queued_bytes)


def _precompute(precompute: PrecomputeView) -> Iterator[Family]:
    every = list(precompute.numbers())
    runs = (((name, result), count) for name, counts, _ in every for result, count in counts.items())
    yield numbers(d.PRECOMPUTE_RUNS, runs)
    yield numbers(d.PRECOMPUTE_AGE, (((name,), age_s) for name, _, age_s in every if age_s is not None))


def _purges(purges: PurgesView) -> Iterator[Family]:
    stats = purges.stats
    yield _one(d.PURGES_ANNOUNCED, stats.announced)
    yield _one(d.PURGE_RECORDS, stats.records)
    yield _one(d.PURGES_RECEIVED, stats.received)
    yield summaries(d.PURGE_LAG, [((), stats.lags, stats.lag_s)])
    yield _one(d.PURGE_GAPS, stats.gaps)
    yield _one(d.PURGES_PENDING, purges.pending)
    yield _one(d.PURGES_CURRENT, purges.is_current)


def _cache_results(routes: Iterable[tuple[str, RouteCacheView]]) -> Iterator[tuple[Values, float]]:
    for name, route in routes:
        for (result, reason), count in route.results().items():
            yield (name, result, reason), count


def _endpoints(endpoints: list[EndpointView]) -> Iterator[Family]:
    for definition, reads in _OF_AN_ENDPOINT:
        yield numbers(definition, _of_endpoints(endpoints, reads))


def _upstreams(upstreams: list[UpstreamView]) -> Iterator[Family]:
    yield numbers(d.UPSTREAM_HELD, [((each.name,), len(each.hold)) for each in upstreams])
    holds: list[tuple[Values, float]] = []
    retries: list[tuple[Values, float]] = []
    hedges: list[tuple[Values, float]] = []
    for each in upstreams:
        holds += [((each.name, "held"), each.hold.total), ((each.name, "refused"), each.hold.refused)]
        retries += [((each.name, "granted"), each.budget.granted), ((each.name, "refused"), each.budget.refused)]
        if (hedging := each.hedging) is not None:
            hedges += [((each.name, "sent"), hedging.sent), ((each.name, "won"), hedging.won)]
    yield numbers(d.UPSTREAM_HOLDS, holds)
    yield numbers(d.UPSTREAM_RETRIES, retries)
    yield numbers(d.UPSTREAM_HEDGES, hedges)


def _of_endpoints(endpoints: list[EndpointView], reads: _Reads) -> Iterator[tuple[Values, float]]:
    for endpoint in endpoints:
        labels = (endpoint.upstream_name, endpoint.address.label)
        for value, read in reads.items():
            yield (*labels, value) if value else labels, read(endpoint)


_Reads = dict[str, Callable[[EndpointView], float]]
_OF_AN_ENDPOINT: Final[tuple[tuple[d.Definition, _Reads], ...]] = (
    (d.ENDPOINT_HEALTHY, {"": lambda endpoint: endpoint.healthy}),
    (
        d.ENDPOINT_CONNECTIONS,
        {"in_use": lambda endpoint: endpoint.pool.in_use, "idle": lambda endpoint: endpoint.pool.idle},
    ),
    (d.ENDPOINT_REQUESTS, {"": lambda endpoint: endpoint.requests}),
    (d.ENDPOINT_FAILURES, {"": lambda endpoint: endpoint.failures}),
    (
        d.ENDPOINT_CONNECTS,
        {"ok": lambda endpoint: endpoint.pool.connects, "failed": lambda endpoint: endpoint.pool.connect_failures},
    ),
    (d.ENDPOINT_REUSES, {"": lambda endpoint: endpoint.pool.reuses}),
    (d.ENDPOINT_EJECTIONS, {"": lambda endpoint: endpoint.ejections}),
    (d.ENDPOINT_SHARE, {"": lambda endpoint: endpoint.share}),
)


_OF_A_DATABASE_POOL: Final[tuple[tuple[d.Definition, Callable[[DatabasePoolView], float]], ...]] = (
    (d.DB_CLIENT_ACTIVE, lambda pool: pool.client_active),
    (d.DB_CLIENT_WAITING, lambda pool: pool.client_waiting),
    (d.DB_SERVER_ACTIVE, lambda pool: pool.server_active),
    (d.DB_SERVER_IDLE, lambda pool: pool.server_idle),
    (d.DB_MAX_WAIT, lambda pool: pool.max_wait_s),
    (d.DB_QUERIES, lambda pool: pool.queries),
    (d.DB_WAIT, lambda pool: pool.wait_s),
)


def _database(database: PoolerView) -> Iterator[Family]:
    yield _one(d.DB_UP, database.error is None)
    yield _one(d.DB_ERRORS, database.failures)
    pools = list(database.pools.items())
    for definition, read in _OF_A_DATABASE_POOL:
        yield numbers(definition, [((name,), read(pool)) for name, pool in pools])
    yield numbers(d.DB_SHARE, [((name,), share) for name, share in database.shares.items()])


def _replicas(replicas: ReplicasView) -> Iterator[Family]:
    databases = replicas.databases()
    yield numbers(d.DATABASE_KNOWN, [((view.label,), view.is_known) for view in databases])
    yield numbers(d.DATABASE_QUESTIONS, [((view.label,), view.asked) for view in databases])
    servers = [((view.label, server.label), server) for view in databases for server in view.replicas]
    yield numbers(d.REPLICA_IN_ROTATION, [(labels, server.is_in_rotation) for labels, server in servers])
    known = [(labels, server.lag_s) for labels, server in servers if server.lag_s is not None]
    yield numbers(d.REPLICA_LAG, known)
    counts = list(replicas.counts.items())
    results = [((name, word), n) for name, each in counts for word, n in each.reads.items()]
    yield numbers(d.CONSISTENT_READS, results)
    yield numbers(d.CONSISTENT_WRITES, [((name,), each.writes) for name, each in counts])
    positions = [((name, word), n) for name, each in counts for word, n in each.positions().items()]
    yield numbers(d.WRITE_POSITIONS, positions)
    yield _one(d.PINNED_ROUTES, replicas.pinned_routes())


def _weir(observe: Observe, snapshot: Snapshot | None) -> Iterator[Family]:
    lag = observe.loop_lag
    yield histograms(d.LOOP_LAG, [((), lag.buckets, lag.total_s)], _LAG_EDGES)
    if (writer := observe.access_log.writer) is not None:
        yield _each(d.ACCESS_LOG, {"written": writer.written, "dropped": writer.dropped, "failed": writer.failed})
    events = observe.events.counts
    yield _each(d.EVENTS, events)
    if snapshot is not None:
        yield _each(d.CONFIG_INFO, {snapshot.version: 1})
        yield _one(d.CONFIG_LOADED, snapshot.loaded_at_wall)
    yield _each(d.CONFIG_RELOADS, {"ok": events[Event.RELOAD_OK.word], "refused": events[Event.RELOAD_REFUSED.word]})
    yield numbers(d.BUILD_INFO, [((__version__, platform.python_version(), build()), 1)])


def _process(collector: ProcessCollector) -> Iterator[Family]:
    """What the library tells of every process: processor time, memory, file descriptors."""
    for metric in collector.collect():
        name = metric.name + "_total" if metric.type == "counter" else metric.name
        kind: d.Kind = "counter" if metric.type == "counter" else "gauge"
        yield Family(d.Definition(name, kind, (), metric.documentation), iter(metric.samples))


def _one(definition: d.Definition, number: float) -> Family:
    return numbers(definition, [((), number)])


def _each(definition: d.Definition, by_value: dict[str, int]) -> Family:
    return numbers(definition, [((value,), number) for value, number in by_value.items()])
