"""Every metric that Weir has: its name, kind, labels and meaning, in the order of the page.

Names are an interface: dashboards and alerts hold on to them. A new metric is a row here and a line in `collector.py`;
`docs/reference/metrics.md` is printed from this table (`python -m proxy.observe.reference`), and a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram", "summary"]


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric family. Counters end in `_total`; summaries have `_sum` and `_count` and no quantiles."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


_ROUTE: Final = ("route",)
_ENDPOINT: Final = ("upstream", "endpoint")
_REPLICA: Final = ("database", "replica")
_UPSTREAM: Final = ("upstream",)
_CLASS: Final = ("upstream", "class")

REQUESTS: Final = Definition(
    "weir_requests_total",
    "counter",
    ("route", "method", "status", "reason"),
    'Requests that ended. The reason is "-" when the client got the answer that it should.',
)
DURATION: Final = Definition(
    "weir_request_duration_seconds",
    "histogram",
    _ROUTE,
    "Time from a complete request head to the end of the response; of an upgrade, until it opened.",
)
UPSTREAM_DURATION: Final = Definition(
    "weir_upstream_duration_seconds",
    "histogram",
    _ROUTE,
    "Of requests that reached an endpoint: from the first byte sent to the response head.",
)
QUEUE_WAIT: Final = Definition(
    "weir_queue_wait_seconds", "summary", _ROUTE, "Of requests that had to wait for a slot at an endpoint: how long."
)
RETRIES: Final = Definition("weir_retries_total", "counter", _ROUTE, "Attempts at endpoints beyond a request's first.")
ROUTE_HITS: Final = Definition(
    "weir_route_cache_hits_total", "counter", _ROUTE, "Requests answered from the cache without asking an endpoint."
)
BYTES_RECEIVED: Final = Definition(
    "weir_request_content_bytes_total", "counter", _ROUTE, "Content bytes received from clients."
)
BYTES_SENT: Final = Definition("weir_response_content_bytes_total", "counter", _ROUTE, "Content bytes sent to clients.")
OVERFLOW: Final = Definition(
    "weir_label_overflow_total", "counter", (), "Requests counted under `_other`, because there are too many series."
)

CONNECTIONS: Final = Definition("weir_connections", "gauge", (), "Connections of clients that are open.")
ACCEPTED: Final = Definition("weir_connections_accepted_total", "counter", (), "Connections accepted from clients.")
MALFORMED: Final = Definition(
    "weir_malformed_requests_total",
    "counter",
    ("reason",),
    "Requests refused before they were whole. They are not in weir_requests_total.",
)

DECISIONS: Final = Definition(
    "weir_limit_decisions_total",
    "counter",
    ("policy", "decision"),
    "Requests by what a limit said of them: `allowed` passed all their limits; `denied` were refused by this one; "
    "`blocked` are of clients that are banned, in the penalty box or on its deny list; `delayed` passed after a wait; "
    "`diverted` were over it and got a stored response or a replica's; `would_deny` passed, because it is in shadow "
    "for them; `candidate_denied` are those that its candidate would have refused.",
)
LIMIT_NEAR: Final = Definition(
    "weir_limit_near_total",
    "counter",
    ("policy",),
    "Requests that passed with this limit the tightest and most of its quota (`limiter.near`) used.",
)
LIMIT_SETTLED: Final = Definition(
    "weir_limit_settled_total", "counter", ("policy",), "Charges that were corrected after the response."
)
LIMIT_CONTROLS: Final = Definition(
    "weir_limit_controls",
    "gauge",
    ("kind",),
    "What is in force by decision: `ban`, `allow`, `override` and `kill` of operators, `penalty` of the penalty box.",
)
STORE_REQUESTS: Final = Definition(
    "weir_limit_store_requests_total",
    "counter",
    ("mode",),
    "Requests decided in the shared store (`shared`), or by `on_store_error` because it was away (`degraded`).",
)
STORE_ROUND_TRIP: Final = Definition(
    "weir_limit_store_round_trip_seconds",
    "summary",
    (),
    "Round trips to the shared store. Requests per round trip is the size of a group.",
)
STORE_ERRORS: Final = Definition(
    "weir_limit_store_errors_total", "counter", (), "Round trips and connections to the shared store that failed."
)
STORE_TIMEOUTS: Final = Definition(
    "weir_limit_store_timeouts_total", "counter", (), "Requests that did not wait for the shared store any longer."
)
STORE_BREAKER: Final = Definition(
    "weir_limit_store_breaker_openings_total", "counter", (), "Times that the shared store was given up for a while."
)
STORE_MODE: Final = Definition(
    "weir_limit_store_mode",
    "gauge",
    ("mode",),
    "1 for where limits are decided now: `shared`, or `local` in this process.",
)
STORE_DEGRADED: Final = Definition(
    "weir_limit_store_degraded", "gauge", (), "1 while the shared store is away, else 0."
)
DENY_CACHE_HITS: Final = Definition(
    "weir_limit_deny_cache_hits_total", "counter", (), "Requests denied without asking the shared store again."
)
DENY_CACHE_KEYS: Final = Definition(
    "weir_limit_deny_cache_keys", "gauge", (), "Keys that are known to be exhausted, as of about a second ago."
)
LEASED_UNITS: Final = Definition(
    "weir_limit_leased_units_total",
    "counter",
    ("fate",),
    "Units of `accuracy: leased`: `taken` in advance; of those `returned` unspent; `stranded`, neither spent nor "
    "returned in time, which is the error that leasing has made.",
)
MERGED_UNITS: Final = Definition(
    "weir_limit_merged_units_total",
    "counter",
    (),
    "Units admitted here while the shared store was away, and charged when it was back.",
)
FLEET_SIZE: Final = Definition("weir_limit_fleet_size", "gauge", (), "Weirs that share the store, as last heard.")
LOCAL_SHARE: Final = Definition(
    "weir_limit_local_share",
    "gauge",
    (),
    "The part of each limit that this Weir enforces alone while the shared store is away.",
)
LIMIT_KEYS: Final = Definition("weir_limit_keys", "gauge", (), "Keys with a count in this process's memory.")
LIMIT_EVICTIONS: Final = Definition(
    "weir_limit_keys_evicted_total", "counter", (), "Keys forgotten although something was spent: memory was full."
)
LIMIT_OVERFLOWS: Final = Definition(
    "weir_limit_keys_shared_total", "counter", (), "Requests counted together with others, because memory was full."
)

CACHE_REQUESTS: Final = Definition(
    "weir_cache_requests_total",
    "counter",
    ("result",),
    "Requests on cached routes: `hit` (fresh), `stale` (served stale), `miss` (fetched), `bypass` (not for the cache).",
)
CACHE_STORED: Final = Definition("weir_cache_stored_total", "counter", (), "Responses stored.")
CACHE_EVICTED: Final = Definition("weir_cache_evicted_total", "counter", (), "Responses evicted to make room.")
CACHE_COLLAPSED: Final = Definition(
    "weir_cache_collapsed_total", "counter", (), "Requests that waited for the fetch of another one."
)
CACHE_PURGES: Final = Definition("weir_cache_purges_total", "counter", (), "Purges that were ordered.")
CACHE_PURGED: Final = Definition(
    "weir_cache_purged_total", "counter", (), "Stored responses that a purge ended, or made stale."
)
PURGES_ANNOUNCED: Final = Definition(
    "weir_cache_purges_announced_total",
    "counter",
    (),
    "Purges, and URLs and groups that a write ended, of which this Weir has told the others.",
)
PURGE_RECORDS: Final = Definition(
    "weir_cache_purge_records_total", "counter", (), "Messages in which it did; several purges go in one."
)
PURGES_RECEIVED: Final = Definition(
    "weir_cache_purges_received_total", "counter", (), "The same of other Weirs, carried out here."
)
PURGE_LAG: Final = Definition(
    "weir_cache_purge_lag_seconds",
    "summary",
    (),
    "From a purge or a write here until it came back through the store, which is when the others have it.",
)
PURGE_GAPS: Final = Definition(
    "weir_cache_purge_gaps_total",
    "counter",
    (),
    "Times that purges of others may have been missed, and everything stored had to be validated.",
)
PURGES_PENDING: Final = Definition(
    "weir_cache_purges_pending", "gauge", (), "Purges and writes here that the others have not been told of yet."
)
PURGES_CURRENT: Final = Definition(
    "weir_cache_purges_current", "gauge", (), "1 while all purges of a second ago are in force here, else 0."
)
CACHE_BYTES: Final = Definition(
    "weir_cache_bytes", "gauge", (), "Bytes that stored responses and content on its way in take: all that is counted."
)
CACHE_FILL_BYTES: Final = Definition(
    "weir_cache_fill_bytes", "gauge", (), "Of these bytes, those of content on its way in."
)
CACHE_ENTRIES: Final = Definition("weir_cache_entries", "gauge", (), "Responses that are stored.")
CACHE_TAGS: Final = Definition("weir_cache_tags", "gauge", (), "Different tags in the index.")
CACHE_DISK_UP: Final = Definition(
    "weir_cache_disk_up", "gauge", (), "1 while large responses can be stored on disk, else 0."
)
CACHE_DISK_BYTES: Final = Definition(
    "weir_cache_disk_bytes", "gauge", (), "Bytes of files: stored, being written, and ended but still being read."
)
CACHE_DISK_UNSTORED: Final = Definition(
    "weir_cache_disk_unstored_bytes", "gauge", (), "Of these bytes, those of files that no stored response has (yet)."
)
CACHE_DISK_FILES: Final = Definition("weir_cache_disk_files", "gauge", (), "Files that have these bytes.")
CACHE_DISK_EVICTED: Final = Definition(
    "weir_cache_disk_evicted_total", "counter", (), "Responses evicted to make room on disk."
)
CACHE_DISK_ERRORS: Final = Definition(
    "weir_cache_disk_errors_total", "counter", (), "Reads, writes and attempts to take the directory that failed."
)
CACHE_ROUTE_REQUESTS: Final = Definition(
    "weir_cache_route_requests_total",
    "counter",
    ("route", "result", "reason"),
    "Requests by what the cache did, as Cache-Status has it: `hit`; `stale` (`revalidating`: fetched anew behind "
    "it, or `error`: the origin failed); `collapsed` (answered by what another request fetched); `miss` (`uri-miss`, "
    "`vary-miss`, `stale` or `request`: fetched, or validated); `bypass` and why.",
)
CACHE_NOT_STORED: Final = Definition(
    "weir_cache_not_stored_total", "counter", ("route", "reason"), "Of the misses, those that were not stored, and why."
)
CACHE_ROUTE_EVICTED: Final = Definition(
    "weir_cache_route_evicted_total", "counter", _ROUTE, "Responses of the route that were evicted to make room."
)
CACHE_ROUTE_ENTRIES: Final = Definition(
    "weir_cache_route_entries", "gauge", _ROUTE, "Responses of the route that are stored."
)
CACHE_ROUTE_BYTES: Final = Definition("weir_cache_route_bytes", "gauge", _ROUTE, "Bytes that they take.")
PRECOMPUTE_RUNS: Final = Definition(
    "weir_precompute_runs_total",
    "counter",
    ("route", "result"),
    "Fetches ahead of those who ask: `good`, `failed`, `overtaken` (by a purge or a write; fetched again), or "
    "`skipped`, because the one before went on.",
)
PRECOMPUTE_AGE: Final = Definition(
    "weir_precompute_last_success_age_seconds",
    "gauge",
    _ROUTE,
    "Since the last good fetch, of the route's response for which that is longest ago; absent while one never was.",
)
SHARED_UP: Final = Definition(
    "weir_shared_cache_up", "gauge", (), "Whether the store of the second tier answers. Without one there is no series."
)
SHARED_LOOKUPS: Final = Definition(
    "weir_shared_cache_lookups_total",
    "counter",
    ("result",),
    "Misses in memory that were looked for in the second tier: `hit`; `stale` (to be validated); `miss`; `error` (no "
    "answer in time); `skipped` (not asked: the store is away).",
)
SHARED_WAITS: Final = Definition(
    "weir_shared_cache_waits_total", "counter", (), "Of these, those that waited for another Weir's fetch."
)
SHARED_UNREADABLE: Final = Definition(
    "weir_shared_cache_unreadable_total", "counter", (), "Values of another version or broken, taken for misses."
)
SHARED_WRITES: Final = Definition(
    "weir_shared_cache_writes_total",
    "counter",
    ("result",),
    "Responses for the second tier: `kept`; `fenced` (another Weir was asked meanwhile); `dropped` (too much waited, "
    "or the store was away); `failed` (no answer).",
)
SHARED_BYTES: Final = Definition(
    "weir_shared_cache_bytes_total", "counter", ("direction",), "Bytes `read` from the second tier, and `written`."
)
SHARED_QUEUED: Final = Definition(
    "weir_shared_cache_queued_bytes", "gauge", (), "Bytes of responses that wait to be written."
)

ENDPOINT_HEALTHY: Final = Definition(
    "weir_endpoint_healthy", "gauge", _ENDPOINT, "1 while the endpoint is used, 0 while it is skipped."
)
ENDPOINT_CONNECTIONS: Final = Definition(
    "weir_endpoint_connections",
    "gauge",
    (*_ENDPOINT, "state"),
    "Connections to the endpoint: `in_use` (being opened, or carrying an exchange) or `idle`.",
)
ENDPOINT_REQUESTS: Final = Definition(
    "weir_endpoint_requests_total", "counter", _ENDPOINT, "Attempts at the endpoint that ended, well or not."
)
ENDPOINT_FAILURES: Final = Definition(
    "weir_endpoint_failures_total", "counter", _ENDPOINT, "Attempts that the endpoint failed."
)
ENDPOINT_CONNECTS: Final = Definition(
    "weir_endpoint_connects_total",
    "counter",
    (*_ENDPOINT, "result"),
    "Connects to the endpoint: `ok` or `failed`.",
)
ENDPOINT_REUSES: Final = Definition(
    "weir_endpoint_reuses_total", "counter", _ENDPOINT, "Attempts on a connection that was open already."
)

UPSTREAM_SLOTS: Final = Definition(
    "weir_upstream_slots", "gauge", _UPSTREAM, "Exchanges that the upstream may have at once, at all its endpoints."
)
UPSTREAM_IN_USE: Final = Definition(
    "weir_upstream_in_use", "gauge", _UPSTREAM, "Of these slots, those in use; connects under way included."
)
UPSTREAM_WAITING: Final = Definition(
    "weir_upstream_waiting", "gauge", _CLASS, "Requests that wait for a slot of the upstream."
)
UPSTREAM_WAITING_BYTES: Final = Definition(
    "weir_upstream_waiting_bytes", "gauge", _UPSTREAM, "Bytes of content that they hold in memory."
)
UPSTREAM_OLDEST_WAIT: Final = Definition(
    "weir_upstream_oldest_wait_seconds", "gauge", _UPSTREAM, "How long the one has waited that has waited longest."
)
UPSTREAM_NEWEST_FIRST: Final = Definition(
    "weir_upstream_newest_first",
    "gauge",
    _CLASS,
    "1 while the newest are served first, because the queue has not emptied for half a second.",
)
UPSTREAM_WAIT: Final = Definition(
    "weir_upstream_wait_seconds", "histogram", _CLASS, "Of requests that got a slot after a wait: how long it was."
)
UPSTREAM_REFUSED: Final = Definition(
    "weir_upstream_refused_total",
    "counter",
    (*_CLASS, "reason"),
    "Requests that got no slot: `queue_full`; `queue_timeout` after waiting; `no_chance`, which would have waited for "
    "longer than it could; `shed` for the sake of better classes.",
)
UPSTREAM_DISPLACED: Final = Definition(
    "weir_upstream_displaced_total",
    "counter",
    _CLASS,
    "Of those refused with `queue_full`, those that waited and had to make room for others.",
)
UPSTREAM_LEFT: Final = Definition(
    "weir_upstream_left_total", "counter", _CLASS, "Requests whose client left while they waited."
)
UPSTREAM_SHEDDING: Final = Definition(
    "weir_upstream_shedding", "gauge", _CLASS, "1 while requests of the class that would have to wait are refused."
)
UPSTREAM_ADAPTIVE: Final = Definition(
    "weir_upstream_adaptive_limit",
    "gauge",
    (*_UPSTREAM, "mode"),
    "What the adaptive limit lets the upstream have at once (`enforce`), or would (`observe`).",
)
UPSTREAM_HELD_BACK: Final = Definition(
    "weir_upstream_adaptive_held_back_total",
    "counter",
    _UPSTREAM,
    "Requests that the adaptive limit kept from a slot, or would have.",
)
UPSTREAM_CUTS: Final = Definition(
    "weir_upstream_adaptive_cuts_total",
    "counter",
    (*_UPSTREAM, "reason"),
    "Times that the adaptive limit fell: `latency`, `timeout`, or `database`, whose clients waited for a connection.",
)
UPSTREAM_MEASURED: Final = Definition(
    "weir_upstream_adaptive_measured_total",
    "counter",
    _UPSTREAM,
    "Times that it was measured, with less at once, how long the upstream takes.",
)
UPSTREAM_P90: Final = Definition(
    "weir_upstream_adaptive_p90_seconds",
    "gauge",
    _UPSTREAM,
    "How long nine of ten answers took at most in the last moment.",
)
UPSTREAM_USUAL: Final = Definition(
    "weir_upstream_adaptive_usual_seconds", "gauge", _UPSTREAM, "How long that is when the upstream is not overrun."
)
UPSTREAM_SERVICE: Final = Definition(
    "weir_upstream_service_seconds",
    "gauge",
    _UPSTREAM,
    "How long an exchange has its slot, on average of the last seconds; no series when there were too few.",
)
UPSTREAM_RATE: Final = Definition(
    "weir_upstream_served_per_second", "gauge", _UPSTREAM, "Exchanges a second, on average of the last seconds."
)

ENDPOINT_EJECTIONS: Final = Definition(
    "weir_endpoint_ejections_total",
    "counter",
    _ENDPOINT,
    "Times that the endpoint was ejected for what it answered, failed trials included.",
)
ENDPOINT_SHARE: Final = Definition(
    "weir_endpoint_share",
    "gauge",
    _ENDPOINT,
    "Of its turns, the part that the endpoint takes: 1, or less in a slow start.",
)
UPSTREAM_HELD: Final = Definition(
    "weir_upstream_held", "gauge", _UPSTREAM, "Requests that wait now for endpoints that refuse connections."
)
UPSTREAM_HOLDS: Final = Definition(
    "weir_upstream_holds_total",
    "counter",
    (*_UPSTREAM, "result"),
    "Requests that found every endpoint refusing in a short outage: `held`, or `refused` because too many were.",
)
UPSTREAM_RETRIES: Final = Definition(
    "weir_upstream_retries_total",
    "counter",
    (*_UPSTREAM, "result"),
    "Retries that were asked of the budget: `granted` or `refused`.",
)

UPSTREAM_HEDGES: Final = Definition(
    "weir_upstream_hedges_total",
    "counter",
    (*_UPSTREAM, "result"),
    "Second attempts beside a slow first one: `sent`, and of those `won`, which answered first.",
)
_DB_POOL: Final = ("pool",)

DB_UP: Final = Definition("weir_db_up", "gauge", (), "1 while PgBouncer's console answers.")
DB_ERRORS: Final = Definition(
    "weir_db_errors_total", "counter", (), "Rounds in which PgBouncer's console could not be asked."
)
DB_CLIENT_ACTIVE: Final = Definition(
    "weir_db_pool_client_active", "gauge", _DB_POOL, "Connections of the backend that PgBouncer does not keep waiting."
)
DB_CLIENT_WAITING: Final = Definition(
    "weir_db_pool_client_waiting", "gauge", _DB_POOL, "Connections of the backend that wait for one to the server."
)
DB_SERVER_ACTIVE: Final = Definition(
    "weir_db_pool_server_active", "gauge", _DB_POOL, "Connections to the server with a transaction in them."
)
DB_SERVER_IDLE: Final = Definition(
    "weir_db_pool_server_idle", "gauge", _DB_POOL, "Connections to the server without one."
)
DB_MAX_WAIT: Final = Definition(
    "weir_db_pool_maxwait_seconds", "gauge", _DB_POOL, "How long the client waits that has waited longest."
)
DB_QUERIES: Final = Definition("weir_db_pool_queries_total", "counter", _DB_POOL, "Queries that PgBouncer passed on.")
DB_WAIT: Final = Definition(
    "weir_db_pool_wait_seconds_total", "counter", _DB_POOL, "Time that all clients of the pool together waited."
)
DB_SHARE: Final = Definition(
    "weir_db_admission_share",
    "gauge",
    ("database",),
    "How much of their `max_in_flight` the upstreams of a server may use: below 1 while its pools are slow to answer.",
)
DATABASE_KNOWN: Final = Definition(
    "weir_database_known",
    "gauge",
    ("database",),
    "1 while the primary database tells where its log stands; while it does not, reads go to the primary.",
)
DATABASE_QUESTIONS: Final = Definition(
    "weir_database_questions_total", "counter", ("database",), "Answers of its servers about where they stand."
)
REPLICA_IN_ROTATION: Final = Definition(
    "weir_replica_in_rotation", "gauge", _REPLICA, "1 while the replica may answer reads, else 0."
)
REPLICA_LAG: Final = Definition(
    "weir_replica_lag_seconds",
    "gauge",
    _REPLICA,
    "How old the replica is at most: how long ago the primary was where it is now. No sample while nobody knows.",
)
CONSISTENT_READS: Final = Definition(
    "weir_consistent_reads_total",
    "counter",
    ("upstream", "result"),
    "Reads of upstreams with replicas. `replica`, at once or after a wait (`waited`); the others went to the primary: "
    "`behind` (no replica has what the client must see), `lagging` (none is in rotation), `unknown` (a database does "
    "not tell where it stands), `history` or `ahead` (the client's position is of another history, or beyond "
    "belief), `pinned` (for a time after a write), `route` (its reads fail on replicas), `store` (the shared store is "
    "away, or a write of the client is under way). Beside that, `replayed` counts those that failed on a replica and "
    "were sent again, `refused` those that `primary_share` had no place for, and `last_resort` those that a replica "
    "answered because the primary did not.",
)
CONSISTENT_WRITES: Final = Definition(
    "weir_consistent_writes_total", "counter", ("upstream",), "Requests after which their client must see a change."
)
WRITE_POSITIONS: Final = Definition(
    "weir_write_positions_total",
    "counter",
    ("upstream", "result"),
    "Responses to writes that waited for the position of the log: `known`, or `unknown` because it did not come.",
)
PINNED_ROUTES: Final = Definition(
    "weir_pinned_routes", "gauge", (), "Routes whose reads go to the primary because they fail on replicas."
)

LOOP_LAG: Final = Definition(
    "weir_loop_lag_seconds", "histogram", (), "How late the event loop is, measured twice a second."
)
ACCESS_LOG: Final = Definition(
    "weir_access_log_lines_total",
    "counter",
    ("result",),
    "Lines of the access log: `written`, `dropped` (the queue was full) or `failed` (the system refused them).",
)
EVENTS: Final = Definition(
    "weir_events_total", "counter", ("event",), "Events for the operator, also those whose line was held back."
)
CONFIG_INFO: Final = Definition("weir_config_info", "gauge", ("version",), "1 for the configuration in force.")
CONFIG_LOADED: Final = Definition(
    "weir_config_loaded_timestamp_seconds", "gauge", (), "When the configuration in force was loaded (Unix time)."
)
CONFIG_RELOADS: Final = Definition(
    "weir_config_reloads_total", "counter", ("result",), "Reloads: `ok`, or `refused` (the old configuration stays)."
)
BUILD_INFO: Final = Definition(
    "weir_build_info",
    "gauge",
    ("version", "python", "build"),
    "1, with the versions as labels; `build` is `compiled` for the wheel whose hot path is C, else `pure`.",
)

SECTIONS: Final[dict[str, tuple[Definition, ...]]] = {
    "Requests": (
        *(REQUESTS, DURATION, UPSTREAM_DURATION, QUEUE_WAIT, RETRIES, ROUTE_HITS),
        *(BYTES_RECEIVED, BYTES_SENT, OVERFLOW),
    ),
    "Connections": (CONNECTIONS, ACCEPTED, MALFORMED),
    "Limits": (
        *(DECISIONS, LIMIT_NEAR, LIMIT_SETTLED, LIMIT_CONTROLS),
        *(STORE_REQUESTS, STORE_ROUND_TRIP, STORE_ERRORS, STORE_TIMEOUTS, STORE_BREAKER, STORE_MODE, STORE_DEGRADED),
        *(DENY_CACHE_HITS, DENY_CACHE_KEYS, LEASED_UNITS, MERGED_UNITS, FLEET_SIZE, LOCAL_SHARE),
        *(LIMIT_KEYS, LIMIT_EVICTIONS, LIMIT_OVERFLOWS),
    ),
    "Cache": (
        *(CACHE_REQUESTS, CACHE_STORED, CACHE_EVICTED, CACHE_COLLAPSED, CACHE_PURGES, CACHE_PURGED),
        *(CACHE_BYTES, CACHE_FILL_BYTES, CACHE_ENTRIES, CACHE_TAGS),
        *(CACHE_DISK_UP, CACHE_DISK_BYTES, CACHE_DISK_UNSTORED, CACHE_DISK_FILES),
        *(CACHE_DISK_EVICTED, CACHE_DISK_ERRORS),
        *(CACHE_ROUTE_REQUESTS, CACHE_NOT_STORED, CACHE_ROUTE_EVICTED, CACHE_ROUTE_ENTRIES, CACHE_ROUTE_BYTES),
        *(SHARED_UP, SHARED_LOOKUPS, SHARED_WAITS, SHARED_UNREADABLE, SHARED_WRITES, SHARED_BYTES, SHARED_QUEUED),
        *(PRECOMPUTE_RUNS, PRECOMPUTE_AGE),
        *(PURGES_ANNOUNCED, PURGE_RECORDS, PURGES_RECEIVED, PURGE_LAG, PURGE_GAPS, PURGES_PENDING, PURGES_CURRENT),
    ),
    "Endpoints": (
        *(ENDPOINT_HEALTHY, ENDPOINT_CONNECTIONS, ENDPOINT_REQUESTS, ENDPOINT_FAILURES),
        *(ENDPOINT_CONNECTS, ENDPOINT_REUSES),
        *(ENDPOINT_EJECTIONS, ENDPOINT_SHARE, UPSTREAM_HELD, UPSTREAM_HOLDS, UPSTREAM_RETRIES),
        UPSTREAM_HEDGES,
    ),
    "Queues": (
        *(UPSTREAM_SLOTS, UPSTREAM_IN_USE, UPSTREAM_WAITING, UPSTREAM_WAITING_BYTES, UPSTREAM_OLDEST_WAIT),
        *(UPSTREAM_NEWEST_FIRST, UPSTREAM_WAIT, UPSTREAM_REFUSED, UPSTREAM_DISPLACED, UPSTREAM_LEFT),
        *(UPSTREAM_SHEDDING, UPSTREAM_ADAPTIVE, UPSTREAM_HELD_BACK, UPSTREAM_CUTS, UPSTREAM_MEASURED),
        *(UPSTREAM_P90, UPSTREAM_USUAL, UPSTREAM_SERVICE, UPSTREAM_RATE),
    ),
    "Database": (
        *(DB_UP, DB_ERRORS, DB_CLIENT_ACTIVE, DB_CLIENT_WAITING, DB_SERVER_ACTIVE, DB_SERVER_IDLE),
        *(DB_MAX_WAIT, DB_QUERIES, DB_WAIT, DB_SHARE),
    ),
    "Replicas": (
        *(DATABASE_KNOWN, DATABASE_QUESTIONS, REPLICA_IN_ROTATION, REPLICA_LAG),
        *(CONSISTENT_READS, CONSISTENT_WRITES, WRITE_POSITIONS, PINNED_ROUTES),
    ),
    "Weir itself": (LOOP_LAG, ACCESS_LOG, EVENTS, CONFIG_INFO, CONFIG_LOADED, CONFIG_RELOADS, BUILD_INFO),
}

DEFINITIONS: Final = tuple(definition for section in SECTIONS.values() for definition in section)
