"""Seeded mutations of requests, and what a strict reader makes of each."""

# ruff: noqa: E501 - tables of bytes are easier to read in long lines
from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.conformance.corpus import CASES, SMUGGLED, chunked, head
from tests.conformance.strict import Message, Rules, Violation, take_request

MOST_SEED_BYTES = 3000
_INSERTED = (
    b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b"\r\n\r\n", b":", b",", b";", b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0", b"\xff", b"%", b"#", b"/", b"..", b"0", b"-", b"+", b"_", b"\r\n ", b"\r\n\t",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil.test\r\n", b"Connection: close\r\n", b"Transfer-Encoding: x\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"HTTP/1.1", SMUGGLED,
)  # fmt: skip
_VALID = (
    head(b"GET /a HTTP/1.1", b"Accept: */*"),
    head(b"POST /a HTTP/1.1", b"Content-Length: 5") + b"hello",
    head(b"POST /a HTTP/1.1", b"Transfer-Encoding: chunked") + chunked(b"hello", b"world"),
    head(b"POST /a HTTP/1.1", b"Transfer-Encoding: chunked", b"Trailer: X-T") + chunked(b"hello", trailers=b"X-T: 1\r\n"),
    head(b"POST /a HTTP/1.1", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
    head(b"PUT /a?b=c HTTP/1.1", b"Cookie: a=b", b"Content-Length: 3", b"X-A: 1") + b"abc" + head(b"GET /b HTTP/1.1"),
    head(b"GET /a HTTP/1.1") + head(b"HEAD /b HTTP/1.1") + head(b"GET /c HTTP/1.1"),
    head(b"GET http://case.test/a HTTP/1.1"),
    head(b"GET /a HTTP/1.0", b"Connection: keep-alive"),
    head(b"OPTIONS /a HTTP/1.1", b"Connection: X-A", b"X-A: 1"),
    head(b"GET /ws HTTP/1.1", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    head(b"POST /a HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
)  # fmt: skip
_SEGMENT = rb"[A-Za-z0-9~_-][A-Za-z0-9._~-]*"
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9._~/-]*(?:\?[A-Za-z0-9._~=&/-]*)?")
_RULED = (b"/admin", b"/small", b"/denied", b"/get-only", b"/no-upgrade")
_USUAL = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH".split())


@dataclass(frozen=True, slots=True)
class Reading:
    """`possible`: every request a strict reader finds, in order. `certain`: those of them that nothing may refuse."""

    possible: tuple[Message, ...]
    certain: int


def mutations(seed: int, count: int) -> Iterator[tuple[int, bytes]]:
    rng = random.Random(seed)
    odd = [case.data for case in CASES if 0 < len(case.data) <= MOST_SEED_BYTES]
    for number in range(count):
        pool = _VALID if rng.random() < 0.6 else odd
        data = rng.choice(pool)
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            data = _mutate(data, rng, pool)
        yield number, data[: 4 * MOST_SEED_BYTES]


def _mutate(data: bytes, rng: random.Random, pool: tuple[bytes, ...] | list[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 16)))
    match rng.randrange(10):
        case 0:  # flip a bit
            return data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :] if at < len(data) else data
        case 1:  # drop
            return data[:at] + data[end:]
        case 2:  # duplicate
            return data[:end] + data[at:]
        case 3:  # splice with another
            other = rng.choice(pool)
            return data[:at] + other[rng.randrange(len(other) + 1) :]
        case 4 | 5:
            return data[:at] + rng.choice(_INSERTED) + data[at:]
        case 6:  # repeat or move a line
            lines = data.split(b"\r\n")
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
            return b"\r\n".join(lines)
        case 7:  # swap cases
            return data[:at] + data[at : at + 20].swapcase() + data[at + 20 :]
        case 8:  # another byte
            return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
        case _:  # at the start of a line, where it matters most
            places = [found.end() for found in re.finditer(rb"\r\n", data)] or [0]
            at = rng.choice(places)
            return data[:at] + rng.choice(_INSERTED) + data[at:]


def read_strictly(data: bytes) -> Reading:
    possible: list[Message] = []
    certain, is_certain = 0, True
    while data:
        if data[:2] == b"\r\n":  # RFC 9112 §2.2: one empty line before a request
            data = data[2:]
        try:
            taken = take_request(data, Rules.CLIENT)
        except Violation:
            break
        if taken is None:
            break
        message, size = taken
        possible.append(message)
        is_certain = is_certain and not _may_be_refused(message, data[:size])
        certain += is_certain
        data = data[size:]
        if message.closes:
            break
        if message.get(b"upgrade") is not None:
            is_certain = False
    return Reading(tuple(possible), certain)


def _may_be_refused(message: Message, raw: bytes) -> bool:
    """Whether a rule beyond the grammar may object, or the grammar leaves the choice."""
    target = message.target
    if target.lower().startswith(b"http://case.test"):
        target = target[16:] or b"/"
    names = [name.lower() for name, _ in message.fields]
    return (
        message.method not in _USUAL
        or _PLAIN_PATH.fullmatch(target) is None
        or b"/." in target
        or b"//" in target
        or target.lower().startswith(_RULED)
        or len(raw) > 16000
        or len(names) > 90
        or message.get(b"host") not in (b"case.test", b"neighbour.test")
        or any(name in (b"expect", b"upgrade") for name in names)
        or names.count(b"authorization") > 1
        or bool(message.trailers)
        or (message.framing == "chunked" and b";" in raw)
        or (message.framing == "chunked" and raw.lower().count(b"chunked\t"))  # llhttp refuses this one tab
    )
