"""Whether an endpoint is skipped, as a state machine without a clock.

Two witnesses: exchanges, of which one that cannot connect is proof enough, and checks, which count `rise` and `fall`
in a row. An endpoint that is down is checked after 0.5 s, 1 s, 2 s and so on up to 10 s, so that a dead one costs
little and a restarted one is back soon. Methods that may change the verdict return True when they did.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FIRST_DELAY_S", "HURRY_S", "MAX_DELAY_S", "NEVER", "Health", "delay_s"]

FIRST_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 10.0
HURRY_S: Final = 0.2  # between two checks while requests are held: a refused connect costs both sides next to nothing
NEVER: Final = float("inf")


def delay_s(failed_checks: int, jitter: float) -> float:
    """Seconds until the next check of an endpoint that is down: doubling, then 75 % to 100 % of that.

    `jitter` is a random number from 0.0 to 1.0. Without it all workers would knock at the same moment.
    """
    doubled = FIRST_DELAY_S * 2.0 ** min(failed_checks, 10)
    return min(doubled, MAX_DELAY_S) * (0.75 + 0.25 * jitter)


class Health:
    """What is known about one endpoint. It begins healthy: refusing exchanges before the first check helps nobody.

    `check_at` is when the next check is due, NEVER while none is: an endpoint without active checks is only checked
    when it is down.
    """

    __slots__ = ("_bad_checks", "_good_checks", "check_at", "failed_at", "healthy", "is_refusing", "out_since")

    def __init__(self, check_at: float = NEVER) -> None:
        self.healthy = True
        self.is_refusing = False  # out, and connects fail: worse than a check that did not pass
        self.out_since = -NEVER
        self.failed_at = -NEVER
        self.check_at = check_at
        self._bad_checks = 0
        self._good_checks = 0

    def connect_failed(self, now: float, jitter: float) -> bool:
        """An exchange could not connect. The first one takes the endpoint out at once."""
        self.failed_at = now
        self._good_checks = 0
        self.is_refusing = True
        if not self.healthy:
            return False  # the delay of the checks stays as it is: sixty exchanges that fail together are one failure
        self.healthy = False
        self.out_since = now
        self._bad_checks = 0
        self.check_at = min(self.check_at, now + delay_s(0, jitter))
        return True

    def exchange_passed(self, has_checks: bool) -> bool:
        """An exchange got its answer from an endpoint that is out. With active checks the checks decide."""
        if self.healthy or has_checks:
            return False
        self._recover(NEVER)
        return True

    def check_failed(self, now: float, jitter: float, fall: int, interval_s: float) -> bool:
        self.failed_at = now
        self._good_checks = 0
        self._bad_checks += 1
        if not self.healthy:
            self.check_at = now + delay_s(self._bad_checks, jitter)
            return False
        if self._bad_checks < fall:
            self.check_at = now + interval_s
            return False
        self.healthy = False
        self.out_since = now
        self._bad_checks = 0
        self.check_at = now + delay_s(0, jitter)
        return True

    def check_passed(self, now: float, rise: int, interval_s: float) -> bool:
        """`interval_s` is NEVER for an endpoint without active checks."""
        self._bad_checks = 0
        if self.healthy:
            self.check_at = now + interval_s
            return False
        self._good_checks += 1
        if self._good_checks < rise:
            self.check_at = now + min(interval_s, FIRST_DELAY_S)  # soon: it is probably back
            return False
        self._recover(now + interval_s)
        return True

    def hurry(self, now: float) -> None:
        """Somebody waits for the endpoint to be back: check it soon."""
        if not self.healthy:
            self.check_at = min(self.check_at, now + HURRY_S)

    def postpone(self, now: float) -> None:
        """A check that could not be made, for a reason of ours, says nothing about the endpoint."""
        self.check_at = now + FIRST_DELAY_S

    def _recover(self, check_at: float) -> None:
        self.healthy = True
        self.is_refusing = False
        self._bad_checks = 0
        self._good_checks = 0
        self.check_at = check_at
