"""Sessions in Redis or Valkey, for the other Weirs: one script does all that was asked for in one round trip.

    weir:1:{floor}:secret      what cookies are signed with; a new one means that the store has lost everything
    weir:1:{floor}:<hash>      hash: h history, w wrote, s saw, open and until: writes under way

Positions go as 16 hex digits: a number of Lua has 53 bits. They only grow, until nobody touched them for their time to
live. A write announces itself before it goes upstream, so no other Weir can answer its client from a replica in the
moment between its response and its position; one whose Weir dies is forgotten after the time to live.

Whoever asks while a call is under way goes with the next one. Nobody waits longer than DEADLINE_S; then the store is
away, and what is not known is asked of the primary. What could not be written is written when the store is back, and
until every Weir has had the time for that, nothing that the store says is believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from secrets import token_bytes
from typing import Any, Final, NamedTuple

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.replicas.lsn import History
from proxy.store.client import FAILURES, StoreClient

DEADLINE_S: Final = 0.05
CALL_S: Final = 1.0
PAUSE_S: Final = 0.5  # while it is away
GRACE_S: Final = 2.0  # after it was away: the others' time to write what they could not
MOST_AT_ONCE: Final = 500
MAX_PENDING: Final = 50_000
PREFIX: Final = b"weir:1:{floor}:"
_LOOK, _BEGIN, _MERGE, _CLOSE = b"look", b"begin", b"merge", b"close"


class Stored(NamedTuple):
    """What the store knows of a client."""

    history: History | None
    wrote: int
    saw: int
    is_writing: bool


class StoreAway(Exception):
    """Nothing is known."""


class _Order:
    __slots__ = ("arguments", "future", "key")

    def __init__(self, key: bytes, arguments: tuple[bytes, ...], future: asyncio.Future[Stored] | None) -> None:
        self.key = key
        self.arguments = arguments
        self.future = future


_Facts = tuple[History, int, int]


class SessionsStore:
    """One per process. `lost_all` is called when the store came back, or was found, without its memory. `secret` is
    None until it is known."""

    def __init__(
        self,
        url: str,
        ttl_s: float,
        lost_all: Callable[[], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises ValueError for a URL that is no store's."""
        self.secret: bytes | None = None
        self.error: str | None = "not asked yet"
        self.calls = 0
        self.ttl_s = ttl_s
        self._client = StoreClient(url, CALL_S)
        self._lost_all = lost_all
        self._clock = clock
        self._orders: list[_Order] = []
        self._pending: list[_Order] = []  # what could not be written
        self._wake = asyncio.Event()
        self._usable_at = 0.0
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    # -- life --

    async def start(self) -> None:
        """Ask once, and go on asking. Never fails."""
        await self._call([])
        if self._is_closing:  # a reload had it started, and the process ended meanwhile
            await self._client.close()
        else:
            self._task = spawn(self._run(), name="sessions")

    async def aclose(self) -> None:
        """Write what waits, if the store is there."""
        self._is_closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._client.close()

    @property
    def is_away(self) -> bool:
        return self.error is not None or self._clock() < self._usable_at

    # -- for the stage --

    async def look(self, scope: tuple[str, ...]) -> Stored:
        """What is known of a client. Raises StoreAway. Needs no task."""
        return await self._ask(scope, (_LOOK, b"", b"", b""))

    def begin(self, scope: tuple[str, ...]) -> asyncio.Future[Stored] | None:
        """A write begins. Gives what is done when the others can know, or raises StoreAway after DEADLINE_S; None while
        the store is away. Whoever calls this owes a `close`, or a `merge` that closes."""
        if self.error is not None:
            return None
        loop = asyncio.get_running_loop()
        future = self._enqueue(_key(scope), (_BEGIN, b"", b"", b""), loop)
        timer = loop.call_later(DEADLINE_S, _give_up, future)
        future.add_done_callback(lambda _: timer.cancel())
        return future

    def merge(self, scope: tuple[str, ...], history: History, wrote: int, saw: int, *, closes: bool) -> None:
        """Raise a client's positions; with `closes` a write that began is over. Waits for nothing, and is not lost
        while the store is away for a while."""
        self._order(_key(scope), _CLOSE if closes else _MERGE, (history, wrote, saw))

    def close(self, scope: tuple[str, ...]) -> None:
        """A write that began did not happen."""
        self._order(_key(scope), _CLOSE, None)

    # -- the calls --

    async def _ask(self, scope: tuple[str, ...], arguments: tuple[bytes, ...]) -> Stored:
        if self.error is not None:
            raise StoreAway
        loop = asyncio.get_running_loop()
        future = self._enqueue(_key(scope), arguments, loop)
        timer = loop.call_later(DEADLINE_S, _give_up, future)
        try:
            stored = await future
        finally:
            timer.cancel()
        if self._clock() < self._usable_at:
            raise StoreAway
        return stored

    def _enqueue(
        self, key: bytes, arguments: tuple[bytes, ...], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[Stored]:
        future: asyncio.Future[Stored] = loop.create_future()
        self._orders.append(_Order(key, arguments, future))
        self._wake.set()
        return future

    def _order(self, key: bytes, word: bytes, facts: _Facts | None) -> None:
        self._orders.append(_Order(key, _arguments(word, facts), None))
        self._wake.set()

    async def _run(self) -> None:
        while not self._is_closing:
            await self._sleep()
            orders, self._orders = self._orders[:MOST_AT_ONCE], self._orders[MOST_AT_ONCE:]
            if self._orders:
                self._wake.set()
            await self._call(orders)
        await self._call(self._orders)

    async def _sleep(self) -> None:
        """Until there is something to do; once in a while there is: to hear whether the store is there."""
        try:
            async with asyncio.timeout(PAUSE_S):
                if self.error is not None:
                    await asyncio.sleep(PAUSE_S)  # no use to hurry
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _call(self, orders: list[_Order]) -> None:
        orders = [*self._pending[:MOST_AT_ONCE], *orders]
        del self._pending[:MOST_AT_ONCE]
        keys = [PREFIX + b"secret", *(order.key for order in orders)]
        arguments = [token_bytes(32).hex().encode(), b"%d" % int(self.ttl_s * 1000)]
        for order in orders:
            arguments += order.arguments
        self.calls += 1
        try:
            async with asyncio.timeout(CALL_S):
                secret, *replies = await self._client.opened().eval(_SCRIPT, len(keys), *keys, *arguments)
        except FAILURES as error:
            self._failed(orders, error)
            await self._client.close()
            return
        if self.error is not None and self.secret is not None:
            self._usable_at = self._clock() + GRACE_S
        self.error = None
        if secret != self.secret:
            if self.secret is not None:
                self._usable_at = self._clock() + GRACE_S
            self.secret = secret
            self._lost_all()
        for order, reply in zip(orders, replies, strict=True):
            if order.future is not None and not order.future.done():
                order.future.set_result(_stored(reply))

    def _failed(self, orders: list[_Order], error: BaseException) -> None:
        text = " ".join(str(error).split())
        self.error = f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
        for order in [*orders, *self._orders]:
            if order.future is not None:
                _give_up(order.future)
            elif len(self._pending) < MAX_PENDING:
                # The script may have run, and only its answer got lost. To raise a position twice does no harm; a write
                # closed twice takes another Weir's of the same client for over, of which nothing is believed now anyhow
                self._pending.append(order)
        self._orders = []


def _key(scope: tuple[str, ...]) -> bytes:
    """Nobody's name stands in the store."""
    return PREFIX + sha256("\0".join(scope).encode()).hexdigest()[:32].encode()


def _arguments(word: bytes, facts: _Facts | None) -> tuple[bytes, ...]:
    if facts is None:
        return word, b"", b"", b""
    history, wrote, saw = facts
    return word, b"%d/%d" % history, b"%016x" % wrote, b"%016x" % saw


def _stored(reply: list[Any]) -> Stored:
    history, wrote, saw, is_writing = reply
    if not history:
        return Stored(None, 0, 0, bool(is_writing))
    system_id, _, timeline = history.partition(b"/")
    return Stored(History(int(system_id), int(timeline)), int(wrote, 16), int(saw, 16), bool(is_writing))


def _give_up(future: asyncio.Future[Stored]) -> None:
    if not future.done():
        future.set_exception(StoreAway())


# Of two timelines of one cluster the higher is the later one; of two clusters the one that is told last counts.
_SCRIPT: Final = b"""
local secret = redis.call('GET', KEYS[1])
if not secret then
  secret = ARGV[1]
  redis.call('SET', KEYS[1], secret)
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ttl = tonumber(ARGV[2])
local replies = {secret}
for i = 2, #KEYS do
  local key, at = KEYS[i], 3 + (i - 2) * 4
  local word, history, wrote, saw = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local known = redis.call('HMGET', key, 'h', 'w', 's', 'open', 'until')
  local open, ends = tonumber(known[4] or '0'), tonumber(known[5] or '0')
  if ends <= now then open = 0 end
  if word ~= 'look' then
    if word == 'begin' then
      open = open + 1
      ends = now + ttl
    elseif word == 'close' and open > 0 then
      open = open - 1
    end
    redis.call('HSET', key, 'open', open, 'until', string.format('%.0f', ends))
    if history ~= '' then
      if known[1] == history then
        if wrote < known[2] then wrote = known[2] end
        if saw < known[3] then saw = known[3] end
      elseif known[1] then
        local mine, theirs = string.match(history, '^(.-)/(%d+)$'), string.match(known[1], '^(.-)/(%d+)$')
        if mine == theirs and
            tonumber(string.match(known[1], '/(%d+)$')) > tonumber(string.match(history, '/(%d+)$')) then
          history, wrote, saw = known[1], known[2], known[3]
        end
      end
      redis.call('HSET', key, 'h', history, 'w', wrote, 's', saw)
      known[1], known[2], known[3] = history, wrote, saw
    end
    redis.call('PEXPIRE', key, ttl)
  end
  replies[i] = {known[1] or '', known[2] or '', known[3] or '', open > 0 and 1 or 0}
end
return replies
"""
