"""LimitPolicy: a limit from the configuration with nothing left to look up or to compute."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import ceil
from typing import Final

from proxy.limits.algorithms import ALGORITHMS
from proxy.limits.denial import document_head
from proxy.limits.key import key_builder, key_prefix
from proxy.limits.settings import LimitSettings

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class LimitStats:
    """Plain counters of one policy, read by observe/. A request counts once on each limit that it was asked of."""

    __slots__ = ("allowed", "denied")

    def __init__(self) -> None:
        self.allowed = 0  # requests that passed all their limits
        self.denied = 0  # requests that this policy was one to refuse


class LimitPolicy:
    """One limit, compiled. Compared by identity. Only its name ties it to what a store holds for it."""

    __slots__ = (
        "algorithm",
        "burst",
        "by",
        "denial",
        "full_at",
        "item",
        "key",
        "missing",
        "name",
        "numbers",
        "on_store_error",
        "prefix",
        "quota",
        "rate",
        "reads_fields",
        "script_argument",
        "stats",
        "step",
        "unit_share",
        "where",
        "window_s",
    )

    def __init__(self, name: str, settings: LimitSettings, where: str) -> None:
        rate = settings.rate
        algorithm = ALGORITHMS[settings.algorithm]
        self.name = name
        self.where = where  # "policies/shop.yaml:12"
        self.rate = rate
        self.by = (settings.by,) if isinstance(settings.by, str) else tuple(settings.by)
        self.reads_fields = any(word.startswith("header:") for word in self.by)  # the key is not the client's alone
        self.algorithm = settings.algorithm
        self.burst = settings.burst or rate.count  # most units at once
        self.missing = settings.missing
        self.on_store_error = settings.on_store_error
        self.prefix = key_prefix(name, settings.algorithm)
        self.key = key_builder(self.by, self.prefix, settings.missing)
        self.numbers = algorithm.numbers(rate.count, rate.period_s, self.burst)
        self.step = algorithm.step
        self.full_at = algorithm.full_at
        self.unit_share = 1.0 / self.burst  # of the quota, to compare limits of different sizes
        # What clients are told. A burst above the rate's count is announced as the quota of the time that it takes
        # to refill, which is the same rate: what remains must never exceed the quota.
        self.quota = max(rate.count, self.burst)
        self.window_s = ceil(self.quota * rate.period_s / rate.count)  # the draft knows whole seconds only
        self.item = b'"%b";q=%d;w=%d' % (name.encode("ascii"), self.quota, self.window_s)
        self.script_argument = _bulk(" ".join([settings.algorithm, *map(repr, self.numbers)]))
        self.denial = document_head((name,))
        self.stats = LimitStats()

    def __repr__(self) -> str:
        return f"<LimitPolicy {self.name}: {self.rate} by {'+'.join(self.by)}, {self.algorithm}>"


def compile_limit(name: str, settings: LimitSettings, where: str) -> LimitPolicy:
    """A policy from its settings. Raises ValueError when the name cannot stand in a field, a metric or a store."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"`{name[:70]}` cannot name a limit; use up to 64 letters, digits, dots, dashes and underscores"
        )
    return LimitPolicy(name, settings, where)


def keep_stats(new: Iterable[LimitPolicy], old: Iterable[LimitPolicy]) -> None:
    """After a reload: policies that kept their name go on counting where they were."""
    stats = {policy.name: policy.stats for policy in old}
    for policy in new:
        policy.stats = stats.get(policy.name, policy.stats)


def _bulk(text: str) -> bytes:
    """A RESP bulk string, as it goes to the store: the same bytes for every request."""
    data = text.encode("ascii")
    return b"$%d\r\n%b\r\n" % (len(data), data)
