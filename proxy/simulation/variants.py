"""A configured limit with another rate: everything else about it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.units import Rate
from proxy.limits.policy import Kind, LimitPolicy, compile_limit

if TYPE_CHECKING:
    from proxy.limits.limit import Limit


class Variants:
    """What a simulation wants to know of one limit."""

    __slots__ = ("_made", "_settings", "by", "has_burst", "label", "mode", "name", "note", "rate", "where")

    def __init__(self, limit: Limit) -> None:
        self._settings = limit.settings
        self._made: dict[int, LimitPolicy | None] = {}
        self.name = limit.name
        self.where = limit.where
        self.label = limit.label
        self.by = limit.by
        self.rate = limit.rate  # None for `inflight`
        self.has_burst = isinstance(limit.settings.burst, int)
        self.mode = limit.settings.mode
        self.note = _note(limit)

    @property
    def algorithm(self) -> str:
        return self._settings.algorithm

    def policy(self, rate: Rate) -> LimitPolicy | None:
        """The limit with that rate; a burst of its own grows and shrinks with it. None when no request could pass."""
        if rate == self.rate:
            return self._compile(Kind(rate))
        if rate.count not in self._made:
            self._made[rate.count] = self._compile(Kind(rate, self._burst(rate)))
        return self._made[rate.count]

    def _burst(self, rate: Rate) -> int | None:
        burst = self._settings.burst
        if self.rate is None or not isinstance(burst, int):
            return None
        return max(1, round(burst * rate.count / self.rate.count))

    def _compile(self, kind: Kind) -> LimitPolicy | None:
        try:
            return compile_limit(self.name, self._settings, self.where, kind)
        except ValueError:  # one request costs more than can be had at once
            return None


def _note(limit: Limit) -> str:
    if limit.rate is None:
        return "counts what is under way at once; no rate can be suggested"
    return "its plans have rates of their own; what is suggested is one rate for all" if limit.settings.plans else ""
