"""Overload through the whole line: goodput and recovery, fair shares, classes, clients that leave while they wait."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

import pytest
from typer.testing import CliRunner

from proxy.cli.app import app as verbs
from tests.line.backend import Backend, Call, Hub, Out
from tests.line.client import ask
from tests.line.conftest import Configure
from tests.line.process import Weir, eventually

SERVICE_S = 0.05
SLOTS = 4
CONFIG = """
upstreams:
  app:
    primary: {primary}
    pool: {{max_in_flight: 4, queue: 64, queue_timeout: 1s}}
routes:
  - {{name: all, upstream: app}}
  - {{name: pay, match: {{path: /pay}}, upstream: app, priority: critical}}
  - {{name: report, match: {{path: /report}}, upstream: app, priority: background}}
"""


@dataclass
class Seen:
    """What came back, and when."""

    status: int
    at: float
    took_s: float


@dataclass
class Load:
    """Clients of one address, each with a connection of its own that is kept."""

    weir: Weir
    source: str = "127.0.0.1"
    seen: list[Seen] = field(default_factory=list)
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def ask(self, target: str = "/x") -> Seen:
        """On a connection that nobody else uses."""
        host, port = self.weir.url.removeprefix("http://").split(":")
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(host, int(port), local_addr=(self.source, 0))
        began_at = time.monotonic()
        writer.write(f"GET {target}?wait={SERVICE_S} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        now = time.monotonic()
        self._idle.append((reader, writer))
        seen = Seen(status, now, now - began_at)
        self.seen.append(seen)
        return seen

    async def at_rate(self, per_second: float, seconds: float) -> None:
        """Ask at fixed instants, whether the ones before are answered or not."""
        began_at = time.monotonic()
        asked = []
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(began_at + number / per_second - time.monotonic())
            asked.append(asyncio.ensure_future(self.ask()))
        await asyncio.gather(*asked)

    async def steadily(self, clients: int, target: str, stop: asyncio.Event) -> None:
        """So many clients that ask again as soon as they have an answer, or soon after a refusal."""

        async def client() -> None:
            while not stop.is_set():
                if (await self.ask(target)).status != 200:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*[client() for _ in range(clients)])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


@contextlib.asynccontextmanager
async def load(weir: Weir, source: str = "127.0.0.1") -> AsyncIterator[Load]:
    made = Load(weir, source)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def slow(hub: Hub) -> Backend:
    return Backend(hub, "slow")


@pytest.fixture(scope="module")
def weir(configure_module: Configure, slow: Backend) -> Weir:
    return configure_module(CONFIG.format(primary=slow.url))


def p95(seen: list[Seen]) -> float:
    return statistics.quantiles([one.took_s for one in seen], n=20)[-1]


# -- overload --


async def burst(weir: Weir, seconds: float, in_a_row: int) -> tuple[float, float, float, list[Seen]]:
    """Five times what the backend can do. Gives capacity and goodput a second, the time to recover, and all answers.

    It has recovered when so many probes in a row were answered well: one may be late where others are at work.
    """
    async with load(weir) as before, load(weir) as during, load(weir) as after:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(1.5, stop.set)
        began_at = time.monotonic()
        await before.steadily(SLOTS, "/x", stop)
        capacity = len(before.seen) / (time.monotonic() - began_at)

        began_at = time.monotonic()
        burst_ = asyncio.ensure_future(during.at_rate(5 * SLOTS / SERVICE_S, seconds))
        await asyncio.sleep(seconds)
        ended_at = time.monotonic()
        good = [one for one in during.seen if one.status == 200]
        goodput = len(good) / (ended_at - began_at)

        recovered_at = ended_at
        good_ones = 0
        for _ in range(30):
            probe = await after.ask()
            if good_ones >= in_a_row:
                break
            good_ones += 1
            if probe.status != 200 or probe.took_s > 3 * SERVICE_S:
                recovered_at = time.monotonic()
                good_ones = 0
            await asyncio.sleep(0.05)
        await burst_
    return capacity, goodput, recovered_at - ended_at, during.seen


def check_burst(weir: Weir, seconds: float, least: float, in_a_row: int) -> None:
    capacity, goodput, recovery_s, seen = asyncio.run(burst(weir, seconds, in_a_row))
    statuses = {one.status for one in seen}
    print(f"capacity {capacity:.1f}/s goodput {goodput:.1f}/s recovery {recovery_s:.2f} s statuses {statuses}")
    assert statuses == {200, 503}  # else it was no overload
    assert goodput >= least * capacity
    assert recovery_s < 2.0
    served = [one for one in seen if one.status == 200]
    assert max(one.took_s for one in served) < 1.0 + 10 * SERVICE_S  # the queue timeout, and being served
    fast = [one.took_s for one in seen if one.status == 503]
    assert statistics.median(fast) < 0.5  # refused at once, most of them


@pytest.mark.alone
def test_five_times_the_capacity_for_three_seconds_costs_no_goodput(weir: Weir) -> None:
    check_burst(weir, 3.0, 0.8, 5)  # 1.0 on a machine of its own; the clients of this one are in the way


@pytest.mark.long
def test_five_times_the_capacity_for_ten_seconds_costs_no_goodput(weir: Weir) -> None:
    check_burst(weir, 10.0, 0.9, 30)


# -- fair shares and classes --


async def beside_a_flood(weir: Weir, flood: tuple[str, str], few: tuple[str, str]) -> tuple[list[Seen], ...]:
    """(address, target) of many clients, and of one that asks one thing after the other. Gives what the one saw alone,
    what it saw beside the flood, and what the flood saw."""
    async with load(weir, few[0]) as one, load(weir, flood[0]) as many:
        alone = [await one.ask(few[1]) for _ in range(20)]
        stop = asyncio.Event()
        flooding = asyncio.ensure_future(many.steadily(60, flood[1], stop))
        await asyncio.sleep(0.5)
        beside = [await one.ask(few[1]) for _ in range(30)]
        stop.set()
        await flooding
    return alone, beside, many.seen


def test_a_tenant_that_floods_keeps_no_other_waiting(weir: Weir) -> None:
    alone, beside, flood = asyncio.run(beside_a_flood(weir, ("127.0.0.2", "/x"), ("127.0.0.1", "/x")))
    assert {one.status for one in beside} == {200}
    print(f"alone p95 {p95(alone):.3f} s, beside {p95(beside):.3f} s, flood {p95(flood):.3f} s")
    assert p95(beside) <= p95(alone) + 2 * SERVICE_S
    assert p95(flood) > 5 * SERVICE_S  # else it was no flood


def test_a_critical_request_passes_those_in_the_background(weir: Weir) -> None:
    alone, beside, flood = asyncio.run(beside_a_flood(weir, ("127.0.0.1", "/report"), ("127.0.0.1", "/pay")))
    assert {one.status for one in beside} == {200}
    print(f"alone p95 {p95(alone):.3f} s, beside {p95(beside):.3f} s, flood {p95(flood):.3f} s")
    assert p95(beside) <= p95(alone) + 2 * SERVICE_S
    assert p95(flood) > 5 * SERVICE_S
    assert weir.metric("weir_upstream_wait_seconds_count", upstream="app", **{"class": "critical"}) > 0


# -- clients that leave --


_waiters: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    yield
    while _waiters:
        _waiters.pop().close()


class Gatekeeper:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()

    async def __call__(self, call: Call, out: Out) -> None:
        while not self.open.is_set():
            await asyncio.sleep(0.001)
        await out.send(200, b"{}")


def waiter(weir: Weir, target: str) -> socket.socket:
    host, port = weir.url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), 10.0)
    _waiters.append(made)
    made.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return made


def one_slot(configure: Configure, hub: Hub, name: str) -> tuple[Weir, Backend, Gatekeeper]:
    """`name`: of the upstream. The process has those of other tests too, and their counters."""
    backend, keeper = Backend(hub, "one-slot"), Gatekeeper()
    backend.on("/hold", keeper)
    weir = configure(f"""
upstreams: {{{name}: {{primary: {backend.url}, pool: {{max_in_flight: 1, queue: 100, queue_timeout: 20s}}}}}}
routes: [{{name: one, upstream: {name}}}]
""")
    return weir, backend, keeper


def waiting(weir: Weir, name: str, count: int) -> None:
    normal = {"class": "normal"}
    eventually(lambda: weir.metric("weir_upstream_waiting", upstream=name, **normal) == count or None)


def test_what_nobody_waits_for_any_more_never_reaches_the_backend(configure: Configure, hub: Hub) -> None:
    weir, backend, keeper = one_slot(configure, hub, "left")
    holder = waiter(weir, "/hold")
    eventually(lambda: backend.asked("/hold") or None)
    waiters = [waiter(weir, f"/wait/{number}") for number in range(20)]
    waiting(weir, "left", 20)
    for number, made in enumerate(waiters):
        if number % 4 == 1:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves with a reset
        if number % 4:
            made.close()
    waiting(weir, "left", 5)
    keeper.open.set()
    for made in waiters[::4]:
        assert made.recv(100).startswith(b"HTTP/1.1 200")
        made.close()
    holder.close()
    assert sorted(call.path for call in backend.calls) == sorted(
        ["/hold"] + [f"/wait/{number}" for number in range(0, 20, 4)]
    )
    assert weir.metric("weir_upstream_left_total", upstream="left", **{"class": "normal"}) == 15


def test_a_slot_that_comes_in_the_moment_in_which_the_client_leaves_is_not_used_for_it(
    configure: Configure, hub: Hub
) -> None:
    weir, backend, keeper = one_slot(configure, hub, "leaving")
    for number in range(15):
        keeper.open.clear()
        holder = waiter(weir, "/hold")
        eventually(lambda count=number + 1: len(backend.asked("/hold")) == count or None)
        leaver = waiter(weir, f"/gone/{number}")
        waiting(weir, "leaving", 1)
        leaver.close()
        keeper.open.set()
        assert holder.recv(100).startswith(b"HTTP/1.1 200")
        holder.close()
    stays = waiter(weir, "/stays")
    assert stays.recv(100).startswith(b"HTTP/1.1 200")
    stays.close()
    assert [call.path for call in backend.calls if call.path.startswith("/gone")] == []


def test_half_a_close_is_not_a_departure(configure: Configure, hub: Hub) -> None:
    weir, backend, keeper = one_slot(configure, hub, "half")
    holder = waiter(weir, "/hold")
    eventually(lambda: backend.asked("/hold") or None)
    made = waiter(weir, "/talked-out")
    waiting(weir, "half", 1)
    made.shutdown(socket.SHUT_WR)
    time.sleep(0.15)
    keeper.open.set()
    said = b""
    while b" 200 " not in said:
        said += made.recv(1000)
    assert said.startswith(b"HTTP/1.1 100 Continue")
    made.close()
    holder.close()
    assert len(backend.asked("/talked-out")) == 1


# -- which endpoint --


def test_who_waits_is_served_by_the_endpoint_that_is_free_first(configure: Configure, hub: Hub) -> None:
    quick, stuck, keeper = Backend(hub, "quick"), Backend(hub, "stuck"), Gatekeeper()
    stuck.on("/first", keeper)
    stuck.on("/second", keeper)
    weir = configure(f"""
upstreams:
  pair: {{primary: [{stuck.url}, {quick.url}], pool: {{max_in_flight: 1, queue: 100, queue_timeout: 20s}}}}
routes: [{{name: pair, upstream: pair}}]
""")
    holder = waiter(weir, "/first")
    eventually(lambda: stuck.asked("/first") or quick.asked("/first") or None)
    if quick.asked("/first"):  # the turns began with the other one
        holder = waiter(weir, "/second")
        eventually(lambda: stuck.asked("/second") or None)
    answers = [weir.get(f"/any/{number}") for number in range(6)]
    assert [answer.backend for answer in answers] == ["quick"] * 6
    keeper.open.set()
    assert holder.recv(100).startswith(b"HTTP/1.1 200")
    holder.close()


def test_a_bound_of_all_endpoints_holds_for_all_of_them(configure: Configure, hub: Hub) -> None:
    left, right = Backend(hub, "left"), Backend(hub, "right")
    weir = configure(f"""
upstreams:
  both: {{primary: [{left.url}, {right.url}], pool: {{max_in_flight_total: 3, queue: 100, queue_timeout: 20s}}}}
routes: [{{name: both, upstream: both}}]
""")

    async def storm() -> tuple[list[Seen], int]:
        most = 0
        async with load(weir) as many:
            asked = [asyncio.ensure_future(many.ask()) for _ in range(30)]
            while not all(task.done() for task in asked):
                most = max(most, left.in_flight + right.in_flight)
                await asyncio.sleep(0.002)
        return many.seen, most

    seen, most = asyncio.run(storm())
    assert {one.status for one in seen} == {200}
    assert most == 3
    assert left.calls
    assert right.calls


# -- the operator's view --

TOKEN = "a-token-of-the-queue-tests"


def test_the_operator_sees_limits_that_follow_the_backend(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "followed")
    weir = configure(f"""
operator: {{tokens: {{ops: "sha256:{sha256(TOKEN.encode()).hexdigest()}"}}}}
upstreams: {{followed: {{primary: {backend.url}, pool: {{max_in_flight: 16, adaptive: {{mode: observe}}}}}}}}
routes: [{{name: one, upstream: followed}}]
""")
    assert weir.get("/one").status == 200

    def row() -> list[str] | None:
        said = CliRunner().invoke(verbs, ["upstreams", "--admin", weir.admin], env={"WEIR_TOKEN": TOKEN})
        assert said.exit_code == 0, said.output
        rows = [line.split() for line in said.stdout.splitlines()]
        return next((row for row in rows if row[:3] == ["followed", "observe", "16"] and row[4] == "ms"), None)

    assert eventually(row)[-2:] == ["0", "0"]


def test_the_operator_sees_connections_and_who_waits(configure: Configure, hub: Hub) -> None:
    backend, keeper = Backend(hub, "seen"), Gatekeeper()
    backend.on("/hold", keeper)
    weir = configure(f"""
operator: {{tokens: {{ops: "sha256:{sha256(TOKEN.encode()).hexdigest()}"}}}}
upstreams: {{shown: {{primary: {backend.url}, pool: {{max_in_flight: 1, queue: 1, queue_timeout: 20s}}}}}}
routes: [{{name: one, upstream: shown, priority: critical}}]
""")
    holder = waiter(weir, "/hold")
    eventually(lambda: backend.asked("/hold") or None)
    waits = waiter(weir, "/waits")
    critical = {"class": "critical"}
    eventually(lambda: weir.metric("weir_upstream_waiting", upstream="shown", **critical) == 1 or None)
    refused = weir.get("/too-many")
    assert (refused.status, refused.reason) == (503, "queue_full")
    assert 1 <= int(refused.get("retry-after") or 0) <= 30

    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(weir.admin, "GET", "/v1/upstreams").status == 401
    assert ask(weir.admin, "GET", "/v1/upstreams/none", bearer).status == 404
    (seen,) = ask(weir.admin, "GET", "/v1/upstreams", bearer).json()["upstreams"]
    assert ask(weir.admin, "GET", "/v1/upstreams/shown", bearer).json()["pool"] == seen["pool"]
    assert seen["name"] == "shown"
    assert seen["pool"] == {"total": 1, "in_use": 1, "idle": 0, "waiting": 1}
    assert seen["endpoints"][0]["pool"] == {"total": 1, "in_use": 1, "idle": 0, "waiting": 0}
    queue = seen["queue"]
    assert (queue["slots"], queue["most_waiting"], queue["oldest_wait_s"] >= 0.0) == (1, 1, True)
    assert queue["classes"]["critical"]["waiting"] == 1
    assert queue["classes"]["critical"]["refused"] == {"queue_full": 1, "queue_timeout": 0, "no_chance": 0, "shed": 0}

    said = CliRunner().invoke(verbs, ["upstreams", "--admin", weir.admin], env={"WEIR_TOKEN": TOKEN})
    assert said.exit_code == 0, said.output
    lines = [line.split() for line in said.stdout.splitlines()]
    assert ["shown", "yes", "1", "of", "1", "0", "1"] in lines
    assert ["shown", "critical", "1", "oldest", "first", "0", "-", "1", "0"] in lines

    keeper.open.set()
    for made in (holder, waits):
        assert made.recv(100).startswith(b"HTTP/1.1 200")
        made.close()
    pool = ask(weir.admin, "GET", "/v1/upstreams/shown", bearer).json()["pool"]
    assert pool["total"] == pool["in_use"] + pool["idle"]
    assert pool["waiting"] == 0
