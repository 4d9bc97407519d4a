"""Whether an endpoint that can be reached is skipped all the same, because what it answers is no use.

A state machine without a clock. The witnesses are exchanges: so many failures in a row, or such a share of them among
enough requests in the last seconds. Who is ejected stays out for a time that grows with every ejection; then one
exchange is let in as a trial, and what becomes of it decides.

Two kinds of failure count apart. Where no answer came (reset, timeout, nonsense) the endpoint is broken; a status such
as 503 is an answer, and only tells that others may do better. So the last endpoint of an upstream, which nobody can do
better than, is given up only for the first kind and only by the share: that is the upstream's circuit breaker.

Connects that fail are not counted here: they take an endpoint out at once (health.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

__all__ = ["WINDOW_S", "Ejection", "EjectionRules", "State", "Totals"]

WINDOW_S: Final = 10  # of the share of failures, in steps of a second
_JITTER: Final = 0.2  # of the time out: endpoints that failed together need not come back together
_ALL_MAY_TRY_S: Final = 5.0  # a trial waits this long for a request that does no harm twice; then any will do
_LOST_TRIAL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class EjectionRules:
    """Numbers of one upstream. Times in seconds."""

    consecutive: int = 5  # failures in a row
    ratio: float = 0.5  # of the requests of the last WINDOW_S
    min_requests: int = 20  # in the window, or the share means nothing
    base_s: float = 10.0  # out for this, twice this, three times
    max_s: float = 300.0
    panic: float = 0.5  # with a smaller share of endpoints left, all are used
    statuses: frozenset[int] = frozenset({502, 503, 504})  # of answers that are failures
    open_s: float = 5.0  # the last endpoint: its breaker is open for this, doubling
    open_max_s: float = 60.0


@unique
class State(Enum):
    IN = "in"
    OUT = "out"
    TRIAL = "trial"  # the next suitable exchange is the trial
    TRYING = "trying"  # it is on its way


@dataclass(frozen=True, slots=True)
class Totals:
    """Running totals of an endpoint at one moment."""

    requests: int
    failures: int  # both kinds
    broken: int  # without an answer


class Ejection:
    """What is known about one endpoint. Methods that may change `state` return True when they did."""

    __slots__ = ("_changed_at", "_last_out_s", "_times", "_window", "all_may_try", "state", "until_at", "why")

    def __init__(self, now: float) -> None:
        self.state = State.IN
        self.until_at = now  # of State.OUT
        self.why = ""  # for the operator
        self.all_may_try = False  # in State.TRIAL, requests that are not safe too
        self._changed_at = now
        self._times = 0  # ejections without a good time between them
        self._last_out_s = 0.0
        self._window: deque[Totals] = deque(maxlen=WINDOW_S)

    @property
    def is_in(self) -> bool:
        return self.state is State.IN

    def failed(
        self,
        now: float,
        jitter: float,
        rules: EjectionRules,
        totals: Totals,
        in_a_row: int,
        *,
        is_broken: bool,
        is_last: bool,
    ) -> bool:
        """An exchange failed, and `totals` and `in_a_row` have it in them. `jitter` is a random number from 0 to 1.

        `is_last`: nobody could stand in for it; group.py says who that is.
        """
        if self.state is State.OUT:
            return False  # it began before the ejection
        if self.state is not State.IN:
            if is_last and not is_broken:
                return self._admit(now, totals)  # it answers, which is more than it did
            self._eject(now, jitter, rules, is_last)
            return True
        since = self._window[0] if self._window else Totals(0, 0, 0)
        requests = totals.requests - since.requests
        failures = totals.broken - since.broken if is_last else totals.failures - since.failures
        if in_a_row >= rules.consecutive and not is_last:
            self.why = f"{in_a_row} failures in a row"
        elif requests >= rules.min_requests and failures >= rules.ratio * requests:
            self.why = f"{failures} of {requests} requests failed"
        else:
            return False
        self._eject(now, jitter, rules, is_last)
        return True

    def passed(self, now: float, totals: Totals) -> bool:
        """An exchange was answered well."""
        return self.state in (State.TRIAL, State.TRYING) and self._admit(now, totals)

    def begin_trial(self, now: float) -> None:
        """An exchange goes to the endpoint in State.TRIAL."""
        self.state = State.TRYING
        self._changed_at = now

    def tick(self, now: float, is_idle: bool) -> bool:
        """Time has passed. `is_idle`: the endpoint has no exchange, so a trial under way was abandoned."""
        if self.state is State.OUT and now >= self.until_at:
            self.state = State.TRIAL
            self.all_may_try = False
        elif self.state is State.TRYING and (is_idle or now - self._changed_at > _LOST_TRIAL_S):
            self.state = State.TRIAL
        elif self.state is State.TRIAL and not self.all_may_try and now - self._changed_at > _ALL_MAY_TRY_S:
            self.all_may_try = True
        else:
            return False
        self._changed_at = now
        return True

    def remember(self, totals: Totals) -> None:
        """Called once a second with the running totals: the window moves."""
        self._window.append(totals)

    def reset(self, now: float, totals: Totals) -> bool:
        """Something else decides now, or the endpoint is a new process: what was counted says nothing of it."""
        was_out = self.state is not State.IN
        self._admit(now, totals)
        self._times = 0
        return was_out

    def _admit(self, now: float, totals: Totals) -> bool:
        self._window.clear()  # what was counted before it went out would throw it out again at the next failure
        self._window.append(totals)
        self.state = State.IN
        self.why = ""
        self._changed_at = now
        return True

    def _eject(self, now: float, jitter: float, rules: EjectionRules, is_last: bool) -> None:
        if self.state is State.IN and now - self._changed_at > self._last_out_s + WINDOW_S:
            self._times = 0  # it was good for longer than it had been out
        self._times += 1
        if is_last:
            out_s = min(rules.open_s * 2.0 ** min(self._times - 1, 10), rules.open_max_s)
        else:
            out_s = min(rules.base_s * self._times, rules.max_s)
        self._last_out_s = out_s
        self.state = State.OUT
        self._changed_at = now
        self.until_at = now + out_s * (1.0 + _JITTER * jitter)

    def __repr__(self) -> str:
        return f"<Ejection {self.state.value} times={self._times}>"
