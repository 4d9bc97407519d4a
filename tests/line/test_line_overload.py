"""Through the whole line: an upstream that is slow because it has too much to do, and classes that make way."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.line.backend import Backend, Call, Hub, Out
from tests.line.conftest import Configure
from tests.line.process import Weir, eventually


@dataclass
class Seen:
    status: int
    at: float
    took_s: float
    head: bytes


class Client:
    """One connection that is kept."""

    def __init__(self, weir: Weir) -> None:
        self._port = int(weir.url.rpartition(":")[2])
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, target: str) -> Seen:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        began_at = time.monotonic()
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
        now = time.monotonic()
        return Seen(int(head[9:12]), now, now - began_at, head)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def steadily(weir: Weir, target: str, clients: int, stop: asyncio.Event) -> list[Seen]:
    """Clients that ask again as soon as they have an answer, or soon after a refusal."""
    seen: list[Seen] = []

    async def one() -> None:
        client = Client(weir)
        while not stop.is_set():
            seen.append(await client.ask(target))
            if seen[-1].status != 200:
                await asyncio.sleep(0.05)
        client.close()

    await asyncio.gather(*[one() for _ in range(clients)])
    return seen


async def at_rate(weir: Weir, target: str, per_second: float, seconds: float, burst: int = 0) -> list[Seen]:
    """Ask at fixed instants, whether the ones before are answered or not, after so many at once."""
    began_at = time.monotonic()
    idle: list[Client] = []

    async def one() -> Seen:
        client = idle.pop() if idle else Client(weir)
        found = await client.ask(target)
        idle.append(client)
        return found

    asked = [asyncio.ensure_future(one()) for _ in range(burst)]
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(began_at + number / per_second - time.monotonic())
        asked.append(asyncio.ensure_future(one()))
    seen = await asyncio.gather(*asked)
    for client in idle:
        client.close()
    return list(seen)


# -- an upstream that is slow because it has too much to do --

KNEE, BASE_S, CLIENTS = 4, 0.03, 32
TWO = """
upstreams:
  free: {{primary: {free}, pool: {{max_in_flight: 32, queue: 64, queue_timeout: 10s}}}}
  held:
    primary: {held}
    pool: {{max_in_flight: 32, queue: 64, queue_timeout: 10s, adaptive: {{mode: enforce, min: 2, measure: 3s}}}}
  seen: {{primary: {free}, pool: {{max_in_flight: 32, queue: 64, queue_timeout: 10s, adaptive: {{mode: observe}}}}}}
routes:
  - {{name: free, match: {{path: /free}}, upstream: free}}
  - {{name: held, match: {{path: /held}}, upstream: held}}
  - {{name: seen, match: {{path: /seen}}, upstream: seen}}
"""


def crowded(hub: Hub, name: str) -> Backend:
    """Up to its knee it takes the same time for each request; beyond it less gets done the more are there."""
    made = Backend(hub, name)

    async def work(call: Call, out: Out) -> None:
        await asyncio.sleep(BASE_S * max(1.0, made.in_flight / KNEE) ** 2)
        await out.send(200, b"{}")

    for path in ("/free", "/held", "/seen"):
        made.on(path, work)
    return made


@pytest.mark.long
def test_after_a_burst_an_upstream_that_is_held_to_its_knee_recovers_and_another_one_never_does(
    configure: Configure, hub: Hub
) -> None:
    free, held = crowded(hub, "free"), crowded(hub, "held")
    weir = configure(TWO.format(free=free.url, held=held.url))

    async def both() -> tuple[list[Seen], list[Seen]]:
        load = (at_rate(weir, path, 40, 16.0, burst=80) for path in ("/free", "/held"))
        off, on = await asyncio.gather(*load)
        return off[-240:], on[-240:]  # the last 6 s: the first 10 are for finding the knee

    off, on = asyncio.run(both())
    good_off, good_on = ([one.took_s for one in seen if one.status == 200] for seen in (off, on))
    p95_off, p95_on = (statistics.quantiles(good, n=20)[-1] for good in (good_off, good_on))
    limit = weir.metric("weir_upstream_adaptive_limit", upstream="held", mode="enforce")
    print(f"off {len(good_off)} of 240, p95 {p95_off:.3f} s; enforce {len(good_on)}, p95 {p95_on:.3f} s; limit {limit}")
    assert len(good_on) >= max(len(good_off), 0.9 * 240)
    assert p95_on < 0.6 * p95_off
    assert 2 <= limit < 20
    assert weir.metric("weir_upstream_slots", upstream="held") <= limit + 4  # read at another moment
    assert weir.metric("weir_upstream_adaptive_held_back_total", upstream="held") > 0
    assert weir.metric("weir_upstream_adaptive_measured_total", upstream="held") > 0
    assert weir.metric("weir_upstream_adaptive_usual_seconds", upstream="held") > 0


def test_observed_it_changes_nothing_and_tells_how_often_it_would_have(configure: Configure, hub: Hub) -> None:
    backend = crowded(hub, "watched")
    weir = configure(TWO.format(free=backend.url, held=backend.url))

    async def rise() -> list[Seen]:
        few, many = asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().call_later(1.5, few.set)
        seen = await steadily(weir, "/seen", KNEE, few)  # under a light load it learns what is usual
        asyncio.get_running_loop().call_later(4.0, many.set)
        return seen + await steadily(weir, "/seen", CLIENTS, many)

    seen = asyncio.run(rise())
    assert {one.status for one in seen} == {200}
    assert backend.most_in_flight == CLIENTS
    assert weir.metric("weir_upstream_waiting", upstream="seen") == 0
    assert weir.metric("weir_upstream_slots", upstream="seen") == 32
    assert weir.metric("weir_upstream_adaptive_held_back_total", upstream="seen") > 0
    assert weir.metric("weir_upstream_adaptive_cuts_total", upstream="seen", reason="latency") > 0


# -- classes that make way --

CLASSES = """
upstreams:
  shop:
    primary: {primary}
    pool: {{max_in_flight: 4, queue: 40, queue_timeout: 3s, shed: {{background: 30%, normal: 80%}}}}
routes:
  - {{name: pay, match: {{path: /pay}}, upstream: shop, priority: critical}}
  - {{name: buy, match: {{path: /buy}}, upstream: shop}}
  - {{name: report, match: {{path: /report}}, upstream: shop, priority: background}}
"""


@pytest.mark.alone
def test_in_a_burst_of_the_background_it_is_refused_at_once_and_nobody_else(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "shop")
    weir = configure(CLASSES.format(primary=backend.url))
    wait = "?wait=0.05"

    async def burst() -> list[list[Seen]]:
        rates = ((f"/pay{wait}", 10), (f"/buy{wait}", 20), (f"/report{wait}", 200))
        return await asyncio.gather(*[at_rate(weir, target, rate, 4.0) for target, rate in rates])

    pay, buy, report = asyncio.run(burst())
    counts = [Counter(one.status for one in seen) for seen in (pay, buy, report)]
    print(f"critical {counts[0]} normal {counts[1]} background {counts[2]}")
    assert counts[0].keys() == {200}
    assert counts[1][200] >= 0.95 * len(buy)  # another one's work on this machine may cost some
    assert counts[2][200] > 0
    refused = {name: refusals(weir, name, "shed") for name in ("critical", "normal", "background")}
    assert refused["critical"] == 0
    assert refused["background"] > 100
    [said] = {one.head.partition(b"roxy-")[2].partition(b"\r\n")[0] for one in report if one.status == 503}
    assert said == b"Status: weir; error=connection_limit_reached"
    waits = [
        int(one.head.lower().partition(b"retry-after:")[2].partition(b"\r\n")[0]) for one in report if one.status == 503
    ]
    assert 1 <= min(waits) <= max(waits) <= 30
    assert statistics.median(one.took_s for one in report if one.status == 503) < 0.5
    assert weir.metric("weir_requests_total", route="report", reason="shed") >= 100
    eventually(lambda: weir.metric("weir_upstream_shedding", upstream="shop") == 0 or None)
    assert weir.get(f"/report{wait}").status == 200


def refusals(weir: Weir, name: str, reason: str) -> float:
    return weir.metric("weir_upstream_refused_total", upstream="shop", reason=reason, **{"class": name})
