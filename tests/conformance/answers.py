"""Bad and odd answers of a backend: what the client may get of them, and nothing of them may stay behind (W1, W12, W18, W20).

`relayed`: the client gets exactly this status, these fields and this content. `failed`: a 502. `cut`: the head was out
already, so the client's connection is cut, and what it has cannot be taken for a whole message.
"""

# ruff: noqa: E501 - tables of bytes are easier to read in long lines
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.conformance.backend import Script

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Relayed:
    status: int = 200
    body: bytes = b"hello"
    fields: Fields = ()
    interims: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerCase:
    id: str
    script: Script
    relayed: Relayed | None = None
    failed: bool = False
    cut: bool = False
    method: bytes = b"GET"
    version: bytes = b"1.1"
    statuses: frozenset[int] = field(default=frozenset({502}))
    alone: bool = False  # more comes on the idle connection: wait for it before anybody may be given that connection


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Evil: 1\r\n\r\nevil"


def answer(
    line: bytes = b"HTTP/1.1 200 OK", *fields: bytes, body: bytes = b"hello", length: bytes | None = b"5"
) -> bytes:
    framing = [b"Content-Length: " + length] if length is not None else []
    return b"\r\n".join([line, *framing, *fields]) + b"\r\n\r\n" + body


def relayed(
    name: str, data: bytes | Script, form: Relayed = Relayed(), *, method: bytes = b"GET", version: bytes = b"1.1"
) -> AnswerCase:
    return AnswerCase(name, data if isinstance(data, Script) else Script((data,)), form, method=method, version=version)


def failed(name: str, data: bytes | Script, *statuses: int, method: bytes = b"GET") -> AnswerCase:
    script = data if isinstance(data, Script) else Script((data,))
    return AnswerCase(name, script, failed=True, method=method, statuses=frozenset(statuses or (502,)))


def cut(name: str, *pieces: bytes, close: bool = True, version: bytes = b"1.1", reset: bool = False) -> AnswerCase:
    """Broken in its content: a 502 while that is possible, else the connection is cut."""
    return AnswerCase(
        name, Script(pieces, close=close, reset=reset, pause_s=0.02), failed=True, cut=True, version=version
    )


def status_lines() -> Iterator[AnswerCase]:
    for line in (
        b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 2", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 0200 OK", b"HTTP/1.1 abc OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 -200 OK", b"HTTP/1.1 +200 OK", b"HTTP/1.1 200.5 OK",
        b"HTTP/1.1  200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 000 OK", b"HTTP/1.1 001 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 99 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 700 OK", b"HTTP/1.1 999 OK", b"HTTP/1.1 1000 OK",
        b"HTTP/1.1 2\x0000 OK", b"HTTP/1.1 200OK", b"HTTP/1.1 OK 200", b"HTTP/1.1 \xb2\xb0\xb0 OK", b"HTTP/2.0 200 OK", b"HTTP/2 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.2 200 OK", b"HTTP/1.10 200 OK", b"HTTP/11 200 OK", b"HTTP/1 200 OK",
        b"HTTP/1,1 200 OK", b"http/1.1 200 OK", b"HTTPS/1.1 200 OK", b"HTP/1.1 200 OK", b"ICY 200 OK", b"RTSP/1.0 200 OK", b"SIP/2.0 200 OK", b"200 OK", b"GET / HTTP/1.1", b"<html>", b"\x00HTTP/1.1 200 OK", b"\x15\x03\x01\x00\x02\x02\x50",
        b"HTTP/1.1 200 a\x00b", b"HTTP/1.1 200 a\x01b", b"HTTP/1.1 200 a\x0bb", b"HTTP/1.1 200 a\x1bb", b"HTTP/1.1 200 a\x7fb", b"HTTP/1.1 200 a\rb", b"HTTP/1.1 200 \x00", b"SSH-2.0-OpenSSH_9.2", b"220 smtp.test ESMTP", b"-ERR unknown", b"\xff\xfe",
        b"HTTP/1.1 200 " + b"a" * 70000, b"Content-Length: 5", b"HTTP/-1.1 200 OK", b"HTTP/1.1 2 00 OK", b"HTTP/1.1 0x200 OK", b"HTTP/1.1 200\x00OK",
    ):  # fmt: skip
        yield failed(f"status-line-{line[:30].decode('latin-1')}-{len(line)}", Script((answer(line),), close=True))
    for line in (
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 ok then",
        b"HTTP/1.1 200 \xc3\xa9",
        b"HTTP/1.1 200 a\tb",
        b"HTTP/1.1 200 200",
        b"HTTP/1.1 200 HTTP/1.1 500",
    ):
        yield relayed(f"reason-{line[13:].decode('latin-1')}", answer(line))
    yield AnswerCase("reason-none", Script((answer(b"HTTP/1.1 200"),)), Relayed(), failed=True)
    yield relayed("version-1.0", Script((answer(b"HTTP/1.0 200 OK"),), close=True))
    yield relayed("version-1.0-keep-alive", answer(b"HTTP/1.0 200 OK", b"Connection: keep-alive"))
    for status in (
        200,
        201,
        202,
        203,
        206,
        207,
        226,
        299,
        300,
        301,
        302,
        307,
        308,
        399,
        400,
        401,
        403,
        404,
        418,
        429,
        451,
        499,
        500,
        501,
        502,
        503,
        504,
        507,
        599,
    ):
        yield relayed(f"status-{status}", answer(b"HTTP/1.1 %d X" % status), Relayed(status))
    for name, data in {
        "empty-line-first": b"\r\n" + OK, "lf-first": b"\n" + OK, "nothing-then-close": b"", "crlf-only": b"\r\n\r\n", "body-only": b"hello", "line-lf": OK.replace(b"OK\r\n", b"OK\n"), "line-cr": OK.replace(b"OK\r\n", b"OK\r"),
        "line-crcrlf": OK.replace(b"OK\r\n", b"OK\r\r\n"), "field-lf": OK.replace(b"5\r\n\r\n", b"5\n\r\n"), "end-lf": OK.replace(b"5\r\n\r\n", b"5\r\n\n"), "end-lflf": OK.replace(b"5\r\n\r\n", b"5\n\n"), "all-lf": OK.replace(b"\r\n", b"\n"),
    }.items():  # fmt: skip
        make = AnswerCase(
            f"lines-{name}", Script((data,), close=True), Relayed() if name == "empty-line-first" else None, failed=True
        )
        yield make


def fields() -> Iterator[AnswerCase]:
    for octet in (*range(32), 127):
        byte = bytes((octet,))
        if octet != 9:
            yield failed(
                f"value-{octet:02x}", Script((answer(b"HTTP/1.1 200 OK", b"X-A: a" + byte + b"b"),), close=True)
            )
        yield failed(f"name-{octet:02x}", Script((answer(b"HTTP/1.1 200 OK", b"X" + byte + b"A: b"),), close=True))
    for octet in (9, *range(128, 256, 9)):
        value = b"a" + bytes((octet,)) + b"b"
        yield relayed(
            f"value-{octet:02x}", answer(b"HTTP/1.1 200 OK", b"X-A: " + value), Relayed(fields=((b"X-A", value),))
        )
    for octet in b' "(),/;<=>?@[\\]{}\x80\xff':
        byte = bytes((octet,))
        yield failed(f"name-{octet:02x}", Script((answer(b"HTTP/1.1 200 OK", b"X" + byte + b"A: b"),), close=True))
    for line in (b": b", b"X-A : b", b"X-A\t: b", b" X-A: b", b"X-A: b\r\n c", b"X-A: b\r\n\tc", b"X-A:\r\n b", b"X-A", b"X-A b", b"X-A: b\rX-B: c", b"X-A: b\nX-B: c", b"X-A: b\r\r\nX-B: c", b"X-A: b\n c", b"HTTP/1.1 200 OK", b"\x00: b",
                 b"Content-Length : 3", b"Transfer-Encoding : chunked", b"Set-Cookie: a\x00=b", b"Location: /\r\n /evil", b"Location: /\x00", b"X-A: " + b"v" * 70000, b"X" * 70000 + b": v"):  # fmt: skip
        yield failed(
            f"field-{line[:30].decode('latin-1')!r}-{len(line)}",
            Script((answer(b"HTTP/1.1 200 OK", line),), close=True),
        )
    for count in (201, 1000, 20000):
        yield failed(f"fields-{count}", Script((answer(b"HTTP/1.1 200 OK", *[b"X-A: b"] * count),), close=True))
    yield failed("head-endless", Script((b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 40000,), close=False))
    kept = (
        (b"X-B", b"1"),
        (b"x-a", b"2"),
        (b"Set-Cookie", b"a=1"),
        (b"X-B", b"3"),
        (b"Set-Cookie", b"b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (b"X_U", b"4"),
        (b"X-E", b""),
    )
    yield relayed(
        "fields-order-case-duplicates",
        answer(b"HTTP/1.1 200 OK", *[name + b": " + value for name, value in kept]),
        Relayed(fields=kept),
    )
    for line in (
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Upgrade: h2c",
        b"TE: x",
        b"Trailer: X-T",
        b"Proxy-Authenticate: Basic",
        b"Connection: X-C\r\nX-C: 1",
        b"Connection: x-c, close\r\nX-C: 1",
        b"Connection: X-C\r\nX-C: 1\r\nConnection: close",
    ):
        yield relayed(
            f"hop-{line.decode()!r}", answer(b"HTTP/1.1 200 OK", line, b"X-A: b"), Relayed(fields=((b"X-A", b"b"),))
        )
    for name in (
        b"Host",
        b"X-Forwarded-For",
        b"Expect",
        b"Content-Encoding",
        b"Content-Type",
        b"ETag",
        b"Server",
        b"Age",
        b"Cache-Control",
        b"Location",
    ):
        yield relayed(
            f"passed-{name.decode()}", answer(b"HTTP/1.1 200 OK", name + b": x"), Relayed(fields=((name, b"x"),))
        )


def framings() -> Iterator[AnswerCase]:
    chunks = b"5\r\nhello\r\n0\r\n\r\n"
    te = b"Transfer-Encoding: chunked"
    for value in (
        b"",
        b"x",
        b"-5",
        b"+5",
        b"5 5",
        b"5,5",
        b"5, 6",
        b"0x5",
        b"5.0",
        b"5_0",
        b"5;",
        b"5\x0b",
        b"99999999999999999999",
        b"18446744073709551621",
        b"1" * 100,
        b"\xef\xbc\x95",
        b"5 hello",
        b"5\x00",
    ):
        yield failed(f"length-{value[:20].decode('latin-1')}", Script((answer(length=value),), close=True))
    for first, second in ((b"5", b"5"), (b"5", b"6"), (b"6", b"5"), (b"0", b"5"), (b"5", b"")):
        data = answer(b"HTTP/1.1 200 OK", b"Content-Length: " + second, length=first)
        yield failed(f"length-twice-{first.decode()}-{second.decode()}", Script((data,), close=True))
    for value in (b"chunked", b"identity", b"gzip, chunked", b"Chunked", b"x"):
        for length in (b"5", b"0", b"15"):
            data = answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: " + value, body=chunks, length=length)
            yield failed(f"both-{value.decode()}-{length.decode()}", Script((data,), close=True))
    for value in (
        b"gzip",
        b"gzip, chunked",
        b"chunked, gzip",
        b"chunked, chunked",
        b"identity",
        b"chunked, identity",
        b"xchunked",
        b"",
        b"chunked;a",
        b"\x0bchunked",
        b"chunked,",
        b",chunked",
    ):
        data = answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: " + value, body=chunks, length=None)
        yield failed(f"coding-{value.decode('latin-1')}", Script((data,), close=True))
    yield failed("coding-twice", Script((answer(b"HTTP/1.1 200 OK", te, te, body=chunks, length=None),), close=True))
    yield AnswerCase(
        "coding-1.0",
        Script((answer(b"HTTP/1.0 200 OK", te, body=chunks, length=None),), close=True),
        Relayed(),
        failed=True,
    )
    for value in (b"chunked", b"CHUNKED", b" chunked "):
        yield relayed(
            f"chunked-{value.decode()}",
            answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding:" + value, body=chunks, length=None),
        )
    yield relayed(
        "chunked-trailers",
        answer(b"HTTP/1.1 200 OK", te, body=b"5\r\nhello\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", length=None),
    )
    data = answer(b"HTTP/1.1 200 OK", te, body=b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n", length=None)
    yield AnswerCase("chunked-trailer-length", Script((data,)), Relayed(), failed=True, cut=True)
    yield relayed(
        "chunked-extensions", answer(b"HTTP/1.1 200 OK", te, body=b"5;a=b\r\nhello\r\n0;c\r\n\r\n", length=None)
    )
    yield relayed(
        "chunked-pieces",
        Script(
            tuple(bytes((octet,)) for octet in answer(b"HTTP/1.1 200 OK", te, body=chunks, length=None)), pause_s=0.001
        ),
    )
    yield relayed("chunked-empty", answer(b"HTTP/1.1 200 OK", te, body=b"0\r\n\r\n", length=None), Relayed(body=b""))
    yield relayed("length-pieces", Script(tuple(bytes((octet,)) for octet in OK), pause_s=0.001))
    yield relayed("length-zero", answer(length=b"0", body=b""), Relayed(body=b""))
    yield relayed("length-leading-zeros", answer(length=b"0005"))
    yield relayed("until-close", Script((answer(length=None),), close=True))
    yield relayed("until-close-later", Script((answer(length=None, body=b"hel"), b"lo"), close=True, pause_s=0.02))
    yield relayed("until-close-empty", Script((answer(length=None, body=b""),), close=True), Relayed(body=b""))
    yield relayed("until-close-to-1.0", Script((answer(length=None),), close=True), version=b"1.0")
    yield relayed("chunked-to-1.0", answer(b"HTTP/1.1 200 OK", te, body=chunks, length=None), version=b"1.0")
    yield cut("until-close-reset", answer(length=None, body=b"hel"), close=False, reset=True)
    head = answer(b"HTTP/1.1 200 OK", te, body=b"", length=None)
    bad_chunks = {
        "no-size": b"\r\nhello\r\n0\r\n\r\n", "size-x": b"x\r\nhello\r\n", "size-minus": b"-5\r\nhello\r\n0\r\n\r\n", "size-0x": b"0x5\r\nhello\r\n0\r\n\r\n", "size-space": b" 5\r\nhello\r\n0\r\n\r\n", "size-huge": b"fffffffffffffffff\r\nhello\r\n",
        "size-lf": b"5\nhello\r\n0\r\n\r\n", "size-cr": b"5\rhello\r\n0\r\n\r\n", "no-end": b"5\r\nhello0\r\n\r\n", "end-lf": b"5\r\nhello\n0\r\n\r\n", "longer": b"5\r\nhello!\r\n0\r\n\r\n", "shorter": b"6\r\nhello\r\n0\r\n\r\n", "nul-extension": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
        "trailer-nul": b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n", "trailer-fold": b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n", "trailer-no-colon": b"5\r\nhello\r\n0\r\nX\r\n\r\n", "last-lf": b"5\r\nhello\r\n0\n\n",
    }  # fmt: skip
    for name, content in bad_chunks.items():
        yield cut(f"chunk-{name}", head + content)
        yield cut(f"chunk-later-{name}", head, content)
        yield cut(f"chunk-after-one-{name}", head + b"3\r\nabc\r\n", content)
        yield (
            cut(f"chunk-open-{name}", head, content, close=False)
            if name not in ("shorter", "size-huge")
            else cut(f"chunk-1.0-{name}", head, content, version=b"1.0")
        )
    for at in (0, 1, 8, 9, 12, 16, 17, 20, 30, len(OK) - 7, len(OK) - 6):
        yield failed(f"cut-head-{at}", Script((OK[:at],), close=True))
        yield failed(f"reset-head-{at}", Script((OK[:at],), reset=True, pause_s=0.02))
    for at in range(len(OK) - 5, len(OK)):
        yield cut(f"cut-content-{at}", OK[:at])
        yield cut(f"cut-content-later-{at}", OK[: len(OK) - 5], OK[len(OK) - 5 : at] or b"h")
        yield cut(f"reset-content-{at}", OK[:at], close=False, reset=True)
        yield cut(f"cut-content-1.0-{at}", OK[:at], version=b"1.0")
    whole = head + chunks
    for at in range(len(head), len(whole)):
        yield cut(f"cut-chunks-{at - len(head)}", whole[:at])
        yield cut(f"cut-chunks-later-{at - len(head)}", head + b"3\r\nabc\r\n", chunks[: at - len(head)])
        yield cut(f"cut-chunks-1.0-{at - len(head)}", whole[:at], version=b"1.0")


def without_content() -> Iterator[AnswerCase]:
    for status in (204, 304):
        plain = b"HTTP/1.1 %d X" % status
        none = Relayed(status, b"")
        yield relayed(f"{status}-plain", answer(plain, body=b"", length=None), none)
        yield relayed(f"{status}-zero", answer(plain, body=b"", length=b"0"), none)
        yield relayed(f"{status}-length", answer(plain, body=b"", length=b"5"), none)
        # content where there can be none: the head may be passed on, the bytes behind it never are
        for name, data in {
            "content": answer(plain, body=EVIL, length=None), "length-content": answer(plain, body=b"hello"), "chunked": answer(plain, b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n", length=None), "evil-length": answer(plain, body=EVIL, length=b"%d" % len(EVIL)),
        }.items():  # fmt: skip
            yield AnswerCase(f"{status}-{name}", Script((data,)), none, failed=True)
            yield AnswerCase(
                f"{status}-{name}-later",
                Script((data[: data.index(b"\r\n\r\n") + 4], data[data.index(b"\r\n\r\n") + 4 :]), pause_s=0.02),
                none,
                failed=True,
                alone=True,
            )
    for method in (b"HEAD",):
        for name, data in {
            "length": answer(body=b"", length=b"5"),
            "chunked": answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"", length=None),
            "none": answer(body=b"", length=None),
            "huge": answer(body=b"", length=b"9999999999"),
        }.items():
            yield relayed(f"head-{name}", data, Relayed(200, b""), method=method)
        for name, data in {
            "content": OK,
            "evil": answer(body=EVIL, length=b"%d" % len(EVIL)),
            "chunks": answer(
                b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n", length=None
            ),
        }.items():
            yield AnswerCase(f"head-with-{name}", Script((data,)), Relayed(200, b""), failed=True, method=method)
            yield AnswerCase(
                f"head-with-{name}-later",
                Script((data[: data.index(b"\r\n\r\n") + 4], data[data.index(b"\r\n\r\n") + 4 :]), pause_s=0.02),
                Relayed(200, b""),
                failed=True,
                method=method,
                alone=True,
            )


def interims() -> Iterator[AnswerCase]:
    def interim(status: int, *lines: bytes) -> bytes:
        return b"\r\n".join([b"HTTP/1.1 %d X" % status, *lines]) + b"\r\n\r\n"

    yield relayed("interim-100", interim(100) + OK)
    yield relayed("interim-100-later", Script((interim(100), OK), pause_s=0.03))
    yield relayed("interim-102", interim(102) + OK, Relayed(interims=(102,)))
    yield relayed("interim-103", interim(103, b"Link: </a>; rel=preload") + OK, Relayed(interims=(103,)))
    yield relayed(
        "interim-103-later", Script((interim(103, b"Link: </a>"), OK), pause_s=0.03), Relayed(interims=(103,))
    )
    yield relayed("interim-199", interim(199) + OK, Relayed(interims=(199,)))
    yield relayed("interim-eight", interim(103) * 8 + OK, Relayed(interims=(103,) * 8))
    yield relayed("interim-103-to-1.0", interim(103) + OK, version=b"1.0")
    for count in (9, 100, 5000):
        yield failed(f"interim-flood-{count}", Script((interim(103) * count + OK,), close=True))
        yield failed(f"interim-flood-100-{count}", Script((interim(100) * count + OK,), close=True))
    yield failed("interim-only", Script((interim(103),), close=True))
    yield failed("interim-endless", Script((b"HTTP/1.1 103 X\r\n" + b"X: y\r\n" * 40000,)))
    for name, data in {
        "101": interim(101), "101-upgrade": interim(101, b"Connection: Upgrade", b"Upgrade: websocket"), "101-then-answer": interim(101, b"Connection: Upgrade", b"Upgrade: websocket") + OK, "101-then-evil": interim(101) + EVIL,
        "101-length": interim(101, b"Content-Length: 5") + b"hello", "101-h2c": interim(101, b"Connection: Upgrade", b"Upgrade: h2c") + b"PRI", "100-then-101": interim(100) + interim(101) + OK,
    }.items():  # fmt: skip
        yield failed(f"unsolicited-{name}", data)
        yield failed(f"unsolicited-{name}-post", data, method=b"POST")
    yield AnswerCase(
        "interim-with-length",
        Script((interim(103, b"Content-Length: 5") + OK,), close=True),
        Relayed(interims=(103,)),
        failed=True,
    )
    yield AnswerCase(
        "interim-with-coding",
        Script((interim(103, b"Transfer-Encoding: chunked") + OK,), close=True),
        Relayed(interims=(103,)),
        failed=True,
    )
    yield failed("interim-control", Script((interim(103, b"X: a\x01b") + OK,), close=True))
    yield failed("interim-fold", Script((interim(103, b"X: a\r\n b") + OK,), close=True))


def behind() -> Iterator[AnswerCase]:
    """Bytes that no request asked for: they are nobody's, above all not the next one's (W1)."""
    chunked = answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n", length=None)
    for name, rest in {
        "answer": EVIL,
        "crlf": b"\r\n",
        "garbage": b"\x00\xff garbage",
        "letter": b"x",
        "interim": b"HTTP/1.1 100 X\r\n\r\n",
        "two": EVIL * 2,
        "half": EVIL[:20],
        "large": b"x" * 200000,
        "chunk": b"5\r\nworld\r\n0\r\n\r\n",
        "request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    }.items():
        for framing, whole in (
            ("length", OK),
            ("chunked", chunked),
            ("zero", answer(length=b"0", body=b"")),
            ("204", answer(b"HTTP/1.1 204 X", length=None, body=b"")),
        ):
            form = Relayed() if framing in ("length", "chunked") else Relayed(204 if framing == "204" else 200, b"")
            yield AnswerCase(f"behind-{framing}-{name}", Script((whole + rest,)), form, failed=framing == "204")
            yield AnswerCase(f"behind-{framing}-{name}-later", Script((whole, rest), pause_s=0.02), form, alone=True)
    yield relayed("behind-close", Script((OK,), close=True))
    yield relayed("behind-reset", Script((OK,), reset=True, pause_s=0.02))
    yield relayed("connection-close", Script((answer(b"HTTP/1.1 200 OK", b"Connection: close"),)))
    yield relayed("connection-close-evil", Script((answer(b"HTTP/1.1 200 OK", b"Connection: close") + EVIL,)))


GROUPS = {
    "status lines": status_lines,
    "fields": fields,
    "framings": framings,
    "without content": without_content,
    "interims": interims,
    "behind": behind,
}
ANSWERS = tuple(case for make in GROUPS.values() for case in make())
