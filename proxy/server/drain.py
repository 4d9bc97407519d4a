"""Ending in order (W23): nothing that is under way is lost, and nothing keeps the process alive for ever."""

from __future__ import annotations

import asyncio

from proxy.core.clock import monotonic
from proxy.wire.host import Host

LAST_CALL_S = 0.25  # for a client whose next request on an idle connection is already on its way
LOOK_S = 0.02


async def drain(host: Host, timeout_s: float) -> int:
    """Wait until every connection is done, at most `timeout_s`; give the number that has to be cut.

    From here on every answer carries `Connection: close`. An idle connection is closed after LAST_CALL_S: a request
    that crosses with our FIN would be lost.
    """
    host.is_draining = True
    started_at = monotonic()
    idle_close_at = started_at + min(LAST_CALL_S, timeout_s)
    while host.connections and (now := monotonic()) < started_at + timeout_s:
        if now >= idle_close_at:
            for connection in list(host.connections):
                connection.close_idle()
        await asyncio.sleep(LOOK_S)
    return len(host.connections)
