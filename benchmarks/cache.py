"""`python -m benchmarks.cache`: what the cache adds to a miss, as differences within one run.

Three kinds of request take turns on every connection, at a rate that leaves everybody room: a URL that nobody has asked
for before, through Weir with a cache; the same response through Weir without one; and straight from the backend. What
lies between the first two is the cache's, and between the last two the rest of Weir's. The cache is small and soon
full, so that storing costs what it costs in the long run: something else has to go.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from benchmarks import cpu, machine
from benchmarks.backend import Backend
from benchmarks.limits import Figure, table
from benchmarks.load_client import content_length, percentile, request_bytes
from benchmarks.process import Child, StartError, free_port
from benchmarks.subject import add_option, subject

_SETTINGS = """\
version: 1
listen: 127.0.0.1:{port}
admin: "off"
access_log: {{path: "off"}}
cache: {{memory: 4MiB, max_entry: 1MiB}}
upstreams: {{app: {{primary: "http://127.0.0.1:{backend}", pool: {{max_in_flight: 64, max_idle: 64, queue: 4096}}}}}}
defaults: {{upstream: app}}
routes:
  - {{name: cold, match: {{path: /cold}}, cache: {{}}, rewrite: {{path: /cached}}}}
  - {{name: plain, match: {{path: /plain}}, rewrite: {{path: /cached}}}}
"""
COLD, PLAIN, STRAIGHT = range(3)
_PATHS = ("/cold", "/plain", "/cached")
CONNECTIONS = 24
MISS_P50_MS = 0.3
_numbers = itertools.count(10**6)


class Bench:
    """The processes. Weir has a core of its own; the backend shares the other one with the load."""

    def __init__(self, directory: Path, cores: machine.Cores) -> None:
        self.cores = cores
        self.port = free_port()
        self.backend = Backend(directory / "backend")
        self._directory = directory
        self._weir = Child("weir", directory)

    def start(self) -> None:
        self.backend.start(self.cores.backend)
        settings = self._directory / "proxy.yaml"
        settings.write_text(_SETTINGS.format(port=self.port, backend=self.backend.port))
        weir = subject()
        self._weir.start(weir.command("run", "-c", settings), self.cores.proxy, self.port, self._directory, weir.env)

    def stop(self) -> None:
        self._weir.stop()
        self.backend.stop()


class WrongAnswer(Exception):
    """An answer that is not the one that is measured; the message holds its head."""


class _Client(asyncio.Protocol):
    """One connection; a request at a time."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(WrongAnswer("the connection ended"))

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """When the first byte was here, in nanoseconds, and the head; once the content is here too."""
        self._data = b""
        self._first_ns = 0
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._first_ns = self._first_ns or time.perf_counter_ns()
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end >= 0 and len(self._data) - end - 4 >= content_length(self._data[:end]):
            if self._answered is not None and not self._answered.done():
                self._answered.set_result((self._first_ns, self._data[:end]))


def fault(kind: int, head: bytes) -> str:
    """What is wrong with an answer of this kind, or ""."""
    if not head.startswith(b"HTTP/1.1 200"):
        return "it is no 200"
    if kind == COLD and not (b"fwd=uri-miss" in head and b"stored" in head):
        return "it is no miss that was stored"
    if kind == PLAIN and b"\r\nvia:" not in head.lower():
        return "it did not come through Weir"
    return ""


async def _first_bytes(bench: Bench, rate: float, seconds: float) -> list[list[int]]:
    """Microseconds to the first byte by kind, each in order."""
    loop = asyncio.get_running_loop()
    found: list[list[int]] = [[], [], []]
    ends_at = time.monotonic() + seconds

    async def one(number: int) -> None:
        _, weir = await loop.create_connection(_Client, "127.0.0.1", bench.port)
        _, backend = await loop.create_connection(_Client, "127.0.0.1", bench.backend.port)
        interval_s = CONNECTIONS / rate
        next_at = time.monotonic() + number / rate
        kind = number % 3
        while next_at < ends_at:
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            # all three are new each time, so that nobody recognises the bytes of the one before
            request = request_bytes("bench", f"{_PATHS[kind]}?n={next(_numbers)}", 0)
            sent_ns = time.perf_counter_ns()
            first_ns, head = await (backend if kind == STRAIGHT else weir).ask(request)
            if wrong := fault(kind, head):
                raise WrongAnswer(f"{_PATHS[kind]}: {wrong}\n{head.decode('latin-1')}")
            found[kind].append((first_ns - sent_ns) // 1000)
            kind = (kind + 1) % 3
            next_at += interval_s
        weir.transport.abort()
        backend.transport.abort()

    await asyncio.gather(*[one(number) for number in range(CONNECTIONS)])
    return found


def first_byte(bench: Bench, rate: float, seconds: float) -> list[Figure]:
    """Blocks for `seconds` and a warm-up of a second."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {bench.cores.load})
    try:
        import uvloop

        uvloop.run(_first_bytes(bench, rate, 1.0))
        before, began_at = cpu.core_busy_s(bench.cores.proxy), time.monotonic()
        found = uvloop.run(_first_bytes(bench, rate, seconds))
        busy = (cpu.core_busy_s(bench.cores.proxy) - before) / (time.monotonic() - began_at)
    finally:
        os.sched_setaffinity(0, own)
    return figures(found, busy)


def figures(found: Sequence[list[int]], busy: float) -> list[Figure]:
    """`found`: microseconds by kind, in any order. `busy`: share of Weir's core that was used, by whomever."""
    (cold, cold99), (plain, plain99), (straight, straight99) = (
        [percentile(sorted(each), share) / 1000.0 for share in (0.5, 0.99)] for each in found
    )
    return [
        Figure("first byte of a miss, cache on, p50", cold - plain, "ms added", MISS_P50_MS),
        Figure("first byte of a miss, cache on, p99", cold99 - plain99, "ms added"),
        Figure("first byte through Weir, miss, p50", cold - straight, "ms added"),
        Figure("first byte through Weir, no cache, p50", plain - straight, "ms added"),
        Figure("  a miss that is stored, p50", cold, "ms"),
        Figure("  a miss that is stored, p99", cold99, "ms"),
        Figure("  a route without a cache, p50", plain, "ms"),
        Figure("  a route without a cache, p99", plain99, "ms"),
        Figure("  straight from the backend, p50", straight, "ms"),
        Figure("  straight from the backend, p99", straight99, "ms"),
        Figure("  requests of each kind", float(min(map(len, found))), ""),
        Figure("  Weir's core, busy", busy * 100.0, "%"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 with figures, whatever the target says; 1 when nothing was measured."""
    options = _parser().parse_args(arguments)
    try:
        cores = machine.this_machines_cores()
        with tempfile.TemporaryDirectory(prefix="weir-benchmarks-") as directory:
            bench = Bench(Path(directory), cores)
            try:
                bench.start()
                found = first_byte(bench, options.rate, options.seconds)
            finally:
                bench.stop()
    except (OSError, StartError, WrongAnswer) as error:
        print(error, file=sys.stderr)
        return 1
    print(subject().version(), table(found), sep="\n\n")
    if options.json is not None:
        about: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": machine.commit(),
            "machine": machine.describe(cores),
            "versions": {"weir": subject().version(), "backend": bench.backend.kind},
            "plan": {"seconds": options.seconds, "rate": options.rate},
        }
        rows = [{**asdict(each), "value": round(each.value, 3), "is_met": each.is_met} for each in found]
        options.json.write_text(json.dumps({**about, "figures": rows}, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (20)")
    parser.add_argument("--rate", type=float, default=1500.0, help="requests a second, of all three kinds (1500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    add_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
