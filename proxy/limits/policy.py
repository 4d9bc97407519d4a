"""LimitPolicy: one set of numbers that a store can decide on, with nothing left to look up or to compute.

A configured limit (limit.py) has several: one for everybody, one for each plan and each operator's override, each of
them enforced or in shadow, and perhaps a candidate. They share their counters, and all but the candidate their keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import ceil, floor
from typing import Any, Final, NamedTuple, Protocol

from proxy.core.units import DAY_S, HOUR_S, MONTH_S, WEEK_S, Rate
from proxy.limits.algorithms import ALGORITHMS
from proxy.limits.algorithms.calendar import Calendar, Unit
from proxy.limits.algorithms.gcra import strict_burst, strict_numbers
from proxy.limits.count_if import parse_count_if
from proxy.limits.denial import document_head
from proxy.limits.key import key_builder, key_prefix
from proxy.limits.ladder import NOTHING, Ladder, parse_ladder
from proxy.limits.limit_stats import LimitStats
from proxy.limits.penalty import Penalty, PenaltyBox
from proxy.limits.scripts import script_argument
from proxy.limits.settings import MOST_LOGGED, CostSettings, LimitSettings

NEAR: Final = 0.8  # of a quota: `limiter.near` unless something else is configured
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Kind(NamedTuple):
    """Which of a limit's policies. `rate` and `burst` stand in for the settings' own where they are not None."""

    rate: Rate | None = None
    burst: int | str | None = None
    is_enforced: bool = True
    role: str = ""  # "", "candidate" or "replica"; those two count under keys of their own


_PLAIN: Final = Kind()
_SLOTS: Final = (
    "_made_of",
    "accuracy",
    "adjust",
    "algorithm",
    "beside",
    "box",
    "burst",
    "by",
    "calendar",
    "cost",
    "cost_bytes",
    "cost_field",
    "count_if",
    "delay_s",
    "denial",
    "full_at",
    "is_candidate",
    "is_enforced",
    "is_gcra",
    "is_held",
    "is_ordinary",
    "is_plain",
    "is_settled",
    "is_strict",
    "item",
    "key",
    "ladder",
    "lease_s",
    "missing",
    "most",
    "name",
    "near_at",
    "numbers",
    "on_store_error",
    "penalty",
    "prefix",
    "quota",
    "rate",
    "reads_fields",
    "script_argument",
    "stats",
    "step",
    "unit_bytes",
    "unit_share",
    "where",
    "window_s",
)


class LimitPolicy:
    """One set of numbers, compiled. Compared by identity. Only its name ties it to what a store holds for it."""

    __slots__ = _SLOTS

    def __init__(self, name: str, settings: LimitSettings, where: str, kind: Kind = _PLAIN, near: float = NEAR) -> None:
        self._made_of = settings, kind, near
        self.name = name
        self.where = where  # "policies/shop.yaml:12"
        self.by = (settings.by,) if isinstance(settings.by, str) else tuple(settings.by)
        self.reads_fields = any(word.startswith("header:") for word in self.by)  # the key is not the client's alone
        self.missing = settings.missing
        self.accuracy = settings.accuracy
        self.on_store_error = settings.on_store_error
        self.is_enforced = kind.is_enforced
        self.is_candidate = kind.role == "candidate"
        self._set_numbers(settings, kind)
        self._set_keys(name, kind)
        self._set_cost(settings)
        self._set_refusal(settings)
        self.is_ordinary = (
            self.is_enforced and not (self.is_held or self.is_settled or self.ladder) and self.penalty is None
        )
        # for the stores: nothing but a step on a state
        self.is_plain = self.is_enforced and not self.is_held and self.calendar is None and not self.delay_s
        self._announce(near)
        self.script_argument = script_argument(self.algorithm, self.numbers, self.cost, self.is_enforced)
        self.stats = LimitStats()
        self.box = PenaltyBox()

    def __repr__(self) -> str:
        return f"<LimitPolicy {self.name}: {self.label} by {'+'.join(self.by)}, {self.algorithm}>"

    @property
    def label(self) -> str:
        """The numbers in a few words: `200/min`, or `40 at once`."""
        return f"{self.quota} at once" if self.rate is None else str(self.rate)

    def twin(self) -> LimitPolicy:
        """Another one with the same numbers, counters and keys, for who has to change some of it."""
        settings, kind, near = self._made_of
        twin = LimitPolicy(self.name, settings, self.where, kind, near)  # copy.copy would leave a compiled one empty
        for name in _SLOTS:
            setattr(twin, name, getattr(self, name))
        return twin

    def _set_numbers(self, settings: LimitSettings, kind: Kind) -> None:
        self.rate = rate = None if settings.algorithm == "inflight" else kind.rate or settings.rate
        self.is_held = rate is None
        self.lease_s = settings.lease
        self.ladder: Ladder = NOTHING
        self.delay_s = 0.0
        if kind.is_enforced and not kind.role:  # what blocks nobody delays nobody, and a second budget is the last
            self.ladder, self.delay_s = parse_ladder(settings.on_limit)
        self.calendar: Calendar | None = None
        self.algorithm: str = settings.algorithm
        if rate is None:
            # an operator's override has a rate and a burst; what is under way has only one number
            given = kind.burst or (kind.rate.count if kind.rate is not None else settings.limit)
            assert isinstance(given, int)
            count, period_s, self.burst = given, settings.lease, given
        else:
            count, period_s = rate.count, rate.period_s
            if settings.time_zone is not None and settings.rate is not None and period_s != settings.rate.period_s:
                # the windows are the calendar's, whatever period an override counts in
                count = max(1, round(count * settings.rate.period_s / period_s))
                period_s = settings.rate.period_s
            elif settings.algorithm == "log":
                count = min(count, MOST_LOGGED)
            burst = kind.burst or settings.burst or count
            self.burst = strict_burst(count) if isinstance(burst, str) else burst
            if settings.time_zone is not None:
                self.algorithm = "calendar"
                self.calendar = Calendar(_UNITS[period_s], settings.time_zone)
        algorithm = ALGORITHMS[self.algorithm]
        self.is_strict = self.algorithm == "gcra" and isinstance(kind.burst or settings.burst, str)
        if self.algorithm != "gcra":
            self.numbers = algorithm.numbers(count, period_s, self.burst)
        elif self.is_strict:
            self.numbers = strict_numbers(count, period_s, self.delay_s)
        else:
            self.numbers = algorithm.numbers(count, period_s, self.burst, self.delay_s)
        self.is_gcra = self.algorithm == "gcra"
        self.step = algorithm.step
        self.adjust = algorithm.adjust
        self.full_at = algorithm.full_at
        self.unit_share = 1.0 / self.burst  # of the quota, to compare limits of different sizes
        # What clients are told. A burst above the rate's count is announced as the quota of the time that it takes
        # to refill, which is the same rate: what remains must never exceed the quota.
        self.quota = max(count, self.burst)
        self.window_s = ceil(self.quota * period_s / count)  # the draft knows whole seconds only

    def _set_keys(self, name: str, kind: Kind) -> None:
        # no name has a `~`: nobody's key is a candidate's of another limit
        self.prefix = key_prefix(f"{name}~{kind.role}" if kind.role else name, self.algorithm)
        self.key = key_builder(self.by, self.prefix, self.missing)

    def _set_cost(self, settings: LimitSettings) -> None:
        """What is charged at admission, and how the real cost is known afterwards."""
        cost = settings.cost
        self.cost_field: bytes | None = None
        self.cost_bytes: int | None = None
        self.most = self.quota
        if isinstance(cost, CostSettings):
            self.cost = cost.reserve
            self.cost_field = None if cost.response_field is None else cost.response_field.lower().encode("ascii")
            self.cost_bytes = cost.response_bytes
            self.most = cost.most or max(self.quota, cost.reserve)
        else:
            self.cost = cost
        self.count_if = None if settings.count_if is None else parse_count_if(settings.count_if)
        self.is_settled = self.count_if is not None or isinstance(cost, CostSettings)

    def _set_refusal(self, settings: LimitSettings) -> None:
        self.denial = document_head((self.name,))
        self.penalty: Penalty | None = None
        if (rule := settings.penalty) is not None:
            self.penalty = Penalty(rule.after, rule.within, rule.block, rule.growth, rule.most)
        self.beside: LimitPolicy | None = None  # the second budget, for replicas alone

    def _announce(self, near: float) -> None:
        """The item of RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-11 §3), and when little is left."""
        self.near_at = floor(self.burst * (1.0 - near) + 1e-9)
        self.unit_bytes = self.cost_bytes or 1
        name = self.name.encode("ascii")
        if self.is_held:
            self.item = b'"%b";q=%d;qu="concurrent-requests"' % (name, self.quota)
        elif self.cost_bytes is not None:
            self.item = b'"%b";q=%d;qu="content-bytes";w=%d' % (name, self.quota * self.unit_bytes, self.window_s)
        else:
            self.item = b'"%b";q=%d;w=%d' % (name, self.quota, self.window_s)


def compile_limit(
    name: str, settings: LimitSettings, where: str, kind: Kind = _PLAIN, near: float = NEAR
) -> LimitPolicy:
    """A policy from its settings. Raises ValueError when the name cannot stand in a field, a metric or a store, and
    when no request could ever pass."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"`{name[:70]}` cannot name a limit; use up to 64 letters, digits, dots, dashes and underscores"
        )
    policy = LimitPolicy(name, settings, where, kind, near)
    if policy.cost > policy.burst:
        raise ValueError(f"a request costs {policy.cost} and at most {policy.burst} can be had; none would ever pass")
    return policy


class Counting(Protocol):
    """What goes on counting over a reload (limits.limit.Limit)."""

    @property
    def name(self) -> str: ...

    def take_over(self, old: Any, /) -> None: ...


def keep_stats(new: Iterable[Counting], old: Iterable[Counting]) -> None:
    """After a reload: limits that kept their name go on counting where they were."""
    known = {limit.name: limit for limit in old}
    for limit in new:
        if (before := known.get(limit.name)) is not None:
            limit.take_over(before)


_UNITS: Final[dict[float, Unit]] = {HOUR_S: "hour", DAY_S: "day", WEEK_S: "week", MONTH_S: "month"}
