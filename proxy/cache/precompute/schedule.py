"""When a response is fetched ahead: one schedule for each of them. Pure: `now` is monotonic, `draw` a lot in [0, 1).

- Regular: from the start of one run to the start of the next it is `every`, less up to `jitter` of it. A run that is
  due while the one before goes on is skipped, and counted.
- After a failure: sooner, and ever later with each further one, but never later than the schedule has it.
- After a purge or a write: soon, once what comes in a burst is over, and never so often that the backend is busy with
  it for more than a fifth of the time.
- By order: at once, or it joins the run that is under way.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final

FIRST_S: Final = 2.0  # within this time, or a tenth of `every`, everything is fetched after the start
SETTLE_S: Final = 0.2  # after a purge or a write: who changes one thing changes the next as well
COOLDOWN_S: Final = 1.0  # from the start of one run to the start of the next that a purge or a write asks for
COOLDOWN_TIMES: Final = 5.0  # and so many times what the last one took
RETRY_S: Final = 2.0  # after the first failure; twice that after the second
LONGEST_PAUSE_S: Final = 30.0  # before what a purge asks for, when the runs before it failed
YIELD_S: Final = 0.5  # to ask again whether the pool has room


@unique
class Step(Enum):
    """What is to be done now."""

    WAIT = "wait"
    RUN = "run"
    SKIPPED = "skipped"


def first_delay_s(every_s: float, draw: float) -> float:
    """From the start to the first run: spread, so that many do not begin at once."""
    return draw * min(FIRST_S, every_s / 10.0)


def interval_s(every_s: float, jitter: float, draw: float) -> float:
    """From the start of one run to the start of the next: between `every` less its jitter, and `every`."""
    return every_s * (1.0 - jitter * draw)


def backoff_s(failures: int, every_s: float, draw: float) -> float:
    """From the end of the last of so many failures in a row to the next try: half of it is certain, half is drawn."""
    ceiling_s = min(every_s, RETRY_S * 2.0 ** min(failures - 1, 30))
    return ceiling_s * (0.5 + 0.5 * draw)


def patience_s(every_s: float) -> float:
    """How long a run lets others have the pool before it waits in line with them."""
    return min(30.0, every_s / 4.0)


class Schedule:
    """Of one response. `end` belongs to each `begin`."""

    __slots__ = (
        "_again",
        "_every_s",
        "_failures",
        "_jitter",
        "_regular_at",
        "_started_at",
        "_took_s",
        "due_at",
        "is_running",
        "waits_since",
        "wanted_at",
    )

    def __init__(self, every_s: float, jitter: float, now: float, draw: float) -> None:
        self._every_s = every_s
        self._jitter = jitter
        self.due_at = now + first_delay_s(every_s, draw)
        self.is_running = False
        self.wanted_at: float | None = now  # a response that came after this will do as well
        self.waits_since: float | None = None  # for room in the pool
        self._regular_at = self.due_at
        self._started_at = float("-inf")
        self._took_s = 0.0
        self._failures = 0  # in a row
        self._again = False  # what is under way was asked before a purge or a write

    @property
    def failures(self) -> int:
        """In a row; 0 after a success."""
        return self._failures

    def step(self, now: float, draw: float) -> Step:
        """What is due. A skip counts when it is told, and moves the schedule on."""
        if now < self.due_at:
            return Step.WAIT
        if not self.is_running:
            return Step.RUN
        self.due_at = self._regular_at = now + interval_s(self._every_s, self._jitter, draw)
        return Step.SKIPPED

    def give_way(self, now: float) -> bool:
        """The pool is busy: later, unless it has waited long enough."""
        if self.waits_since is None:
            self.waits_since = now
        if now - self.waits_since >= patience_s(self._every_s):
            return False
        self.due_at = now + YIELD_S
        return True

    def wait_for_others(self, now: float) -> None:
        """A client's request is bringing what is wanted."""
        self.due_at = now + YIELD_S

    def begin(self, now: float, draw: float) -> None:
        self.is_running = True
        self.wanted_at = self.waits_since = None
        self._again = False
        self._started_at = now
        self.due_at = self._regular_at = now + interval_s(self._every_s, self._jitter, draw)

    def satisfied(self, now: float, draw: float) -> None:
        """What was wanted is there: a client's request has brought it."""
        self.wanted_at = self.waits_since = None
        self._failures = 0
        self.due_at = self._regular_at = now + interval_s(self._every_s, self._jitter, draw)

    def end(self, now: float, *, is_good: bool, draw: float) -> None:
        """The run is over. One whose answer a purge or a write overtook is neither good nor a failure: see `want`."""
        self.is_running = False
        self._took_s = now - self._started_at
        if is_good:
            self._failures = 0
        elif not self._again:
            self._failures += 1
            self.due_at = min(self._regular_at, now + backoff_s(self._failures, self._every_s, draw))
        if self._again:
            self._again = False
            self.want(now)

    def want(self, now: float) -> None:
        """A purge or a write ended what is stored."""
        if self.is_running:
            self._again = True
            return
        self.wanted_at = now
        pause_s = max(COOLDOWN_S, COOLDOWN_TIMES * self._took_s)
        if self._failures:
            pause_s = max(pause_s, min(LONGEST_PAUSE_S, RETRY_S * 2.0 ** min(self._failures, 30)))
        calm_at = self._started_at + pause_s
        self.due_at = min(self.due_at, max(now + SETTLE_S, calm_at))

    def order(self, now: float) -> bool:
        """Somebody wants it now. False: it joins the run that is under way."""
        if self.is_running:
            return False
        self.wanted_at = None  # nothing that is there will do
        self.due_at = now
        return True
