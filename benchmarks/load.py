"""The load: wrk where it is installed, else `load_client`; both bound to the load's core, both closed loops.

A closed loop sends the next request when the response is there. With a proxy at its limit, its latencies are
therefore mostly the queue of the other connections: connections / throughput.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY
from benchmarks.scenarios import ETAG, Scenario

_SCRIPT = Path(__file__).with_name("wrk.lua")
# What a client of an API sends at the least; wrk alone would send a Host field and nothing else.
REQUEST_FIELDS = {"User-Agent": "weir-benchmarks/1", "Accept": "application/json, */*;q=0.5"}


def request_fields(scenario: Scenario) -> dict[str, str]:
    return {**REQUEST_FIELDS, "If-None-Match": ETAG} if scenario.is_conditional else REQUEST_FIELDS


class LoadError(Exception):
    """The load generator failed; the message holds what it wrote."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw. `refused` counts answers from 400 upwards, `failed` connections that broke or timed out."""

    requests: int
    seconds: float
    content_bytes: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    refused: int
    failed: int


def generator() -> str:
    """Which one a run uses, for the results."""
    return "wrk" if shutil.which("wrk") else "python"


def run(scenario: Scenario, port: int, seconds: int, core: int) -> Load:
    """Send for that long, and wait for the end. Raises LoadError."""
    process = _start(scenario, port, seconds, core)
    try:
        output, _ = process.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LoadError("the load generator did not end in time") from None
    return parse(output)


def warm_up(scenario: Scenario, port: int, seconds: float, core: int) -> None:
    """The same load, cut short, and nothing read from it: a second is the least that wrk can be told."""
    with under_way([scenario], port, core):
        time.sleep(seconds)


@contextmanager
def under_way(scenarios: Sequence[Scenario], port: int, core: int) -> Iterator[None]:
    """These loads for as long as it is open, a minute at most; nothing is read from them."""
    processes = [_start(scenario, port, 60, core) for scenario in scenarios]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                process.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def parse(output: str) -> Load:
    """The last line, as `wrk.lua` and `load_client` write it."""
    try:
        found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise LoadError(output.strip()[-500:] or "the load generator wrote nothing") from None
    return Load(
        requests=found["requests"],
        seconds=found["duration"] / 1e6,
        content_bytes=found["bytes"],
        p50_ms=found["p50"] / 1e3,
        p90_ms=found["p90"] / 1e3,
        p95_ms=found["p95"] / 1e3,
        p99_ms=found["p99"] / 1e3,
        max_ms=found["max"] / 1e3,
        refused=found["refused"],
        failed=found["failed"],
    )


def _start(scenario: Scenario, port: int, seconds: int, core: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command(scenario, port, seconds),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )


def _command(scenario: Scenario, port: int, seconds: int) -> list[str]:
    url = f"http://127.0.0.1:{port}{scenario.path}"
    connections, upload = str(scenario.connections), str(scenario.upload_bytes)
    kind = "varied" if scenario.is_varied else "alike"
    condition = ETAG if scenario.is_conditional else ""
    wrk = shutil.which("wrk")
    if wrk is None:
        return [sys.executable, "-m", "benchmarks.load_client", url, connections, str(seconds), upload, kind, condition]
    fields = [word for name, value in request_fields(scenario).items() for word in ("-H", f"{name}: {value}")]
    timing = ["-d", f"{seconds}s", "--timeout", "10s"]
    return [wrk, "-t1", "-c", connections, *timing, *fields, "-s", str(_SCRIPT), url, "--", upload, kind]
