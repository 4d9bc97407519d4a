"""Minutes of random faults between a Weir and its backends: memory, sockets and leases stay what they were.

`WEIR_SOAK_S` is for how long, 120 by default; `WEIR_SOAK_CLIENTS` how many ask at once, 24 by default. What is alive in
the process is counted before and after. Its memory says nothing before allocators and caches have filled up, and
little in short: the slope is that of the second half, and has a bound where the whole is twenty minutes or more.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest

from tests.faults.conftest import Origin
from tests.faults.tcp import Fault, FaultProxy, any_fault
from tests.line import census
from tests.line.process import Weir, eventually

SOAK_S = float(os.environ.get("WEIR_SOAK_S", "120"))
CLIENTS = int(os.environ.get("WEIR_SOAK_CLIENTS", "24"))
WARM_S = min(SOAK_S / 4, 60.0)
LONG_S = 1200.0  # from here on a slope is one
IN_USE = "weir_endpoint_connections"
Sample = tuple[float, float, int]  # seconds, MB of memory, descriptors
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
async def test_minutes_of_faults_leave_nothing_behind(tmp_path: Path) -> None:
    origin = Origin()
    await origin.start()
    networks = [await FaultProxy(origin.port, seed=seed).start() for seed in (1, 2, 3)]
    one, two, three = (network.url for network in networks)
    weir = Weir(tmp_path, CONFIG.format(one=one, two=two, three=three))
    weir.program = (census.__file__, str(tmp_path / "census"))
    weir.launch()
    try:
        await asyncio.to_thread(weir.ready)
        outcomes: Counter[str] = Counter()
        await _soak(weir, networks, WARM_S, outcomes)
        before = await _at_rest(weir, networks)
        samples = await _soak(weir, networks, SOAK_S, outcomes)
        after = await _at_rest(weir, networks)
        assert weir.stop() == 0
    finally:
        weir.kill()
        for network in networks:
            await network.stop()
        await origin.stop()
    slope = _slope(samples[len(samples) // 2 :]) * 3600
    most = max(descriptors for _, _, descriptors in samples)
    grown = {kind: count for kind, count in (after - before).items() if count > 2}
    print(f"\n{SOAK_S:.0f} s, {sum(outcomes.values())} requests: {dict(outcomes)}, {most} descriptors at most")
    print(f"objects {before.total()} -> {after.total()}, of which more: {grown}")
    tenths = [size for _, size, _ in samples[:: max(len(samples) // 10, 1)]]
    print(f"memory {', '.join(f'{size:.1f}' for size in tenths)} MB; {slope:.2f} MB/h in the second half")
    assert outcomes["200"] > 0.4 * CLIENTS * SOAK_S
    assert outcomes["502"] + outcomes["504"] + outcomes["cut"] > SOAK_S / 10  # it was a test of faults at all
    assert not {kind for kind, count in grown.items() if kind.startswith(("proxy.", "uvloop.")) and count > 20}, grown
    assert after.total() - before.total() < 500, grown
    assert most < 250
    assert samples[-1][1] - samples[len(samples) // 2][1] < 3.0, "what a process allocates anyway, and no more"
    assert SOAK_S < LONG_S or slope < 2.0
    assert weir.defects() == []


async def _soak(weir: Weir, networks: Sequence[FaultProxy], seconds: float, outcomes: Counter[str]) -> list[Sample]:
    """Ask for so long, with faults on every connection and servers that go away and come back."""
    for network in networks:
        network.faults = any_fault
    samples: list[Sample] = []
    ends_at = time.monotonic() + seconds
    clients = [asyncio.ensure_future(_client(weir, seed, ends_at, outcomes)) for seed in range(CLIENTS)]
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
    return samples


async def _at_rest(weir: Weir, networks: Sequence[FaultProxy]) -> Counter[str]:
    """What is alive when nobody asks: nothing is leased, nobody waits, and what is open is what is idle."""
    await asyncio.to_thread(eventually, lambda: weir.metric(IN_USE, state="in_use") == 0 or None)
    assert weir.metric("weir_upstream_held", upstream="app") == 0
    assert weir.metric("weir_endpoint_waiting", upstream="app") == 0
    for network in networks:
        network.cut_all()
    await asyncio.to_thread(eventually, lambda: weir.metric(IN_USE) == 0 == sum(each.open for each in networks))
    alive = await asyncio.to_thread(census.ask, weir.folder / "census")
    for kind in _PASSING:
        assert alive[kind] == 0, f"{alive[kind]} of {kind}"
    return alive


_PASSING = (
    "proxy.wire.upstream.UpstreamConnection",
    "proxy.exchange.Exchange",
    "proxy.core.tasks.Run",
    "proxy.upstreams.lease.Lease",
    "proxy.upstreams.lease.LateLease",
)


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


def _slope(samples: Sequence[Sample]) -> float:
    """MB a second: the median of the slopes between all pairs (Theil and Sen), which a step here and there does not
    move."""
    some = samples[:: len(samples) // 300 + 1]
    return median(
        (size - before) / (at - since)
        for number, (at, size, _) in enumerate(some)
        for since, before, _ in some[:number]
    )
