"""Which node of a cluster is the master of which hash slots, asked of the cluster itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.limits.shared.node import Node, why_not
from proxy.limits.shared.slots import SLOTS
from proxy.store.dial import dial
from proxy.store.errors import StoreLost
from proxy.store.url import Endpoint
from proxy.store.wire import Wire

_SHORTEST_PAUSE_S: Final = 0.05  # between looks at the map, doubled while something is amiss
_LONGEST_PAUSE_S: Final = 0.5

Masters = dict[tuple[str, int], list[tuple[int, int]]]
"""From the address to its ranges of slots, ends included."""


class ClusterMap:
    """Which node holds which slot, and a connection to each. Fetched again whenever something does not fit."""

    __slots__ = ("_is_closed", "_known", "_pause_s", "_refresh_at", "_refreshing", "_seeds", "nodes", "slots")

    def __init__(self, seeds: tuple[Endpoint, ...]) -> None:
        self.nodes: dict[tuple[str, int], Node] = {}
        self.slots: list[Node | None] = [None] * SLOTS
        self._seeds = seeds
        self._known: tuple[Endpoint, ...] = ()  # the seeds, and the masters that were seen last
        self._is_closed = True
        self._refreshing: asyncio.Task[None] | None = None
        self._refresh_at = 0.0
        self._pause_s = _SHORTEST_PAUSE_S

    @property
    def is_open(self) -> bool:
        for node in self.nodes.values():
            if node.is_open:
                return True
        return False

    @property
    def trouble(self) -> str | None:
        """What is amiss with a part of it, for the operator."""
        for node in self.nodes.values():
            if not node.is_usable:
                return why_not(node)
        return None if None not in self.slots else "some hash slots have no master"

    async def open(self) -> None:
        """At least one node is there afterwards, or StoreLost."""
        await self._refresh()
        if not self.is_open:
            raise StoreLost(self.trouble or "the cluster has no master")
        self._is_closed = False

    def close(self) -> None:
        """Whoever waits for an answer of a node gets StoreLost."""
        self._is_closed = True
        task, self._refreshing = self._refreshing, None
        if task is not None:
            task.cancel()
        nodes, self.nodes = self.nodes, {}
        self.slots = [None] * SLOTS
        for node in nodes.values():
            node.close()

    def refresh_soon(self) -> None:
        """In the background, unless it is under way, or was done a moment ago."""
        if self._refreshing is None and not self._is_closed and monotonic() >= self._refresh_at:
            self._refreshing = spawn(self._refresh_once(), name="limit cluster map")

    async def _refresh_once(self) -> None:
        try:
            await self._refresh()
        except StoreLost:
            pass  # the next request that fails comes here again
        finally:
            is_fine = self.trouble is None
            self._pause_s = _SHORTEST_PAUSE_S if is_fine else min(2.0 * self._pause_s, _LONGEST_PAUSE_S)
            self._refresh_at = monotonic() + self._pause_s
            self._refreshing = None

    async def _refresh(self) -> None:
        wires = [
            (node.endpoint, node.wire)
            for node in self.nodes.values()
            if node.wire is not None and node.is_open and not node.is_late
        ]
        masters = await fetch_masters(wires, self._known or self._seeds)
        await self._take_over(masters)
        first = self._seeds[0]
        self._known = tuple(dict.fromkeys([*self._seeds, *[first.at(*address) for address in masters]]))

    async def _take_over(self, masters: Masters) -> None:
        old = self.nodes
        nodes = {address: old.get(address) or Node(self._seeds[0].at(*address)) for address in masters}
        try:
            await asyncio.gather(*[node.connect() for node in nodes.values() if not node.is_open])
        except BaseException:  # cancelled: the link was closed meanwhile
            for node in nodes.values():
                node.close()
            raise
        slots: list[Node | None] = [None] * SLOTS
        for address, ranges in masters.items():
            for begin, end in ranges:
                slots[begin : end + 1] = [nodes[address]] * (end + 1 - begin)
        self.nodes, self.slots = nodes, slots
        for address, node in old.items():
            if address not in nodes:
                node.close()  # no master any more


async def fetch_masters(wires: Sequence[tuple[Endpoint, Wire]], seeds: Sequence[Endpoint]) -> Masters:
    """Of the first node that takes part in a cluster that works; else of any. Raises StoreLost if none answers."""
    second: Masters | None = None
    lost: StoreLost | None = None
    tasks = [asyncio.ensure_future(_ask(endpoint, wire)) for endpoint, wire in wires]
    tasks += [asyncio.ensure_future(_dial_and_ask(seed)) for seed in seeds if not wires]
    try:
        for next_one in asyncio.as_completed(tasks):
            try:
                is_well, masters = await next_one
            except StoreLost as error:
                lost = error
                continue
            if is_well:
                return masters
            second = second or masters
    finally:
        for task in tasks:
            task.cancel()
    if not second:
        raise lost or StoreLost("the cluster has no node that could be asked")
    return second


async def _dial_and_ask(seed: Endpoint) -> tuple[bool, Masters]:
    wire = await dial(seed)
    try:
        return await _ask(seed, wire)
    finally:
        wire.close()


async def _ask(asked: Endpoint, wire: Wire) -> tuple[bool, Masters]:
    is_well = True
    with suppress(StoreLost):  # a user may lack the right to ask this
        is_well = b"cluster_state:ok" in await wire.call("CLUSTER", "INFO")
    return is_well, _read(await wire.call("CLUSTER", "SLOTS"), asked)


def _read(reply: Any, asked: Endpoint) -> Masters:
    """Of [[begin, end, [host, port, ...], replica, ...], ...]. No host means: the one that was asked."""
    masters: Masters = {}
    for begin, end, (host, port, *_), *_ in reply:
        name = host.decode() if host else asked.host
        if name != "?":  # a node that does not know its own name
            masters.setdefault((name, port), []).append((begin, end))
    return masters
