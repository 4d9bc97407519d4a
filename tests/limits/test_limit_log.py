"""The log where it could go wrong: its largest size, its stored form, and how long that takes a server."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from proxy.limits.algorithms import log
from proxy.limits.scripts import algorithms_source

MOST = log.MOST


def test_the_largest_log_is_exact_at_both_ends() -> None:
    numbers = log.numbers(MOST, 3600.0, MOST)
    state: Any = None
    for i in range(MOST):
        allowed, state, remaining, *_ = log.step(state, 1000.0 + i, numbers, 1)
        assert (allowed, remaining) == (True, MOST - 1 - i)
    assert log.step(state, 4599.999999, numbers, 1)[0] is False
    assert log.step(state, 4600.0, numbers, 1)[0] is True
    assert log.step(state, 4600.0 + 499.0, numbers, 500)[0] is True
    assert log.step(state, 4600.0 + 498.0, numbers, 500)[4] == 1.0


def test_a_state_is_never_changed_in_place() -> None:
    numbers = log.numbers(9, 10.0, 9)
    _, state, *_ = log.step(None, 1000.0, numbers, 1)
    before = state[0], state[1][:], state[2][:]
    log.step(state, 1000.0, numbers, 1)
    log.step(state, 1005.0, numbers, 1)
    log.adjust(state, 1005.0, numbers, -1, 5.0)
    log.adjust(state, 1005.0, numbers, 3, 5.0)
    assert state == before


def test_sixteen_bytes_hold_a_unit() -> None:
    numbers = log.numbers(MOST, 3600.0, MOST)
    state: Any = None
    for i in range(MOST):
        _, state, *_ = log.step(state, 1000.0 + i, numbers, 1)
    sizes = [len(part) * part.itemsize for part in state[1:]]
    assert sizes == [8 * MOST, 8 * MOST]


COUNT_ON = (
    algorithms_source()
    + """
-- requests that fill a log again and again, so that the counts in it go round; what remains after each is told
local numbers, state, told = { 1000, 1000000000 }, false, {}
for i = 1, tonumber(ARGV[1]) do
  local allowed, new_state, remaining = log_step(state, i * 2.5, numbers, 997)
  if allowed then state = log_read(log_write(new_state)) end
  told[#told + 1] = allowed and remaining or -1
end
return { told, #state }
"""
)


def test_counts_that_go_round_stay_right(running_servers: Any) -> None:
    for server in running_servers.values():
        told, size = server.admin.eval(COUNT_ON, 0, 500_000)
        admitted = [i for i, remaining in enumerate(told) if remaining != -1]
        assert {told[i] for i in admitted} == {3}
        assert {later - sooner for sooner, later in pairwise(admitted)} == {400}  # 1000 seconds of 2.5
        assert len(admitted) * 997 > 1_000_000
        assert size == 6 + 22


def test_what_is_no_log_is_read_as_none(running_servers: Any) -> None:
    ask = algorithms_source() + "\nreturn log_read(ARGV[1]) and 1 or 0"
    for server in running_servers.values():
        for text in ("", "000000", "0" * 27, "0" * 29, "0000001234567890123456 00001", "x" * 28, "0" * 28 + "x" * 22):
            assert server.admin.eval(ask, 0, text) == 0
        assert server.admin.eval(ask, 0, "0" * 28) == 1
