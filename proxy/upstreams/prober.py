"""Finds out whether an endpoint is there: a GET of `health.path`, or a plain connect where none is configured.

A plain connect is only made to an endpoint that is out; the connection that it opens goes into the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic

from proxy.core.clock import monotonic
from proxy.core.errors import ProxyError
from proxy.core.tasks import spawn
from proxy.upstreams.endpoint import CONNECT_FAILURES, Check, Endpoint
from proxy.upstreams.lease import ConnectionT

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Prober"]

_FIELDS: Final = {"User-Agent": "weir-health-check", "Accept": "*/*"}


class Prober(Generic[ConnectionT]):
    """Runs the checks that are due, one at a time for each endpoint."""

    __slots__ = ("_clock", "_running", "_sessions")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._running: dict[Endpoint[ConnectionT], asyncio.Task[None]] = {}
        self._sessions: dict[str, aiohttp.ClientSession] = {}  # by path of the unix socket, "" for TCP

    def tick(self, endpoints: Iterable[Endpoint[ConnectionT]], now: float) -> None:
        """Begin what is due."""
        for endpoint in endpoints:
            if endpoint.health.check_at <= now and endpoint not in self._running:
                task = spawn(self._run(endpoint), name=f"check {endpoint.address.label}")
                self._running[endpoint] = task
                task.add_done_callback(partial(self._ended, endpoint))

    async def stop(self) -> None:
        """Cancel what runs and close the client's sockets."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def _ended(self, endpoint: Endpoint[ConnectionT], task: asyncio.Task[None]) -> None:
        del self._running[endpoint]

    async def _run(self, endpoint: Endpoint[ConnectionT]) -> None:
        began_at = self._clock()
        status, error = 0, ""
        try:
            if endpoint.rules is None:
                await self._connect(endpoint, began_at)
            else:
                async with asyncio.timeout(endpoint.rules.timeout_s):
                    status = await self._get(endpoint, endpoint.rules.path)
                if not 200 <= status <= 399:
                    error = f"status {status}"
        except ProxyError as problem:
            if problem.kind not in CONNECT_FAILURES:  # a full queue, a drain: it says nothing about the endpoint
                endpoint.health.postpone(self._clock())
                return
            error = str(problem)
        except TimeoutError:
            error = "no answer in time"
        except Exception as problem:  # of any kind: the check did not pass, and the next one must still come
            error = str(problem) or type(problem).__name__
        now = self._clock()
        endpoint.checked(Check(now, now - began_at, status, error))

    async def _connect(self, endpoint: Endpoint[ConnectionT], now: float) -> None:
        lease = await endpoint.pool.lease(float("inf"), now, fresh=True)
        lease.release(True)

    async def _get(self, endpoint: Endpoint[ConnectionT], path: str) -> int:
        """The status of a GET on a connection of its own: whether the endpoint takes new ones is part of the check."""
        from yarl import URL  # of aiohttp, see _session

        address, tls = endpoint.address, endpoint.upstream.tls
        options: dict[str, Any] = {}
        if address.is_tls and tls is not None:
            options = {"ssl": tls.context, "server_hostname": tls.name_for(address.tls_host)}
        authority = address.authority.decode("ascii")
        place = authority if address.unix_path else address.label  # a name that was looked up is asked for all the same
        url = URL(f"{address.scheme}://{place}{path}", encoded=True)
        session = self._session(address.unix_path)
        async with session.get(
            url, headers={**_FIELDS, "Host": authority}, allow_redirects=False, **options
        ) as response:
            return response.status

    def _session(self, unix_path: str) -> aiohttp.ClientSession:
        import aiohttp  # here: most configurations have no active checks, and it costs 100 ms to import

        session = self._sessions.get(unix_path)
        if session is None:
            connector: aiohttp.BaseConnector
            if unix_path:
                connector = aiohttp.UnixConnector(unix_path, force_close=True, limit=0)
            else:
                connector = aiohttp.TCPConnector(force_close=True, limit=0)
            session = self._sessions[unix_path] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),  # none of its own: asyncio.timeout is exact, and covers connecting
                auto_decompress=False,
                trust_env=False,
            )
        return session
