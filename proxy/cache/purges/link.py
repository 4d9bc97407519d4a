"""The log of purges in Redis or Valkey: one stream, whose last records are kept.

    weir:1:{cache}:purges    stream: `before`, the position of the record before; `purges`, what was announced

redis-py is used as it comes, Sentinel and Cluster included: this is some calls a second, and no request waits for them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

from proxy.cache.purges.purge import Purge
from proxy.cache.purges.records import Record, decode_purges, encode_purges
from proxy.store.client import FAILURES, StoreClient

__all__ = ["AT_ONCE", "FAILURES", "LOG", "LOGGED", "PATIENCE_S", "Look", "PurgeLink"]

LOG: Final = b"weir:1:{cache}:purges"
LOGGED: Final = 10_000  # records; who missed more has everything validated
PATIENCE_S: Final = 0.3  # of a read that finds nothing new: proof that the store is there
TIMEOUT_S: Final = 1.0  # of a call, beyond that
AT_ONCE: Final = 200  # records of one read


class Look(NamedTuple):
    """The log at one moment."""

    last: bytes  # position; empty when there is none
    now: int  # the store's time, as numbers are written


class PurgeLink:
    """One client of the store, used by one task. Every call raises one of FAILURES, within TIMEOUT_S or so."""

    __slots__ = ("_client",)

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL that is no store's."""
        self._client = StoreClient(url, TIMEOUT_S)

    async def write(self, lot: int, least: int, purges: list[Purge]) -> bytes:
        """Add one record, with a number above `least`. Gives its position."""
        numbers = b"%d" % lot, b"%d" % LOGGED, b"%d" % least
        async with asyncio.timeout(TIMEOUT_S):
            position: bytes = await self._client.opened().eval(_WRITE, 1, LOG, *numbers, encode_purges(purges))
        return position

    async def look(self) -> Look:
        async with asyncio.timeout(TIMEOUT_S):
            last, now = await self._client.opened().eval(_LOOK, 1, LOG)
        return Look(last, int(now))

    async def last(self) -> bytes:
        """The position of the last record; empty when there is none."""
        async with asyncio.timeout(TIMEOUT_S):
            found = await self._client.opened().xrevrange(LOG, count=1)
        return found[0][0] if found else b""

    async def has(self, position: bytes) -> bool:
        """That record is in the log."""
        async with asyncio.timeout(TIMEOUT_S):
            return bool(await self._client.opened().xrange(LOG, position, position))

    async def read(self, position: bytes, *, waits: bool) -> list[Record]:
        """What comes after `position`, not all at once. With `waits`, for PATIENCE_S while there is nothing."""
        block = int(PATIENCE_S * 1000) if waits else None
        async with asyncio.timeout(TIMEOUT_S + PATIENCE_S):
            found = await self._client.opened().xread({LOG: position or b"0-0"}, count=AT_ONCE, block=block)
        streams = found.values() if isinstance(found, dict) else [items for _, items in found or ()]
        return [_record(position, fields) for items in streams for position, fields in _flat(items)]

    async def close(self) -> None:
        """Forget the connection. The next call makes a new one, and finds the present master. Never raises."""
        await self._client.close()


def _record(position: bytes, fields: dict[bytes, bytes]) -> Record:
    return Record(position, fields.get(b"before", b"?"), decode_purges(fields.get(b"purges", b"")))


def _flat(items: Any) -> Any:
    return items[0] if items and isinstance(items[0], list) else items


_WRITE: Final = b"""
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local before = last and last[1] or ''
local time = redis.call('TIME')
local number = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last_number = tonumber(string.match(before, '^%d+') or '0')
number = math.max(number, last_number + 1, tonumber(ARGV[3]) + 1)
local position = string.format('%.0f', number) .. '-' .. ARGV[1]
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], position, 'before', before, 'purges', ARGV[4])
return position
"""
_LOOK: Final = b"""
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local time = redis.call('TIME')
return {last and last[1] or '', string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))}
"""
