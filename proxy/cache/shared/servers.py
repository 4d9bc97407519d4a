"""Which server has a key: the one there is, the one that the Sentinels call master, or a node of the cluster."""

from __future__ import annotations

import asyncio
from binascii import crc_hqx
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final, Protocol

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.store.client import FAILURES, StoreClient
from proxy.store.dial import dial
from proxy.store.errors import StoreLost
from proxy.store.url import CLUSTER, SENTINEL, Endpoint, parse_store_url

_SLOTS: Final = 16384
_TIMEOUT_S: Final = 1.0  # of one step of asking Sentinels
_AGAIN_S: Final = 1.0  # the map of a cluster is read no more often


class Servers(Protocol):
    async def open(self) -> None:
        """Learn what there is to be known before the first key. Raises StoreLost."""

    def place_of(self, key: bytes) -> str:
        """A word for the server that has `key`; the same word for the same server."""

    async def endpoint(self, place: str) -> Endpoint:
        """Where it is now. Raises StoreLost."""

    def any_place(self) -> str:
        """One that messages to all are heard at."""

    def knows(self, place: str) -> bool:
        """There is still such a server."""

    def moved(self) -> None:
        """A server said that it has not got a key."""

    async def close(self) -> None: ...


def servers_of(url: str) -> Servers:
    """Nothing is opened. Raises ValueError for a URL that is no store's."""
    address = parse_store_url(url)
    if address.kind == CLUSTER:
        return _Cluster(address.endpoints)
    if address.kind == SENTINEL:
        return _Sentinels(url, address.master)
    return _Single(address.endpoints[0])


class _Single:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def open(self) -> None:
        pass

    def place_of(self, key: bytes) -> str:
        return ""

    async def endpoint(self, place: str) -> Endpoint:
        return self._endpoint

    def any_place(self) -> str:
        return ""

    def knows(self, place: str) -> bool:
        return True

    def moved(self) -> None:
        pass

    async def close(self) -> None:
        pass


class _Sentinels(_Single):
    """They are asked at every connect. A master that was replaced refuses writes once it knows, and is left then."""

    def __init__(self, url: str, login: Endpoint) -> None:
        super().__init__(login)
        self._client = StoreClient(url, _TIMEOUT_S)

    async def endpoint(self, place: str) -> Endpoint:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S):
                host, port = await self._client.master()
        except FAILURES as error:
            raise StoreLost(f"the Sentinels know no master: {_brief(error)}") from error
        return self._endpoint.at(host, port)

    async def close(self) -> None:
        await self._client.close()


class _Cluster:
    """Which node has which slots, as one of them tells (CLUSTER SLOTS)."""

    def __init__(self, seeds: tuple[Endpoint, ...]) -> None:
        self._seeds = seeds
        self._begins: list[int] = []  # of ranges of slots, in order
        self._ranges: list[tuple[int, str]] = []  # last slot and place of each
        self._read_at = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if not self._ranges:
            await self._read()

    def place_of(self, key: bytes) -> str:
        slot = slot_of(key)
        at = bisect_right(self._begins, slot) - 1
        if at < 0 or slot > self._ranges[at][0]:
            return ""  # nobody has it, or nobody knows yet
        return self._ranges[at][1]

    async def endpoint(self, place: str) -> Endpoint:
        if not place:
            await self._read()
            place = self.any_place()
        return self._at(place)

    def any_place(self) -> str:
        return self._ranges[0][1] if self._ranges else ""

    def knows(self, place: str) -> bool:
        return not self._ranges or place in {place for _, place in self._ranges}

    def moved(self) -> None:
        if (self._reading is None or self._reading.done()) and monotonic() - self._read_at > _AGAIN_S:
            self._reading = spawn(self._read_again(), name="map of the cache's cluster")

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read_again(self) -> None:
        try:
            await self._read()
        except StoreLost:
            pass  # the map that there is may be good enough, and the next who is sent elsewhere reads again

    async def _read(self) -> None:
        """Ask one node after the other, those that are known first. Raises StoreLost when none tells."""
        self._read_at = monotonic()
        lost = StoreLost("no node of the cluster has slots")
        for endpoint in [
            *[self._at(place) for place in dict.fromkeys(place for _, place in self._ranges)],
            *self._seeds,
        ]:
            try:
                wire = await dial(endpoint)
                try:
                    reply = await wire.call("CLUSTER", "SLOTS")
                finally:
                    wire.close()
            except StoreLost as error:
                lost = error
                continue
            if ranges := sorted(_ranges(reply, endpoint.host)):
                self._begins = [begin for begin, _, _ in ranges]
                self._ranges = [(end, place) for _, end, place in ranges]
                return
        raise lost

    def _at(self, place: str) -> Endpoint:
        if not place:
            raise StoreLost("no node of the cluster is known")
        host, _, port = place.rpartition(":")
        return self._seeds[0].at(host, int(port))


def slot_of(key: bytes) -> int:
    """The cluster's slot of a key: of what stands in its first braces, if anything does."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    tag = key[begin + 1 : end] if begin >= 0 and end > begin + 1 else key
    return crc_hqx(tag, 0) % _SLOTS


def _ranges(reply: Any, asked: str) -> Iterator[tuple[int, int, str]]:
    """(first slot, last slot, place of the master). A node that does not know its name is the one that was asked."""
    for begin, end, master, *_ in reply:
        host = master[0].decode() if master[0] else asked
        yield int(begin), int(end), f"{host}:{int(master[1])}"


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
