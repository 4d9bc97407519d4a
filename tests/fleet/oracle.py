"""What each algorithm promises, written down a second time and by other means than in `proxy/limits/`.

Nothing here is imported from the product. A rule reads the state that the store holds and says how many more units
there is room for at an instant; the checks below hold the store's transcript, the backend's book and the clients'
answers against it.

Why they bite. (1) Each call of the transcript is judged from the state that the server really had before it, so that no
error hides behind an earlier one; with the empty state to begin with, every decision is proved in turn. (2) What the
transcript charged must be what the backend got, request for request: a Weir that lets a request pass without asking
is found here. (3) The backend's own clock is enough to see more than the bound in a window. (4) A refusal that never
asked the store, from a shortcut of a Weir's own, must still have an instant between its sending and its answer at which
the store would have refused.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Protocol

from tests.fleet.load import Shot
from tests.fleet.monitor import Call

CLOCK_S = 0.0002  # the script's TIME may be read this much before its call is shown; clocks are also set back
ROUNDING = 1e-6  # of a unit
FEW = 3  # examples are enough


class Rule(Protocol):
    @property
    def quota(self) -> int:
        """Units at once."""

    def room(self, state: str | None, now: float) -> float:
        """Units that may still be admitted at this instant; the integer part counts."""

    def charged(self, before: str | None, after: str, now: float) -> int:
        """Units by which a write differs from what was there."""

    def is_right(self, before: str | None, after: str, units: int, from_s: float, to_s: float) -> bool:
        """The state written is the one before it with so many units more, at an instant of this span."""

    def most(self, span_s: float) -> float:
        """The most that any closed span of this length may hold."""


@dataclass(frozen=True)
class Gcra:
    """A bucket of `burst` units that drips; the state is the instant at which it is full again."""

    count: int
    period_s: float
    burst: int

    @property
    def quota(self) -> int:
        return self.burst

    @property
    def interval_s(self) -> float:
        return self.period_s / self.count

    def room(self, state: str | None, now: float) -> float:
        spent = 0.0 if state is None else max(0.0, (float(state) - now) / self.interval_s)
        # the slack that the algorithm states: 1/128 of a unit
        return self.burst - spent + 1 / 128 + ROUNDING

    def charged(self, before: str | None, after: str, now: float) -> int:
        start = now if before is None else max(now, float(before))
        return round((float(after) - start) / self.interval_s)

    def is_right(self, before: str | None, after: str, units: int, from_s: float, to_s: float) -> bool:
        old = float("-inf") if before is None else float(before)
        added_s = units * self.interval_s
        rounding_s = ROUNDING * self.interval_s + 1e-7
        return max(old, from_s) + added_s - rounding_s <= float(after) <= max(old, to_s) + added_s + rounding_s

    def most(self, span_s: float) -> float:
        return self.burst + 1 / 128 + span_s / self.interval_s + ROUNDING


@dataclass(frozen=True)
class Fixed:
    """A count that starts over; the window opens with the first unit of it. The state is its end, and what was used."""

    count: int
    period_s: float

    @property
    def quota(self) -> int:
        return self.count

    def room(self, state: str | None, now: float) -> float:
        end_at, used = self._read(state)
        return self.count - used if end_at > now else self.count

    def charged(self, before: str | None, after: str, now: float) -> int:
        (old_end, old_used), (new_end, new_used) = self._read(before), self._read(after)
        return new_used - old_used if old_end == new_end else new_used

    def is_right(self, before: str | None, after: str, units: int, from_s: float, to_s: float) -> bool:
        (old_end, old_used), (new_end, new_used) = self._read(before), self._read(after)
        if old_end == new_end:
            return old_end > from_s and new_used == old_used + units <= self.count
        opened_s = new_end - self.period_s
        return from_s - 1e-7 <= opened_s <= to_s + 1e-7 and old_end <= to_s and new_used == units <= self.count

    def most(self, span_s: float) -> float:
        # a span can touch one window more than it could hold whole
        return self.count * (floor(span_s / self.period_s) + 2)

    def window(self, state: str) -> float:
        """When the window of a state ends."""
        return self._read(state)[0]

    @staticmethod
    def _read(state: str | None) -> tuple[float, int]:
        if state is None:
            return 0.0, 0
        end_at, used = state.split(" ")
        return float(end_at), int(used)


@dataclass(frozen=True)
class Sliding:
    """Sixteenths of a window, and those that are not wholly over count whole. The state: their ends and units."""

    count: int
    period_s: float

    @property
    def quota(self) -> int:
        return self.count

    def room(self, state: str | None, now: float) -> float:
        return self.count - sum(units for end_at, units in self._read(state).items() if end_at > now - self.period_s)

    def charged(self, before: str | None, after: str, now: float) -> int:
        old, new = self._read(before), self._read(after)
        return sum(units - old.get(end_at, 0) for end_at, units in new.items())

    def is_right(self, before: str | None, after: str, units: int, from_s: float, to_s: float) -> bool:
        old, new = self._read(before), self._read(after)
        width_s = self.period_s / 16
        ends = {(floor(instant / width_s) + 1) * width_s for instant in (from_s, to_s)}
        changed = {end_at for end_at, units in new.items() if units != old.get(end_at)}
        kept = [end_at for end_at in old if end_at > to_s - self.period_s]
        return (
            all(any(abs(end_at - end) < 1e-6 for end in ends) for end_at in changed)
            and all(end_at in new for end_at in kept)
            and sum(units for end_at, units in new.items() if end_at > to_s - self.period_s) <= self.count
        )

    def most(self, span_s: float) -> float:
        return self.count * (floor(span_s / self.period_s) + 1)

    @staticmethod
    def _read(state: str | None) -> dict[float, int]:
        words = (state or "").split(" ") if state else []
        return {float(end_at): int(units) for end_at, units in zip(words[::2], words[1::2], strict=True)}


@dataclass(slots=True)
class Write:
    """A charge in the transcript."""

    at_s: float  # the latest instant at which it can have been decided
    state: str
    units: int


@dataclass(slots=True)
class History:
    """One key, in server order."""

    writes: list[Write]
    asked: int
    wrong: list[str]  # decisions that the rule does not allow

    @property
    def charged(self) -> int:
        return sum(write.units for write in self.writes)


def replay(calls: Sequence[Call], key: str, rule: Rule) -> History:
    """Judge every decision about a key, from the state that the server had before it. Each costs one unit."""
    history = History([], 0, [])
    state: str | None = None
    for call in calls:
        asked = call.keys.get(key, 0)
        if not asked:
            continue
        history.asked += asked
        from_s, to_s = call.from_s - CLOCK_S, call.to_s
        new = call.writes.get(key)
        units = 0 if new is None else rule.charged(state, new, (from_s + to_s) / 2)
        least, most = (min(asked, max(0, floor(rule.room(state, now)))) for now in (from_s, to_s))
        what = f"{units} of {asked} admitted at {to_s:.6f} from {state!r} to {new!r}"
        if units < least:
            history.wrong.append(f"falsely refused ({least} had room): {what}")
        elif units > most:
            history.wrong.append(f"over-admitted ({most} had room): {what}")
        elif new is not None and not rule.is_right(state, new, units, from_s, to_s + CLOCK_S):
            history.wrong.append(f"wrongly written: {what}")
        if new is not None:
            state = new
            history.writes.append(Write(to_s, new, units))
    return history


def ledger(calls: Sequence[Call], key: str, rule: Rule) -> list[Write]:
    """What was charged under a key, and given back (negative), where a call may do either for many requests at once."""
    state: str | None = None
    writes = []
    for call in calls:
        new = call.writes.get(key)
        if new is None:
            continue
        if new:
            writes.append(Write(call.to_s, new, rule.charged(state, new, call.to_s)))
        state = new or None
    return writes


def fullest(arrivals: Sequence[float], span_s: float) -> int:
    """The most that any trailing span holds. Brute force over all of them."""
    ordered = sorted(arrivals)
    return max((bisect_right(ordered, at + span_s) - first for first, at in enumerate(ordered)), default=0)


def over_admitted(arrivals: Sequence[float], rule: Rule, late_s: float) -> list[str]:
    """Spans of the backend's book that hold more than the rule allows, whatever their length.

    What arrived within a span was decided within that span and the `late_s` before it.
    """
    ordered = sorted(arrivals)
    found = []
    for first, at in enumerate(ordered):
        for last in range(first, len(ordered)):
            span_s = ordered[last] - at
            if last - first + 1 > rule.most(span_s + late_s):
                found.append(f"{last - first + 1} within {span_s:.4f} s from {at:.4f}")
                break
        if len(found) == FEW:
            break
    return found


def over_in_windows(
    admitted: Sequence[Shot], arrivals: dict[int, float], history: History, rule: Fixed, offset_s: float
) -> list[str]:
    """Fixed windows, as the store opened them, into which more than the quota was sent and arrived at the backend."""
    found = []
    for end_at in sorted({rule.window(write.state) for write in history.writes}):
        until = end_at - offset_s
        inside = [s for s in admitted if s.sent_at > until - rule.period_s and arrivals[s.number] < until]
        if len(inside) > rule.count:
            found.append(f"{len(inside)} in the window that ends at {end_at:.6f}")
    return found


def falsely_refused(refused: Sequence[Shot], history: History, rule: Rule, offset_s: float) -> list[str]:
    """Refusals for which no instant between sending and answer had the store refuse one unit.

    `offset_s`: from the machine's monotonic clock to the server's.
    """
    instants = [write.at_s for write in history.writes]
    found = []
    for shot in refused:
        from_s, to_s = shot.sent_at + offset_s - CLOCK_S, shot.answered_at + offset_s
        first, last = bisect_left(instants, from_s), bisect_right(instants, to_s)
        held = [(history.writes[first - 1].state if first else None, from_s)]
        held += [(write.state, write.at_s - CLOCK_S) for write in history.writes[first:last]]
        # a state only ever gets more generous with time: its first instant is the strictest
        if all(rule.room(state, now) >= 1.0 + 1 / 64 for state, now in held):
            found.append(f"{shot.key} refused between {from_s:.6f} and {to_s:.6f}, from {held!r}")
    return found
