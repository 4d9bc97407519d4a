"""Minutes of random faults between a Weir and its backends: memory, sockets and leases stay what they were.

`WEIR_SOAK_S` is for how long, 120 by default.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import Origin
from tests.faults.tcp import Fault, FaultProxy, any_fault
from tests.line.conftest import StartWeir
from tests.line.process import Weir, eventually

SOAK_S = float(os.environ.get("WEIR_SOAK_S", "120"))
CONFIG = """
access_log: {{path: access.log, sample: 0%, slow: 60s}}
upstreams:
  app:
    primary: [{one}, {two}, {three}]
    pool: {{max_in_flight: 16, queue: 64, queue_timeout: 500ms}}
    eject: {{base: 500ms, max: 2s, open: 500ms, open_max: 1s}}
    slow_start: 1s
    hold_on_refused: 1s
routes:
  - {{name: soak, upstream: app, timeout: 700ms}}
  - {{name: cached, match: {{path: "/chunked/**"}}, upstream: app, timeout: 700ms, cache: {{ttl: 200ms}}}}
"""


@pytest.mark.long
async def test_minutes_of_faults_leave_nothing_behind(start_weir: StartWeir) -> None:
    origin = Origin()
    await origin.start()
    networks = [await FaultProxy(origin.port, seed=seed).start() for seed in (1, 2, 3)]
    one, two, three = (network.url for network in networks)
    weir = await asyncio.to_thread(start_weir, CONFIG.format(one=one, two=two, three=three))
    for network in networks:
        network.faults = any_fault
    outcomes: Counter[str] = Counter()
    ends_at = time.monotonic() + SOAK_S
    samples: list[tuple[float, float, int]] = []  # seconds, MB of memory, descriptors
    clients = [asyncio.ensure_future(_client(weir, seed, ends_at, outcomes)) for seed in range(24)]
    draw = random.Random(9)
    while (now := time.monotonic()) < ends_at:
        await asyncio.sleep(1.0)
        samples.append((now, *_size_of(weir.process.pid)))
        whim = draw.random()
        network = draw.choice(networks)
        if whim < 0.1:
            await network.refuse()
            network.cut_all(reset=True)
            await asyncio.sleep(draw.uniform(0.1, 0.6))
            await network.start()
        elif whim < 0.2:
            network.cut_all()
    await asyncio.gather(*clients)
    for network in networks:
        network.faults = lambda number, draw: Fault()
    in_use = "weir_endpoint_connections"
    await asyncio.to_thread(eventually, lambda: weir.metric(in_use, state="in_use") == 0 or None)
    assert weir.metric("weir_upstream_held", upstream="app") == 0
    assert weir.metric("weir_endpoint_waiting", upstream="app") == 0
    idle = weir.metric(in_use, state="idle")
    await asyncio.to_thread(
        eventually, lambda: sum(network.open for network in networks) == weir.metric(in_use, state="idle") or None
    )
    slope = _slope(samples[len(samples) // 3 :])
    most = max(descriptors for _, _, descriptors in samples)
    first, last = samples[len(samples) // 3][1], samples[-1][1]
    print(f"\n{SOAK_S:.0f} s, {sum(outcomes.values())} requests: {dict(outcomes)}")
    print(f"memory {first:.1f} -> {last:.1f} MB ({slope * 3600:.1f} MB/h), {most} descriptors at most, {idle:.0f} idle")
    assert outcomes["200"] > 10 * SOAK_S
    assert last - first < 4.0, "what a process allocates anyway, and no more"
    assert most < 250
    assert weir.defects() == []
    for network in networks:
        await network.stop()
    await origin.stop()


async def _client(weir: Weir, seed: int, ends_at: float, outcomes: Counter[str]) -> None:
    """Asks, reads, and sometimes leaves in the middle."""
    draw = random.Random(seed)
    port = int(weir.url.rpartition(":")[2])
    while time.monotonic() < ends_at:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(draw.randrange(1, 20)):
                target = draw.choice([b"/short", b"/large", b"/chunked/%d" % draw.randrange(50)])
                method, content = draw.choice([(b"GET", b""), (b"GET", b""), (b"POST", b"buy")])
                head = b"%b %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (method, target, len(content))
                writer.write(head + content)
                if draw.random() < 0.05:
                    await asyncio.sleep(draw.uniform(0, 0.1))
                    outcomes["left"] += 1
                    break
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10.0)
                outcomes[answer[9:12].decode()] += 1
                lower = answer.lower()
                if b"content-length: " in lower:
                    await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
                elif b"chunked" in lower:
                    await reader.readuntil(b"0\r\n\r\n")
                await asyncio.sleep(draw.uniform(0, 0.02))
        except (EOFError, OSError):
            outcomes["cut"] += 1
        finally:
            writer.close()


def _size_of(pid: int) -> tuple[float, int]:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


def _slope(samples: list[tuple[float, float, int]]) -> float:
    """MB a second, by least squares."""
    count = len(samples)
    mean_t = sum(at for at, _, _ in samples) / count
    mean_m = sum(size for _, size, _ in samples) / count
    above = sum((at - mean_t) * (size - mean_m) for at, size, _ in samples)
    below = sum((at - mean_t) ** 2 for at, _, _ in samples)
    return above / below if below else 0.0
