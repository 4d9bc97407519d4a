"""What may be sent a second time, when, and how often that may happen.

A retry is safe when the endpoint cannot have acted on the request, or when acting twice is the same as acting once
(RFC 9110 §9.2.2). It is wise only in small numbers: when everything fails, retries double the load.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Final

from proxy.core.errors import ErrorKind, Retry

__all__ = ["IDEMPOTENT", "READS", "RetryBudget", "RetryRules", "delay_s", "is_safe_again", "retry_after_s"]

READS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
IDEMPOTENT: Final = READS | {b"PUT", b"DELETE"}  # RFC 9110 §9.2.2; TRACE is refused

_WINDOW_S: Final = 10.0
_CONNECTS: Final = frozenset({ErrorKind.CONNECT_REFUSED, ErrorKind.CONNECT_TIMEOUT, ErrorKind.TLS_FAILED})


@dataclass(frozen=True, slots=True)
class RetryRules:
    """What an upstream allows. Times in seconds."""

    attempts: int = 1  # beyond the first
    on_connect: bool = True
    on_reset: bool = True
    on_statuses: frozenset[int] = frozenset({502, 503, 504})  # of answers to READS, at another endpoint
    base_s: float = 0.025
    max_s: float = 0.25
    retry_after_s: float = 1.0  # the longest Retry-After that is waited for
    again_within_s: float = 0.25  # at the only endpoint: what took longer to break would take as long again
    budget: float = 0.2  # of the requests of the last seconds
    floor_per_s: float = 3.0  # so that an upstream with little traffic may retry at all

    def allow(self, kind: ErrorKind, retries: int) -> bool:
        """Whether an attempt that failed with `kind` is worth another after `retries` of them, safe or not."""
        if retries >= self.attempts:
            return False
        return self.on_connect if kind in _CONNECTS else self.on_reset


def is_safe_again(kind: ErrorKind, method: bytes, body_replayable: bool, bytes_sent: int) -> bool:
    """Whether an attempt that failed with `kind` may be made again.

    `bytes_sent` counts the bytes of the request handed to the connection, head included. A kind that can occur after
    the response has begun is never retried. That no byte of an answer came is what the kinds CONNECTION_RESET and
    REUSED_CONNECTION_CLOSED mean.
    """
    if kind.retry is Retry.NEVER:
        return False
    if bytes_sent == 0:
        return True
    return body_replayable and method in IDEMPOTENT


def delay_s(rules: RetryRules, retries: int, draw: float) -> float:
    """Seconds to wait before the next attempt: anything from none to a bound that doubles ("full jitter").

    `draw` is a random number from 0 to 1. Requests that failed together are spread over the whole time, which is what
    lets a crowded endpoint breathe; a fixed wait would have them all come back together.
    """
    return draw * min(rules.base_s * 2.0 ** min(retries, 16), rules.max_s)


def retry_after_s(value: bytes | None) -> float | None:
    """The seconds of a Retry-After; 0.0 without one, None for a date, which is never about a moment."""
    if value is None:
        return 0.0
    return float(value) if len(value) <= 9 and value.isdigit() else None


class RetryBudget:
    """Retries of one upstream: a fifth of its requests, or three a second, whichever is more.

    Both numbers fade over ten seconds, so a burst (an endpoint that restarts) passes, and a storm does not. With the
    larger of the two instead of their sum, an upstream whose every attempt fails gets 1.2 times its load from us and
    not more, once there are more than 15 requests a second. Costs nothing until a retry asks.
    """

    __slots__ = ("_at", "_exchanges", "_retries", "_seen", "granted", "refused")

    def __init__(self, now: float) -> None:
        self._at = now
        self._seen = 0
        self._exchanges = 0.0
        self._retries = 0.0
        # counters, for metrics
        self.granted = 0
        self.refused = 0

    def spend(self, attempts: int, now: float, rules: RetryRules) -> bool:
        """Take one retry if there is one. `attempts` is a running total of all attempts, read by the caller."""
        fade = exp((self._at - now) / _WINDOW_S)
        first = attempts - self.granted  # retries do not earn retries
        self._exchanges = self._exchanges * fade + max(first - self._seen, 0)
        self._retries *= fade
        self._at, self._seen = now, first
        if self._retries + 1.0 > max(rules.floor_per_s * _WINDOW_S, rules.budget * self._exchanges):
            self.refused += 1
            return False
        self._retries += 1.0
        self.granted += 1
        return True
