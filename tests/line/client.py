"""A plain HTTP client over one socket: it sends what it is told and hides nothing of the answer."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 10.0
Fields = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass
class Answer:
    status: int
    fields: list[tuple[str, str]]
    content: bytes

    def get(self, name: str) -> str | None:
        """The only value of a field."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for lower, value in self.fields if lower == name.lower()]

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def reason(self) -> str:
        """The word of a problem document."""
        assert self.get("content-type") == "application/problem+json", self
        said = self.json()
        assert said["status"] == self.status
        return str(said["reason"])

    @property
    def backend(self) -> str:
        """Which backend answered."""
        return str(self.json()["backend"])


class Client:
    """One connection, to `http://host:port`, `https://host:port` or `unix:/path`."""

    def __init__(self, address: str, *, tls: ssl.SSLContext | None = None, source: str = "") -> None:
        self._socket = _connect(address, tls, source)
        self._file = self._socket.makefile("rb")
        self._host = "localhost" if address.startswith("unix:") else urlsplit(address).netloc

    def ask(
        self,
        method: str,
        target: str,
        fields: Fields | None = None,
        content: bytes | None = None,
        *,
        chunks: Sequence[bytes] | None = None,
    ) -> Answer:
        self.send(method, target, fields, content, chunks=chunks)
        return self.answer(method)

    def send(
        self,
        method: str,
        target: str,
        fields: Fields | None = None,
        content: bytes | None = None,
        *,
        chunks: Sequence[bytes] | None = None,
    ) -> None:
        pairs = list(fields.items() if isinstance(fields, Mapping) else fields or ())
        if not any(name.lower() == "host" for name, _ in pairs):
            pairs.insert(0, ("Host", self._host))
        if content is not None:
            pairs.append(("Content-Length", str(len(content))))
        if chunks is not None:
            pairs.append(("Transfer-Encoding", "chunked"))
            content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
        self.raw(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (content or b""))

    def raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """The next final answer. Raises EOFError when the connection ends before its end."""
        answer = self.head()
        while answer.status in (100, 103):
            answer = self.head()
        if method == "HEAD" or answer.status in (101, 204, 304):
            return answer
        answer.content = self._content(answer)
        return answer

    def head(self) -> Answer:
        line = self._file.readline()
        if not line:
            raise EOFError("the connection ended before an answer")
        status = int(line.split(b" ")[1])
        fields = []
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            fields.append((name.lower(), value.strip()))
        return Answer(status, fields, b"")

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError(f"{size} bytes expected, {len(data)} came")
        return data

    def is_ended(self) -> bool:
        """The other side has closed, and nothing more came."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _content(self, answer: Answer) -> bytes:
        if (length := answer.get("content-length")) is not None:
            return self.read(int(length))
        if answer.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(self._file.readline() or b"x", 16):
                content += self.read(size + 2)[:-2]
            assert self._file.readline() == b"\r\n"
            return content
        return self._file.read()


def ask(
    address: str,
    method: str,
    target: str,
    fields: Fields | None = None,
    content: bytes | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    source: str = "",
) -> Answer:
    """One request on a connection of its own. `source` is the address to come from."""
    with Client(address, tls=tls, source=source) as client:
        return client.ask(method, target, fields, content)


def at_once(*calls: Any) -> list[Any]:
    """Call all of them at the same time, and give what they returned, in their order."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(30) for future in [pool.submit(call) for call in calls]]


def _connect(address: str, tls: ssl.SSLContext | None, source: str) -> socket.socket:
    if address.startswith("unix:"):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(TIMEOUT_S)
        made.connect(address.removeprefix("unix:"))
        return made
    url = urlsplit(address)
    assert url.hostname is not None
    made = socket.create_connection((url.hostname, url.port or 80), TIMEOUT_S, (source, 0) if source else None)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        return tls.wrap_socket(made, server_hostname="localhost")
    return made
