"""No peer is timed on a wrong answer; the two Python stand-ins speak to each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from benchmarks import load_client
from benchmarks.backend_server import Connection
from benchmarks.load import request_fields
from benchmarks.peers import PEERS
from benchmarks.probe import is_hit, judge
from benchmarks.profile import fold, tables
from benchmarks.scenarios import DOWNLOAD_BYTES, ETAG, SCENARIOS, SMALL_BYTES, UPLOAD_BYTES, Scenario

GOOD = {"x-request-id": "1"}


@pytest.mark.parametrize(
    ("scenario", "status", "fields", "content_bytes", "wrong"),
    [
        ("get", 200, GOOD, SMALL_BYTES, ""),
        ("get", 404, GOOD, SMALL_BYTES, "status 404 instead of 200"),
        ("get", 200, GOOD, 0, f"0 content bytes instead of {SMALL_BYTES}"),
        ("get", 200, {}, SMALL_BYTES, "no X-Request-ID"),
        ("get", 200, {**GOOD, "x-backend": "one"}, SMALL_BYTES, "X-Backend was not removed"),
        ("hit", 200, GOOD, SMALL_BYTES, "not served from the cache"),
        ("hit", 200, {**GOOD, "x-cache": "HIT"}, SMALL_BYTES, ""),
        ("not-modified", 304, {**GOOD, "x-cache": "HIT"}, 0, ""),
        ("not-modified", 304, GOOD, 0, "not served from the cache"),
        ("not-modified", 304, {**GOOD, "x-cache": "HIT"}, SMALL_BYTES, f"{SMALL_BYTES} content bytes instead of 0"),
        ("not-modified", 200, {**GOOD, "x-cache": "HIT"}, SMALL_BYTES, "status 200 instead of 304"),
        ("denied", 429, GOOD, 17, ""),
        ("denied", 200, GOOD, SMALL_BYTES, "status 200 instead of 429"),
    ],
)
def test_an_answer_is_judged_before_it_is_timed(
    scenario: str, status: int, fields: Mapping[str, str], content_bytes: int, wrong: str
) -> None:
    assert judge(SCENARIOS[scenario], status, fields, content_bytes) == wrong


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"cache-status": "weir; hit; ttl=30"}, True),
        ({"cache-status": "weir; fwd=uri-miss; stored"}, False),
        ({"x-cache": "HIT"}, True),
        ({"x-cache": "MISS"}, False),
        ({}, False),
    ],
)
def test_a_hit_is_what_the_peer_calls_one(fields: Mapping[str, str], expected: bool) -> None:
    assert is_hit(fields) is expected


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_answers_every_scenario_or_says_why_not(name: str) -> None:
    assert PEERS[name].lacks.keys() <= SCENARIOS.keys()
    assert all(PEERS[name].lacks.values())


def test_stacks_are_counted_by_function_recursion_once_and_waiting_threads_not_at_all() -> None:
    walking = "main (a.py:1);walk (a.py:9);walk (a.py:9) 3\n"
    sending = "main (a.py:1);send (tcp.c:10) 4\nmain (a.py:1);send (tcp.c:99) 5\n"
    waiting = "Thread.run (threading.py:971);Condition.wait (threading.py:295);futex (libc.so.6) 1000\n"

    found = fold(walking + sending + waiting + "\n")

    assert found.samples == 12
    assert found.own == {"walk (a.py:9)": 3, "send (tcp.c)": 9}
    assert found.inclusive == {"main (a.py:1)": 12, "walk (a.py:9)": 3, "send (tcp.c)": 9}


def test_a_profile_gives_each_function_its_part_of_one_request() -> None:
    text = tables(fold("main (a.py:1);walk (a.py:9) 3\nmain (a.py:1);send (tcp.c:10) 9\n"), each_us=20.0, top=5)

    assert [line.split() for line in text.splitlines() if "send" in line] == [["75.0%", "15.00", "send", "(tcp.c)"]] * 2
    assert "main" not in text  # it is in every stack


@pytest.fixture
async def backend_url() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


@pytest.mark.parametrize(
    ("scenario", "content_bytes"),
    [(SCENARIOS["get"], SMALL_BYTES), (SCENARIOS["download"], DOWNLOAD_BYTES), (SCENARIOS["upload"], 2)],
    ids=["get", "download", "upload"],
)
async def test_the_python_load_reads_whole_answers_of_the_python_backend(
    backend_url: str, scenario: Scenario, content_bytes: int
) -> None:
    found = await load_client.load(backend_url + scenario.path, 2, 0.2, scenario.upload_bytes)

    assert found.latencies
    assert found.content_bytes >= len(found.latencies) * content_bytes
    assert (found.refused, found.failed) == (0, 0)


async def test_the_python_load_counts_refusals_and_refused_connections(backend_url: str) -> None:
    lost = await load_client.load(backend_url + "/nowhere", 1, 0.05, 0)
    closed = await load_client.load("http://127.0.0.1:1/json", 3, 0.01, 0)

    assert lost.refused == len(lost.latencies) > 0
    assert (closed.failed, closed.latencies) == (3, [])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000", 1000),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000", 0),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x", 0),
    ],
    ids=["a response", "a 304 that says how long it would be", "a 304"],
)
def test_the_python_load_waits_for_no_content_of_a_304(head: bytes, expected: int) -> None:
    assert load_client.content_length(head) == expected


def test_a_conditional_scenario_says_what_the_client_has() -> None:
    scenario = SCENARIOS["not-modified"]

    assert request_fields(scenario)["If-None-Match"] == ETAG
    assert "If-None-Match" not in request_fields(SCENARIOS["hit"])
    assert f"\r\nIf-None-Match: {ETAG}\r\n".encode() in load_client.request_bytes("host:1", scenario.path, 0, ETAG)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 10), (0.5, 30), (0.99, 50), (1.0, 50)])
def test_percentiles_are_of_the_nearest_rank(share: float, expected: int) -> None:
    assert load_client.percentile([10, 20, 30, 40, 50], share) == expected


def test_an_upload_says_how_long_it_is() -> None:
    request = load_client.request_bytes("host:1", "/upload", UPLOAD_BYTES)

    assert request.startswith(b"POST /upload HTTP/1.1\r\nHost: host:1\r\n")
    assert f"Content-Length: {UPLOAD_BYTES}\r\n".encode() in request
    assert len(request.partition(b"\r\n\r\n")[2]) == UPLOAD_BYTES
