"""This Weir as one of those that share a store: the lease that says it lives, the mark that says the store forgot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import getrandbits, random
from typing import Any, Final

from proxy.core.clock import monotonic
from proxy.core.units import Rate
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimitSettings
from proxy.limits.shared.calls import Calls
from proxy.limits.shared.fleet import BEAT_S, LEASE_S, MARK_S, MOST_WEIRS, Fleet
from proxy.limits.shared.group import Question, renewing
from proxy.limits.shared.link import Link, StoreLost
from proxy.limits.shared.orders import Order

_MARKS: Final = 1_000_000
_BACK_S: Final = 1.0  # a Weir that is back says so again and again; one that has left again is soon not counted


class Membership:
    """Kept up by beats that go along with other calls. `changed` is called when the store has said how many we are."""

    def __init__(self, link: Link, calls: Calls, fleet: Fleet, changed: Callable[[], None]) -> None:
        self.name: Final = b"%016x" % getrandbits(64)
        self.phase: Final = random()  # where in its interval a share of less than one request begins
        self._link = link
        self._calls = calls
        self._fleet = fleet
        self._changed = changed
        self._marked_until = -1.0  # as long as the store knows our mark, unless it lost its data
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BEAT_S * (0.9 + 0.2 * random()), self._beat_and_go_on)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def leave(self) -> None:
        """The others need not wait for the lease to end."""
        self._calls.do(Order("release", _FLEET, _FLEET.prefix, member=self.name))

    def be_back(self, heard: Callable[[int], None], is_first: bool) -> None:
        """Say that this Weir has told the store what it admitted by itself, and hear how many have.

        `is_first`: it may be said with the first call, before the store is open to requests.
        """

        def answered(reply: list[int] | None) -> None:
            if reply is not None:
                heard(MOST_WEIRS - reply[0])

        order = Order("renew", _BACK, _BACK.prefix, member=self.name, reply=answered)
        if is_first:
            self._calls.add(order)
        elif self._calls.is_open:
            self._calls.do(order)

    def beat(self) -> None:
        """Say that this Weir lives, and hear how many do."""
        if self._calls.is_open:
            self._calls.do(Order("renew", _FLEET, _FLEET.prefix, member=self.name, reply=self._heard))
            if self._marked_until - monotonic() < MARK_S / 2:
                self._calls.do(Order("decide", _MARK, _MARK.prefix + self.name, reply=self._marked))

    async def probe(self, patience_s: float) -> bool:
        """See that the store decides, writes, and does so in time; whether it has lost its data. Raises StoreLost."""
        # also has the store compile the script, so it says nothing about how fast it is
        has_lost = self._marked(_own(await self._link.evaluate([Question((_MARK,), (_MARK.prefix + self.name,))])))
        for _ in range(2):  # a store that was stopped is slow once
            asked_at = monotonic()
            self._heard(_own(await self._link.evaluate([renewing(_FLEET, _FLEET.prefix, self.name)])))
            if monotonic() - asked_at <= patience_s:
                return has_lost
        raise StoreLost("the store answers, but too late")

    def _beat_and_go_on(self) -> None:
        self.beat()
        self.start()

    def _heard(self, reply: list[int] | None) -> None:
        if reply is not None:
            self._fleet.heard(MOST_WEIRS - reply[0], monotonic())
            self._changed()

    def _marked(self, reply: list[int] | None) -> bool:
        """The store has charged our mark. True when it had forgotten the one that it should have."""
        if reply is None:
            return False
        now = monotonic()
        has_lost = reply[0] == _MARKS - 1 and now < self._marked_until
        self._marked_until = now + reply[1] * 1e-6
        return has_lost


def _own(reply: list[int | None]) -> list[int] | None:
    """What a probe was answered; None when the part of the store that it asked is away."""
    numbers = [number for number in reply if number is not None]
    return numbers if len(numbers) == len(reply) else None


def _of_our_own(name: str, **settings: Any) -> LimitPolicy:
    """A policy that no client meets. Its keys are not among those of the configured ones, which start with `weir:`."""
    policy = compile_limit(name, LimitSettings.model_validate({"by": "global", **settings}), "")
    policy.prefix = b"%b:1:" % name.encode()
    return policy


_FLEET: Final = _of_our_own("weir-fleet", algorithm="inflight", limit=MOST_WEIRS, lease=LEASE_S)
_BACK: Final = _of_our_own("weir-back", algorithm="inflight", limit=MOST_WEIRS, lease=_BACK_S)
_MARK: Final = _of_our_own("weir-mark", algorithm="fixed", rate=Rate(_MARKS, MARK_S))
