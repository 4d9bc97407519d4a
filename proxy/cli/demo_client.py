"""The demo's own client: plain requests over http.client, and one WebSocket message by hand (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.clock import monotonic

__all__ = ["Answer", "ask", "echo_over_websocket", "is_ok"]

TIMEOUT_S: Final = 10.0
_WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what came back. `elapsed_s` includes the connection."""

    method: str
    target: str
    status: int
    fields: Mapping[str, str]
    content: bytes
    elapsed_s: float

    def field(self, name: str) -> str:
        return self.fields.get(name.lower(), "")

    def json(self) -> Any:
        """The content as JSON, or an empty object when it is not."""
        try:
            return json.loads(self.content)
        except ValueError:
            return {}


def ask(
    port: int, method: str, target: str, *, content: Any = None, token: str = "", only_stored: bool = False
) -> Answer:
    """One request on a new connection to 127.0.0.1; `content` is sent as JSON. A failure is an answer with status 0."""
    fields = {"Content-Type": "application/json"} if content is not None else {}
    if only_stored:
        fields["Cache-Control"] = "only-if-cached"  # RFC 9111 §5.2.1.7: 504 rather than asking the backend
    if token:
        fields["Authorization"] = f"Bearer {token}"
    body = None if content is None else json.dumps(content).encode()
    started_at = monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request(method, target, body, fields)
        response = connection.getresponse()
        received = response.read()
    except (OSError, http.client.HTTPException) as error:
        return Answer(method, target, 0, {"error": repr(error)}, b"", monotonic() - started_at)
    finally:
        connection.close()
    index: dict[str, str] = {}
    for name, value in response.getheaders():
        lower = name.lower()
        index[lower] = f"{index[lower]}, {value}" if lower in index else value
    return Answer(method, target, response.status, index, received, monotonic() - started_at)


def is_ok(port: int, target: str) -> bool:
    return ask(port, "GET", target).status == 200


def echo_over_websocket(port: int, target: str, text: str) -> tuple[Answer, str]:
    """Open a WebSocket, send `text`, and give the handshake's answer with the first message that is no price tick."""
    started_at = monotonic()
    key = base64.b64encode(os.urandom(16))
    head = (
        f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as wire, wire.makefile("rb") as stream:
            wire.sendall(head.encode())
            status = int(stream.readline().split()[1])
            index = {name.decode().lower(): value.strip().decode() for name, value in _field_lines(stream)}
            heard = ""
            if status == 101 and index.get("sec-websocket-accept") == _accept(key):
                wire.sendall(_text_frame(text.encode()))
                while not heard or heard.startswith("{"):
                    heard = _read_frame(stream).decode()
    except (OSError, ValueError, IndexError) as error:
        return Answer("GET", target, 0, {"error": repr(error)}, b"", monotonic() - started_at), ""
    return Answer("GET", target, status, index, b"", monotonic() - started_at), heard


def _field_lines(stream: Any) -> list[tuple[bytes, bytes]]:
    lines = []
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        lines.append((name, value))
    return lines


def _accept(key: bytes) -> str:
    return base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest()).decode()


def _text_frame(content: bytes) -> bytes:
    """Final, text, masked as every frame of a client (RFC 6455 §5.2). For content below 126 bytes."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(content))
    return bytes((0x81, 0x80 | len(content))) + mask + masked


def _read_frame(stream: Any) -> bytes:
    """The content of the next frame. For content below 126 bytes, and that is all that the shop sends."""
    head = stream.read(2)
    if len(head) < 2:
        raise ConnectionResetError("the connection closed before the echo")
    return bytes(stream.read(head[1] & 0x7F))
