"""The last stage: count the exchange, and log it if it is one of those."""

from __future__ import annotations

import bisect
import zlib
from typing import TYPE_CHECKING, Final

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind
from proxy.observe.metrics import DURATION_BOUNDS_S, NO_REASON

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.observe.metrics import RouteStats
    from proxy.observe.observe import Observe

CLIENT_LEFT: Final = ErrorKind.CLIENT_DISCONNECTED.status
# Final: found without a look-up by what is compiled
_SHORTEST_S: Final = DURATION_BOUNDS_S[0]
_bisect_left: Final = bisect.bisect_left
_crc32: Final = zlib.crc32


def record(exchange: Exchange, observe: Observe, now: float | None = None) -> float:
    """Called once for every exchange, whatever became of it. Never waits.

    `now` is monotonic, by default read here; it is returned, as the end of the exchange. Half a microsecond unless
    there is a line to write; every statement here was measured.
    """
    if now is None:
        now = monotonic()
    route = exchange.route
    stats: RouteStats = (route.stats if route is not None else None) or observe.unmatched
    status = exchange.status
    if not status:  # no head was sent: nobody was left to read one
        status = exchange.status = CLIENT_LEFT
    error = exchange.error
    reason = NO_REASON if error is None else error._value_  # `.value` goes through a Python descriptor
    method = exchange.request.method
    tally = stats.latest
    if tally.status == status and tally.method == method and tally.reason == reason:
        tally.count += 1
    else:
        stats.count(method, status, reason)
    duration_s = now - exchange.received_at
    if status == 101:  # a tunnel may last for days: its duration is the time until it opened
        stats.took(exchange.queue_s + exchange.upstream_s)
    else:
        stats.duration_s += duration_s
        stats.duration_buckets[0 if duration_s <= _SHORTEST_S else _bisect_left(DURATION_BOUNDS_S, duration_s)] += 1
    if exchange.upstream_s:
        stats.upstream_s += exchange.upstream_s
        stats.upstream_buckets[_bisect_left(DURATION_BOUNDS_S, exchange.upstream_s)] += 1
    if exchange.queue_s:
        stats.queued += 1
        stats.queue_s += exchange.queue_s
    if exchange.attempts > 1:
        stats.retries += exchange.attempts - 1
    elif exchange.is_fresh or (exchange.cache_status and not exchange.attempts and exchange.cache_status[:3] == b"hit"):
        stats.cache_hits += 1
    stats.bytes_received += exchange.bytes_received
    stats.bytes_sent += exchange.bytes_sent
    log = observe.access_log
    if status >= 400 or error is not None or duration_s >= log.slow_s:
        log.write(exchange, duration_s, is_sampled=False)
    elif _crc32(exchange.id) < log.threshold:
        log.write(exchange, duration_s, is_sampled=True)
    return now
