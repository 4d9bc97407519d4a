"""Held admissions: requests that count for as long as they are under way, and whose leases are renewed meanwhile.

The store forgets an admission whose lease has ended, which is what keeps a lost Weir from leaking. So whatever lasts
longer than a lease, a download or a tunnel, has it renewed here, at a third of it. Most requests are over before that
and cost an entry in a dictionary.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Final

from proxy.core.clock import monotonic

if TYPE_CHECKING:
    from proxy.limits.policy import LimitPolicy
    from proxy.limits.store import LimitStore

TICK_S: Final = 0.25
MOST: Final = 200_000  # more than a process can have connections; beyond it, leases simply end
_RENEWALS: Final = 3  # in a lease: two may be lost

_Entry = tuple["LimitPolicy", bytes, bytes]  # policy, key, member


class Held:
    """All that this Weir holds. Outlives a reload. Belongs to one event loop."""

    __slots__ = ("_by_lease", "_clock", "_names", "_prefix", "_timer", "count")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._names = count(1)
        self._prefix = os.urandom(9).hex().encode("ascii")
        # lease_s -> entry -> when to renew it. Leases of one length fall due in the order in which they were taken.
        self._by_lease: dict[float, dict[_Entry, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def name(self) -> bytes:
        """A name for an admission that no other has, in any Weir. A request's own identifier would not do: its
        sender may have chosen it, and two requests of one name would count as one."""
        return b"%b-%x" % (self._prefix, next(self._names))

    def add(self, policy: LimitPolicy, key: bytes, member: bytes, now: float) -> None:
        if self.count >= MOST:
            return
        lease_s = policy.lease_s
        entries = self._by_lease.get(lease_s)
        if entries is None:
            entries = self._by_lease[lease_s] = {}
        entries[policy, key, member] = now + lease_s / _RENEWALS
        self.count += 1

    def drop(self, policy: LimitPolicy, key: bytes, member: bytes) -> None:
        """Safe to call for what was never added."""
        entries = self._by_lease.get(policy.lease_s)
        if entries is not None and entries.pop((policy, key, member), None) is not None:
            self.count -= 1

    def renew(self, store: LimitStore, now: float) -> None:
        """Renew what is due. `start` has this called every TICK_S."""
        for lease_s, entries in self._by_lease.items():
            due: list[_Entry] = []
            for entry, due_at in entries.items():
                if due_at > now:
                    break
                due.append(entry)
            for entry in due:
                del entries[entry]
                entries[entry] = now + lease_s / _RENEWALS
                store.renew(*entry)

    def start(self, store: LimitStore) -> None:
        """Begin to tick. Needs the running loop."""
        self._tick(store, asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, store: LimitStore, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(TICK_S, self._tick, store, loop)
        self.renew(store, self._clock())
