from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, Retry
from proxy.upstreams.retry import IDEMPOTENT, MAX_ATTEMPTS, RetryBudget, may_retry

K = ErrorKind
TABLE = {
    # kind, method, body replayable, bytes sent, attempts made -> retry
    "a refused connect, any method": (K.CONNECT_REFUSED, b"POST", False, 0, 1, True),
    "a connect that timed out, any method": (K.CONNECT_TIMEOUT, b"PATCH", False, 0, 1, True),
    "a TLS handshake, any method": (K.TLS_FAILED, b"POST", True, 0, 1, True),
    "a refused connect, but the second": (K.CONNECT_REFUSED, b"GET", True, 0, 2, False),
    "GET on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"GET", True, 80, 1, True),
    "PUT on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"PUT", True, 80, 1, True),
    "DELETE on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"DELETE", True, 80, 1, True),
    "PUT whose body is gone": (K.REUSED_CONNECTION_CLOSED, b"PUT", False, 80, 1, False),
    "POST on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"POST", True, 80, 1, False),
    "POST of which nothing was sent": (K.REUSED_CONNECTION_CLOSED, b"POST", True, 0, 1, True),
    "PATCH is not idempotent": (K.REUSED_CONNECTION_CLOSED, b"PATCH", True, 80, 1, False),
    "an unknown method": (K.CONNECTION_RESET, b"BREW", True, 80, 1, False),
    "a lower-case method is another method": (K.CONNECTION_RESET, b"get", True, 80, 1, False),
    "HEAD after a reset": (K.CONNECTION_RESET, b"HEAD", True, 80, 1, True),
    "POST after a reset": (K.CONNECTION_RESET, b"POST", True, 80, 1, False),
    "GET that was not answered in time": (K.RESPONSE_TIMEOUT, b"GET", True, 80, 1, False),
    "GET with a malformed answer": (K.RESPONSE_MALFORMED, b"GET", True, 80, 1, False),
    "GET with an answer cut short": (K.RESPONSE_TRUNCATED, b"GET", True, 80, 1, False),
    "GET that found the queue full": (K.QUEUE_FULL, b"GET", True, 0, 1, False),
    "GET that waited too long": (K.QUEUE_TIMEOUT, b"GET", True, 0, 1, False),
    "GET whose client left": (K.CLIENT_DISCONNECTED, b"GET", True, 80, 1, False),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "replayable", "sent", "attempts", "expected"), TABLE.values(), ids=TABLE)
def test_may_retry(kind: ErrorKind, method: bytes, replayable: bool, sent: int, attempts: int, expected: bool) -> None:
    assert may_retry(kind, method, replayable, sent, attempts) is expected


@given(
    st.sampled_from(ErrorKind),
    st.sampled_from([b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"POST", b"PATCH", b"X"]),
    st.booleans(),
    st.integers(0, 10**6),
    st.integers(1, 5),
)
def test_nothing_unsafe_is_ever_retried(
    kind: ErrorKind, method: bytes, replayable: bool, sent: int, attempts: int
) -> None:
    if may_retry(kind, method, replayable, sent, attempts):
        assert attempts < MAX_ATTEMPTS
        assert kind.retry is not Retry.NEVER
        assert sent == 0 or (method in IDEMPOTENT and replayable)


def test_the_budget_lets_a_quiet_upstream_retry_in_a_burst() -> None:
    budget = RetryBudget(0.0)
    assert [budget.spend(0, 0.0) for _ in range(31)] == [True] * 30 + [False]


def test_the_budget_is_a_fifth_of_many_exchanges() -> None:
    budget = RetryBudget(0.0)
    assert sum(budget.spend(1000, 0.0) for _ in range(1000)) == 30 + 200


def test_the_budget_comes_back_with_time() -> None:
    budget = RetryBudget(0.0)
    while budget.spend(0, 0.0):
        pass
    assert not budget.spend(0, 0.1)
    assert sum(budget.spend(0, 10.0) for _ in range(100)) == 18  # 30 - 30/e
    assert sum(budget.spend(0, 1000.0) for _ in range(100)) == 30


def test_when_every_exchange_fails_retries_stay_near_a_fifth() -> None:
    budget, granted = RetryBudget(0.0), 0
    for step in range(1, 60_001):  # 1000 exchanges a second for a minute
        granted += budget.spend(step, step / 1000)
    assert 0.18 < granted / 60_000 < 0.22


def test_a_total_that_shrinks_at_a_reload_does_no_harm() -> None:
    budget = RetryBudget(0.0)
    assert budget.spend(500, 0.0)
    assert budget.spend(3, 0.0)
