from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.errors import ErrorKind
from proxy.observe.collector import Collector, Sources
from proxy.observe.definitions import DEFINITIONS, DURATION, ENDPOINT_REUSES, Definition
from proxy.observe.events import Event
from proxy.observe.exposition import SLICE, expose
from proxy.observe.families import numbers
from proxy.observe.metrics import MAX_OUTCOMES, OVERFLOW
from proxy.observe.observe import Observe
from proxy.observe.settings import AccessLogSettings
from proxy.observe.stage import record

Labels = tuple[tuple[str, str], ...]


async def scrape(sources: Sources) -> dict[tuple[str, Labels], float]:
    """Every sample by name and sorted labels, from the text as Prometheus reads it."""
    text = (await expose(Collector(sources))).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: dict[tuple[str, Labels], float], name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


class Disk(SimpleNamespace):
    def __len__(self) -> int:
        return 95


class Hold:
    """91 requests wait."""

    def __init__(self, total: int, refused: int) -> None:
        self.total, self.refused = total, refused

    def __len__(self) -> int:
        return 91


def full_sources(observe: Observe) -> Sources:
    """Every part that Weir can have, with a number of its own in every place."""
    pool = SimpleNamespace(in_use=2, idle=3, connects=5, connect_failures=6, reuses=7)
    endpoint = SimpleNamespace(
        upstream_name="app",
        address=SimpleNamespace(label="127.0.0.1:3000"),
        healthy=True,
        requests=11,
        failures=12,
        ejections=13,
        share=0.25,
        pool=pool,
    )
    store_stats = SimpleNamespace(
        requests=21,
        degraded=22,
        calls=23,
        latency_sum_s=0.5,
        errors=24,
        timeouts=25,
        breaker_openings=26,
        evictions=27,
        overflows=28,
        deny_cache_hits=61,
        deny_cache_size=62,
        leased_units=63,
        returned_units=64,
        stranded_units=65,
        merged_units=66,
        fleet_size=67,
        local_share=0.475,
    )
    shared_stats = SimpleNamespace(
        lookups={"hit": 101, "skipped": 102},
        writes={"kept": 103, "fenced": 104},
        waits=105,
        unreadable=106,
        read_bytes=107,
        written_bytes=108,
    )
    shared_cache = SimpleNamespace(stats=shared_stats, is_up=True, queued_bytes=109)
    cached = SimpleNamespace(
        results=lambda: {("hit", "-"): 81, ("bypass", "no-store"): 82},
        not_stored={"private": 83},
        evicted=84,
        entries=85,
        bytes=86,
    )
    cache_stats = SimpleNamespace(
        hits=31,
        stale=32,
        misses=33,
        bypass=34,
        stored=35,
        evicted=36,
        collapsed=37,
        purges=87,
        purged=88,
        routes={"search": cached},
    )
    purge_stats = SimpleNamespace(announced=91, records=92, received=93, lags=94, lag_s=9.5, gaps=96)
    limit_stats = SimpleNamespace(
        allowed=41,
        denied=42,
        blocked=43,
        delayed=44,
        diverted=45,
        would_deny=46,
        candidate_denied=47,
        near=48,
        settled=49,
    )
    policy = SimpleNamespace(name="per-ip", stats=limit_stats)
    pool_state = SimpleNamespace(
        client_active=112,
        client_waiting=113,
        server_active=114,
        server_idle=115,
        max_wait_s=1.5,
        queries=116,
        wait_s=117.5,
    )
    disk = Disk(used_bytes=91, unstored_bytes=92, evicted=93, errors=94, is_ready=True)
    controls = {"ban": 71, "penalty": 72, "allow": 73, "override": 74, "kill": 75}
    ahead = {"good": 91, "failed": 92, "skipped": 93}
    snapshot: Any = SimpleNamespace(version="0123456789ab", loaded_at_wall=1767225600.0, limits=[policy])
    upstream = SimpleNamespace(
        name="app",
        hold=Hold(92, 93),
        budget=SimpleNamespace(granted=94, refused=95),
        hedging=SimpleNamespace(sent=96, won=97),
    )
    return Sources(
        observe=observe,
        snapshot=lambda: snapshot,
        limit_store=SimpleNamespace(stats=store_stats, status=lambda: {"mode": "local", "error": "away", "keys": 29}),
        cache=SimpleNamespace(
            stats=cache_stats, bytes=38, fill_bytes=89, entries=39, tags=90, disk=disk, shared=shared_cache
        ),
        endpoints=lambda: [endpoint],
        upstreams=lambda: [upstream],
        connections=SimpleNamespace(accepted=51, connections=[object(), object()]),
        controls=SimpleNamespace(counts=lambda: controls),
        database=SimpleNamespace(
            is_on=True, error=None, failures=111, pools={"shop": pool_state}, shares={"main": 0.625}
        ),
        replicas=SimpleNamespace(
            databases=lambda: [
                SimpleNamespace(
                    label="db/p",
                    is_known=True,
                    asked=91,
                    replicas=[
                        SimpleNamespace(label="db/r1", is_in_rotation=True, lag_s=0.25),
                        SimpleNamespace(label="db/r2", is_in_rotation=False, lag_s=None),
                    ],
                )
            ],
            counts={
                "app": SimpleNamespace(
                    reads={"replica": 92, "behind": 93}, writes=94, positions=lambda: {"known": 95, "unknown": 96}
                )
            },
            pinned_routes=lambda: 97,
        ),
        precompute=SimpleNamespace(numbers=lambda: [("board", ahead, 94.0), ("new", {"failed": 95}, None)]),
        purges=SimpleNamespace(stats=purge_stats, pending=97, is_current=True),
    )


async def test_every_number_of_every_part_is_shown(observe: Observe) -> None:
    samples = await scrape(full_sources(observe))
    endpoint = {"upstream": "app", "endpoint": "127.0.0.1:3000"}
    shown = {
        ("weir_endpoint_healthy", 1): endpoint,
        ("weir_endpoint_connections", 2): endpoint | {"state": "in_use"},
        ("weir_endpoint_connections", 3): endpoint | {"state": "idle"},
        ("weir_endpoint_connects_total", 5): endpoint | {"result": "ok"},
        ("weir_endpoint_connects_total", 6): endpoint | {"result": "failed"},
        ("weir_endpoint_reuses_total", 7): endpoint,
        ("weir_endpoint_requests_total", 11): endpoint,
        ("weir_endpoint_failures_total", 12): endpoint,
        ("weir_endpoint_ejections_total", 13): endpoint,
        ("weir_endpoint_share", 0.25): endpoint,
        ("weir_upstream_held", 91): {"upstream": "app"},
        ("weir_upstream_holds_total", 92): {"upstream": "app", "result": "held"},
        ("weir_upstream_holds_total", 93): {"upstream": "app", "result": "refused"},
        ("weir_upstream_retries_total", 94): {"upstream": "app", "result": "granted"},
        ("weir_upstream_retries_total", 95): {"upstream": "app", "result": "refused"},
        ("weir_upstream_hedges_total", 96): {"upstream": "app", "result": "sent"},
        ("weir_upstream_hedges_total", 97): {"upstream": "app", "result": "won"},
        ("weir_limit_store_requests_total", 21): {"mode": "shared"},
        ("weir_limit_store_requests_total", 22): {"mode": "degraded"},
        ("weir_limit_store_round_trip_seconds_count", 23): {},
        ("weir_limit_store_round_trip_seconds_sum", 0.5): {},
        ("weir_limit_store_errors_total", 24): {},
        ("weir_limit_store_timeouts_total", 25): {},
        ("weir_limit_store_breaker_openings_total", 26): {},
        ("weir_limit_keys_evicted_total", 27): {},
        ("weir_limit_keys_shared_total", 28): {},
        ("weir_limit_keys", 29): {},
        ("weir_cache_purges_announced_total", 91): {},
        ("weir_cache_purge_records_total", 92): {},
        ("weir_cache_purges_received_total", 93): {},
        ("weir_cache_purge_lag_seconds_count", 94): {},
        ("weir_cache_purge_lag_seconds_sum", 9.5): {},
        ("weir_cache_purge_gaps_total", 96): {},
        ("weir_cache_purges_pending", 97): {},
        ("weir_cache_purges_current", 1): {},
        ("weir_limit_store_degraded", 1): {},
        ("weir_limit_decisions_total", 41): {"policy": "per-ip", "decision": "allowed"},
        ("weir_limit_decisions_total", 42): {"policy": "per-ip", "decision": "denied"},
        ("weir_limit_decisions_total", 43): {"policy": "per-ip", "decision": "blocked"},
        ("weir_limit_decisions_total", 44): {"policy": "per-ip", "decision": "delayed"},
        ("weir_limit_decisions_total", 45): {"policy": "per-ip", "decision": "diverted"},
        ("weir_limit_decisions_total", 46): {"policy": "per-ip", "decision": "would_deny"},
        ("weir_limit_decisions_total", 47): {"policy": "per-ip", "decision": "candidate_denied"},
        ("weir_limit_near_total", 48): {"policy": "per-ip"},
        ("weir_limit_settled_total", 49): {"policy": "per-ip"},
        ("weir_limit_store_mode", 1): {"mode": "local"},
        ("weir_limit_store_mode", 0): {"mode": "shared"},
        ("weir_limit_deny_cache_hits_total", 61): {},
        ("weir_limit_deny_cache_keys", 62): {},
        ("weir_limit_leased_units_total", 63): {"fate": "taken"},
        ("weir_limit_leased_units_total", 64): {"fate": "returned"},
        ("weir_limit_leased_units_total", 65): {"fate": "stranded"},
        ("weir_limit_merged_units_total", 66): {},
        ("weir_limit_fleet_size", 67): {},
        ("weir_limit_local_share", 0.475): {},
        ("weir_limit_controls", 71): {"kind": "ban"},
        ("weir_limit_controls", 72): {"kind": "penalty"},
        ("weir_limit_controls", 73): {"kind": "allow"},
        ("weir_limit_controls", 74): {"kind": "override"},
        ("weir_limit_controls", 75): {"kind": "kill"},
        ("weir_db_up", 1): {},
        ("weir_db_errors_total", 111): {},
        ("weir_db_pool_client_active", 112): {"pool": "shop"},
        ("weir_db_pool_client_waiting", 113): {"pool": "shop"},
        ("weir_db_pool_server_active", 114): {"pool": "shop"},
        ("weir_db_pool_server_idle", 115): {"pool": "shop"},
        ("weir_db_pool_maxwait_seconds", 1.5): {"pool": "shop"},
        ("weir_db_pool_queries_total", 116): {"pool": "shop"},
        ("weir_db_pool_wait_seconds_total", 117.5): {"pool": "shop"},
        ("weir_db_admission_share", 0.625): {"database": "main"},
        ("weir_cache_requests_total", 31): {"result": "hit"},
        ("weir_cache_requests_total", 32): {"result": "stale"},
        ("weir_cache_requests_total", 33): {"result": "miss"},
        ("weir_cache_requests_total", 34): {"result": "bypass"},
        ("weir_cache_stored_total", 35): {},
        ("weir_cache_evicted_total", 36): {},
        ("weir_cache_collapsed_total", 37): {},
        ("weir_cache_bytes", 38): {},
        ("weir_cache_entries", 39): {},
        ("weir_cache_fill_bytes", 89): {},
        ("weir_cache_tags", 90): {},
        ("weir_cache_disk_up", 1): {},
        ("weir_cache_disk_bytes", 91): {},
        ("weir_cache_disk_unstored_bytes", 92): {},
        ("weir_cache_disk_files", 95): {},
        ("weir_cache_disk_evicted_total", 93): {},
        ("weir_cache_disk_errors_total", 94): {},
        ("weir_cache_purges_total", 87): {},
        ("weir_cache_purged_total", 88): {},
        ("weir_cache_route_requests_total", 81): {"route": "search", "result": "hit", "reason": "-"},
        ("weir_cache_route_requests_total", 82): {"route": "search", "result": "bypass", "reason": "no-store"},
        ("weir_cache_not_stored_total", 83): {"route": "search", "reason": "private"},
        ("weir_cache_route_evicted_total", 84): {"route": "search"},
        ("weir_cache_route_entries", 85): {"route": "search"},
        ("weir_cache_route_bytes", 86): {"route": "search"},
        ("weir_database_known", 1): {"database": "db/p"},
        ("weir_database_questions_total", 91): {"database": "db/p"},
        ("weir_replica_in_rotation", 1): {"database": "db/p", "replica": "db/r1"},
        ("weir_replica_in_rotation", 0): {"database": "db/p", "replica": "db/r2"},
        ("weir_replica_lag_seconds", 0.25): {"database": "db/p", "replica": "db/r1"},
        ("weir_consistent_reads_total", 92): {"upstream": "app", "result": "replica"},
        ("weir_consistent_reads_total", 93): {"upstream": "app", "result": "behind"},
        ("weir_consistent_writes_total", 94): {"upstream": "app"},
        ("weir_write_positions_total", 95): {"upstream": "app", "result": "known"},
        ("weir_write_positions_total", 96): {"upstream": "app", "result": "unknown"},
        ("weir_pinned_routes", 97): {},
        ("weir_precompute_runs_total", 91): {"route": "board", "result": "good"},
        ("weir_precompute_runs_total", 92): {"route": "board", "result": "failed"},
        ("weir_precompute_runs_total", 93): {"route": "board", "result": "skipped"},
        ("weir_precompute_last_success_age_seconds", 94): {"route": "board"},
        ("weir_precompute_runs_total", 95): {"route": "new", "result": "failed"},
        ("weir_shared_cache_up", 1): {},
        ("weir_shared_cache_lookups_total", 101): {"result": "hit"},
        ("weir_shared_cache_lookups_total", 102): {"result": "skipped"},
        ("weir_shared_cache_writes_total", 103): {"result": "kept"},
        ("weir_shared_cache_writes_total", 104): {"result": "fenced"},
        ("weir_shared_cache_waits_total", 105): {},
        ("weir_shared_cache_unreadable_total", 106): {},
        ("weir_shared_cache_bytes_total", 107): {"direction": "read"},
        ("weir_shared_cache_bytes_total", 108): {"direction": "written"},
        ("weir_shared_cache_queued_bytes", 109): {},
        ("weir_connections", 2): {},
        ("weir_connections_accepted_total", 51): {},
        ("weir_config_info", 1): {"version": "0123456789ab"},
        ("weir_config_loaded_timestamp_seconds", 1767225600.0): {},
    }
    assert {(name, value(samples, name, **labels)): labels for (name, _), labels in shown.items()} == shown


async def test_exactly_the_defined_families_are_shown(observe: Observe, tmp_path: Any) -> None:
    observe.access_log.apply(AccessLogSettings(path=str(tmp_path / "log")))
    families = [family.definition for family in Collector(full_sources(observe)).families()]
    assert tuple(definition for definition in families if definition.name.startswith("weir_")) == DEFINITIONS
    assert all(definition.name.startswith(("weir_", "process_")) for definition in families)


async def test_a_limit_has_at_most_twenty_series(observe: Observe) -> None:
    samples = await scrape(full_sources(observe))
    of_limit = [name for name, labels in samples if ("policy", "per-ip") in labels]
    assert 0 < len(of_limit) <= 20


async def test_a_part_that_is_absent_has_no_series(observe: Observe) -> None:
    names = {name for name, _ in await scrape(Sources(observe))}
    assert not any(
        name.startswith(("weir_db_", "weir_cache_", "weir_limit_", "weir_endpoint_", "weir_config_info"))
        for name in names
    )
    assert "weir_requests_total" not in names  # nothing has happened yet
    assert "weir_build_info" in names


async def test_what_an_exchange_left_is_shown(observe: Observe, make_exchange: Any) -> None:
    stats = observe.routes.for_route("search")
    record(make_exchange(stats=stats, bytes_sent=100, queue_s=0.5), observe, 100.02)
    record(make_exchange(stats=stats, status=503, error=ErrorKind.QUEUE_FULL, endpoint=None), observe, 102.0)
    samples = await scrape(Sources(observe))
    assert value(samples, "weir_requests_total", route="search", method="GET", status="200", reason="-") == 1
    assert value(samples, "weir_requests_total", route="search", method="GET", status="503", reason="queue_full") == 1
    assert value(samples, "weir_request_duration_seconds_bucket", route="search", le="0.01") == 0
    assert value(samples, "weir_request_duration_seconds_bucket", route="search", le="0.025") == 1
    assert value(samples, "weir_request_duration_seconds_bucket", route="search", le="+Inf") == 2
    assert value(samples, "weir_request_duration_seconds_count", route="search") == 2
    assert value(samples, "weir_request_duration_seconds_sum", route="search") == pytest.approx(2.02)
    assert value(samples, "weir_upstream_duration_seconds_count", route="search") == 1
    assert value(samples, "weir_queue_wait_seconds_sum", route="search") == 0.5
    assert value(samples, "weir_response_content_bytes_total", route="search") == 100


async def test_histogram_buckets_only_grow(observe: Observe, make_exchange: Any) -> None:
    rng = random.Random(3)
    stats = observe.routes.for_route("search")
    for _ in range(500):
        exchange = make_exchange(stats=stats)
        exchange.received_at = 0.0
        record(exchange, observe, rng.expovariate(2.0))
    family = next(family for family in Collector(Sources(observe)).families() if family.definition is DURATION)
    counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == 500


async def test_events_and_reloads_are_counted(observe: Observe) -> None:
    observe.events.say(Event.RELOAD_OK, "Reloaded.")
    observe.events.say(Event.RELOAD_REFUSED, "Not reloaded.")
    observe.events.say(Event.RELOAD_REFUSED, "Not reloaded.")
    observe.malformed.note(ErrorKind.REQUEST_MALFORMED, "192.0.2.1", "bad", 1.0)
    samples = await scrape(Sources(observe))
    assert value(samples, "weir_config_reloads_total", result="ok") == 1
    assert value(samples, "weir_config_reloads_total", result="refused") == 2
    assert value(samples, "weir_events_total", event="reload_refused") == 2
    assert value(samples, "weir_malformed_requests_total", reason="request_malformed") == 1


async def test_lines_of_the_access_log_are_counted(observe: Observe, make_exchange: Any, stalled_pipe: str) -> None:
    observe.access_log.apply(AccessLogSettings(path=stalled_pipe, sample=1.0))
    for _ in range(15_000):
        record(make_exchange(), observe, 100.1)
    samples = await scrape(Sources(observe))
    assert value(samples, "weir_access_log_lines_total", result="dropped") > 0


async def test_ten_thousand_random_paths_and_methods_give_a_bounded_page(observe: Observe, make_exchange: Any) -> None:
    rng = random.Random(11)
    stats = [observe.routes.for_route(f"r{number}") for number in range(5)]
    for number in range(10_000):
        exchange = make_exchange(
            stats=rng.choice(stats),
            method=b"X%d" % number,
            path=f"/{rng.getrandbits(64):x}",
            host=f"h{number}.example",
            status=rng.randrange(200, 600),
        )
        record(exchange, observe, 100.0)
    samples = await scrape(Sources(observe))
    assert len(samples) < 5 * (100 + 1 + 2 * 18 + 6) + 100
    assert value(samples, "weir_label_overflow_total") > 0
    assert sum(count for (name, _), count in samples.items() if name == "weir_requests_total") == 10_000
    assert {dict(labels)["method"] for name, labels in samples if name == "weir_requests_total"} == {"OTHER", OVERFLOW}


async def test_any_byte_in_a_label_survives_the_text(observe: Observe) -> None:
    name = 'a"b\\c\nd é'
    observe.routes.for_route(name).count(b"GET", 200, "-")
    samples = await scrape(Sources(observe))
    assert value(samples, "weir_requests_total", route=name, method="GET", status="200", reason="-") == 1


def test_configured_names_past_the_cap_are_summed_under_other() -> None:
    samples = list(numbers(ENDPOINT_REUSES, [(("app", f"e{number}"), 2) for number in range(10)], 3).samples)
    assert len(samples) == 4
    assert samples[-1].labels == {"upstream": OVERFLOW, "endpoint": OVERFLOW}
    assert samples[-1].value == 14


def test_wrong_labels_are_a_defect_that_shows() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(numbers(ENDPOINT_REUSES, [(("app",), 1)]).samples)


class Big:
    """Families of many samples."""

    def families(self) -> Any:
        for name in ("weir_a", "weir_b"):
            rows = (((str(number),), number) for number in range(MAX_OUTCOMES))
            yield numbers(Definition(name, "gauge", ("n",), "Many."), rows, MAX_OUTCOMES)


async def test_a_large_page_leaves_the_loop_free() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count_turns())
    text = (await expose(Big())).decode()
    counting.cancel()
    assert turns >= 2 * MAX_OUTCOMES // SLICE
    assert text.count("# HELP") == text.count("# TYPE") == 2
    families = list(text_string_to_metric_families(text))
    assert [len(family.samples) for family in families] == [MAX_OUTCOMES, MAX_OUTCOMES]


async def test_the_usual_process_metrics_are_there_where_there_is_proc(observe: Observe) -> None:
    names = {name for name, _ in await scrape(Sources(observe))}
    usual = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
    assert (usual <= names) is Path("/proc/self/stat").exists()
