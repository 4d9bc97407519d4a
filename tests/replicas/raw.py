"""A quick HTTP client for loads: one connection, one request at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass
class Answer:
    status: int
    content: bytes
    instance: str
    seconds: float
    cookies: list[str] = field(default_factory=list)


class Connection:
    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, fields: dict[str, str]) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        began = time.monotonic()
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: shop\r\n{lines}{length}\r\n".encode())
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer = Answer(int(first.split(" ")[1]), b"", "", 0.0)
        size = 0
        for line in rest:
            name, _, value = line.partition(": ")
            match name.lower():
                case "content-length":
                    size = int(value)
                case "x-instance":
                    answer.instance = value
                case "set-cookie":
                    answer.cookies.append(value)
                case "connection" if value.lower() == "close":
                    self._streams = None
        answer.content = await reader.readexactly(size)
        answer.seconds = time.monotonic() - began
        if self._streams is None:
            writer.close()
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
