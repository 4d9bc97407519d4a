"""Limit: one configured limit of a route, and which of its policies holds for whom.

Nothing here is asked for every request: terms.py asks once for each client and route and remembers the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Protocol

from proxy.core.units import Rate
from proxy.limits.ladder import Step
from proxy.limits.limit_stats import LimitStats
from proxy.limits.penalty import PenaltyBox
from proxy.limits.policy import NEAR, Kind, LimitPolicy, compile_limit
from proxy.limits.settings import CandidateSettings, LimitSettings, PlanSettings
from proxy.limits.subjects import Subjects

_MOST_OVERRIDES: Final = 1024  # different pairs of numbers; each is compiled again when it is needed again
_SPAN: Final = 1 << 64
Pair = tuple[LimitPolicy, LimitPolicy]
"""The same numbers in shadow and enforced."""


class Numbers(Protocol):
    """An operator's override (limits.controls.Override)."""

    @property
    def rate(self) -> Rate: ...
    @property
    def burst(self) -> int | None: ...


class Limit:
    """One limit by its name. Compared by identity."""

    __slots__ = (
        "_near",
        "_of_everybody",
        "_overrides",
        "_policies",
        "allow",
        "box",
        "candidate",
        "cost_field",
        "deny",
        "enforce_share",
        "key",
        "live",
        "mode",
        "name",
        "plans",
        "prefix",
        "reads_fields",
        "settings",
        "stats",
        "where",
    )

    def __init__(self, name: str, settings: LimitSettings, where: str, near: float = NEAR) -> None:
        """Raises ValueError with one sentence."""
        self.name = name
        self.where = where  # "policies/shop.yaml:12"
        self.settings = settings
        self.mode = settings.mode
        self.enforce_share = settings.enforce_share
        self.allow = Subjects(settings.allow)
        self.deny = Subjects(settings.deny)
        self._near = near
        self._overrides: dict[tuple[Rate, int | None, bool], LimitPolicy] = {}
        self._policies: list[LimitPolicy] = []
        self.stats = LimitStats()
        self.box = PenaltyBox()
        self._of_everybody = self._pair(Kind())
        self.plans = {plan: self._pair(_plan_kind(numbers)) for plan, numbers in settings.plans.items()}
        self.candidate = None if settings.candidate is None else self._compile(_candidate_kind(settings.candidate))
        self.live = live = self._of_everybody[self.mode == "enforce"]  # what holds for most
        self.key = live.key
        self.prefix = live.prefix
        self.reads_fields = live.reads_fields
        self.cost_field = live.cost_field

    @property
    def label(self) -> str:
        """The numbers in a few words: `200/min`, or `40 at once`."""
        return self.live.label

    @property
    def by(self) -> tuple[str, ...]:
        return self.live.by

    @property
    def algorithm(self) -> str:
        return self.live.algorithm

    @property
    def rate(self) -> Rate | None:
        """None for `inflight`, which has none."""
        return self.live.rate

    def is_enforced(self, key: bytes) -> bool:
        """Whether the key is one of those that `mode` and `enforce_share` mean. The same on every Weir, for good."""
        if self.mode != "enforce":
            return False
        share = self.enforce_share
        if share is None:
            return True
        return int.from_bytes(blake2b(key, digest_size=8).digest(), "big") < share * _SPAN

    def policies(self, key: bytes, plan: str | None, override: Numbers | None) -> Sequence[LimitPolicy]:
        """What is asked for a key: the policy that holds for it, and the candidate where that is for everybody's."""
        is_enforced = self.is_enforced(key)
        if override is not None:
            return (self._override(override, is_enforced),)
        if plan is not None and (pair := self.plans.get(plan)) is not None:
            return (pair[is_enforced],)
        policy = self._of_everybody[is_enforced]
        return (policy,) if self.candidate is None else (policy, self.candidate)

    def take_over(self, old: Limit) -> None:
        """After a reload: go on counting where `old`, of the same name, was."""
        self.stats, self.box = old.stats, old.box
        for policy in self._policies:
            policy.stats, policy.box = old.stats, old.box

    def _pair(self, kind: Kind) -> Pair:
        policy = self._compile(kind)
        if Step.REPLICA in policy.ladder:
            policy.beside = self._compile(kind._replace(role="replica"))
        return self._compile(kind._replace(is_enforced=False)), policy

    def _compile(self, kind: Kind) -> LimitPolicy:
        policy = compile_limit(self.name, self.settings, self.where, kind, self._near)
        self._policies.append(policy)
        policy.stats, policy.box = self.stats, self.box
        return policy

    def _override(self, numbers: Numbers, is_enforced: bool) -> LimitPolicy:
        which = numbers.rate, numbers.burst, is_enforced
        policy = self._overrides.get(which)
        if policy is None:
            if len(self._overrides) >= _MOST_OVERRIDES:
                self._overrides.clear()
            kind = Kind(numbers.rate, numbers.burst, is_enforced)
            # not compile_limit: numbers that let nothing pass are the operator's to choose, and no error here
            policy = self._overrides[which] = LimitPolicy(self.name, self.settings, self.where, kind, self._near)
            policy.stats, policy.box = self.stats, self.box
            if Step.REPLICA in policy.ladder:
                kind = kind._replace(role="replica")
                policy.beside = LimitPolicy(self.name, self.settings, self.where, kind, self._near)
                policy.beside.stats = self.stats
        return policy


def _plan_kind(numbers: Rate | PlanSettings) -> Kind:
    return Kind(numbers) if isinstance(numbers, Rate) else Kind(numbers.rate, numbers.burst)


def _candidate_kind(numbers: CandidateSettings) -> Kind:
    return Kind(numbers.rate, numbers.burst, is_enforced=False, role="candidate")
