"""Controls in Redis or Valkey: a hash with what is in force, and a list with what changed last.

    weir:1:{controls}        hash: `version`, `swept`, and one field for each entry
    weir:1:{controls}:log    list: the last changes, newest first, each with the version that it made

A version is `<number>-<random>`: no two writes make the same one, so equal versions mean that nothing has happened,
also after a fail-over to a server that had missed something. Ends are kept by the store's clock, so Weirs whose clocks
differ end an entry together.

redis-py is used as it comes, Sentinel and Cluster included: this is some calls a second and nobody waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from secrets import token_hex
from typing import Final, NamedTuple

import msgspec

from proxy.core.clock import wall
from proxy.limits.controls import LONGEST_S, MAX_ENTRIES, Entry, Slot
from proxy.store.client import StoreClient

TIMEOUT_S: Final = 1.0  # of one call
HASH: Final = b"weir:1:{controls}"
LOG: Final = HASH + b":log"
RESET: Final = "reset"  # the kind of a change that is no entry: a key was given everything back
LOGGED: Final = 1000  # changes; whoever missed more reads everything
_SLICE: Final = 200  # entries decoded in one turn of the loop


class News(NamedTuple):
    """What another Weir did. `everything`: the changes are all that is in force, not the last ones."""

    version: bytes
    everything: bool
    changes: list[tuple[Slot, Entry | None]]
    has_reset: bool


class ControlsLink:
    """One client of the store, used by one task. Every call raises one of FAILURES, within TIMEOUT_S or so."""

    __slots__ = ("_client", "_offset_s")

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL that is no store's."""
        self._client = StoreClient(url, TIMEOUT_S)
        self._offset_s = 0.0  # the store's clock minus ours

    async def version(self) -> bytes:
        """Of what is in the store; empty when nothing is."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self._client.opened().hget(HASH, b"version") or b""

    async def news(self, known: bytes | None) -> News:
        """What happened since the version `known`. None: everything is news."""
        async with asyncio.timeout(TIMEOUT_S):
            reply = await self._client.opened().eval(_READ, 2, HASH, LOG, b"none" if known is None else known)
        version, mode, seconds, microseconds, items = reply
        # below a quarter of a second it is as likely the way there; then ends keep one value
        offset_s = int(seconds) + int(microseconds) * 1e-6 - wall()
        self._offset_s = 0.0 if abs(offset_s) < 0.25 else offset_s
        if mode == b"all":
            return News(version, True, await self._decoded(zip(items[::2], items[1::2], strict=True)), True)
        changes = [_change(item) for item in reversed(items)]
        entries = await self._decoded((field, value) for _, field, value in changes)
        return News(version, False, entries, any(field.startswith(RESET.encode()) for _, field, _ in changes))

    async def write(self, changes: Mapping[Slot, Entry | None]) -> tuple[bytes, bytes]:
        """Make changes, all or none. Gives the versions before and after."""
        arguments: list[bytes] = [token_hex(8).encode(), b"%d" % MAX_ENTRIES, b"%d" % LOGGED, b"%d" % _KEPT_MS]
        for slot, entry in changes.items():
            arguments += _operation(slot, entry), _field(slot), b"" if entry is None else self._encoded(entry)
        async with asyncio.timeout(TIMEOUT_S):
            before, after = await self._client.opened().eval(_WRITE, 2, HASH, LOG, *arguments)
        return before, after

    async def close(self) -> None:
        """Forget the connection. The next call makes a new one, and finds the present master. Never raises."""
        await self._client.close()

    def _encoded(self, entry: Entry) -> bytes:
        until_wall = entry.until_wall + self._offset_s
        return b"%d %b" % (until_wall * 1000, _encode(msgspec.structs.replace(entry, until_wall=until_wall)))

    async def _decoded(self, items: Iterable[tuple[bytes, bytes]]) -> list[tuple[Slot, Entry | None]]:
        """What is not understood is left out: a newer Weir may have kinds of entries that this one does not know."""
        found: list[tuple[Slot, Entry | None]] = []
        for number, (field, value) in enumerate(items):
            slot = _slot(field)
            if slot is None:
                continue
            try:
                entry = _decode(value.partition(b" ")[2]) if value else None
            except msgspec.DecodeError:
                continue
            if entry is not None and self._offset_s:
                entry = msgspec.structs.replace(entry, until_wall=entry.until_wall - self._offset_s)
            found.append((slot, entry))
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        return found


_encode: Final = msgspec.json.encode
_decode: Final = msgspec.json.Decoder(Entry).decode
_KEPT_MS: Final = int((LONGEST_S + 86400.0) * 1000)  # of both keys after the last write


def _operation(slot: Slot, entry: Entry | None) -> bytes:
    if slot[0] == RESET:
        return b"note"
    return b"del" if entry is None else b"set"


def _field(slot: Slot) -> bytes:
    kind, owner, key = slot
    return b"%b\0%b\0%b" % (kind.encode(), owner.encode(), key)


def _slot(field: bytes) -> Slot | None:
    parts = field.split(b"\0", 2)
    if len(parts) != 3 or parts[0] == RESET.encode():
        return None
    return parts[0].decode(), parts[1].decode(), parts[2]


def _change(item: bytes) -> Sequence[bytes]:
    """(version, field, value) of one line of the log: `<version> <length of the field> <field><value>`."""
    version, length, rest = item.split(b" ", 2)
    return version, rest[: int(length)], rest[int(length) :]


_READ: Final = b"""
local version = redis.call('HGET', KEYS[1], 'version') or ''
local time = redis.call('TIME')
local number, known = string.match(version, '^%d+'), string.match(ARGV[1], '^%d+')
if number and known then
  local behind = tonumber(number) - tonumber(known)
  if behind >= 0 and behind < 1000 then
    local items = redis.call('LRANGE', KEYS[2], 0, behind)
    local last = items[behind + 1]
    if last and string.sub(last, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
      table.remove(items)
      return {version, 'changes', time[1], time[2], items}
    end
  end
end
return {version, 'all', time[1], time[2], redis.call('HGETALL', KEYS[1])}
"""
# `number` is unique within a call, and the random part between calls.
_WRITE: Final = b"""
local before = redis.call('HGET', KEYS[1], 'version') or ''
local number = tonumber(string.match(before, '^%d+') or '0')
local now = tonumber(redis.call('TIME')[1])
local version = before
local most = tonumber(ARGV[2])
local size = redis.call('HLEN', KEYS[1])
if size > most or (size > 64 and now - tonumber(redis.call('HGET', KEYS[1], 'swept') or '0') > 60) then
  redis.call('HSET', KEYS[1], 'swept', now)
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local ends = string.match(all[i + 1], '^(%d+) ')
    if ends and tonumber(ends) < now * 1000 then redis.call('HDEL', KEYS[1], all[i]) end
  end
end
for i = 5, #ARGV, 3 do
  local what, field, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if what == 'del' then redis.call('HDEL', KEYS[1], field) end
  if what == 'set' then redis.call('HSET', KEYS[1], field, value) end
  number = number + 1
  version = string.format('%.0f', number) .. '-' .. ARGV[1]
  redis.call('LPUSH', KEYS[2], version .. ' ' .. #field .. ' ' .. field .. value)
end
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[3]) - 1)
redis.call('HSET', KEYS[1], 'version', version)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {before, version}
"""
