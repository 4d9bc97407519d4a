"""The second tier between real processes, on machines whose clocks are seconds apart."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pytest

from tests.fleet.conftest import StartFleet
from tests.fleet.member import Member
from tests.line.backend import Backend, Call, Hub, Out
from tests.line.process import eventually
from tests.line.store import Store

pytestmark = pytest.mark.long  # processes that are started, killed and waited for

SETTINGS = """
cache: {{shared: {{url: "{store}", timeout: {timeout}}}}}
access_log: {{path: "off"}}
upstreams: {{app: {{primary: {app}, pool: {{max_in_flight: 512, queue: 4096}}}}}}
routes:
  - {{name: shared, upstream: app, cache: {{}}}}
"""
LOCK_S = 2.0
SLACK_S = 2.0  # a busy machine


@pytest.fixture(scope="module")
def cache_store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    hub = Hub()
    made = Backend(hub, "app")

    async def answer(call: Call, out: Out) -> None:
        await asyncio.sleep(float(call.query.get("wait", "0")))
        await out.send(200, b"whole", {"Cache-Control": call.query.get("control", "max-age=60")})

    made.on("/answer", answer)
    yield made
    hub.stop()


@pytest.fixture(scope="module")
def pair(start_fleet: StartFleet, cache_store: Store, backend: Backend) -> list[Member]:
    """One clock is five seconds slow, the other five seconds fast."""
    members = start_fleet(2, SETTINGS.format(store=cache_store.url, app=backend.url, timeout="500ms"), is_skewed=True)
    for member in members:
        eventually(lambda member=member: is_well(member), 20.0)  # type: ignore[misc]
    return members


def is_well(member: Member) -> bool:
    parts = member.healthz().json()["components"]
    found = next(part for part in parts if part["name"] == "shared cache")
    return bool(found["healthy"]) and bool(found["listening"])


def crowd(members: Sequence[Member], target: str, each: int) -> tuple[list[bytes], float]:
    """Ask all at once. Gives the answers and how long the last one took."""
    return asyncio.run(_crowd(members, target, each))


async def _crowd(members: Sequence[Member], target: str, each: int) -> tuple[list[bytes], float]:
    connections = [await asyncio.open_connection(*_place(member)) for member in members for _ in range(each)]
    began_at = time.monotonic()
    for _, writer in connections:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answers = await asyncio.gather(*[reader.read() for reader, _ in connections])
    took_s = time.monotonic() - began_at
    for _, writer in connections:
        writer.close()
    return answers, took_s


def _place(member: Member) -> tuple[str, int]:
    address = urlsplit(member.url)
    assert address.hostname is not None
    assert address.port is not None
    return address.hostname, address.port


def asked(backend: Backend, target: str) -> int:
    return sum([call.target == target for call in backend.calls])


def test_fifty_clients_of_each_weir_and_one_request_to_the_origin(pair: list[Member], backend: Backend) -> None:
    target = "/answer?wait=1&n=cold"
    answers, took_s = crowd(pair, target, 50)
    assert all(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"whole") for answer in answers)
    assert asked(backend, target) == 1
    print(f"100 clients of two Weirs, one cold URL, origin 1 s: {took_s:.3f} s")
    assert took_s < 1.0 + SLACK_S


def test_what_may_not_be_stored_is_fetched_by_all_side_by_side(pair: list[Member], backend: Backend) -> None:
    target = "/answer?wait=0.5&control=no-store"
    answers, took_s = crowd(pair, target, 10)
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert asked(backend, target) == 20
    print(f"20 clients of two Weirs, not to be stored, origin 0.5 s: {took_s:.3f} s")
    assert took_s < 1.0 + SLACK_S


@pytest.mark.parametrize("writer", [0, 1], ids=["the slow clock writes", "the fast clock writes"])
def test_nothing_gets_younger_where_clocks_differ(pair: list[Member], backend: Backend, writer: int) -> None:
    first, second = pair[writer], pair[1 - writer]
    target = f"/answer?control=max-age=60&n=age{writer}"
    began_at = time.monotonic()
    crowd([first], target, 1)
    born_at = time.monotonic()
    eventually(lambda: first.metric("weir_shared_cache_queued_bytes") == 0)
    time.sleep(1.2)
    least_s = int(time.monotonic() - born_at)
    (answer,), _ = crowd([second], target, 1)
    most_s = time.monotonic() - began_at + 1.0  # the time of a reply is added
    found = re.search(rb"\r\nAge: (\d+)\r\n", answer)
    assert found is not None
    assert least_s <= int(found[1]) <= most_s
    assert b"detail=shared" in answer
    assert asked(backend, target) == 1


def test_when_the_weir_that_fetches_is_killed_the_others_get_their_answer(
    start_fleet: StartFleet, cache_store: Store, backend: Backend
) -> None:
    config = SETTINGS.format(store=cache_store.url, app=backend.url, timeout="500ms")
    one, other = start_fleet(2, config, is_skewed=True)
    for member in (one, other):
        eventually(lambda member=member: is_well(member), 20.0)  # type: ignore[misc]
    target = "/answer?wait=1&n=killed"

    async def run() -> tuple[list[bytes], float]:
        _, writer = await asyncio.open_connection(*_place(one))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        while not asked(backend, target):
            await asyncio.sleep(0.01)
        asking = asyncio.ensure_future(_crowd([other], target, 50))
        while not other.metric("weir_shared_cache_waits_total"):
            await asyncio.sleep(0.05)
        killed_at = time.monotonic()
        one.kill()
        answers, _ = await asking
        writer.close()
        return answers, time.monotonic() - killed_at

    answers, took_s = asyncio.run(run())
    assert all(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"whole") for answer in answers)
    assert asked(backend, target) == 2
    print(f"the holder was killed; 50 clients of the other had their answer {took_s:.3f} s later, origin 1 s")
    assert took_s < LOCK_S + 1.0 + SLACK_S


def test_a_store_that_stalls_and_dies_is_seen_and_costs_little(start_fleet: StartFleet, backend: Backend) -> None:
    store = Store()
    try:
        member = start_fleet(1, SETTINGS.format(store=store.url, app=backend.url, timeout="25ms"))[0]
        eventually(lambda: is_well(member), 20.0)
        store.stall()
        began_at = time.monotonic()
        for number in range(60):
            assert member.get(f"/answer?n=stall{number}").status == 200
        assert time.monotonic() - began_at < 60 * 0.025 + SLACK_S
        eventually(lambda: not is_well(member))  # a report may be a second old
        assert member.metric("weir_shared_cache_up") == 0
        assert member.metric("weir_shared_cache_lookups_total", result="error") >= 5
        assert member.metric("weir_shared_cache_lookups_total", result="skipped") >= 30
        store.go_on()
        eventually(lambda: is_well(member), 20.0)
        store.kill()
        assert member.get("/answer?n=dead").status == 200
        eventually(lambda: not is_well(member), 20.0)
        store.start()
        eventually(lambda: is_well(member), 20.0)
        assert [event["event"] for event in member.events() if "shared_cache" in event["event"]][:2] == [
            "shared_cache_lost",
            "shared_cache_back",
        ]
    finally:
        store.close()
