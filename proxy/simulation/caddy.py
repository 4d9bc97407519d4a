"""Caddy's access log in JSON. Caddy writes a line when a request has ended, and how long it took."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.units import parse_duration
from proxy.http.message import Field, field
from proxy.simulation.entry import Entry
from proxy.simulation.instants import iso_time


class _Request(msgspec.Struct):
    method: str
    uri: str
    host: str = ""
    remote_ip: str = ""
    client_ip: str = ""  # past Caddy's own trusted proxies
    remote_addr: str = ""  # before 2.5: with the port
    headers: dict[str, list[str]] = {}


class _Line(msgspec.Struct):
    ts: float | str
    request: _Request
    status: int = 0
    size: int = 0
    duration: float | str = 0.0
    user_id: str = ""


_decode: Final = msgspec.json.Decoder(_Line).decode
_HIDDEN: Final = ["REDACTED"]


def read_caddy(line: bytes) -> Entry | str:
    """One line. Lines of Caddy's that are about no request are not entries."""
    try:
        said = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "not a line of Caddy's access log"
    ended_wall = said.ts if isinstance(said.ts, float) else iso_time(said.ts)
    if ended_wall is None:
        return "its time cannot be read"
    request = said.request
    took_s = said.duration if isinstance(said.duration, float) else _duration(said.duration)
    return Entry(
        ended_wall - (took_s or 0.0),
        request.client_ip or request.remote_ip or _without_port(request.remote_addr),
        request.method.encode("latin-1", "replace"),
        request.uri.encode("utf-8", "surrogateescape"),
        said.status,
        said.size,
        request.host.encode("latin-1", "replace"),
        said.user_id or None,
        took_s,
        _fields(request.headers) if request.headers else (),
    )


def _duration(text: str) -> float | None:
    """`duration_format string`: `1.5ms`, as Go writes it. Below a millisecond it is nothing."""
    if text.endswith(("µs", "us", "ns")):
        return 0.0
    try:
        return parse_duration(text)
    except ValueError:
        return None


def _without_port(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _fields(headers: dict[str, list[str]]) -> tuple[Field, ...]:
    """All that was logged; what Caddy has hidden says nothing, and what it could not have received is left out."""
    return tuple(
        [
            field(name, value.encode("utf-8", "replace"))
            for name, values in headers.items()
            if values != _HIDDEN and name.isascii()
            for value in values
        ]
    )
