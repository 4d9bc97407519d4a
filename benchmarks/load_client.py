"""The load where wrk is not installed.

`python -m benchmarks.load_client URL CONNECTIONS SECONDS UPLOAD_BYTES KIND ETAG`: the kind is `alike` or `varied`; an
ETAG that is not empty goes into If-None-Match. It knows sized responses only, which is what the scenarios ask for.
Several times slower than wrk: the proxies are then not at their limit, and only their processor time per request says
something.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from benchmarks.load import REQUEST_FIELDS


@dataclass(slots=True)
class Tally:
    """What all connections saw together; latencies in microseconds."""

    latencies: list[int] = field(default_factory=list)
    content_bytes: int = 0
    refused: int = 0
    failed: int = 0


class Client(asyncio.Protocol):
    """One connection: sends, reads to the end of the content, sends again."""

    def __init__(self, request: bytes, tally: Tally, is_varied: bool) -> None:
        self._request = request
        self._is_varied = is_varied
        self._count = 0
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._missing = 0  # content bytes still to come
        self._sent_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._tally.failed += 1  # nothing here closes a connection but the end of the run

    def data_received(self, data: bytes) -> None:
        self._tally.content_bytes += len(data)
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._tally.refused += status_of(self._head) >= 400
            self._missing = content_length(self._head[:end]) - (len(self._head) - end - 4)
            self._head = b""
        if self._missing <= 0:
            self._tally.latencies.append((time.perf_counter_ns() - self._sent_at) // 1000)
            self._missing = 0
            self._send()

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter_ns()
        request = self._request
        if self._is_varied:
            self._count += 1
            request = request.replace(b"\r\n", b"\r\nX-Count: %d\r\n" % self._count, 1)
        self._transport.write(request)


def status_of(head: bytes) -> int:
    return int(head[9:12])


def content_length(head: bytes) -> int:
    """Bytes that follow this head: a 304 says how long the content would be, and has none."""
    return 0 if status_of(head) == 304 else length_of(head)


def length_of(head: bytes) -> int:
    """Content-Length, or 0."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def percentile(ordered: list[int], share: float) -> int:
    """Nearest rank; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def request_bytes(host: str, path: str, upload_bytes: int, etag: str = "") -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in REQUEST_FIELDS.items())
    fields += f"If-None-Match: {etag}\r\n" if etag else ""
    method, length = ("POST", f"Content-Length: {upload_bytes}\r\n") if upload_bytes else ("GET", "")
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n".encode() + b"x" * upload_bytes


async def load(
    url: str, connections: int, seconds: float, upload_bytes: int, is_varied: bool = False, etag: str = ""
) -> Tally:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = request_bytes(parts.netloc, parts.path, upload_bytes, etag)
    tally, clients = Tally(), []
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        try:
            _, client = await loop.create_connection(lambda: Client(request, tally, is_varied), host, port)
        except OSError:
            tally.failed += 1
        else:
            clients.append(client)
    try:
        await asyncio.sleep(seconds)
    finally:
        for client in clients:
            client.close()
    return tally


def main(url: str, connections: int, seconds: float, upload_bytes: int, kind: str, etag: str) -> None:
    began_at = time.perf_counter()
    loading = load(url, connections, seconds, upload_bytes, kind == "varied", etag)
    try:
        import uvloop
    except ImportError:
        tally = asyncio.run(loading)
    else:
        tally = uvloop.run(loading)
    ordered = sorted(tally.latencies)
    found = {
        "requests": len(ordered),
        "duration": int((time.perf_counter() - began_at) * 1e6),
        "bytes": tally.content_bytes,
        "p50": percentile(ordered, 0.50),
        "p90": percentile(ordered, 0.90),
        "p95": percentile(ordered, 0.95),
        "p99": percentile(ordered, 0.99),
        "max": ordered[-1] if ordered else 0,
        "refused": tally.refused,
        "failed": tally.failed,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6])
