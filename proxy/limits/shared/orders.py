"""What the store is to do besides deciding requests: corrections, leases of what is in flight, looks and resets.

They wait in a line of their own and go ahead of the requests of a group, which cannot overtake what they depend on: a
correction or a release is about a request that has left its line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.limits.policy import LimitPolicy
from proxy.limits.shared.group import Asked, Question, adjusting, peeking, releasing, renewing, resetting

MOST_KEPT: Final = 10_000  # while the store is away; beyond it the oldest are dropped

Reply = Callable[[list[int] | None], object]
"""Told remaining, reset and wait of the key, or None when the store did not answer. Must not raise."""


class Order:
    """One of them. `units` of an adjustment were charged at the instant `at`."""

    __slots__ = ("at", "key", "kind", "member", "policy", "reply", "units")

    def __init__(
        self,
        kind: str,
        policy: LimitPolicy,
        key: bytes,
        *,
        units: int = 0,
        at: float = 0.0,
        member: bytes = b"",
        reply: Reply | None = None,
    ) -> None:
        self.kind = kind
        self.policy = policy
        self.key = key
        self.units = units
        self.at = at
        self.member = member
        self.reply = reply

    def asked(self, now: float) -> Asked:
        """In the form that goes to the store."""
        if self.kind == "adjust":
            return adjusting(self.policy, self.key, self.units, now - self.at)
        if self.kind == "release":
            return releasing(self.policy, self.key, self.member)
        if self.kind == "renew":
            return renewing(self.policy, self.key, self.member)
        if self.kind == "peek":
            return peeking(self.policy, self.key)
        if self.kind == "reset":
            return resetting(self.policy, self.key)
        return Question((self.policy,), (self.key,), self.member)


class Orders:
    """The line of them."""

    __slots__ = ("_queue", "dropped")

    def __init__(self) -> None:
        self._queue: deque[Order] = deque()
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._queue)

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, order: Order) -> None:
        self._queue.append(order)

    def keep(self, order: Order) -> None:
        """The store is away: this one can wait for it."""
        if len(self._queue) >= MOST_KEPT:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(order)

    def take(self, most: int) -> list[Order]:
        queue = self._queue
        return [queue.popleft() for _ in range(min(most, len(queue)))]

    def lost(self, in_flight: list[Order]) -> None:
        """The store did not answer. What can be done twice is done again; the rest may have happened, and is not."""
        for order in in_flight:
            if order.reply is not None:
                order.reply(None)
            elif order.kind == "release":
                self.keep(order)

    def turn_away(self) -> None:
        """The store is away: whoever waits for an answer gets none, and what can wait does."""
        waiting = list(self._queue)
        self._queue.clear()
        for order in waiting:
            if order.reply is not None:
                order.reply(None)
            else:
                self.keep(order)
