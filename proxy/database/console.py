"""A connection to PgBouncer's console: ask, get rows."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from proxy.database.console_url import ConsoleAddress
from proxy.database.messages import (
    ProtocolError,
    Scram,
    columns,
    md5_password,
    message,
    notice,
    startup,
    values,
)

__all__ = ["Console", "ProtocolError"]

_LARGEST_BYTES: Final = 1 << 20  # of one message: a row of the console has some hundred

Row = dict[str, str | None]
T = TypeVar("T")


class Console:
    """Opened by `open`, for one question at a time. After any error it is of no more use: `close` it.

    Raises OSError when it cannot be reached, ProtocolError when it refuses. Bound the time from outside: a cancelled
    question leaves the connection in the middle of an answer.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: ConsoleAddress) -> Console:
        if address.host.startswith("/"):
            reader, writer = await asyncio.open_unix_connection(f"{address.host}/.s.PGSQL.{address.port}")
        else:
            reader, writer = await asyncio.open_connection(address.host, address.port)
        console = cls(reader, writer)
        try:
            await console._sign_in(address)
        except BaseException:
            console.close()
            raise
        return console

    async def ask(self, question: str) -> list[Row]:
        """`SHOW POOLS` and the like. Waits for the whole answer."""
        self._writer.write(message(b"Q", question.encode() + b"\0"))
        names: list[str] = []
        rows: list[Row] = []
        error = ""
        while True:
            kind, content = await self._next()
            if kind == b"T":
                names = _read(columns, content)
            elif kind == b"D":
                rows.append(dict(zip(names, _read(values, content), strict=False)))
            elif kind == b"E":
                error = notice(content)
            elif kind == b"Z":
                if error:
                    raise ProtocolError(error)
                return rows

    def close(self) -> None:
        """At once, without a goodbye: PgBouncer needs none."""
        self._writer.close()

    async def _sign_in(self, address: ConsoleAddress) -> None:
        self._writer.write(startup(address.user, "pgbouncer"))
        scram: Scram | None = None
        while True:
            kind, content = await self._next()
            if kind == b"Z":
                return
            if kind == b"E":
                raise ProtocolError(notice(content))
            if kind == b"R":
                scram = _read(partial(self._authenticate, address, scram), content)

    def _authenticate(self, address: ConsoleAddress, scram: Scram | None, content: bytes) -> Scram | None:
        (method,) = struct.unpack_from("!i", content)
        rest = content[4:]
        if method == 3:
            self._writer.write(message(b"p", address.password.encode() + b"\0"))
        elif method == 5:
            self._writer.write(message(b"p", md5_password(address.user, address.password, rest[:4]) + b"\0"))
        elif method == 10 and b"SCRAM-SHA-256" in rest.split(b"\0"):
            scram = Scram(address.password, secrets.token_urlsafe(18))
            self._writer.write(message(b"p", scram.first()))
        elif method == 11 and scram is not None:
            self._writer.write(message(b"p", scram.final(rest)))
        elif method == 12 and scram is not None:
            scram.verify(rest)
        elif method != 0:
            raise ProtocolError(f"the console wants a way to sign in that is not known here ({method})")
        return scram

    async def _next(self) -> tuple[bytes, bytes]:
        try:
            head = await self._reader.readexactly(5)
            (length,) = struct.unpack("!i", head[1:])
            if not 4 <= length <= _LARGEST_BYTES:
                raise ProtocolError("this is not the Postgres protocol")
            return head[:1], await self._reader.readexactly(length - 4)
        except asyncio.IncompleteReadError:
            raise ProtocolError("the console closed the connection") from None


def _read(parse: Callable[[bytes], T], content: bytes) -> T:
    try:
        return parse(content)
    except (ValueError, struct.error):
        raise ProtocolError("the console's answer is malformed") from None
