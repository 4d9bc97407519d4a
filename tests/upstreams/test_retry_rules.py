from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, Retry
from proxy.upstreams.retry import (
    IDEMPOTENT,
    RetryBudget,
    RetryRules,
    delay_s,
    is_safe_again,
    retry_after_s,
)

K = ErrorKind
RULES = RetryRules()
TABLE = {
    # kind, method, body replayable, bytes sent -> safe
    "a refused connect, any method": (K.CONNECT_REFUSED, b"POST", False, 0, True),
    "a connect that timed out, any method": (K.CONNECT_TIMEOUT, b"PATCH", False, 0, True),
    "a TLS handshake, any method": (K.TLS_FAILED, b"POST", True, 0, True),
    "GET on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"GET", True, 80, True),
    "PUT on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"PUT", True, 80, True),
    "DELETE on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"DELETE", True, 80, True),
    "PUT whose body is gone": (K.REUSED_CONNECTION_CLOSED, b"PUT", False, 80, False),
    "POST on a reused connection that died": (K.REUSED_CONNECTION_CLOSED, b"POST", True, 80, False),
    "POST of which nothing was sent": (K.REUSED_CONNECTION_CLOSED, b"POST", True, 0, True),
    "PATCH is not idempotent": (K.REUSED_CONNECTION_CLOSED, b"PATCH", True, 80, False),
    "an unknown method": (K.CONNECTION_RESET, b"BREW", True, 80, False),
    "a lower-case method is another method": (K.CONNECTION_RESET, b"get", True, 80, False),
    "HEAD after a reset": (K.CONNECTION_RESET, b"HEAD", True, 80, True),
    "POST after a reset": (K.CONNECTION_RESET, b"POST", True, 80, False),
    "GET that was not answered in time": (K.RESPONSE_TIMEOUT, b"GET", True, 80, False),
    "GET with a malformed answer": (K.RESPONSE_MALFORMED, b"GET", True, 80, False),
    "GET with an answer cut short": (K.RESPONSE_TRUNCATED, b"GET", True, 80, False),
    "GET that found the queue full": (K.QUEUE_FULL, b"GET", True, 0, False),
    "GET that waited too long": (K.QUEUE_TIMEOUT, b"GET", True, 0, False),
    "GET whose client left": (K.CLIENT_DISCONNECTED, b"GET", True, 80, False),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "replayable", "sent", "expected"), TABLE.values(), ids=TABLE)
def test_is_safe_again(kind: ErrorKind, method: bytes, replayable: bool, sent: int, expected: bool) -> None:
    assert is_safe_again(kind, method, replayable, sent) is expected


@given(
    st.sampled_from(ErrorKind),
    st.sampled_from([b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"POST", b"PATCH", b"X"]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_nothing_unsafe_is_ever_retried(kind: ErrorKind, method: bytes, replayable: bool, sent: int) -> None:
    if is_safe_again(kind, method, replayable, sent):
        assert kind.retry is not Retry.NEVER
        assert sent == 0 or (method in IDEMPOTENT and replayable)


WISE = {
    # rules, kind, retries made -> worth another
    "a refused connect": (RetryRules(), K.CONNECT_REFUSED, 0, True),
    "a refused connect, but the second": (RetryRules(), K.CONNECT_REFUSED, 1, False),
    "the second of two": (RetryRules(attempts=2), K.CONNECT_REFUSED, 1, True),
    "a handshake where connects are not retried": (RetryRules(on_connect=False), K.TLS_FAILED, 0, False),
    "a reset where connects are not retried": (RetryRules(on_connect=False), K.CONNECTION_RESET, 0, True),
    "a reset where resets are not retried": (RetryRules(on_reset=False), K.CONNECTION_RESET, 0, False),
    "retry: off": (RetryRules(attempts=0), K.CONNECT_REFUSED, 0, False),
}


@pytest.mark.parametrize(("rules", "kind", "retries", "expected"), WISE.values(), ids=WISE)
def test_what_is_worth_another_attempt(rules: RetryRules, kind: ErrorKind, retries: int, expected: bool) -> None:
    assert rules.allow(kind, retries) is expected


@given(st.integers(0, 1000), st.floats(0, 1))
def test_a_wait_is_anything_from_nothing_to_a_bound_that_doubles(retries: int, draw: float) -> None:
    assert 0.0 <= delay_s(RULES, retries, draw) <= 0.25
    assert delay_s(RULES, retries, 0.0) == 0.0
    assert delay_s(RULES, 0, 1.0) == 0.025
    assert delay_s(RULES, 2, 1.0) == 0.1
    assert delay_s(RULES, 4, 1.0) == 0.25


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, 0.0), (b"0", 0.0), (b"7", 7.0), (b"Wed, 21 Oct 2026 07:28:00 GMT", None), (b"-1", None), (b"9" * 10, None)],
)
def test_retry_after_is_seconds_or_too_far_away(value: bytes | None, expected: float | None) -> None:
    assert retry_after_s(value) == expected


def test_the_budget_lets_a_quiet_upstream_retry_in_a_burst() -> None:
    budget = RetryBudget(0.0)
    assert [budget.spend(0, 0.0, RULES) for _ in range(31)] == [True] * 30 + [False]
    assert (budget.granted, budget.refused) == (30, 1)


def test_the_budget_is_a_fifth_of_many_requests() -> None:
    budget = RetryBudget(0.0)
    assert sum(budget.spend(1000, 0.0, RULES) for _ in range(1000)) == 200


def test_retries_do_not_earn_retries() -> None:
    budget, attempts = RetryBudget(0.0), 1000
    for _ in range(5000):
        attempts += budget.spend(attempts, 0.0, RULES)  # the retry fails too, and asks again
    assert attempts == 1200


def test_the_budget_comes_back_with_time() -> None:
    budget = RetryBudget(0.0)
    while budget.spend(0, 0.0, RULES):
        pass
    assert not budget.spend(0, 0.1, RULES)
    assert sum(budget.spend(0, 10.0, RULES) for _ in range(100)) == 18  # 30 - 30/e
    assert sum(budget.spend(0, 1000.0, RULES) for _ in range(100)) == 30


@pytest.mark.parametrize("per_s", [20, 150, 1000])
def test_when_every_attempt_fails_the_load_grows_by_a_fifth(per_s: int) -> None:
    budget, attempts, requests = RetryBudget(0.0), 0, 60 * per_s
    for step in range(1, requests + 1):
        attempts += 1
        attempts += budget.spend(attempts, step / per_s, RULES)
    assert attempts / requests < 1.2 + 30 / requests  # and the floor's first burst
    assert attempts / requests > 1.1


def test_a_total_that_shrinks_at_a_reload_does_no_harm() -> None:
    budget = RetryBudget(0.0)
    assert budget.spend(500, 0.0, RULES)
    assert budget.spend(3, 0.0, RULES)
