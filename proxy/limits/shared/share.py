"""This Weir's share of a limit while the shared store is away: the same algorithm with `quota / N * 0.95`.

N Weirs that all keep to their share admit no more together than the limit allows, and the margin pays for what each
knew a moment too late. A share below one unit cannot be rounded up, or N Weirs would admit N units: it becomes a slow
GCRA without a burst, and each Weir begins at another point of its interval.

`seed` carries over what was spent: from what the store last said of a key to the state of the share.
"""

from __future__ import annotations

from array import array
from math import floor
from typing import Any, Final

from proxy.limits.algorithms import gcra
from proxy.limits.policy import LimitPolicy

MARGIN: Final = 0.95
_PIECES: Final = 16  # into which a seed of unknown age is cut


class Share:
    """A policy's numbers for one Weir of `size`. Pure; instants are monotonic.

    `phase`, from 0.0 to 1.0, tells the Weirs of a fleet apart.
    """

    __slots__ = ("_factor", "_phase", "_whole", "is_slow", "mark", "policy")

    def __init__(self, policy: LimitPolicy, size: int, phase: float) -> None:
        self._whole = policy
        self._factor = MARGIN / size
        self._phase = phase if size > 1 else 0.0
        self.policy = policy.twin()  # what a MemoryStore decides on, under the same keys
        self.is_slow = False
        self.mark = b""  # what is added to a key, where states of another form are kept under the same key
        if policy.algorithm == "gcra":
            self._share_drip(policy)
        else:
            quota = policy.numbers[0] * self._factor
            if quota >= 1.0 or policy.is_held:
                self.policy.numbers = (floor(quota), *policy.numbers[1:])
                self.policy.unit_share = 1.0 / max(floor(quota), 1)
            else:
                assert policy.rate is not None
                self._be_slow(policy.rate.period_s / quota)

    def _share_drip(self, policy: LimitPolicy) -> None:
        interval_s, capacity_s, _, *rest = policy.numbers
        interval_s /= self._factor
        if interval_s > capacity_s:  # less than one unit of burst
            self._be_slow(interval_s)
        else:  # a fraction of the burst at a fraction of the rate: the same capacity in seconds
            self.policy.numbers = (interval_s, capacity_s, capacity_s + interval_s / 128.0, *rest)
            self.policy.unit_share = policy.unit_share / self._factor

    def _be_slow(self, interval_s: float) -> None:
        """One unit in so many seconds, and never two at once."""
        share = self.policy
        self.is_slow = True
        if share.algorithm != "gcra":
            self.mark = b"\x00slow"
            share.algorithm = "gcra"
        share.step, share.adjust, share.full_at, share.is_gcra = gcra.step, gcra.adjust, gcra.full_at, True
        share.numbers = gcra.numbers(1, interval_s, 1)
        share.unit_share = 1.0
        share.calendar = None
        share.is_plain = share.is_enforced

    def unseen(self, since: float) -> Any:
        """The state of a key of which nothing is known, when the store has been away since an instant."""
        if self.is_slow and self._phase:
            return since + self._phase * self.policy.numbers[0]
        return None

    def seed(self, remaining: int, reset_s: float, at: float, since: float) -> Any:
        """The state of a key of which the store said at an instant what remained, and when it is whole again.

        None: nothing was spent.
        """
        policy = self._whole
        if policy.is_held:
            return None
        if policy.algorithm == "gcra":
            interval_s, capacity_s = policy.numbers[:2]
            full_in_s = reset_s if remaining else reset_s + capacity_s - interval_s
            if self.is_slow:
                return self._slow_seed(full_in_s / capacity_s, at, since)
            return at + full_in_s
        quota = policy.numbers[0]
        if remaining >= quota:
            return self.unseen(since)
        if self.is_slow:
            return self._slow_seed(1.0 - remaining / quota, at, since)
        quota = self.policy.numbers[0]
        used = quota - min(floor(remaining * self._factor), quota)
        if policy.algorithm in ("fixed", "calendar"):
            return at + reset_s, used
        assert policy.rate is not None
        return _spread(policy.algorithm, used, remaining, reset_s, policy.rate.period_s, at)

    def _slow_seed(self, spent: float, at: float, since: float) -> float:
        """`spent`, from 0.0 to 1.0, of the whole limit."""
        interval_s: float = self.policy.numbers[0]
        return max(at + spent * interval_s, since + self._phase * interval_s)


def _spread(algorithm: str, used: int, remaining: int, reset_s: float, window_s: float, at: float) -> Any:
    """Units of a trailing window whose ages the store did not tell: taken as spent evenly.

    What was told is one end: with something left, when the last of them leaves the window, else when the first does.
    """
    if used <= 0:
        return None
    first_s, last_s = (0.0, reset_s) if remaining else (reset_s, window_s)
    pieces = min(_PIECES, used)
    spent_at = [at - window_s + first_s + (last_s - first_s) * i / pieces for i in range(1, pieces + 1)]
    counted = [used * i // pieces for i in range(1, pieces + 1)]  # up to each of them
    if algorithm == "log":
        return 0, array("q", [int(instant * 1e6) for instant in spent_at]), array("q", counted)
    counts = [after - before for after, before in zip(counted, [0, *counted], strict=False)]
    return spent_at[-1], counts[-1], used, tuple(zip(spent_at[:-1], counts[:-1], strict=True))
