"""Users who write and read counters through Weir, and what each of them saw: a checker of sessions.

A counter only grows, so a value below one that the user was given for a write of its own is a stale read of its own
write, and one below what it had read before is time going backwards.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.replicas.raw import Connection


@dataclass
class Tally:
    """Of all users together."""

    reads: int = 0
    writes: int = 0
    errors: list[str] = field(default_factory=list)
    own_write_missed: list[str] = field(default_factory=list)
    went_back: list[str] = field(default_factory=list)
    by_instance: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0

    @property
    def on_replicas(self) -> float:
        """The part of the reads that replicas answered."""
        return 1.0 - self.by_instance.get("primary", 0) / max(self.reads, 1)


class User:
    """One client on one connection: with a name, or known by nothing but the cookies that it is given."""

    def __init__(self, number: int, port: int, tally: Tally, *, name: str | None, seed: int) -> None:
        self._connection = Connection(port)
        self._tally = tally
        self._fields = {"X-User": name} if name is not None else {}
        self._is_named = name is not None
        self._rng = random.Random(seed * 100_003 + number)
        self._keys = [f"own-{seed}-{number}", *(f"shared-{seed}-{shared}" for shared in range(3))]
        self._written: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    async def run(self, goes_on: Callable[[], bool], writes: float, think_s: float) -> None:
        try:
            while goes_on():
                key = self._rng.choice(self._keys)
                await self._step(key, is_write=self._rng.random() < writes)
                if think_s:
                    await asyncio.sleep(think_s * self._rng.uniform(0.5, 1.5))
        finally:
            self._connection.close()

    async def _step(self, key: str, *, is_write: bool) -> None:
        tally = self._tally
        answer = await self._connection.ask("POST" if is_write else "GET", f"/counters/{key}", self._fields)
        for name, _, value in (cookie.partition("=") for cookie in answer.cookies):
            if not self._is_named:
                self._fields["Cookie"] = f"{name}={value.partition(';')[0]}"
        if answer.status != 200:
            tally.errors.append(f"{answer.status} {answer.content[:80]!r}")
            return
        value = int(answer.content)
        if is_write:
            tally.writes += 1
            self._written[key] = self._seen[key] = max(value, self._seen.get(key, 0))
            return
        tally.reads += 1
        tally.slowest_s = max(tally.slowest_s, answer.seconds)
        tally.by_instance[answer.instance] = tally.by_instance.get(answer.instance, 0) + 1
        if value < self._written.get(key, 0):
            tally.own_write_missed.append(f"{key}: {value} after writing {self._written[key]}, from {answer.instance}")
        elif value < self._seen.get(key, 0):
            tally.went_back.append(f"{key}: {value} after {self._seen[key]}, from {answer.instance}")
        self._seen[key] = max(value, self._seen.get(key, 0))


def play(
    port: int,
    *,
    users: int,
    reads: int,
    writes: float = 0.2,
    think_s: float = 0.0,
    named: bool = True,
    seed: int = 1,
    most_s: float = 60.0,
    meanwhile: Callable[[], None] | None = None,
) -> Tally:
    """Let them go until there were so many reads. `meanwhile` runs in a thread of its own, beside it."""

    async def work() -> Tally:
        tally = Tally()
        loop = asyncio.get_running_loop()
        until = loop.time() + most_s
        clients = [
            User(number, port, tally, name=f"u-{seed}-{number}" if named else None, seed=seed)
            for number in range(users)
        ]
        beside = loop.run_in_executor(None, meanwhile) if meanwhile is not None else None
        await asyncio.gather(
            *(client.run(lambda: tally.reads < reads and loop.time() < until, writes, think_s) for client in clients)
        )
        if beside is not None:
            await beside
        return tally

    return asyncio.run(work())
