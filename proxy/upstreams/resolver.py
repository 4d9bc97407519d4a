"""The addresses behind the names of endpoints, asked again and again.

A name may stand for several addresses, and they change: containers are scaled, and come back elsewhere. Each address
becomes an endpoint of its own. A name whose lookup fails keeps the addresses that it had; until the first lookup has
ended, the name itself is the endpoint, and the system resolves it at each connect.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from proxy.core.tasks import spawn
from proxy.upstreams.address import Address, is_name

__all__ = ["Resolver", "look_up"]

_SOONEST_S: Final = 1.0  # after the last lookup, when an endpoint of the name fails
_MOST_ADDRESSES: Final = 64  # of one name

Lookup = Callable[[str, int], Awaitable[list[str]]]


async def look_up(host: str, port: int) -> list[str]:
    """The IP addresses of a name, by the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class _Name:
    __slots__ = ("addresses", "asked_at", "due_at", "every_s", "task")

    def __init__(self, address: Address, every_s: float, now: float) -> None:
        self.addresses: tuple[Address, ...] = (address,)
        self.every_s = every_s
        self.asked_at = -_SOONEST_S
        self.due_at = now
        self.task: asyncio.Task[None] | None = None


class Resolver:
    """Follows names. `on_change` is called when the addresses of one are others than before."""

    __slots__ = ("_clock", "_lookup", "_names", "_on_change")

    def __init__(self, lookup: Lookup, clock: Callable[[], float], on_change: Callable[[], None]) -> None:
        self._lookup = lookup
        self._clock = clock
        self._on_change = on_change
        self._names: dict[Address, _Name] = {}

    def follow(self, addresses: Iterable[tuple[Address, float]], now: float) -> None:
        """Those that are names are looked up every so many seconds from now on; no others are."""
        before, self._names = self._names, {}
        for address, every_s in addresses:
            if not is_name(address):
                continue
            if address in self._names:  # in two upstreams: the shorter time is good for both
                name = self._names[address]
                name.every_s = min(name.every_s, every_s)
            else:
                name = before.pop(address) if address in before else _Name(address, every_s, now)
                name.every_s = every_s
                self._names[address] = name
            name.due_at = min(name.due_at, now + every_s)
        for name in before.values():
            if name.task is not None:
                name.task.cancel()

    def addresses_of(self, address: Address) -> tuple[Address, ...]:
        """What stands behind it now; itself, if it is not followed."""
        name = self._names.get(address)
        return (address,) if name is None else name.addresses

    def hurry(self, address: Address) -> None:
        """An endpoint at this address cannot be reached: perhaps its name has moved."""
        for name in self._names.values():
            if address in name.addresses:
                name.due_at = min(name.due_at, name.asked_at + _SOONEST_S)

    def tick(self, now: float) -> None:
        """Begin the lookups that are due."""
        for address, name in self._names.items():
            if name.due_at <= now and name.task is None:
                name.asked_at = now
                name.due_at = now + name.every_s
                name.task = spawn(self._resolve(address, name), name=f"resolve {address.host}")
                name.task.add_done_callback(partial(self._ended, name))

    async def stop(self) -> None:
        tasks = [name.task for name in self._names.values() if name.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resolve(self, address: Address, name: _Name) -> None:
        try:
            found = await asyncio.wait_for(self._lookup(address.host, address.port), max(name.every_s, _SOONEST_S))
        except (OSError, UnicodeError):  # TimeoutError is one: what was known may still be right
            return
        hosts = sorted(set(found))[:_MOST_ADDRESSES]
        addresses = tuple(_at(address, host) for host in hosts)
        if addresses and addresses != name.addresses and self._names.get(address) is name:
            name.addresses = addresses
            self._on_change()

    def _ended(self, name: _Name, task: asyncio.Task[None]) -> None:
        name.task = None


def _at(address: Address, host: str) -> Address:
    """The same endpoint by an IP address: still asked for, and verified, by its name."""
    shown = f"[{host}]" if ":" in host else host
    return replace(address, host=host, label=f"{shown}:{address.port}", name=address.host)
