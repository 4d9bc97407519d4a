"""Rounds become one row: medians, so that one disturbed round changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.cpu import CpuSpent
from benchmarks.load import Load
from benchmarks.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Measurement:
    """One peer, one scenario, one round."""

    scenario: str
    peer: str
    round: int
    cpu_us: float  # processor microseconds per request: the figure that counts
    user_us: float
    system_us: float
    requests: int
    requests_per_s: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    proxy_busy: float  # share of its core that the proxy used; below about 0.9 it was waiting for the load or backend
    others_busy: float  # share of that core that went to anything else: noise


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over the rounds; `errors` is their sum, the two bounds are the extremes."""

    scenario: str
    peer: str
    rounds: int
    cpu_us: float
    cpu_us_low: float
    cpu_us_high: float
    user_us: float
    system_us: float
    requests_per_s: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    proxy_busy: float
    others_busy: float


def measure(scenario: Scenario, peer: str, number: int, load: Load, cpu: CpuSpent, core_busy_s: float) -> Measurement:
    """`core_busy_s`: how long the proxy's core was busy in that time, whoever used it."""
    each_us = 1e6 / max(load.requests, 1)
    return Measurement(
        scenario=scenario.name,
        peer=peer,
        round=number,
        cpu_us=cpu.total_s * each_us,
        user_us=cpu.user_s * each_us,
        system_us=cpu.system_s * each_us,
        requests=load.requests,
        requests_per_s=load.requests / load.seconds,
        p50_ms=load.p50_ms,
        p90_ms=load.p90_ms,
        p95_ms=load.p95_ms,
        p99_ms=load.p99_ms,
        max_ms=load.max_ms,
        errors=count_errors(scenario, load),
        proxy_busy=cpu.total_s / load.seconds,
        others_busy=max(0.0, (core_busy_s - cpu.total_s) / load.seconds),
    )


def count_errors(scenario: Scenario, load: Load) -> int:
    """Answers of the wrong kind and connections that broke. Where a refusal is wanted, what was let through."""
    wrong = load.requests - load.refused if scenario.status >= 400 else load.refused
    return wrong + load.failed


def summarise(measurements: Sequence[Measurement]) -> list[Summary]:
    """One row for each scenario and peer, in the order in which they were first measured."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for each in measurements:
        groups.setdefault((each.scenario, each.peer), []).append(each)
    return [_summarise(rows) for rows in groups.values()]


def _summarise(rows: list[Measurement]) -> Summary:
    return Summary(
        scenario=rows[0].scenario,
        peer=rows[0].peer,
        rounds=len(rows),
        cpu_us=median(row.cpu_us for row in rows),
        cpu_us_low=min(row.cpu_us for row in rows),
        cpu_us_high=max(row.cpu_us for row in rows),
        user_us=median(row.user_us for row in rows),
        system_us=median(row.system_us for row in rows),
        requests_per_s=median(row.requests_per_s for row in rows),
        p50_ms=median(row.p50_ms for row in rows),
        p90_ms=median(row.p90_ms for row in rows),
        p95_ms=median(row.p95_ms for row in rows),
        p99_ms=median(row.p99_ms for row in rows),
        errors=sum(row.errors for row in rows),
        proxy_busy=median(row.proxy_busy for row in rows),
        others_busy=median(row.others_busy for row in rows),
    )
