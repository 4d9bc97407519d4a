"""What the collector reads of each feature: a few attributes. The features know nothing of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol


class LimitStatsView(Protocol):
    """Counters of one limit."""

    allowed: int
    denied: int
    blocked: int
    delayed: int
    diverted: int
    would_deny: int
    candidate_denied: int
    near: int
    settled: int


class LimitView(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def stats(self) -> LimitStatsView: ...


class ReplicaView(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def is_in_rotation(self) -> bool: ...
    @property
    def lag_s(self) -> float | None:
        """None: nobody knows."""


class DatabaseView(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def is_known(self) -> bool: ...
    @property
    def asked(self) -> int: ...
    @property
    def replicas(self) -> Sequence[ReplicaView]: ...


class ReadCountsView(Protocol):
    """Counters of an upstream with replicas."""

    reads: dict[str, int]
    writes: int

    def positions(self) -> dict[str, int]: ...


class ReplicasView(Protocol):
    @property
    def counts(self) -> Mapping[str, ReadCountsView]: ...
    def databases(self) -> Sequence[DatabaseView]: ...
    def pinned_routes(self) -> int: ...


class ControlsView(Protocol):
    def counts(self) -> dict[str, int]:
        """What is in force, by kind; always the same kinds."""


class StoreStatsView(Protocol):
    """Counters of a limit store."""

    requests: int
    degraded: int
    calls: int
    latency_sum_s: float
    errors: int
    timeouts: int
    breaker_openings: int
    evictions: int
    overflows: int
    deny_cache_hits: int
    deny_cache_size: int
    leased_units: int
    returned_units: int
    stranded_units: int
    merged_units: int
    fleet_size: int
    local_share: float


class LimitStoreView(Protocol):
    @property
    def stats(self) -> StoreStatsView: ...

    def status(self) -> dict[str, Any]:
        """`mode` is shared or local, `error` None while the store answers; `keys` is there when it is memory."""


class PoolView(Protocol):
    in_use: int
    connects: int
    connect_failures: int
    reuses: int

    @property
    def idle(self) -> int: ...


class AddressView(Protocol):
    @property
    def label(self) -> str: ...


class EndpointView(Protocol):
    upstream_name: str
    requests: int
    failures: int
    ejections: int
    share: float

    @property
    def address(self) -> AddressView: ...
    @property
    def pool(self) -> PoolView: ...
    @property
    def healthy(self) -> bool: ...


class DatabasePoolView(Protocol):
    """One pool of PgBouncer, as its console told."""

    @property
    def client_active(self) -> int: ...
    @property
    def client_waiting(self) -> int: ...
    @property
    def server_active(self) -> int: ...
    @property
    def server_idle(self) -> int: ...
    @property
    def max_wait_s(self) -> float: ...
    @property
    def queries(self) -> int: ...
    @property
    def wait_s(self) -> float: ...


class PoolerView(Protocol):
    """Who asks PgBouncer. `pools` is empty while its console is away."""

    failures: int
    shares: dict[str, float]

    @property
    def is_on(self) -> bool: ...
    @property
    def error(self) -> str | None: ...
    @property
    def pools(self) -> Mapping[str, DatabasePoolView]: ...


class ClassStatsView(Protocol):
    """Counters of those of one class who waited."""

    buckets: list[int]
    wait_s: float
    refused: dict[str, int]
    displaced: int
    left: int


class QueueStatsView(Protocol):
    @property
    def classes(self) -> tuple[ClassStatsView, ...]: ...


class AdaptiveRulesView(Protocol):
    @property
    def enforces(self) -> bool: ...


class AdaptiveView(Protocol):
    """The adaptive limit of an upstream."""

    held_back: int
    cuts: dict[str, int]
    measured: int
    p90_s: float | None
    usual_s: float | None

    @property
    def rules(self) -> AdaptiveRulesView: ...
    @property
    def bound(self) -> int: ...


class LinesView(Protocol):
    """Who waits for an upstream. Classes go by their place in upstreams.queue.PRIORITIES."""

    @property
    def size_bytes(self) -> int: ...
    def depth(self, rank: int) -> int: ...
    def oldest_wait_s(self, now: float) -> float: ...
    def is_newest_first(self, rank: int) -> bool: ...
    def sheds(self, rank: int) -> bool: ...


class GateView(Protocol):
    """What an upstream has at once, and what became of those who waited for it."""

    @property
    def in_use(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def lines(self) -> LinesView: ...
    @property
    def mean_service_s(self) -> float | None: ...
    @property
    def drain_per_s(self) -> float: ...
    @property
    def stats(self) -> QueueStatsView: ...
    @property
    def adaptive(self) -> AdaptiveView | None: ...


class HoldView(Protocol):
    total: int
    refused: int

    def __len__(self) -> int: ...


class BudgetView(Protocol):
    granted: int
    refused: int


class HedgingView(Protocol):
    sent: int
    won: int


class UpstreamView(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def hold(self) -> HoldView: ...
    @property
    def budget(self) -> BudgetView: ...
    @property
    def hedging(self) -> HedgingView | None: ...


class ConnectionsView(Protocol):
    """Who accepts connections."""

    accepted: int

    @property
    def connections(self) -> Collection[Any]: ...


class RouteCacheView(Protocol):
    """Counters of the cache for one route."""

    not_stored: dict[str, int]
    evicted: int
    entries: int
    bytes: int

    def results(self) -> dict[tuple[str, str], int]:
        """Counts by result and reason; always of the same few words."""


class CacheStatsView(Protocol):
    """Counters of the cache."""

    hits: int
    stale: int
    misses: int
    bypass: int
    stored: int
    evicted: int
    collapsed: int
    purges: int
    purged: int

    @property
    def routes(self) -> Mapping[str, RouteCacheView]: ...


class DiskView(Protocol):
    """The cache's files."""

    used_bytes: int
    evicted: int
    errors: int

    @property
    def is_ready(self) -> bool: ...
    @property
    def unstored_bytes(self) -> int: ...
    def __len__(self) -> int: ...


class SharedCacheStatsView(Protocol):
    """Counters of the second tier."""

    lookups: dict[str, int]
    writes: dict[str, int]
    waits: int
    unreadable: int
    read_bytes: int
    written_bytes: int


class SharedCacheView(Protocol):
    @property
    def stats(self) -> SharedCacheStatsView: ...
    @property
    def is_up(self) -> bool: ...
    @property
    def queued_bytes(self) -> int: ...


class CacheView(Protocol):
    @property
    def disk(self) -> DiskView | None: ...
    @property
    def shared(self) -> SharedCacheView | None: ...
    @property
    def stats(self) -> CacheStatsView: ...
    @property
    def bytes(self) -> int: ...
    @property
    def fill_bytes(self) -> int: ...
    @property
    def entries(self) -> int: ...
    @property
    def tags(self) -> int: ...


class PrecomputeView(Protocol):
    """What is fetched ahead of those who ask."""

    def numbers(self) -> Iterable[tuple[str, dict[str, int], float | None]]:
        """(name, counters by result, seconds since the last success or None), once for each that is configured."""


class PurgeStatsView(Protocol):
    """Counters of the purges that Weirs share."""

    announced: int
    records: int
    received: int
    lags: int
    lag_s: float
    gaps: int


class PurgesView(Protocol):
    @property
    def stats(self) -> PurgeStatsView: ...
    @property
    def pending(self) -> int: ...
    @property
    def is_current(self) -> bool: ...
