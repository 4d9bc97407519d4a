"""The connection to Redis or Valkey, and one way to use it: a group of requests in, numbers out.

This is the only file of limits/ that knows redis-py. Its own retries are off, since a charge that may have happened
must not happen twice; its timeouts are ours; and every failure comes out as `StoreLost` with the connection closed, so
that a late reply can never be taken for the answer to something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from proxy.limits.group import Asked, encode

CONNECT_TIMEOUT_S: Final = 1.0
CALL_TIMEOUT_S: Final = 1.0  # far beyond any request's patience: only then is the connection given up
_OF_THE_POOL: Final = ("max_connections", "timeout")  # options of a URL that no single connection understands


class StoreLost(Exception):
    """The store did not decide. The text is for the operator and has no secrets."""


class _Connection(Protocol):
    """What is used of redis-py's connection."""

    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def send_packed_command(self, command: bytes, check_health: bool) -> None: ...
    async def read_response(self) -> Any: ...
    async def can_read(self) -> bool: ...
    async def disconnect(self, nowait: bool) -> None: ...


class RedisLink:
    """One connection, used by one task. Opened and closed any number of times."""

    __slots__ = ("_connection",)

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = dict(parse_url(url))
        kind = options.pop("connection_class", Connection)
        for name in _OF_THE_POOL:
            options.pop(name, None)
        options.update(
            protocol=2,  # nothing is pushed to us; every server speaks it
            socket_timeout=None,  # one timeout around the whole call instead, without a task for each write
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            decode_responses=False,
            driver_info=None,
        )
        self._connection: _Connection = kind(**options)

    @property
    def is_open(self) -> bool:
        """False also after any failure. Does not notice by itself that the store went away."""
        return self._connection.is_connected

    async def open(self) -> None:
        """Connect and log in, in CONNECT_TIMEOUT_S. Raises StoreLost."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._connection.connect()
        except (RedisError, OSError) as error:
            await self.close()
            raise StoreLost(_explain(error)) from error

    async def is_quiet(self) -> bool:
        """Nothing came that nobody asked for, the end of the connection included. Closes it otherwise."""
        try:
            if not await self._connection.can_read():
                return True
        except (RedisError, OSError):
            pass
        await self.close()
        return False

    async def evaluate(self, group: Sequence[Asked]) -> list[int]:
        """Have the script decide a group. Waits for its reply up to CALL_TIMEOUT_S. Raises StoreLost.

        After StoreLost the group may have been charged or not: it must not be sent again.
        """
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                try:
                    reply = await self._call(encode(group))
                except NoScriptError:  # restarted or flushed: the script did not run, so it may be sent again
                    reply = await self._call(encode(group, with_source=True))
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            await self.close()
            raise StoreLost(_explain(error)) from error
        if not isinstance(reply, list) or len(reply) != 3 * sum([len(asked.keys) for asked in group]):
            await self.close()
            raise StoreLost("the reply does not fit the question")
        return reply

    async def close(self) -> None:
        """Close at once. Never raises; safe to call twice."""
        try:
            await self._connection.disconnect(nowait=True)
        except (RedisError, OSError):
            pass

    async def _call(self, command: bytes) -> Any:
        await self._connection.send_packed_command(command, check_health=False)
        return await self._connection.read_response()


def _explain(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CALL_TIMEOUT_S:.0f} s"
    text = " ".join(str(error).split())  # redis-py names the address and the server's words, never the password
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
