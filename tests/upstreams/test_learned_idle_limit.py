"""How long an endpoint lets a connection idle: learned, for requests that must not be sent twice."""

from __future__ import annotations

from math import inf

import pytest

from proxy.upstreams.idle import IdleStack


class _Connection:
    is_clean = True
    opened_at = 0.0
    retires_at = inf
    on_closed = None

    def close(self) -> None: ...


def _stack() -> IdleStack[_Connection]:
    stack: IdleStack[_Connection] = IdleStack(lambda connection: None)
    stack._idle_timeout_s = stack._max_lifetime_s = inf
    stack.limit = 10
    return stack


def _seen_closing_at(stack: IdleStack[_Connection], *ages: float) -> None:
    for age in ages:
        connection = _Connection()
        stack.push(connection, 100.0)
        stack.closed(connection, 100.0 + age)


def test_nothing_is_risky_before_a_connection_was_closed() -> None:
    stack = _stack()
    stack.push(_Connection(), 0.0)
    assert not stack.is_risky(1e6)


@pytest.mark.parametrize(
    ("closed_at", "age", "risky"),
    [((5.0,), 2.4, False), ((5.0,), 2.6, True), ((60.0, 5.0), 2.6, True), ((5.0, 60.0), 2.6, True)],
    ids=["young", "half of the limit is over", "the shortest counts", "a later one is no proof of more"],
)
def test_beyond_half_of_the_shortest_it_is_risky(closed_at: tuple[float, ...], age: float, risky: bool) -> None:
    stack = _stack()
    _seen_closing_at(stack, *closed_at)
    stack.push(_Connection(), 0.0)
    assert stack.is_risky(age) is risky


def test_a_connection_that_lives_longer_corrects_what_a_restart_taught() -> None:
    stack = _stack()
    _seen_closing_at(stack, 0.001)
    stack.push(_Connection(), 0.0)
    assert stack.pop(30.0) is not None
    stack.push(_Connection(), 30.0)
    assert not stack.is_risky(44.9)


def test_without_an_idle_connection_there_is_no_risk() -> None:
    stack = _stack()
    _seen_closing_at(stack, 0.001)
    assert not stack.is_risky(1e6)
