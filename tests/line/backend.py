"""Backends that remember what they were asked, and answer as a test says. All of them live on one thread's event loop.

They speak HTTP by hand, so that a test can have them answer nonsense, stop in mid-answer, or leave.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

T = TypeVar("T")


@dataclass
class Call:
    """One request as it arrived."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    content: bytes
    connection: int
    trailer: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    def get(self, name: str) -> str | None:
        """The only value of a field; more than one is a mistake of the test or of Weir."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for lower, value in self.fields if lower == name.lower()]


class Out:
    """Where a handler writes."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.is_done = False

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send(
        self, status: int, content: bytes = b"", fields: dict[str, str] | None = None, *, has_content: bool = True
    ) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in (fields or {}).items())
        head = f"HTTP/1.1 {status} Whatever\r\n{lines}"
        if status not in (204, 304):
            head += f"Content-Length: {len(content)}\r\n"
        await self.raw(head.encode("latin-1") + b"\r\n" + (content if has_content else b""))

    def close(self) -> None:
        self.is_done = True
        self.writer.transport.abort()


Handler = Callable[[Call, Out], Awaitable[None]]


class Hub:
    """The thread."""

    def __init__(self) -> None:
        self.backends: list[Backend] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="backends", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def stop(self) -> None:
        for backend in self.backends:
            backend.stop()
        self.do(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Backend:
    """One of them. Without a handler for a path it says what it was asked, as JSON.

    In the query, `wait` is a number of seconds before the answer, `status` the status, `size` bytes of content.
    """

    def __init__(self, hub: Hub, name: str, *, tls: ssl.SSLContext | None = None, path: str = "") -> None:
        self.hub = hub
        hub.backends.append(self)
        self.name = name
        self.calls: list[Call] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._path = path
        self._tls = tls
        self._handlers: dict[str, Handler] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.start()

    @property
    def url(self) -> str:
        if self._path:
            return f"unix:{self._path}"
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def label(self) -> str:
        """As metrics and logs have it."""
        return self.url if self._path else f"127.0.0.1:{self.port}"

    def on(self, path: str, handler: Handler) -> None:
        self._handlers[path] = handler

    def asked(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def last(self, path: str) -> Call:
        return self.asked(path)[-1]

    def start(self) -> None:
        """Begin, or begin again on the same port."""
        self.hub.do(self._start())

    def stop(self) -> None:
        """Refuse, and cut what is open."""
        self.hub.do(self._stop())

    def cut(self) -> None:
        """Cut what is open, and go on listening."""
        self.hub.do(self._cut())

    async def _start(self) -> None:
        if self._path:
            self._server = await asyncio.start_unix_server(self._serve, self._path, ssl=self._tls)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        call = await _read_call(reader, number)
        self.calls.append(call)
        out = Out(writer)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            await self._handlers.get(call.path, self._echo)(call, out)
        finally:
            self.in_flight -= 1
        return not out.is_done

    async def _echo(self, call: Call, out: Out) -> None:
        query = call.query
        if "wait" in query:
            await asyncio.sleep(float(query["wait"]))
        said = {"backend": self.name, "method": call.method, "target": call.target, "fields": call.fields}
        content = b"x" * int(query["size"]) if "size" in query else json.dumps(said).encode()
        fields = {"Content-Type": "application/json"}
        await out.send(int(query.get("status", "200")), content, fields, has_content=call.method != "HEAD")


def reply(status: int, content: bytes = b"", **fields: str) -> Handler:
    """A handler that always says the same. Field names are written with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}

    async def handler(call: Call, out: Out) -> None:
        await out.send(status, content, named, has_content=call.method != "HEAD")

    return handler


async def _read_call(reader: asyncio.StreamReader, number: int) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    call = Call(method, target, fields, b"", number)
    if call.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            call.content += (await reader.readexactly(size + 2))[:-2]
        while (line := await reader.readline()) != b"\r\n":
            call.trailer += line
    elif length := call.get("content-length"):
        call.content = await reader.readexactly(int(length))
    return call
