"""`python -m benchmarks.limits`: what the limiter alone costs, as differences within one run.

The same GET goes through one Weir with three limits in Valkey and with none: what lies between the two is the limiter.
Latency is measured below saturation, every other request of the same connections being a limited one, once where cores
sleep between two requests and once where they do not; processor time at 64 connections, in rounds that take turns;
then a key that has nothing left, and decisions in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from benchmarks import cpu, load, machine
from benchmarks.backend import Backend
from benchmarks.load_client import length_of, percentile, request_bytes
from benchmarks.process import Child, StartError, free_port
from benchmarks.redis_server import RedisServer
from benchmarks.scenarios import Scenario
from benchmarks.subject import add_option, subject

_SETTINGS = """\
version: 1
listen: 127.0.0.1:{port}
admin: "off"
store: {store}
access_log: {{path: "off"}}
limiter: {{store_timeout: 1s}}
upstreams: {{app: {{primary: "http://127.0.0.1:{backend}", pool: {{max_in_flight: 64, max_idle: 64, queue: 4096}}}}}}
limits:
  per-ip: {{rate: 1000000/s, by: ip}}
  per-route: {{rate: 1000000/s, by: route}}
  window: {{rate: 100000000/h, by: ip, algorithm: fixed}}
  closed: {{rate: 1/h, by: ip}}
defaults: {{upstream: app}}
routes:
  - {{name: free, match: {{path: /free}}, limits: [], rewrite: {{path: /json}}}}
  - {{name: three, match: {{path: /three}}, limits: [per-ip, per-route, window], rewrite: {{path: /json}}}}
  - {{name: one, match: {{path: /one}}, limits: [per-ip], rewrite: {{path: /json}}}}
  - {{name: denied, match: {{path: /denied}}, limits: [closed], rewrite: {{path: /json}}}}
"""
FREE = Scenario("free", "no limit", "/free")
_RATES: Final = (300, 2500)  # requests a second, besides the one that has a target
_FEWER: Final = 4  # every so many rounds, what has no target is measured too
ONE = Scenario("one", "1 limit in Valkey", "/one")
THREE = Scenario("three", "3 limits in Valkey", "/three")
DENIED = Scenario("denied", "a key that is known to be spent", "/denied", status=429, content_bytes=None)


@dataclass(frozen=True, slots=True)
class Figure:
    """`target` is the most that it may be; None: it is only told."""

    name: str
    value: float
    unit: str
    target: float | None = None

    @property
    def is_met(self) -> bool | None:
        return None if self.target is None else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Cost:
    """One round: processor microseconds for each request, of Weir, of the store and of the backend."""

    weir_us: float
    store_us: float
    backend_us: float
    requests: int
    refused: int
    decisions: int  # calls of the script
    others_busy: float  # share of Weir's core that somebody else used: the figure is then not to be trusted

    @property
    def all_us(self) -> float:
        """Of all who serve it: on loopback the receiving half of what one process sends is in that one's time."""
        return self.weir_us + self.store_us + self.backend_us


class _Store(RedisServer):
    @property
    def pid(self) -> int:
        return self._child.pid


class Bench:
    """The processes. Weir has a core of its own; the store shares the other one with load and backend."""

    def __init__(self, directory: Path, cores: machine.Cores) -> None:
        self.cores = cores
        self.port = free_port()
        self.redis = _Store(directory / "redis")
        self._backend = Backend(directory / "backend")
        self._directory = directory
        self._weir = Child("weir", directory)

    def start(self) -> None:
        self._backend.start(self.cores.backend)
        self.redis.start(self.cores.backend)
        settings = self._directory / "proxy.yaml"
        settings.write_text(_SETTINGS.format(port=self.port, store=self.redis.url, backend=self._backend.port))
        weir = subject()
        self._weir.start(weir.command("run", "-c", settings), self.cores.proxy, self.port, self._directory, weir.env)

    def stop(self) -> None:
        self._weir.stop()
        self.redis.stop()
        self._backend.stop()

    def measure(self, scenario: Scenario, seconds: int) -> Cost:
        """A round at the scenario's connections, as fast as it goes."""
        load.warm_up(scenario, self.port, 0.3, self.cores.load)
        decisions = self._decisions()
        pids = (self._weir.pid, self.redis.pid, self._backend.pid)
        before = [cpu.read_tree(pid) for pid in pids]
        busy_before, began_at = cpu.core_busy_s(self.cores.proxy), time.monotonic()
        seen = load.run(scenario, self.port, seconds, self.cores.load)
        after = [cpu.read_tree(pid) for pid in pids]
        busy_s, took_s = cpu.core_busy_s(self.cores.proxy) - busy_before, time.monotonic() - began_at
        if not seen.requests or seen.failed or (scenario.status == 200 and seen.refused):
            raise load.LoadError(f"{scenario.name}: {seen.failed} failed and {seen.refused} refused")
        used_s, store_s, backend_s = [cpu.spent(*two).total_s for two in zip(before, after, strict=True)]
        return Cost(
            used_s / seen.requests * 1e6,
            store_s / seen.requests * 1e6,
            backend_s / seen.requests * 1e6,
            seen.requests,
            seen.refused,
            self._decisions() - decisions,
            max(0.0, busy_s - used_s) / took_s,
        )

    def _decisions(self) -> int:
        """How often the store has run a script, by its own count."""
        with socket.create_connection(("127.0.0.1", self.redis.port), 5) as connection:
            connection.sendall(b"INFO commandstats\r\nQUIT\r\n")
            text = b""
            while data := connection.recv(65536):
                text += data
        calls = 0
        for line in text.splitlines():
            if line.startswith((b"cmdstat_evalsha:", b"cmdstat_eval:")):
                calls += int(line.split(b"calls=")[1].split(b",")[0])
        return calls


class _Client(asyncio.Protocol):
    """One connection; a request at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._answered: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """When the answer was complete, in nanoseconds."""
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or len(self._data) - end - 4 < length_of(self._data[:end]):
            return
        assert self._data.startswith(b"HTTP/1.1 200")
        self._data = b""
        assert self._answered is not None
        self._answered.set_result(time.perf_counter_ns())


async def _latencies(port: int, rate: float, seconds: float, connections: int) -> tuple[list[int], list[int]]:
    """Microseconds without and with limits, each in order. Every connection asks for one after the other."""
    loop = asyncio.get_running_loop()
    free, limited = (request_bytes(f"127.0.0.1:{port}", each.path, 0) for each in (FREE, THREE))
    found: tuple[list[int], list[int]] = ([], [])
    ends_at = time.monotonic() + seconds

    async def one(number: int) -> None:
        _, client = await loop.create_connection(_Client, "127.0.0.1", port)
        interval_s = connections / rate
        next_at = time.monotonic() + interval_s * number / connections
        turn = number % 2
        while next_at < ends_at:
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            sent_at = time.perf_counter_ns()
            answered_at = await client.ask(limited if turn else free)
            found[turn].append((answered_at - sent_at) // 1000)
            turn = 1 - turn
            next_at += interval_s
        client.transport.abort()

    await asyncio.gather(*[one(number) for number in range(connections)])
    for each in found:
        each.sort()
    return found


def latency(bench: Bench, rate: float, seconds: float) -> list[Figure]:
    """Added by three limits, at a rate that leaves Weir room: ten times the mean of 10 million requests a day."""
    found, busy = _at_rate_and_busy(bench, rate, seconds)
    return [
        Figure("added latency of 3 limits, p50", _added_ms(found, 0.5), "ms", 0.25),
        Figure("added latency of 3 limits, p99", _added_ms(found, 0.99), "ms", 1.0),
        Figure("  without limits, p50", percentile(found[0], 0.5) / 1000.0, "ms"),
        Figure("  without limits, p99", percentile(found[0], 0.99) / 1000.0, "ms"),
        Figure("  Weir's core, busy", busy * 100.0, "%"),
    ]


def latency_in_company(bench: Bench, rate: float, seconds: float) -> list[Figure]:
    """The same while a client without limits and one with them ask as fast as they are answered: a core at work."""
    with load.under_way([replace(each, connections=1) for each in (FREE, THREE)], bench.port, bench.cores.load):
        time.sleep(0.5)
        found, busy = _at_rate_and_busy(bench, rate, seconds)
    return [
        Figure("added in company, p50", _added_ms(found, 0.5), "ms", 0.25),
        Figure("added in company, p99", _added_ms(found, 0.99), "ms", 1.0),
        Figure("  without limits, p50", percentile(found[0], 0.5) / 1000.0, "ms"),
        Figure("  Weir's core, busy", busy * 100.0, "%"),
    ]


def latency_by_rate(bench: Bench, seconds: float) -> list[Figure]:
    """The same where cores sleep longer between two requests, and where they hardly do: what waking them costs."""
    return [
        Figure(f"  added at {rate:,}/s, p50", _added_ms(_at_rate(bench, rate, seconds), 0.5), "ms") for rate in _RATES
    ]


def _at_rate_and_busy(bench: Bench, rate: float, seconds: float) -> tuple[tuple[list[int], list[int]], float]:
    before, began_at = cpu.core_busy_s(bench.cores.proxy), time.monotonic()
    found = _at_rate(bench, rate, seconds)
    return found, (cpu.core_busy_s(bench.cores.proxy) - before) / (time.monotonic() - began_at)


def _at_rate(bench: Bench, rate: float, seconds: float) -> tuple[list[int], list[int]]:
    import uvloop

    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {bench.cores.load})
    try:
        return uvloop.run(_latencies(bench.port, rate, seconds, 32))
    finally:
        os.sched_setaffinity(0, own)


def _added_ms(found: tuple[list[int], list[int]], share: float) -> float:
    free, limited = found
    return (percentile(limited, share) - percentile(free, share)) / 1000.0


def processor(bench: Bench, rounds: int, seconds: int) -> list[Figure]:
    """Short measurements take turns: the machine's moods, longer than a round, are in all parts of it.

    What counts is the median of the rounds' differences, each to what was measured just before and just after, and of
    their ratios.
    """
    costs: dict[str, list[Cost]] = {each.name: [] for each in (FREE, ONE, THREE, DENIED)}
    for turn in range(rounds):
        for scenario in (ONE, FREE, THREE, FREE, DENIED) if turn % _FEWER == 0 else (FREE, THREE, FREE, DENIED):
            costs[scenario.name].append(bench.measure(replace(scenario, connections=64), seconds))
    of = {name: statistics.median(cost.weir_us for cost in each) for name, each in costs.items()}
    three, denied = costs["three"], costs["denied"]
    free = [cost.weir_us for cost in costs["free"]]
    around = [(before + after) / 2.0 for before, after in zip(free[::2], free[1::2], strict=True)]
    added = sorted(cost.weir_us - without for cost, without in zip(three, around, strict=True))
    shares = sorted(no.all_us / yes.all_us for no, yes in zip(denied, three, strict=True))
    without_backend = [no.weir_us / (yes.weir_us + yes.store_us) for no, yes in zip(denied, three, strict=True)]
    asked = sum(cost.decisions for cost in denied)
    store_us = statistics.median(cost.store_us for cost in three)
    return [
        Figure("processor time of 3 limits in Valkey", statistics.median(added), "us/request", 10.0),
        Figure("  a quarter of the rounds below", added[len(added) // 4], "us/request"),
        Figure("  a quarter of the rounds above", added[-1 - len(added) // 4], "us/request"),
        Figure("  GET without limits", of["free"], "us/request"),
        Figure("  GET with 1 limit", of["one"], "us/request"),
        Figure("  GET with 3 limits", of["three"], "us/request"),
        Figure("  the store's own, 3 limits", store_us, "us/request"),
        Figure("  the backend's own", statistics.median(cost.backend_us for cost in three), "us/request"),
        Figure("  requests in one round trip", sum(c.requests for c in three) / sum(c.decisions for c in three), ""),
        Figure("a refusal from the deny cache", of["denied"], "us/request"),
        Figure("  of an admitted request", statistics.median(shares) * 100.0, "%", 25.0),
        Figure("  a quarter of the rounds below", shares[len(shares) // 4] * 100.0, "%"),
        Figure("  a quarter of the rounds above", shares[-1 - len(shares) // 4] * 100.0, "%"),
        Figure("  of it without the backend", statistics.median(without_backend) * 100.0, "%"),
        Figure("  of Weir's own part of it alone", of["denied"] / of["three"] * 100.0, "%"),
        Figure("  others on Weir's core, at worst", max(c.others_busy for c in [*three, *denied]) * 100.0, "%"),
        # what a Weir says of itself to the store once a second, and the first look at a key, are no round trips of it
        Figure("  round trips for a thousand refusals", 1000 * asked / sum(c.refused for c in denied), "", 0.1),
    ]


def memory() -> list[Figure]:
    """Decisions in one process, one key after the other out of a thousand. Raises OSError when it cannot run."""
    weir = subject()
    script = Path(__file__).with_name("decisions.py")
    done = subprocess.run(weir.script(script), env={**os.environ, **weir.env}, capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace")[-300:])
    one_ns, five_ns = json.loads(done.stdout)
    return [
        Figure("decision in memory, 1 limit", one_ns, "ns", 5000.0),
        Figure("decision in memory, 5 limits", five_ns, "ns", 15000.0),
    ]


def table(figures: Sequence[Figure]) -> str:
    words = {True: "pass", False: "MISS", None: ""}
    lines = [f"{'':<42}{'':>10}  {'':<12}{'at most':>8}"]
    for each in figures:
        most = "" if each.target is None else f"{each.target:g}"
        lines.append(f"{each.name:<42}{each.value:>10.3f}  {each.unit:<12}{most:>8}  {words[each.is_met]}".rstrip())
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 with figures, whatever the targets say; 1 when nothing was measured."""
    options = _parser().parse_args(arguments)
    try:
        cores = machine.this_machines_cores()
        machine.raise_file_limit()
        with tempfile.TemporaryDirectory(prefix="weir-benchmarks-") as directory:
            bench = Bench(Path(directory), cores)
            try:
                bench.start()
                figures = latency(bench, options.rate, 10.0 * options.seconds)
                figures += latency_in_company(bench, options.rate, 10.0 * options.seconds)
                figures += latency_by_rate(bench, 6.0 * options.seconds)
                figures += processor(bench, options.rounds, options.seconds)
            finally:
                bench.stop()
        figures += memory()
    except (OSError, StartError, load.LoadError) as error:
        print(error, file=sys.stderr)
        return 1
    print(subject().version(), table(figures), sep="\n\n")
    if options.json is not None:
        about: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": machine.commit(),
            "machine": machine.describe(cores),
            "versions": {"weir": subject().version(), "store": bench.redis.version, "load": load.generator()},
            "plan": {"rounds": options.rounds, "seconds": options.seconds, "rate": options.rate},
        }
        rows = [{**asdict(each), "value": round(each.value, 3), "is_met": each.is_met} for each in figures]
        options.json.write_text(json.dumps({**about, "figures": rows}, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=21, help="rounds, of whose differences and ratios the median counts (21)"
    )
    parser.add_argument("--seconds", type=int, default=1, help="length of each part of one (1)")
    parser.add_argument("--rate", type=float, default=1160.0, help="requests a second while latency is measured (1160)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    add_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
