"""Weir's own access log.

Fast good answers are sampled there, and each such line says how many requests it stands for. A user is known by the
beginning of a digest: enough to count one user's requests apart from all others'.
"""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.simulation.entry import Entry
from proxy.simulation.instants import iso_time

_LEAST_RATE: Final = 1e-6  # a line that stands for more is a mistake


class _Line(msgspec.Struct):
    ts: str
    client_ip: str
    method: str
    path: str
    sample_rate: float
    host: str = ""
    user: str | None = None
    status: int = 0
    bytes_out: int = 0
    dur_ms: float | None = None


_decode: Final = msgspec.json.Decoder(_Line).decode


def read_weir(line: bytes) -> Entry | str:
    """One line."""
    try:
        said = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "not a line of Weir's access log"
    at_wall = iso_time(said.ts)
    if at_wall is None:
        return "its time cannot be read"
    if not _LEAST_RATE <= said.sample_rate <= 1.0:
        return "its sample_rate is not between 0 and 1"
    return Entry(
        at_wall,
        said.client_ip,
        said.method.encode("latin-1", "replace"),
        said.path.encode("utf-8", "surrogateescape"),
        said.status,
        said.bytes_out,
        said.host.encode("latin-1", "replace"),
        said.user,
        None if said.dur_ms is None else said.dur_ms / 1000.0,
        (),
        1.0 / said.sample_rate,
    )
