"""From what PgBouncer says of its pools to how much the backend may have at once.

Pure: rows and a state go in, numbers come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PoolState", "next_share", "read_pools"]

HALF: Final = 0.5
STEP: Final = 0.125  # back to all in four samples: a full return at once would bring the wait back with it
_OWN: Final = "pgbouncer"  # the console counts as a pool of itself


@dataclass(frozen=True, slots=True)
class PoolState:
    """One pool at one moment; of several users of a pool, all of them together."""

    client_active: int = 0
    client_waiting: int = 0
    server_active: int = 0
    server_idle: int = 0
    max_wait_s: float = 0.0  # of the client that has waited longest and still waits
    queries: int = 0  # since PgBouncer started
    wait_s: float = 0.0  # of all clients since PgBouncer started


def read_pools(
    pools: Iterable[Mapping[str, str | None]], stats: Iterable[Mapping[str, str | None]]
) -> dict[str, PoolState]:
    """By name of the pool, from SHOW POOLS and SHOW STATS. Columns that a version does not have count as 0."""
    totals = {row.get("database") or "": row for row in stats}
    states: dict[str, PoolState] = {}
    for row in pools:
        name = row.get("database") or ""
        if name in ("", _OWN):
            continue
        before = states.get(name, PoolState())
        total = totals.get(name, {})
        states[name] = PoolState(
            before.client_active + _whole(row, "cl_active"),
            before.client_waiting + _whole(row, "cl_waiting"),
            before.server_active + _whole(row, "sv_active"),
            before.server_idle + _whole(row, "sv_idle") + _whole(row, "sv_used"),
            max(before.max_wait_s, _whole(row, "maxwait") + _whole(row, "maxwait_us") / 1e6),
            _whole(total, "total_query_count"),
            _whole(total, "total_wait_time") / 1e6,
        )
    return states


def next_share(share: float, max_wait_s: float | None, bound_s: float) -> float:
    """How much of its `max_in_flight` an endpoint may use after this sample: from 0.5 to 1.

    Half at once while a client has waited for longer than `bound_s`; back in steps when the wait is below half of the
    bound; unchanged between. None: nothing is known, so nothing is held back.
    """
    if max_wait_s is None:
        return 1.0
    if max_wait_s > bound_s:
        return HALF
    if max_wait_s < bound_s / 2:
        return min(share + STEP, 1.0)
    return share


def _whole(row: Mapping[str, str | None], name: str) -> int:
    text = row.get(name)
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
