"""What may be sent a second time, and how often that may happen.

A retry is safe when the endpoint cannot have acted on the request, or when acting twice is the same as acting once
(RFC 9110 §9.2.2). It is wise only in small numbers: when everything fails, retries double the load.
"""

from __future__ import annotations

from math import exp
from typing import Final

from proxy.core.errors import ErrorKind, Retry

__all__ = ["IDEMPOTENT", "MAX_ATTEMPTS", "MAX_REPLAY_BYTES", "RetryBudget", "may_retry"]

MAX_ATTEMPTS: Final = 2
MAX_REPLAY_BYTES: Final = 64 * 1024  # of a request's content that may be kept to be sent again
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})  # RFC 9110 §9.2.2; TRACE is refused

_RATIO: Final = 0.2  # of the exchanges of the last seconds
_FLOOR_PER_S: Final = 3.0  # so that an upstream with little traffic may retry at all
_WINDOW_S: Final = 10.0


def may_retry(kind: ErrorKind, method: bytes, body_replayable: bool, bytes_sent: int, attempts: int) -> bool:
    """Whether an attempt that failed with `kind` may be made again.

    `bytes_sent` counts the bytes of the request handed to the connection, head included; `attempts` those made so
    far. A kind that can occur after the response has begun is never retried. That no byte of an answer came is what
    the kinds CONNECTION_RESET and REUSED_CONNECTION_CLOSED mean.
    """
    if attempts >= MAX_ATTEMPTS or kind.retry is Retry.NEVER:
        return False
    if bytes_sent == 0:
        return True
    return body_replayable and method in IDEMPOTENT


class RetryBudget:
    """Retries of one upstream: a fifth of its exchanges, and three a second in any case.

    Both numbers fade over ten seconds, so a burst (an endpoint that restarts with all its idle connections) passes,
    and a storm does not. Costs nothing until a retry asks.
    """

    __slots__ = ("_at", "_exchanges", "_retries", "_seen")

    def __init__(self, now: float) -> None:
        self._at = now
        self._seen = 0
        self._exchanges = 0.0
        self._retries = 0.0

    def spend(self, exchanges: int, now: float) -> bool:
        """Take one retry if there is one. `exchanges` is a running total, read by the caller."""
        fade = exp((self._at - now) / _WINDOW_S)
        self._exchanges = self._exchanges * fade + max(exchanges - self._seen, 0)
        self._retries *= fade
        self._at, self._seen = now, exchanges
        if self._retries + 1.0 > _FLOOR_PER_S * _WINDOW_S + _RATIO * self._exchanges:
            return False
        self._retries += 1.0
        return True
