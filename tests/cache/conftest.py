"""A line with a cache and a scripted origin: the stages and the store are real, sockets are not needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proxy.cache.cache import Cache
from proxy.cache.entry import Entry, Receipt, draft
from proxy.cache.policy import CachePolicy, compile_cache
from proxy.cache.settings import CacheRouteSettings, CacheSettings
from proxy.cache.stage import finish, invalidate, look_up, look_up_now, on_error, store
from proxy.clients.client import Client
from proxy.core.clock import monotonic, wall
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import start_now
from proxy.exchange import Exchange
from proxy.http.dates import format_date
from proxy.http.message import Field, Request, Response, Sink, field, index_fields
from proxy.routing.route import Route
from tests.snapshots import a_snapshot

Lines = dict[str, str | bytes] | list[tuple[str, str | bytes]]


def to_fields(lines: Lines | None) -> list[Field]:
    items = lines.items() if isinstance(lines, dict) else lines or ()
    return [field(name, value) for name, value in items]


NOBODY = Client("203.0.113.7", b"203.0.113.7", b"203.0.113.7")


class Body:
    """A Source that a test feeds by hand."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.sink: Sink | None = None
        self.is_paused = False
        self.is_cancelled = False
        self.started = asyncio.Event()

    def start(self, sink: Sink) -> None:
        self.sink = sink
        self.started.set()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def feed(self, data: bytes) -> None:
        assert self.sink is not None
        self.sink.feed(data)

    def finish(self) -> None:
        assert self.sink is not None
        self.sink.finish()

    def abort(self, error: BaseException | None = None) -> None:
        assert self.sink is not None
        self.sink.abort(error or ProxyError(ErrorKind.RESPONSE_TRUNCATED))


class Collector:
    """A Sink that keeps what it gets."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_finished = False
        self.error: BaseException | None = None
        self.done = asyncio.Event()

    def feed(self, data: bytes) -> None:
        assert data
        assert not self.is_finished
        self.data += data

    def finish(self) -> None:
        assert not self.is_finished
        self.is_finished = True
        self.done.set()

    def abort(self, error: BaseException) -> None:
        assert not self.is_finished
        self.error = error
        self.done.set()


class Reply:
    """What a client of the line got."""

    def __init__(self, exchange: Exchange, response: Response, content: bytes) -> None:
        self.status = response.status
        self.content = content
        self.cache = exchange.cache_status.decode()
        if response.block is not None:
            assert response.block.endswith(b"\r\n")
            status_line, *lines = response.block[:-2].split(b"\r\n")
            assert status_line.startswith(b"HTTP/1.1 %d" % response.status)
            self.fields = [(name.lower(), name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        else:
            self.fields = response.fields
        index = index_fields(self.fields)
        self.index = {name.decode(): value.decode("latin-1") for name, value in index.items()}


class Origin:
    """Answers from a script; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []
        self.script: list[Any] = []
        self.default: Any = None

    def answers(self, *replies: Any) -> None:
        """Each is a Response, an exception, or a function of the exchange that gives one (or something to await)."""
        self.script += replies

    async def fetch(self, exchange: Exchange) -> Response:
        self.asked.append(exchange)
        reply = self.script.pop(0) if self.script else self.default
        assert reply is not None, "the origin was asked, and nobody expected it"
        if callable(reply):
            reply = reply(exchange)
        if isinstance(reply, Awaitable):
            reply = await reply
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, Response)
        return reply

    def conditions(self, at: int = -1) -> dict[str, str] | None:
        found = self.asked[at].conditions
        return None if found is None else {name.decode(): value.decode() for _, name, value in found}


class Line:
    """look up > fetch > store, as in pipeline.py, for one route."""

    def __init__(self, settings: dict[str, Any] | None = None, **cache: Any) -> None:
        self.cache = Cache(CacheSettings(**cache))
        self.origin = Origin()
        self.cache.refresh = self.origin.fetch
        self.route = self.make_route(settings)
        self.uncached = self.make_route(None, is_cached=False)

    def make_route(self, settings: dict[str, Any] | None, *, is_cached: bool = True) -> Route:
        policy = compile_cache(CacheRouteSettings(**(settings or {}))) if is_cached else None
        return Route("r", 0, "test", (), frozenset(), "/**", None, cache=policy)

    def exchange(
        self,
        target: str = "/a",
        fields: Lines | None = None,
        *,
        method: str = "GET",
        host: str = "example.com",
        trusted: bool = False,
        route: Route | None = None,
        body: Any = None,
    ) -> Exchange:
        lines = to_fields(fields)
        request = Request(method.encode(), target.encode(), 1, lines, index_fields(lines), body=body)
        request.authority = host.encode()
        request.host = host
        exchange = Exchange(request, a_snapshot(), None, NOBODY, trusted, b"id", monotonic())
        exchange.route = route or self.route
        return exchange

    async def ask(self, target: str = "/a", fields: Lines | None = None, **how: Any) -> Reply:
        """In no task, as every exchange (core/tasks.py); cancelling this cancels it."""
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        run = start_now(self._ask(answered, self.exchange(target, fields, **how)))
        try:
            return await answered
        except asyncio.CancelledError:
            if run is not None:
                run.cancel()
            raise

    async def _ask(self, answered: asyncio.Future[Reply], exchange: Exchange) -> None:
        try:
            response = await self.answer(exchange)
            reply = Reply(exchange, response, await self.read(exchange, response))
        except Exception as error:
            answered.set_exception(error)
        else:
            answered.set_result(reply)
        finally:
            finish(exchange, self.cache)

    async def answer(self, exchange: Exchange) -> Response:
        cache = self.cache
        assert exchange.route is not None
        if exchange.route.cache is None:
            response = await self.origin.fetch(exchange)
            invalidate(exchange, response, cache)
            return response
        if (stored := look_up_now(exchange, cache)) is not None:
            return stored
        if (stored := await look_up(exchange, cache)) is not None:
            return stored
        try:
            response = await self.origin.fetch(exchange)
        except ProxyError as error:
            if (stale := on_error(exchange, error, cache)) is None:
                raise
            return stale
        return store(exchange, response, cache)

    async def read(self, exchange: Exchange, response: Response) -> bytes:
        content = response.content
        if response.status in (204, 304) or exchange.request.method == b"HEAD":
            if content is not None and not isinstance(content, bytes):
                content.cancel()
            return b""
        if content is None or isinstance(content, bytes):
            return content or b""
        collector = Collector()
        try:
            content.start(collector)
            await collector.done.wait()
        except asyncio.CancelledError:
            content.cancel()
            raise
        if collector.error is not None:
            raise collector.error
        return bytes(collector.data)

    def passes(self, seconds: float) -> None:
        """Time moves: everything that is stored is that much older, everything that was learned that much staler."""
        for shelf in self.cache.store.shelves.values():
            for entry in shelf:
                entry.born_at -= seconds
                entry.retry_at -= seconds
        for mark in self.cache._uncacheable:
            self.cache._uncacheable[mark] -= seconds

    def entries(self, target: str = "/a", host: str = "example.com") -> list[Entry]:
        return self.cache.store.shelves.get(f"http://{host}{target}".encode(), [])


def reply(
    status: int = 200,
    fields: Lines | None = None,
    content: Any = b"content",
    *,
    date: float | None = 0.0,
    reason: bytes = b"OK",
) -> Response:
    """A response of the origin; `date` is seconds from now, None for no Date."""
    lines = to_fields(fields)
    if date is not None:
        lines.append(field("Date", http_date(date)))
    return Response(status, reason, lines, None if status in (204, 304) else content)


def http_date(seconds_from_now: float = 0.0) -> bytes:
    return format_date(int(wall() + seconds_from_now))


def make_entry(
    fields: Lines | None = None,
    *,
    key: bytes = b"http://example.com/a",
    status: int = 200,
    body: bytes = b"content",
    request: Lines | None = None,
    policy: CachePolicy | None = None,
    now: float = 1000.0,
    now_wall: float = 1_700_000_000.0,
) -> Entry:
    """A stored response that came at `now` (monotonic) and `now_wall`."""
    lines = to_fields({"Cache-Control": "max-age=60"} if fields is None else fields)
    receipt = Receipt(index_fields(to_fields(request)), now, now_wall, 0.0)
    drafted = draft(key, policy or CachePolicy(), receipt, status, b"OK", lines)
    assert isinstance(drafted, Entry), drafted
    return drafted.filled(body)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def new_line() -> Callable[..., Line]:
    return Line


@pytest.fixture
def kit() -> Any:
    """The builders above, for tests in other files: test modules cannot import each other."""

    class Kit:
        body = Body
        collector = Collector
        reply = staticmethod(reply)
        date = staticmethod(http_date)
        fields = staticmethod(to_fields)
        entry = staticmethod(make_entry)

    return Kit
