"""Where the windows of a calendar end: hours, days, weeks and months as the clocks of a time zone show them.

A day in which clocks change has 23 or 25 hours, and its window with it. A midnight that clocks skip is the instant at
which they skip it; of one that comes twice, the first counts. A week begins on Monday.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Unit = Literal["hour", "day", "week", "month"]
_AHEAD: Final = 3  # ends that are known in advance: who decides may have a clock that is windows ahead


class Calendar:
    """The windows of one unit in one time zone. Instants are Unix time."""

    __slots__ = ("_ends", "_zone", "unit", "zone")

    def __init__(self, unit: Unit, zone: str) -> None:
        """Raises ValueError for a zone that is not in the time zone database."""
        self.unit: Final = unit
        self.zone: Final = zone
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"`{zone[:60]}` is no time zone; write one such as Europe/Berlin or UTC") from error
        self._ends: tuple[float, ...] = ()

    def ends(self, wall: float) -> tuple[float, ...]:
        """The end of the window before the one that is open at `wall`, its own end, and those of the next ones."""
        ends = self._ends
        if not ends or not ends[0] <= wall < ends[1]:
            end = self.start_of(wall)
            found = [end]
            for _ in range(_AHEAD):
                end = self.end_after(end)
                found.append(end)
            self._ends = ends = tuple(found)
        return ends

    def start_of(self, wall: float) -> float:
        """When the window began that is open at `wall`."""
        local = datetime.fromtimestamp(wall, self._zone)
        if self.unit == "hour":
            return wall - (wall + _offset_s(local)) % 3600.0
        return self._midnight(_first_day(local, self.unit))

    def end_after(self, wall: float) -> float:
        """When it ends: the first end after `wall`."""
        local = datetime.fromtimestamp(wall, self._zone)
        if self.unit == "hour":
            return wall + 3600.0 - (wall + _offset_s(local)) % 3600.0
        day = _first_day(local, self.unit)
        while True:
            day = _next_day(day, self.unit)
            end = self._midnight(day)
            if end > wall:  # clocks that go back over midnight show a day again that has ended
                return end

    def _midnight(self, day: datetime) -> float:
        return day.replace(tzinfo=self._zone).timestamp()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calendar) and (self.unit, self.zone) == (other.unit, other.zone)

    def __hash__(self) -> int:
        return hash((self.unit, self.zone))

    def __repr__(self) -> str:
        return f"<Calendar {self.unit} in {self.zone}>"


def _offset_s(local: datetime) -> float:
    offset = local.utcoffset()
    assert offset is not None
    return offset.total_seconds()


def _first_day(local: datetime, unit: str) -> datetime:
    """Of the window that a local time is in, as midnight without a zone."""
    day = datetime(local.year, local.month, local.day)
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if unit == "month" else day


def _next_day(day: datetime, unit: str) -> datetime:
    if unit == "month":
        return datetime(day.year + day.month // 12, day.month % 12 + 1, 1)
    return day + timedelta(days=7 if unit == "week" else 1)
