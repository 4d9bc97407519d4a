"""How large and how slow a message may be, compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.wire.settings import WireSettings


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Bounds on one connection. Seconds and bytes."""

    head_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    min_rate: float = 500.0  # bytes a second, after GRACE_S
    max_head_bytes: int = 32 * 1024
    max_fields: int = 100
    max_target_bytes: int = 8 * 1024
    underscore_fields: str = "drop"
    spool_each_bytes: int = 64 * 1024 * 1024
    spool_total_bytes: int = 1024 * 1024 * 1024
    spool_memory_bytes: int = 64 * 1024 * 1024


def compile_wire(settings: WireSettings) -> WireLimits:
    return WireLimits(
        head_timeout_s=settings.head_timeout,
        idle_timeout_s=settings.idle_timeout,
        body_timeout_s=settings.body_timeout,
        write_timeout_s=settings.write_timeout,
        min_rate=float(settings.min_rate),
        max_head_bytes=settings.max_head,
        max_fields=settings.max_fields,
        max_target_bytes=settings.max_target,
        underscore_fields=settings.underscore_fields,
        spool_each_bytes=settings.spool_each,
        spool_total_bytes=settings.spool,
        spool_memory_bytes=settings.spool_memory,
    )


GRACE_S: Final = 5.0  # before a minimum rate is asked for: TCP needs a while to get going on a bad line
CHECK_S: Final = 2.5  # between two looks at a body that should move
HIGH_WATER_BYTES: Final = 64 * 1024  # of one body held for a slow reader, per direction
DRAIN_BYTES: Final = 64 * 1024  # of an unread request body that is read away so that the connection can be kept (W13)
DRAIN_S: Final = 2.0
MAX_PIPELINED: Final = 32  # requests parsed ahead of the one being answered; reading pauses beyond
