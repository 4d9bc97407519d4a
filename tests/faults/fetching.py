"""`fetch` with a real registry, real pools and real connections, and an account of what is left afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.clients.addresses import connection_client
from proxy.core.clock import monotonic
from proxy.core.errors import ProxyError
from proxy.core.tasks import Run
from proxy.exchange import Exchange
from proxy.http.message import Request, Source
from proxy.routing.route import Route
from proxy.upstreams.address import Address
from proxy.upstreams.registry import Registry
from proxy.upstreams.stage import fetch
from proxy.upstreams.upstream import PoolNumbers, Upstream
from proxy.wire.connect import open_connection
from proxy.wire.timers import Timers
from proxy.wire.upstream import UpstreamConnection
from tests.snapshots import a_snapshot

__all__ = ["Cut", "Fetcher", "Outcome"]


class Cut:
    """Drives a coroutine as the line does, and cancels it at its wait number `at` (0: never)."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], at: int, *, later: bool) -> None:
        watched: Any = _Watched(coroutine, self._waits)
        self._run = Run(watched)  # not its heir: it may be compiled
        self.waits = 0
        self._at = at
        self._later = later

    def begin(self) -> None:
        self._run.step(None)

    def cancel(self) -> None:
        self._run.cancel()

    def _waits(self) -> None:
        self.waits += 1
        if self.waits == self._at:
            if self._later:
                asyncio.get_running_loop().call_soon(self.cancel)
            else:
                self.cancel()


class _Watched:
    """A coroutine, as far as a Run needs one, that tells when it has begun to wait."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], told: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._told = told

    def send(self, value: Any) -> Any:
        return _Wait(self._coroutine.send(value), self._told)

    def throw(self, error: BaseException) -> Any:
        return _Wait(self._coroutine.throw(error), self._told)


class _Wait:
    """What it waits for."""

    _asyncio_future_blocking = False

    def __init__(self, real: Any, told: Callable[[], None]) -> None:
        assert real is not None, "a bare yield"
        real._asyncio_future_blocking = False
        self._real = real
        self._told = told

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._callback = callback
        self._real.add_done_callback(self._done)
        self._told()

    def remove_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._real.remove_done_callback(self._done)

    def cancel(self) -> None:
        self._real.cancel()

    def _done(self, _: Any) -> None:
        self._callback(self)


class Outcome:
    """How one request ended: a status with whole or broken content, an error, or nothing because it was cancelled."""

    def __init__(self) -> None:
        self.status = 0
        self.error: ProxyError | None = None
        self.content = b""
        self.is_whole = False
        self.was_cancelled = False
        self.ended = asyncio.Event()

    @property
    def word(self) -> str:
        if self.error is not None:
            return self.error.kind.value
        return "cancelled" if self.was_cancelled else f"{self.status}" if self.is_whole else "broken"

    # -- a sink --

    def feed(self, data: bytes) -> None:
        self.content += data

    def finish(self) -> None:
        self.is_whole = True
        self.ended.set()

    def abort(self, error: BaseException) -> None:
        self.ended.set()


class Body:
    """Content of a request that is all here."""

    is_complete = may_replay = True
    error = None

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = self.received_bytes = self.held_bytes = len(content)

    def limit(self, limit_bytes: int | None) -> None:
        pass

    def whole(self) -> bytes:
        return self._content


class Fetcher:
    """One upstream named `app`, used as the line uses it."""

    def __init__(self, *addresses: Address, timeout_s: float = 5.0, **rest: Any) -> None:
        self.timers = Timers(0.01)
        self.connections: set[UpstreamConnection] = set()
        self.upstream = Upstream("app", addresses, **{"slow_start_s": 0.0, "pool": PoolNumbers(), **rest})
        self.registry: Registry[UpstreamConnection] = Registry(self._open)
        self.route = Route(
            name="all", index=0, where="", hosts=(), methods=frozenset(), pattern="/**", upstream=self.upstream,
            timeout_s=timeout_s,
        )  # fmt: skip
        self._before: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Fetcher:
        self._before = asyncio.all_tasks()
        self.timers.start(asyncio.get_running_loop())
        self.registry.apply({"app": self.upstream}, monotonic())
        self.registry.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.registry.stop()
        self.timers.stop()

    async def _open(self, upstream: Upstream, address: Address) -> UpstreamConnection:
        connection = await open_connection(
            host=address.host, port=address.port, unix_path=None, ssl=None, server_name=None,
            timeout_s=upstream.pool.connect_timeout_s, max_head_bytes=32768, timers=self.timers,
        )  # fmt: skip
        self.connections.add(connection)
        return connection

    # -- asking --

    def start(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        content: bytes = b"",
        *,
        cut_at: int = 0,
        later: bool = False,
    ) -> tuple[Cut, Outcome]:
        outcome = Outcome()
        run = Cut(self._ask(method, target, content, outcome), cut_at, later=later)
        run.begin()
        return run, outcome

    async def ask(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        content: bytes = b"",
        *,
        cut_at: int = 0,
        later: bool = False,
    ) -> tuple[Cut, Outcome]:
        run, outcome = self.start(method, target, content, cut_at=cut_at, later=later)
        async with asyncio.timeout(30):
            await outcome.ended.wait()
        return run, outcome

    async def _ask(self, method: bytes, target: bytes, content: bytes, outcome: Outcome) -> None:
        fields = [(b"host", b"Host", b"example.com")]
        request = Request(method, target, 1, fields, {b"host": b"example.com"}, body=Body(content) if content else None)
        request.authority = b"example.com"
        request.content_length = len(content) if content else None
        exchange = Exchange(request, a_snapshot(), None, connection_client(("127.0.0.1", 1)), False, b"1", monotonic())
        exchange.route = self.route
        try:
            response = await fetch(exchange, self.registry)
        except ProxyError as error:
            outcome.error = error
            outcome.ended.set()
            return
        except asyncio.CancelledError:
            outcome.was_cancelled = True
            outcome.ended.set()
            raise
        outcome.status = response.status
        content_of_it: bytes | Source | None = response.content
        if content_of_it is None or isinstance(content_of_it, bytes):
            outcome.content = content_of_it or b""
            outcome.finish()
        else:
            content_of_it.start(outcome)

    # -- the account --

    async def settled(self) -> None:
        """Nothing is left of any exchange: every connection is idle or closed, no lease, no place in a queue, no task.

        Waits for what ends a moment later (a cancelled connect, a socket); fails when something stays.
        """
        try:
            async with asyncio.timeout(5):
                while self._left():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(self._left()) from None

    def _left(self) -> list[str]:
        left = []
        idle = 0
        for endpoint in self.registry.endpoints:
            pool = endpoint.pool
            idle += pool.idle
            if pool.in_use or pool.waiting or pool.total != pool.idle + pool.in_use:
                left.append(repr(pool))
        self.connections = {each for each in self.connections if not each.transport.is_closing()}
        if len(self.connections) != idle:
            left.append(f"{len(self.connections)} sockets are open, {idle} are idle")
        for group in self.registry.groups:
            if len(group.hold) or group.hold.content_bytes:
                left.append(f"{len(group.hold)} are held")
        left += [
            task.get_name()
            for task in asyncio.all_tasks() - self._before
            if task.get_name().startswith(("connect", "check")) and not task.done()
        ]
        return left
