"""Bad and odd requests, grown from the grammar of RFC 9110, RFC 9112 and RFC 3986 by hand and by rule.

Each case says what is allowed: the exact requests that the backend may see of it, and the statuses with which the rest
may be refused, after which the connection must be closed. What is refused must not have reached the backend.
"""

# ruff: noqa: E501 - tables of bytes are easier to read in long lines
from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HOST = b"case.test"
TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~" + (string.digits + string.ascii_letters).encode()
CLOSED = 0  # "refused" by closing without an answer: right where the client left in mid-message
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: case.test\r\n\r\n"

INSIDE = b"Content-Length: %d" % len(SMUGGLED)

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Form:
    """A request as the backend must see it, less what Weir says of the client. `host` None: the endpoint's own."""

    method: bytes = b"GET"
    target: bytes = b"/"
    body: bytes = b""
    host: bytes | None = HOST
    fields: Fields = ()


@dataclass(frozen=True, slots=True)
class Case:
    """`forwarded`, then a refusal with one of `refused` if there are any. `either`: refused at once is right too."""

    id: str
    data: bytes
    forwarded: tuple[Form, ...] = ()
    refused: frozenset[int] = frozenset()
    either: bool = False
    eof: bool = False  # the client shuts its side behind `data`
    answer: int = 200  # to what is forwarded: 101 for a tunnel
    stays: bool = False  # a rule said no to a request that is whole: the connection may go on, in step


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes | None = HOST) -> bytes:
    """A request head; `fields` are whole field lines."""
    lines = [line, *([b"Host: " + host] if host is not None else []), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def passes(name: str, data: bytes, *forms: Form, answer: int = 200) -> Case:
    return Case(name, data, forms or (Form(),), answer=answer)


def refused(name: str, data: bytes, *statuses: int, eof: bool = False) -> Case:
    return Case(name, data, (), frozenset(statuses or (400,)), eof=eof)


def either(name: str, data: bytes, *forms: Form, statuses: Iterable[int] = (400,)) -> Case:
    return Case(name, data, forms or (Form(),), frozenset(statuses), either=True)


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"


def _name(octet: int) -> str:
    return f"{octet:02x}"


CONTROLS = (*range(32), 127)


# -- the request line --


def request_lines() -> Iterator[Case]:
    for octet in CONTROLS:
        byte = bytes((octet,))
        for place, line in {
            "before-method": byte + b"GET / HTTP/1.1",
            "in-method": b"GE" + byte + b"T / HTTP/1.1",
            "after-method": b"GET" + byte + b" / HTTP/1.1",
            "in-target": b"GET /a" + byte + b"b HTTP/1.1",
            "instead-of-space": b"GET /" + byte + b"HTTP/1.1",
            "in-version": b"GET / HTTP/1" + byte + b".1",
            "after-version": b"GET / HTTP/1.1" + byte,
        }.items():
            yield refused(f"line-{place}-{_name(octet)}", head(line), 400, 501, 505)
    for octet in range(128, 256, 5):
        byte = bytes((octet,))
        yield refused(f"line-method-{_name(octet)}", head(b"GE" + byte + b" / HTTP/1.1"), 400, 501)
        yield refused(f"line-version-{_name(octet)}", head(b"GET / HTTP/1.1" + byte), 400, 505)
    for name, line in {
        "two-spaces-first": b"GET  / HTTP/1.1",
        "two-spaces-second": b"GET /  HTTP/1.1",
        "space-first": b" GET / HTTP/1.1",
        "space-last": b"GET / HTTP/1.1 ",
        "word-last": b"GET / HTTP/1.1 x",
        "no-target": b"GET HTTP/1.1",
        "empty-target": b"GET  HTTP/1.1",
        "no-method": b"/ HTTP/1.1",
        "method-only": b"GET",
        "no-version": b"GET /",
        "space-no-version": b"GET / ",
        "space-in-target": b"GET /a b HTTP/1.1",
        "target-twice": b"GET / / HTTP/1.1",
        "quoted": b'"GET / HTTP/1.1"',
        "response": b"HTTP/1.1 200 OK",
        "field": b"Host: x",
        "json": b'{"a": 1}',
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "socks": b"\x05\x01\x00",
        "proxy-v1": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2",
        "proxy-v2": b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c",
    }.items():
        yield refused(f"line-{name}", head(line), 400, 501, 505)
    for version in (
        b"HTTP/0.9 HTTP/0.0 HTTP/1 HTTP/1. HTTP/.1 HTTP/11 HTTP/1.10 HTTP/1.11 HTTP/01.1 HTTP/1.01 HTTP/1,1 HTTP/1-1 HTTP/1:1 "
        b"HTTP/-1.1 HTTP/+1.1 HTTP/1.1.1 HTTP/1.x HTTP/x.1 HTTP/1.1; HTTP/1.1, HTTP/1.2 HTTP/1.9 HTTP/2 HTTP/2.0 HTTP/2.1 HTTP/3 "
        b"HTTP/3.0 HTTP/9.9 HTTP/10.1 http/1.1 Http/1.1 HTTp/1.1 HTTPS/1.1 HTTP\\1.1 HTTP 1.1 HTTP//1.1 /HTTP/1.1 HTTP/1.1/ XHTTP/1.1 "
        b"HTTP/1.1x HTP/1.1 RTSP/1.0 ICE/1.0 SIP/2.0 HTTP/0x1.1 HTTP/1.1%20"
    ).split(b" "):
        yield refused(f"version-{version.decode()}", head(b"GET / " + version), 400, 501, 505)
    yield refused("preface-h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400, 501, 505)
    yield refused("version-0.9-simple", b"GET /\r\n", 400, 505, CLOSED, eof=True)
    for name, data in {
        "line-lf": head().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
        "line-cr": head().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r"),
        "line-crcrlf": head().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\r\n"),
        "line-lfcr": head().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n\r"),
        "field-lf": head().replace(HOST + b"\r\n", HOST + b"\n"),
        "field-cr": head().replace(HOST + b"\r\n", HOST + b"\r"),
        "field-crcrlf": head().replace(HOST + b"\r\n", HOST + b"\r\r\n"),
        "all-lf": head().replace(b"\r\n", b"\n"),
        "all-cr": head().replace(b"\r\n", b"\r"),
        "end-lf": head()[:-2] + b"\n",
        "end-lflf": head()[:-4] + b"\n\n",
        "end-crlflf": head()[:-4] + b"\r\n\n",
        "end-lfcrlf": head()[:-4] + b"\n\r\n",
        "end-crcrlf": head()[:-2] + b"\r\r\n",
        "lf-first": b"\n" + head(),
        "cr-first": b"\r" + head(),
        "crcrlf-first": b"\r\r\n" + head(),
        "two-crlf-first": b"\r\n\r\n" + head(),
        "three-crlf-first": b"\r\n\r\n\r\n" + head(),
        "space-crlf-first": b" \r\n" + head(),
        "nul-first": b"\x00" + head(),
        "bom-first": b"\xef\xbb\xbf" + head(),
    }.items():
        yield refused(f"lines-{name}", data, 400, 501, 505, CLOSED, eof=True)
    yield passes("lines-one-crlf-first", b"\r\n" + head())


# -- methods --

_METHODS = (
    b"DELETE OPTIONS PATCH POST PUT COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY "
    b"CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK GET"
).split()


def methods() -> Iterator[Case]:
    for method in _METHODS:
        yield passes(f"method-{method.decode()}", head(method + b" /m HTTP/1.1"), Form(method, b"/m"))
        if method != b"GET":
            yield either(
                f"method-{method.decode()}-with-body",
                head(method + b" /m HTTP/1.1", b"Content-Length: 2") + b"ok",
                Form(method, b"/m", b"ok"),
            )
    yield passes("method-HEAD", head(b"HEAD /m HTTP/1.1"), Form(b"HEAD", b"/m"))
    yield passes(
        "method-GET-with-body", head(b"GET /m HTTP/1.1", b"Content-Length: 2") + b"ok", Form(b"GET", b"/m", b"ok")
    )
    for method in (
        b"get",
        b"Get",
        b"gET",
        b"post",
        b"GETS",
        b"GE",
        b"G",
        b"XGET",
        b"FOO",
        b"A" * 32,
        b"A" * 33,
        b"A" * 400,
    ):
        yield refused(
            f"method-unknown-{method[:40].decode()}-{len(method)}", head(method + b" / HTTP/1.1"), 400, 405, 501
        )
    for method in (b"TRACE", b"TRACK", b"CONNECT"):
        yield refused(f"method-{method.decode()}", head(method + b" / HTTP/1.1"), 400, 405, 501)
        body = head(method + b" / HTTP/1.1", INSIDE) + SMUGGLED
        yield refused(f"method-{method.decode()}-with-request-inside", body, 400, 405, 501)
    for target in (b"case.test:80", b"case.test:443", b"127.0.0.1:22", b"/", b"http://case.test/", b"*"):
        yield refused(f"connect-{target.decode()}", head(b"CONNECT " + target + b" HTTP/1.1"), 400, 405)
        yield refused(f"connect-{target.decode()}-then", head(b"CONNECT " + target + b" HTTP/1.1") + SMUGGLED, 400, 405)
    for octet in b'"(),/:;<=>?@[\\]{}':
        byte = bytes((octet,))
        yield refused(f"method-byte-{_name(octet)}", head(b"GE" + byte + b"T / HTTP/1.1"), 400, 501)


# -- targets --


def targets() -> Iterator[Case]:
    for octet in range(0x21, 0x7F):
        byte = bytes((octet,))
        if byte in b"#%":
            continue
        for place, target in (("path", b"/a" + byte + b"b"), ("query", b"/a?b" + byte + b"c"), ("last", b"/a" + byte)):
            make = passes if byte.isalnum() or byte in b"-._~!$&'()*+,;=:@/?" else either
            yield make(f"target-{place}-{_name(octet)}", head(b"GET " + target + b" HTTP/1.1"), Form(target=target))
    for octet in range(128, 256, 3):
        byte = bytes((octet,))
        for place, target in (("path", b"/a" + byte + b"b"), ("query", b"/a?b" + byte)):
            yield refused(f"target-{place}-{_name(octet)}", head(b"GET " + target + b" HTTP/1.1"))
    for octet in range(256):
        for escape in {b"%%%02X" % octet, b"%%%02x" % octet}:
            target = b"/a" + escape + b"b"
            data = head(b"GET " + target + b" HTTP/1.1")
            name = f"escape-{escape.decode()[1:]}"
            yield refused(name, data) if octet == 0 else passes(name, data, Form(target=target))
    for octet in (0, 10, 13, 32, 35, 37, 47, 127, 255):
        target = b"/a?b=%%%02X" % octet
        yield passes(f"escape-query-{_name(octet)}", head(b"GET " + target + b" HTTP/1.1"), Form(target=target))
    for tail in (
        b"%",
        b"%1",
        b"%G1",
        b"%1G",
        b"%%",
        b"%%41",
        b"%u0041",
        b"%-1",
        b"%+1",
        b"% 1",
        b"%0x",
        b"%2",
        b"%\xff\xff",
        b"%ZZ",
    ):
        name = tail.decode("latin-1")
        yield refused(f"bad-escape-{name}", head(b"GET /a" + tail + b" HTTP/1.1"))
        if b" " not in tail and b"\xff" not in tail:
            yield either(f"bad-escape-query-{name}", head(b"GET /a?" + tail + b" HTTP/1.1"), Form(target=b"/a?" + tail))
    for dots in (
        b"/. /.. /./ /../ /a/. /a/.. /a/./b /a/../b /a/b/../../../c /%2e /%2E%2e /.%2e /%2e. /a/%2e%2e/b /a/.%2E/b /%2e/ /../../etc/passwd "
        b"/a/..;/b /..;/ /a/..;x=1/b /a/..%2fb /a/..%5cb /a/..\\b /a\\..\\b /..%00/ /a/%2e%2e%2fb /a/%252e%252e/b"
    ).split(b" "):
        data = head(b"GET " + dots + b" HTTP/1.1")
        plain = dots.lower().replace(b"%2e", b".")
        is_dotted = any(segment in (b".", b"..") for segment in plain.split(b"/"))
        make = (
            refused(f"dots-{dots.decode()}", data)
            if is_dotted
            else either(f"dots-{dots.decode()}", data, Form(target=dots))
        )
        yield make
    for target in (b"//", b"///", b"//a", b"/a//b", b"/a//", b"/...", b"/.a", b"/a.", b"/a..b", b"/..a", b"/a..", b"/~a", b"/a;b=c", b"/a?", b"/?",
                   b"/a?b?c", b"/a?/../b", b"/a?//", b"/?a=%2F%2e%2E", b"/a:b", b"/@x", b"/a@b", b"/a/b/", b"/%41", b"/%7Ea", b"/a%2Fb%2Fc", b"/http://x/",
                   b"/a?http://x/", b"/*", b"/" + b"a" * 2000, b"/" + b"a/" * 500):  # fmt: skip
        yield passes(
            f"target-{target[:30].decode()}-{len(target)}", head(b"GET " + target + b" HTTP/1.1"), Form(target=target)
        )
    for target in (b"a", b"a/b", b"*", b"?a", b"http", b"http:", b"http:/", b"http:/a", b"http:a", b"http://", b"http:///", b"http:///a", b"http://?a",
                   b"://case.test/", b"//case.test:80x", b"ftp://case.test/", b"ws://case.test/", b"file:///etc/passwd", b"javascript:1", b"case.test",
                   b"case.test:80", b"case.test/", b"127.0.0.1:80", b"@case.test", b"data:,x", b"httpx://case.test/", b"h\xc3\xa9", b"\\", b"\\a", b"..",
                   b"%2F", b".", b";a", b"http://case.test:80", b"http://u@case.test/", b"http://u:p@case.test/", b"http://case.test@evil.test/",
                   b"http://evil.test/", b"http://evil.test:80/", b"http://case.test:8080/", b"http://case.test./", b"http://case.test\\@evil.test/",
                   b"http://evil.test\\case.test/", b"http://case.test:/", b"http://[::1]/", b"http://case.test#a/", b"http://case.test/#a",
                   b"http://case.test /", b"http://case.test%2f/", b"http://case%2etest/", b"http:\\\\case.test/", b"http://case.test:80:80/",
                   b"http://case.test,evil.test/"):  # fmt: skip
        if target == b"//case.test:80x":
            yield passes("target-two-slashes-authority", head(b"GET " + target + b" HTTP/1.1"), Form(target=target))
            continue
        yield refused(f"target-form-{target.decode('latin-1')}", head(b"GET " + target + b" HTTP/1.1"))
    for target, form in (
        (b"http://case.test/", b"/"),
        (b"http://case.test", b"/"),
        (b"http://case.test/a?b", b"/a?b"),
        (b"http://case.test?b", b"/?b"),
        (b"HTTP://case.test/a", b"/a"),
        (b"http://CASE.test/a", b"/a"),
        (b"http://case.test//a", b"//a"),
        (b"http://case.test/a?", b"/a?"),
        (b"http://case.test/http://b/", b"/http://b/"),
    ):
        yield passes(f"absolute-{target.decode()}", head(b"GET " + target + b" HTTP/1.1"), Form(target=form))
    yield either("absolute-https", head(b"GET https://case.test/a HTTP/1.1"), Form(target=b"/a"))
    for name, target in {"plain": b"/a#b", "empty": b"/a#", "first": b"/#", "query": b"/a?b#c", "only": b"#a"}.items():
        yield refused(f"fragment-{name}", head(b"GET " + target + b" HTTP/1.1"))
    for target in (b"*", b"/*", b"**", b"*/", b"http://case.test/*"):
        if target in (b"/*", b"http://case.test/*"):
            yield passes(
                f"options-{target.decode()}", head(b"OPTIONS " + target + b" HTTP/1.1"), Form(b"OPTIONS", b"/*")
            )
        else:
            yield refused(f"options-{target.decode()}", head(b"OPTIONS " + target + b" HTTP/1.1"))
    yield passes("absolute-1.0-no-host", head(b"GET http://case.test/a HTTP/1.0", host=None), Form(target=b"/a"))
    yield refused("absolute-1.1-no-host", head(b"GET http://case.test/a HTTP/1.1", host=None))
    yield refused("absolute-1.1-empty-host", head(b"GET http://case.test/a HTTP/1.1", host=b""))


_GUARDED = (
    b"/admin /admin/ /admin/x //admin /admin//x /%61dmin/x /%61%64%6d%69%6e /admin?x /admin/?x /x/..%2fadmin/x /x/..%2Fadmin /x%2f..%2fadmin "
    b"/x/..%5cadmin /x\\..\\admin /x/../admin /./admin /x/%2e%2e/admin /x/.%2e/admin /x;/../admin /x/..;/admin /admin;x /admin;x/y /admin%3bx/y "
    b"/admin%2fx /admin%5cx /admin\\x /%2fadmin/x /%5cadmin/x /\\admin/x /x/..%252fadmin /x/%252e%252e/admin /%2561dmin/x /%252fadmin /admin%252fx "
    b"/admin/..%2fadmin /x/y/..%2f..%2fadmin/z /x%2f%2e%2e%2fadmin /x%5c%2e%2e%5cadmin /x/..;y/admin /x/%2e%2e;/admin /x/%2e%2e%3b/admin /;/admin /;x/admin/y "
    b"/x/..//admin /x/..\\admin /x/%2e%2e%5cadmin /%2e/admin /.;/admin/x /%3b/admin /admin%00 /admin%00/x /x%00/../admin "
    b"http://case.test/admin http://case.test//admin http://case.test/%61dmin"
).split(b" ")


def guarded_paths() -> Iterator[Case]:
    """No spelling of a path that asks for a user gets past that rule; a reading of it that could is refused."""
    for target in dict.fromkeys(_GUARDED):
        for method in (b"GET", b"POST"):
            data = head(method + b" " + target + b" HTTP/1.1")
            yield Case(f"guarded-{method.decode()}-{target.decode()}", data, (), frozenset({400, 401}), stays=True)


# -- Host --


def hosts() -> Iterator[Case]:
    for octet in range(0x21, 0x7F):
        byte = bytes((octet,))
        value = b"a" + byte + b"b.test"
        data = head(host=value)
        name = f"host-byte-{_name(octet)}"
        if byte.isalnum() or byte in b"-._~!$&'()*+,;=":
            make = passes if byte.isalnum() or byte in b"-._" else either
            yield make(name, data, Form(host=value))
        else:
            yield refused(name, data)
    for octet in (*range(0, 33), *range(127, 256, 4)):
        value = b"a" + bytes((octet,)) + b"b.test"
        yield refused(f"host-byte-{_name(octet)}", head(host=value))
    for value in (b"a a", b"a,b", b"a, b", b"a:b", b"a:", b"a:0", b"a:00080", b"a:1", b"a:65535", b"a:65536", b"a:99999", b"a:100000", b"a:-1", b"a:+80", b"a: 80",
                  b"a :80", b"a:8o", b"a:80:80", b"a:80a", b"a::80", b"a:0x50", b"a:\xd9\xa1", b":80", b":", b"", b"@a", b"a@b", b"u:p@b", b"a/", b"a/b", b"/a", b"a?b",
                  b"a#b", b"a\\b", b"http://a", b"http://a/", b"[::1]", b"[::1]:80", b"[::1]:", b"[::1]x", b"[::1]:x", b"[::1", b"::1", b"[]", b"[:]", b"[::1::]",
                  b"[12345::1]", b"[1:2:3:4:5:6:7]", b"[1:2:3:4:5:6:7:8]", b"[1:2:3:4:5:6:7:8:9]", b"[::ffff:1.2.3.4]", b"[::1.2.3.400]", b"[fe80::1%eth0]",
                  b"[fe80::1%25eth0]", b"[v1.x]", b"[g::1]", b"[1.2.3.4]", b"[[::1]]", b"[::1]]", b"x[::1]", b"[::1]:65536", b"127.0.0.1", b"127.0.0.1:80",
                  b"1.2.3.4.5", b"256.1.1.1", b"a.", b"a..", b".", b"..", b".a", b"a..b", b"a.:80", b"-a", b"a-", b"a_b", b"A.TEST", b"xn--bcher-kva.test", b"a%41",
                  b"a%", b"a%4", b"a%zz", b"a%00b", b"a%2fb", b"a%0d%0ab", b"*", b"*.test", b"localhost", b"a" * 63 + b".test", b"a" * 255, b"a" * 256, b"a." * 200,
                  b'"a"', b"<a>", b"{a}", b"${a}", b"a;b", b"a=b", b"a&b", b"a|b", b"a^b", b"a`b", b"\xc3\xa9.test", b"a\xff"):  # fmt: skip
        data = head(host=value)
        name = f"host-{value[:30].decode('latin-1')}-{len(value)}"
        plain = value.replace(b".", b"").replace(b"-", b"").replace(b":", b"")
        if value in _GOOD_HOSTS:
            yield passes(name, data, Form(host=value))
        elif value in _ODD_HOSTS or (
            plain and plain.isalnum() and value.isascii() and b":" not in value and len(value) <= 255
        ):
            yield either(name, data, Form(host=value))
        else:
            yield refused(name, data)
    yield refused("host-none", head(host=None))
    for first, second in itertools.product((b"Host: a", b"host: a", b"HOST: b", b"Host:", b"Host: a,b"), repeat=2):
        data = b"\r\n".join((b"GET / HTTP/1.1", first, second)) + b"\r\n\r\n"
        yield refused(f"host-twice-{first.decode()}-{second.decode()}", data)
    apart = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nAccept: */*\r\nhOST: a\r\n\r\n"
    yield refused("host-twice-apart", apart)
    for name, line in {
        "space-colon": b"Host : a", "tab-colon": b"Host\t: a", "fold-before": b"Host:\r\n a", "fold-after": b"Host: a\r\n b", "fold-tab": b"Host: a\r\n\tb",
        "space-first": b" Host: a", "nul": b"Host: a\x00", "nul-name": b"Ho\x00st: a", "cr": b"Host: a\rb", "lf": b"Host: a\nX: b", "vt": b"Host: a\x0b",
        "ff": b"Host: \x0ca", "no-colon": b"Host a", "semicolon": b"Host; a", "underscore": b"H_ost: a", "quoted": b'"Host": a',
    }.items():  # fmt: skip
        yield refused(f"host-line-{name}", b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n")
    for name, line in {
        "no-space": b"Host:a.test",
        "tab": b"Host:\ta.test",
        "spaces": b"Host:   a.test   ",
        "upper": b"HOST: a.test",
        "tab-after": b"host: a.test\t",
    }.items():
        yield passes(f"host-line-{name}", b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n", Form(host=b"a.test"))
    yield passes(
        "host-last", b"GET / HTTP/1.1\r\nA: b\r\nHost: a.test\r\n\r\n", Form(host=b"a.test", fields=((b"A", b"b"),))
    )


_GOOD_HOSTS = frozenset(
    (b"a:1", b"a:65535", b"[::1]", b"[::1]:80", b"[1:2:3:4:5:6:7:8]", b"[::ffff:1.2.3.4]", b"127.0.0.1", b"127.0.0.1:80", b"a.", b"A.TEST", b"localhost",
     b"xn--bcher-kva.test", b"a" * 63 + b".test", b"a_b")
)  # fmt: skip
_ODD_HOSTS = frozenset(
    (
        b"a:",
        b"a:0",
        b"a:00080",
        b"[::1]:",
        b"a.:80",
        b"a%41",
        b"a%00b",
        b"a%2fb",
        b"a%0d%0ab",
        b"*",
        b"*.test",
        b"a,b",
        b"a;b",
        b"a=b",
        b"a&b",
        b"256.1.1.1",
    )
)


# -- field names and values --


def field_names() -> Iterator[Case]:
    for octet in range(256):
        byte = bytes((octet,))
        name = b"X-A" + byte + b"b"
        case = f"name-byte-{_name(octet)}"
        data = head(b"GET / HTTP/1.1", name + b": v")
        if byte == b"_":
            yield passes(case, data)
        elif byte == b":":
            yield passes(case, data, Form(fields=((b"X-A", b"b: v"),)))
        elif byte in TOKEN_CHARACTERS:
            yield passes(case, data, Form(fields=((name, b"v"),)))
        else:
            yield refused(case, data)
    for octet in (*CONTROLS, 32, 34, 40, 41, 44, 47, 59, 60, 61, 62, 63, 64, 91, 92, 93, 123, 125, 128, 255):
        byte = bytes((octet,))
        yield refused(f"name-first-{_name(octet)}", head(b"GET / HTTP/1.1", byte + b"X-A: v"))
        yield refused(f"name-last-{_name(octet)}", head(b"GET / HTTP/1.1", b"X-A" + byte + b": v"))
    for name, line in {
        "empty": b": v", "empty-only": b":", "no-colon": b"X-A v", "no-colon-word": b"X-A", "space": b" : v", "two-spaces": b"X-A  : v",
        "equals": b"X-A=v", "xml": b"<a>: v", "request-line": b"GET / HTTP/1.1", "status-line": b"HTTP/1.1 200 OK", "utf-8": "é: v".encode(),
    }.items():  # fmt: skip
        yield refused(f"name-{name}", head(b"GET / HTTP/1.1", line))
    yield passes(
        "name-long", head(b"GET / HTTP/1.1", b"X-" + b"a" * 4000 + b": v"), Form(fields=((b"X-" + b"a" * 4000, b"v"),))
    )
    yield passes("name-one", head(b"GET / HTTP/1.1", b"A: v"), Form(fields=((b"A", b"v"),)))
    yield passes("name-digits", head(b"GET / HTTP/1.1", b"123: v"), Form(fields=((b"123", b"v"),)))


def field_values() -> Iterator[Case]:
    for octet in range(256):
        byte = bytes((octet,))
        for place, value in (("middle", b"a" + byte + b"b"), ("last", b"a" + byte), ("first", byte + b"a")):
            data = head(b"GET / HTTP/1.1", b"X-A: " + value)
            case = f"value-{place}-{_name(octet)}"
            if octet in CONTROLS and octet != 9:
                yield refused(case, data)
            else:
                yield passes(case, data, Form(fields=((b"X-A", value.strip(b" \t")),)))
    for name, value, kept in (
        ("empty", b"", b""),
        ("space", b" ", b""),
        ("spaces-tabs", b" \t \t", b""),
        ("no-space", b"v", b"v"),
        ("around", b" \t v \t ", b"v"),
        ("inside", b" a \t b", b"a \t b"),
        ("colons", b" ::::", b"::::"),
        ("quote", b' "a', b'"a'),
        ("utf-8", " é€😀".encode(), "é€😀".encode()),
        ("latin-1", b" \xe9\xff\x80", b"\xe9\xff\x80"),
        ("bad-utf-8", b" \xc0\xaf\xed\xa0\x80", b"\xc0\xaf\xed\xa0\x80"),
        ("escaped", b" %0d%0aX: y", b"%0d%0aX: y"),
        ("backslashes", b" \\r\\nX: y", b"\\r\\nX: y"),
        ("crlf-like", " ġ嘊嘍".encode(), "ġ嘊嘍".encode()),
        ("long", b" " + b"v" * 6000, b"v" * 6000),
    ):
        yield passes(f"value-{name}", head(b"GET / HTTP/1.1", b"X-A:" + value), Form(fields=((b"X-A", kept),)))
    for name, lines in {
        "fold-space": b"X-A: a\r\n b", "fold-tab": b"X-A: a\r\n\tb", "fold-empty": b"X-A:\r\n b", "fold-two": b"X-A: a\r\n b\r\n c", "fold-blank": b"X-A: a\r\n \r\nX-B: c",
        "fold-field": b"X-A: a\r\n X-B: c", "fold-first": b" X-A: a", "fold-length": b"X-A: a\r\n Content-Length: 5", "fold-te": b"Transfer-Encoding:\r\n chunked",
        "fold-lf": b"X-A: a\n b", "fold-cr": b"X-A: a\r b", "lf": b"X-A: a\nX-B: b", "cr": b"X-A: a\rX-B: b", "crcr": b"X-A: a\r\r\nX-B: b", "lfcr": b"X-A: a\n\rX-B: b",
        "lflf": b"X-A: a\n\nX-B: b", "nul-crlf": b"X-A: a\x00\r\nX-B: b", "cr-lf-apart": b"X-A: a\r \nX-B: b",
    }.items():  # fmt: skip
        yield refused(f"value-{name}", head(b"GET / HTTP/1.1", lines))
    order = (b"X-B: 1", b"x-a: 2", b"X-B: 3", b"X-A: 4", b"Cookie: a=1", b"Cookie: b=2", b"Accept: a", b"Accept: b")
    kept = tuple((line.partition(b": ")[0], line.partition(b": ")[2]) for line in order)
    yield passes("fields-order-case-duplicates", head(b"GET / HTTP/1.1", *order), Form(fields=kept))


# -- Content-Length, Transfer-Encoding --

_BAD_LENGTHS = (
    b"", b" ", b"+5", b"-5", b"-0", b"+0", b"5 5", b"5,5", b"5, 5", b"5,", b",5", b"5, 6", b"0x5", b"5x", b"x5", b"5.0", b"5e0", b"5_0", b"_5", b"5;", b'"5"', b"'5'", b"five",
    b"\xef\xbc\x95", b"\xd9\xa5", b"5\x0b", b"\x0b5", b"5\x0c", b"5\x00", b"\x005", b"5\x01", b"5\x7f", b"5\x85", b"5\xa0", b"\xa05", b"5\r", b"5\n", b"5\r\n 5", b"5\r\n\t",
    b"\r\n 5", b"18446744073709551616", b"18446744073709551621", b"99999999999999999999", b"00000000000000000005", b"1" * 100, b"5\\r\\n", b"5%20", b"(5)", b"5/5", b"5-5", b"NaN",
    b"inf", b"0b101", b"0o5", b"5L", b"5\t5", b"5=5", b"chunked", b"\xff", b"5\xff",
)  # fmt: skip


def content_lengths() -> Iterator[Case]:
    for value in _BAD_LENGTHS:
        name = value[:24].decode("latin-1")
        for method in (b"POST", b"GET"):
            data = head(method + b" / HTTP/1.1", b"Content-Length: " + value) + b"hello"
            yield refused(f"length-{method.decode()}-{name}-{len(value)}", data, 400, 413)
    for value in (b"5", b"05", b"005", b"0000000000000000005", b" 5", b"5 ", b"\t5\t", b"  5  "):
        data = head(b"POST / HTTP/1.1", b"Content-Length:" + value) + b"hello"
        yield passes(f"length-good-{value.decode()}", data, Form(b"POST", body=b"hello"))
    for value in (b"0", b"00", b"0000000000000000000"):
        yield passes(
            f"length-zero-{value.decode()}", head(b"POST / HTTP/1.1", b"Content-Length: " + value), Form(b"POST")
        )
    for name in (b"content-length", b"CONTENT-LENGTH", b"Content-length", b"cOnTeNt-LeNgTh"):
        data = head(b"POST / HTTP/1.1", name + b": 5") + b"hello"
        yield passes(f"length-case-{name.decode()}", data, Form(b"POST", body=b"hello"))
    for first, second in itertools.product((b"5", b"0", b"6", b"44", b""), repeat=2):
        data = head(b"POST / HTTP/1.1", b"Content-Length: " + first, b"Content-Length: " + second) + b"hello" + SMUGGLED
        yield refused(f"length-twice-{first.decode()}-{second.decode()}", data)
    for name in (b"content-length", b"CONTENT-LENGTH"):
        data = head(b"POST / HTTP/1.1", b"Content-Length: 5", b"X-A: b", name + b": 5") + b"hello"
        yield refused(f"length-twice-apart-{name.decode()}", data)
    for line in (b"Content-Length : 5", b"Content-Length\t: 5", b" Content-Length: 5", b"Content-Length: 5\x00", b"Content-Length\x00: 5", b"Content-Length\x0b: 5", b"Content-Length\xa0: 5",
                 b"Content Length: 5", b"Content-Length 5", b"Content-Length; 5", b"\x00Content-Length: 5", b"\xefContent-Length: 5", b'"Content-Length": 5'):  # fmt: skip
        yield refused(f"length-line-{line.decode('latin-1')}", head(b"POST / HTTP/1.1", line) + b"hello")
    for name in (b"Content_Length", b"CONTENT_LENGTH", b"Content_length"):
        data = head(b"POST / HTTP/1.1", name + b": 43") + SMUGGLED
        yield passes(f"length-{name.decode()}", data, Form(b"POST"), Form(target=b"/smuggled"))
    for name in (
        b"Content-Lengt",
        b"XContent-Length",
        b"Content-LengthX",
        b"Content--Length",
        b"ContentLength",
        b"Content.Length",
    ):
        data = head(b"POST / HTTP/1.1", name + b": 43") + SMUGGLED
        yield passes(f"length-{name.decode()}", data, Form(b"POST", fields=((name, b"43"),)), Form(target=b"/smuggled"))
    for value in (b"1001", b"9999999999", b"9223372036854775807", b"9223372036854775808", b"9999999999999999999"):
        yield refused(
            f"length-too-large-{value.decode()}", head(b"POST /small/a HTTP/1.1", b"Content-Length: " + value), 413, 400
        )
    yield passes(
        "length-at-the-limit",
        head(b"POST /small/a HTTP/1.1", b"Content-Length: 1000") + b"a" * 1000,
        Form(b"POST", b"/small/a", b"a" * 1000),
    )


_BAD_CODINGS = (
    b"", b" ", b"chunked,", b",chunked", b", chunked", b"chunked ,", b"chunked,,", b"chunked, chunked", b"chunked,chunked", b"chunked chunked", b"identity", b"identity, chunked",
    b"chunked, identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"deflate", b"deflate, chunked", b"compress", b"br", b"br, chunked", b"x", b"x, chunked", b"xchunked", b"chunkedx",
    b"chunke", b"chunked1", b"chunked;", b"chunked;q=1", b"chunked; a=b", b"chunked=1", b'"chunked"', b"'chunked'", b"(chunked)", b"chun ked", b"chun\tked", b"ch\xc3\xbcnked",
    b"\x0bchunked", b"chunked\x0b", b"chunked\x0c", b"chunked\x00", b"\x00chunked", b"chunked\x7f", b"chunked\xa0", b"\xa0chunked", b"chunked\xff", b"chunked\r", b"chunked\n", b"chunked\r\n ",
    b"\r\n chunked", b"\r\n\tchunked", b"chunked\r\n , gzip", b"chunked/1", b"chunked:", b":chunked", b"trailers", b"cow", b"none", b"null", b"*", b"5", b"chunked, x", b"chunked\t,", b"c h u n k e d",
    b"\xef\xbb\xbfchunked", b"chunKed\xcc\x88", b"chun\xe2\x84\xaaed", b"-chunked", b"chunked-", b"chunked%20", b"chunked\\r\\n",
)  # fmt: skip


def transfer_encodings() -> Iterator[Case]:
    content = chunked(b"hello")
    for value in _BAD_CODINGS:
        name = value.decode("latin-1")
        data = head(b"POST / HTTP/1.1", b"Transfer-Encoding: " + value) + content
        yield refused(f"coding-{name}", data, 400, 501)
        if value.isascii() and b"\r" not in value and b"\n" not in value:
            yield refused(
                f"coding-get-{name}", head(b"GET / HTTP/1.1", b"Transfer-Encoding: " + value) + content, 400, 501
            )
    for value in (b"chunked", b"CHUNKED", b"Chunked", b"cHuNkEd", b" chunked ", b"\tchunked ", b"  chunked"):
        data = head(b"POST / HTTP/1.1", b"Transfer-Encoding:" + value) + content
        yield passes(f"coding-good-{value.decode()}", data, Form(b"POST", body=b"hello"))
    for name in (b"transfer-encoding", b"TRANSFER-ENCODING", b"Transfer-encoding"):
        data = head(b"POST / HTTP/1.1", name + b": chunked") + content
        yield passes(f"coding-case-{name.decode()}", data, Form(b"POST", body=b"hello"))
    for first, second in itertools.product((b"chunked", b"identity", b"gzip", b"", b"x", b"CHUNKED"), repeat=2):
        data = head(b"POST / HTTP/1.1", b"Transfer-Encoding: " + first, b"transfer-encoding: " + second) + content
        yield refused(f"coding-twice-{first.decode()}-{second.decode()}", data, 400, 501)
    for line in (b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding\x0b: chunked",
                 b"Transfer-Encoding\xa0: chunked", b"Transfer Encoding: chunked", b"Transfer-Encoding chunked", b"Transfer-Encoding; chunked", b"\x00Transfer-Encoding: chunked",
                 b"\x01Transfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X:\nTransfer-Encoding: chunked"):  # fmt: skip
        yield refused(f"coding-line-{line.decode('latin-1')}", head(b"POST / HTTP/1.1", line) + content)
        yield refused(
            f"coding-line-length-{line.decode('latin-1')}",
            head(b"POST / HTTP/1.1", b"Content-Length: 5", line) + content,
        )
    for version in (b"1.0",):
        for value in (b"chunked", b"identity", b"gzip, chunked"):
            data = head(b"POST / HTTP/" + version + b"", b"Transfer-Encoding: " + value) + content
            yield refused(f"coding-1.0-{value.decode()}", data, 400, 501)
            keep = (
                head(b"POST / HTTP/" + version, b"Connection: keep-alive", b"Transfer-Encoding: " + value)
                + content
                + SMUGGLED
            )
            yield refused(f"coding-1.0-keep-alive-{value.decode()}", keep, 400, 501)
    data = head(b"POST / HTTP/1.1", b"Transfer_Encoding: chunked", b"Content-Length: 15") + content
    yield passes("coding-underscore", data, Form(b"POST", body=content))
    lengths = (b"0", b"5", b"15", b"44", b"999", b"x")
    codings = (
        b"chunked",
        b"Chunked",
        b"identity",
        b"chunked, identity",
        b"gzip, chunked",
        b"xchunked",
        b"chunked;a=b",
        b"\x0bchunked",
    )
    for length, coding in itertools.product(lengths, codings):
        lines = (b"Content-Length: " + length, b"Transfer-Encoding: " + coding)
        for order, pair in (("cl-te", lines), ("te-cl", lines[::-1])):
            name = f"both-{order}-{length.decode()}-{coding.decode()}"
            yield refused(name, head(b"POST / HTTP/1.1", *pair) + content + SMUGGLED, 400, 501)
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT"):
        data = head(method + b" / HTTP/1.1", b"Content-Length: 5", b"Transfer-Encoding: chunked") + content
        yield refused(f"both-{method.decode()}", data)
        yield passes(
            f"coding-method-{method.decode()}",
            head(method + b" / HTTP/1.1", b"Transfer-Encoding: chunked") + content,
            Form(method, body=b"hello"),
        )


# -- chunks --

_BAD_SIZES = (
    b"", b" ", b"x", b"0x5", b"+5", b"-5", b"-0", b"5 ", b" 5", b"\t5", b"5\t", b"5\x0b", b"5\x00", b"\x005", b"5\xa0", b"5\x85", b"5g", b"g5", b"5.0", b"5,", b"5:", b"5=", b"5_0", b"5 5", b"5h", b"5\r",
    b"5\n", b"\r5", b"\n5", b"\xef\xbc\x95", b'"5"', b"5\\", b"5/", b"0x", b"FFFFFFFFFFFFFFFFF", b"10000000000000005", b"100000000000000005", b"1" * 40, b"5%20", b"%35", b"(5)", b"5#",
)  # fmt: skip
_TE = b"Transfer-Encoding: chunked"


def chunks() -> Iterator[Case]:
    post = head(b"POST / HTTP/1.1", _TE)
    form = Form(b"POST", body=b"hello")
    for size in _BAD_SIZES:
        yield refused(f"chunk-size-{size.decode('latin-1')}", post + size + b"\r\nhello\r\n0\r\n\r\n")
    for size in (b"5", b"05", b"0000000000000005"):
        yield passes(f"chunk-size-good-{size.decode()}", post + size + b"\r\nhello\r\n0\r\n\r\n", form)
    yield either("chunk-size-long-zeros", post + b"0" * 30 + b"5\r\nhello\r\n0\r\n\r\n", form)
    for last in (b"0", b"00", b"0000000000000000"):
        yield passes(f"chunk-last-{last.decode()}", post + b"5\r\nhello\r\n" + last + b"\r\n\r\n", form)
    for size in (b"a", b"A"):
        yield passes(
            f"chunk-hex-{size.decode()}",
            post + size + b"\r\n0123456789\r\n0\r\n\r\n",
            Form(b"POST", body=b"0123456789"),
        )
    yield passes("chunk-one-by-one", post + chunked(*[bytes((octet,)) for octet in b"hello"]), form)
    yield passes("chunk-empty", post + b"0\r\n\r\n", Form(b"POST"))
    for extension in (b";a", b";a=b", b';a="b"', b';a="b;c"', b";a;b;c=d", b';a="\\"x"', b";" + b"a" * 200):
        yield either(
            f"chunk-extension-{extension[:20].decode()}",
            post + b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n",
            form,
        )
    for extension in (
        b" ;a",
        b"; a",
        b" ; a = b",
        b";a= b",
        b";a =b",
        b";",
        b";;",
        b";=",
        b";=b",
        b";a=",
        b';a="',
        b';a="b',
        b";a b",
        b";a=b c",
        b";\x80",
        b';a="\xe9"',
        b";a=\x80",
        b";(",
        b";a/b",
    ):
        yield either(
            f"chunk-odd-extension-{extension.decode('latin-1')}",
            post + b"5" + extension + b"\r\nhello\r\n0\r\n\r\n",
            form,
        )
    for extension in (
        b";a\x00",
        b";\x00",
        b";a=\x00",
        b";a=\x01",
        b";a=\x7f",
        b';a="\x00"',
        b';a="\n"',
        b";a\n",
        b";a\r",
        b";a\rb",
        b";a\n\r",
        b";a=b\n",
        b';a="\r\n"',
        b";a\nhello",
    ):
        yield refused(
            f"chunk-bad-extension-{extension.decode('latin-1')!r}", post + b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"
        )
    for octet in CONTROLS:
        if octet == 9:
            continue
        byte = bytes((octet,))
        yield refused(f"chunk-extension-control-{_name(octet)}", post + b"5;a" + byte + b"b\r\nhello\r\n0\r\n\r\n")
        yield refused(f"chunk-size-control-{_name(octet)}", post + b"5" + byte + b"\r\nhello\r\n0\r\n\r\n")
        yield refused(f"chunk-end-control-{_name(octet)}", post + b"5\r\nhello" + byte + b"\r\n0\r\n\r\n")
        yield refused(f"chunk-last-control-{_name(octet)}", post + b"5\r\nhello\r\n0" + byte + b"\r\n\r\n")
    for name, content in {
        "lf-after-size": b"5\nhello\r\n0\r\n\r\n", "cr-after-size": b"5\rhello\r\n0\r\n\r\n", "crcrlf-after-size": b"5\r\r\nhello\r\n0\r\n\r\n", "lf-after-data": b"5\r\nhello\n0\r\n\r\n",
        "cr-after-data": b"5\r\nhello\r0\r\n\r\n", "lfcr-after-data": b"5\r\nhello\n\r0\r\n\r\n", "nothing-after-data": b"5\r\nhello0\r\n\r\n", "xx-after-data": b"5\r\nhelloXX0\r\n\r\n",
        "space-after-data": b"5\r\nhello \r\n0\r\n\r\n", "two-crlf-after-data": b"5\r\nhello\r\n\r\n0\r\n\r\n", "longer": b"5\r\nhello!\r\n0\r\n\r\n", "shorter": b"6\r\nhello\r\n0\r\n\r\n",
        "lf-after-last": b"5\r\nhello\r\n0\n\r\n", "cr-after-last": b"5\r\nhello\r\n0\r\r\n", "lf-end": b"5\r\nhello\r\n0\r\n\n", "cr-end": b"5\r\nhello\r\n0\r\n\rX", "lflf-end": b"5\r\nhello\r\n0\n\n",
        "all-lf": b"5\nhello\n0\n\n", "crlf-first": b"\r\n5\r\nhello\r\n0\r\n\r\n", "space-first": b" 5\r\nhello\r\n0\r\n\r\n", "not-chunked": b"hello", "request": SMUGGLED,
    }.items():  # fmt: skip
        yield refused(f"chunk-{name}", post + content, 400, CLOSED, eof=True)
    for trailers in (b"X-A: b\r\n", b"X-A: b\r\nX-C: d\r\n", b"Content-Length: 44\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil.test\r\n", b"Authorization: x\r\n", b"X-A:\r\n", b"X-Forwarded-For: 1.2.3.4\r\n",
                     b"Connection: close\r\n", b"Cookie: a=b\r\n", b"Trailer: X\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n"):  # fmt: skip
        data = post + chunked(b"hello", trailers=trailers)
        yield either(f"trailers-{trailers.decode().strip()}", data, form)
    for trailers in (b"X-A\r\n", b": b\r\n", b"X-A : b\r\n", b" X-A: b\r\n", b"X-A: b\n", b"X-A: b\r", b"X-A: \x00\r\n", b"X-\x00: b\r\n", b"X-A: b\r\n c\r\n", b"X A: b\r\n", b"X-A: b\rX-B: c\r\n", b"X-A: \x01\r\n", b"\r",
                     b"GET /smuggled HTTP/1.1\r\n"):  # fmt: skip
        yield refused(
            f"trailers-bad-{trailers.decode('latin-1')!r}",
            post + chunked(b"hello", trailers=trailers),
            400,
            CLOSED,
            eof=True,
        )
    yield refused("trailers-huge", post + chunked(b"hello", trailers=b"X: " + b"a" * 70000 + b"\r\n"), 400, 431)
    yield refused("trailers-many", post + chunked(b"hello", trailers=b"X: " + b"a\r\nX: " * 14000 + b"\r\n"), 400, 431)
    for name, content in {"head": b"", "size": b"5", "size-crlf": b"5\r\n", "data": b"5\r\nhel", "data-end": b"5\r\nhello", "after-data": b"5\r\nhello\r\n", "last": b"5\r\nhello\r\n0", "last-crlf": b"5\r\nhello\r\n0\r\n",
                          "trailer": b"5\r\nhello\r\n0\r\nX-A: b\r\n", "trailer-part": b"5\r\nhello\r\n0\r\nX-A", "huge": b"7fffffffffffffff\r\nhello", "end-part": b"5\r\nhello\r\n0\r\n\r"}.items():  # fmt: skip
        yield refused(f"chunk-cut-{name}", post + content, 400, 408, CLOSED, eof=True)
    small = head(b"POST /small/a HTTP/1.1", _TE)
    yield refused("chunk-too-large", small + chunked(b"a" * 1001), 413)
    yield refused("chunk-too-large-many", small + chunked(*[b"a" * 10] * 101), 413)
    yield passes("chunk-at-the-limit", small + chunked(*[b"a" * 10] * 100), Form(b"POST", b"/small/a", b"a" * 1000))
    yield passes("chunk-with-request-inside", post + chunked(SMUGGLED), Form(b"POST", body=SMUGGLED))
    yield passes(
        "chunk-looks-like-an-end",
        post + chunked(b"\r\n0\r\n\r\n", SMUGGLED),
        Form(b"POST", body=b"\r\n0\r\n\r\n" + SMUGGLED),
    )
    yield passes("chunk-then-request", post + chunked(b"hello") + SMUGGLED, form, Form(target=b"/smuggled"))


# -- fields with a meaning for a proxy --


def expectations() -> Iterator[Case]:
    for value in (b"100-continue", b"100-Continue", b"100-CONTINUE"):
        data = head(b"POST / HTTP/1.1", b"Expect: " + value, b"Content-Length: 5") + b"hello"
        yield passes(f"expect-{value.decode()}", data, Form(b"POST", body=b"hello"))
    for value in (
        b"100-continue, x",
        b"x",
        b"",
        b"100",
        b"100-continue;a=b",
        b"100 continue",
        b"200-ok",
        b"101-continue",
        b"100-continue 100-continue",
        b"continue",
        b"100-continu",
        b"x=y",
        b"\xff",
    ):
        for extra in ((), (b"Content-Length: 5",)):
            data = head(b"POST / HTTP/1.1", b"Expect: " + value, *extra) + (b"hello" if extra else b"")
            yield refused(f"expect-bad-{value.decode('latin-1')}-{len(extra)}", data, 417, 400)
    yield refused(
        "expect-twice",
        head(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
        400,
        417,
    )
    yield refused(
        "expect-control", head(b"POST / HTTP/1.1", b"Expect: 100-continue\x0b", b"Content-Length: 5") + b"hello"
    )
    yield passes("expect-no-content", head(b"GET / HTTP/1.1", b"Expect: 100-continue"))
    yield passes("expect-zero", head(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 0"), Form(b"POST"))
    yield passes(
        "expect-chunked",
        head(b"POST / HTTP/1.1", b"Expect: 100-continue", _TE) + chunked(b"hello"),
        Form(b"POST", body=b"hello"),
    )
    yield passes(
        "expect-1.0",
        head(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
        Form(b"POST", body=b"hello"),
    )
    yield passes(
        "expect-get-with-content",
        head(b"GET / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
        Form(body=b"hello"),
    )
    data = head(b"POST /small/a HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 2000")
    yield refused("expect-too-large", data, 413)
    yield refused("expect-too-large-and-sent", data + SMUGGLED * 40, 413)
    for path, status in ((b"/admin/a", 401), (b"/denied/a", 429)):
        data = head(b"POST %b HTTP/1.1" % path, b"Expect: 100-continue", INSIDE) + SMUGGLED
        yield Case(f"expect-{status}", data, (), frozenset((status,)), stays=True)


_KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
_WS = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", _KEY)
_WS_KEPT: Fields = ((b"Sec-WebSocket-Version", b"13"), (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="))
_WS_FORM = Form(target=b"/ws", fields=(*_WS_KEPT, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")))


def upgrades() -> Iterator[Case]:
    ws = b"GET /ws HTTP/1.1"
    yield passes("upgrade-websocket", head(ws, *_WS), _WS_FORM, answer=101)
    yield passes(
        "upgrade-websocket-case",
        head(ws, b"Upgrade: WebSocket", b"Connection: keep-alive, UPGRADE", *_WS[2:]),
        _WS_FORM,
        answer=101,
    )
    plain = Form(target=b"/ws", fields=_WS_KEPT)
    for value in (
        b"h2c",
        b"h2",
        b"HTTP/2.0",
        b"TLS/1.0",
        b"foo",
        b"websocket/13",
        b"websocket, h2c",
        b"h2c, websocket",
        b"",
        b"websocketx",
        b"IRC/6.9",
        b"connect-udp",
        b'"websocket"',
    ):
        data = head(ws, b"Upgrade: " + value, *_WS[1:])
        yield either(f"upgrade-{value.decode()}", data, plain)
        yield either(f"upgrade-then-{value.decode()}", data + SMUGGLED, plain, Form(target=b"/smuggled"))
        body = head(b"POST /ws HTTP/1.1", b"Upgrade: " + value, b"Connection: Upgrade", INSIDE) + SMUGGLED
        yield either(
            f"upgrade-with-content-{value.decode()}", body, Form(b"POST", b"/ws", SMUGGLED), statuses=(400, 501)
        )
    settings = (b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",)
    for connection in (
        b"Upgrade, HTTP2-Settings",
        b"HTTP2-Settings, Upgrade",
        b"upgrade",
        b"HTTP2-Settings",
        b"close",
        b"Upgrade, HTTP2-Settings, close",
    ):
        data = head(b"GET /h2c HTTP/1.1", b"Upgrade: h2c", b"Connection: " + connection, *settings)
        yield either(f"upgrade-h2c-{connection.decode()}", data, Form(target=b"/h2c"))
    yield either("upgrade-twice", head(ws, b"Upgrade: websocket", *_WS), plain)
    for version in (b"", b"8", b"12", b"14", b"013", b"13, 8", b"13;", b"x", b"1 3"):
        data = head(ws, *_WS[:2], b"Sec-WebSocket-Version: " + version, _KEY)
        kept = Form(target=b"/ws", fields=((b"Sec-WebSocket-Version", version), _WS_KEPT[1]))
        yield either(f"upgrade-version-{version.decode()}", data, kept, statuses=(400, 426))
    yield either(
        "upgrade-no-version", head(ws, *_WS[:2], _KEY), Form(target=b"/ws", fields=_WS_KEPT[1:]), statuses=(400, 426)
    )
    yield either("upgrade-no-connection", head(ws, _WS[0], *_WS[2:]), plain)
    yield either("upgrade-connection-close", head(ws, _WS[0], b"Connection: close", *_WS[2:]), plain)
    yield either("upgrade-1.0", head(b"GET /ws HTTP/1.0", *_WS), plain)
    yield either("upgrade-post", head(b"POST /ws HTTP/1.1", *_WS), Form(b"POST", b"/ws", fields=_WS_KEPT))
    yield either(
        "upgrade-off", head(b"GET /no-upgrade/ws HTTP/1.1", *_WS), Form(target=b"/no-upgrade/ws", fields=_WS_KEPT)
    )
    yield either(
        "upgrade-off-then",
        head(b"GET /no-upgrade/ws HTTP/1.1", *_WS) + SMUGGLED,
        Form(target=b"/no-upgrade/ws", fields=_WS_KEPT),
    )
    yield refused("upgrade-length", head(ws, *_WS, INSIDE) + SMUGGLED)
    yield refused("upgrade-chunked", head(ws, *_WS, _TE) + chunked(SMUGGLED))
    yield refused("upgrade-both", head(ws, *_WS, _TE, b"Content-Length: 5") + chunked(SMUGGLED))
    yield refused("upgrade-guarded", head(b"GET /admin/ws HTTP/1.1", *_WS), 401)
    yield refused("upgrade-guarded-then", head(b"GET /admin/ws HTTP/1.1", *_WS) + SMUGGLED, 401)
    yield refused("upgrade-control", head(ws, b"Upgrade: websocket\x0b", *_WS[1:]))


def connection_fields() -> Iterator[Case]:
    secret = (b"X-A: 1", b"Cookie: a=b", b"X-B: 2")
    kept: Fields = ((b"X-A", b"1"), (b"Cookie", b"a=b"), (b"X-B", b"2"))
    for value in (
        b"X-A",
        b"x-a",
        b"close, X-A",
        b"X-A, close",
        b"X-A,X-A",
        b" X-A ",
        b",X-A,",
        b"X-A\t",
        b"keep-alive, X-A",
    ):
        data = head(b"GET / HTTP/1.1", b"Connection: " + value, *secret)
        yield passes(f"connection-names-{value.decode()}", data, Form(fields=kept[1:]))
    yield passes(
        "connection-twice",
        head(b"GET / HTTP/1.1", b"Connection: X-A", *secret, b"Connection: X-B"),
        Form(fields=kept[1:2]),
    )
    for value in (b"Host", b"host", b"Content-Length", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Request-ID", b"Via", b"Forwarded", b"X-Real-IP", b"Connection",
                  b"Host, X-Forwarded-For, Via", b"Transfer-Encoding", b"Upgrade", b"TE", b"x-forwarded-for,x-request-id,host"):  # fmt: skip
        data = head(b"POST / HTTP/1.1", b"Connection: " + value, b"Content-Length: 5", *secret) + b"hello"
        yield passes(f"connection-cannot-remove-{value.decode()}", data, Form(b"POST", body=b"hello", fields=kept))
    chunky = head(b"POST / HTTP/1.1", b"Connection: Transfer-Encoding", _TE, *secret) + chunked(b"hello")
    yield passes("connection-cannot-remove-chunked", chunky, Form(b"POST", body=b"hello", fields=kept))
    for line in (b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"Proxy-Connection: close", b"Proxy-Authorization: Basic eA==", b"Proxy-Authenticate: Basic", b"TE: trailers", b"TE: gzip, trailers", b"TE: chunked",
                 b"Trailer: X-A", b"Trailer: Content-Length", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", b"keep-alive: 1", b"PROXY-CONNECTION: x", b"te: x"):  # fmt: skip
        yield passes(f"hop-{line.decode()}", head(b"GET / HTTP/1.1", line, *secret), Form(fields=kept))
    for value in (
        b"keep-alive",
        b"close",
        b"Close",
        b"",
        b",",
        b"keep-alive, close",
        b"x, , close",
        b"upgrade",
        b"close;",
        b"\xff",
        b'"close"',
        b"close close",
    ):
        data = head(b"GET / HTTP/1.1", b"Connection: " + value, *secret)
        yield either(f"connection-{value.decode('latin-1')}", data, Form(fields=kept))


def forged_fields() -> Iterator[Case]:
    kept: Fields = ((b"X-A", b"1"),)
    names = (
        b"X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Server X-Forwarded-Scheme X-Forwarded-Ssl X-Forwarded-By X-Forwarded X-Forwarded-User "
        b"X-Forwarded-Anything x-forwarded-for X-FORWARDED-HOST Forwarded X-Real-IP X-Client-IP True-Client-IP CF-Connecting-IP X-Original-URL X-Rewrite-URL X-Request-ID x-real-ip X-Forwardedx"
    ).split()
    for name in names:
        for value in (b"1.2.3.4", b"evil.test", b"", b"for=1.2.3.4;proto=https"):
            data = head(b"GET / HTTP/1.1", name + b": " + value, *[b"X-A: 1"])
            yield passes(f"forged-{name.decode()}-{value.decode()}", data, Form(fields=kept))
        twice = head(b"GET / HTTP/1.1", name + b": 1.1.1.1", b"X-A: 1", name + b": 2.2.2.2")
        yield passes(f"forged-twice-{name.decode()}", twice, Form(fields=kept))
    yield passes("forged-via", head(b"GET / HTTP/1.1", b"Via: 1.1 evil", b"X-A: 1"), Form(fields=kept))
    for name in (
        b"X_Forwarded_For",
        b"X_FORWARDED_HOST",
        b"X-Forwarded_For",
        b"X_Real_IP",
        b"_",
        b"__",
        b"A_",
        b"_A",
        b"Content_Type",
        b"X_User",
        b"Authoriza_tion",
        b"Ho_st",
        b"HTTP_HOST",
        b"a_b_c",
    ):
        yield passes(
            f"underscore-{name.decode()}", head(b"GET / HTTP/1.1", name + b": x", b"X-A: 1"), Form(fields=kept)
        )
    yield refused("authorization-twice", head(b"GET / HTTP/1.1", b"Authorization: a", b"Authorization: b"))
    for name in (
        b"X-HTTP-Method-Override",
        b"X-Method-Override",
        b"X-HTTP-Method",
        b"Cookie",
        b"Authorization",
        b"Range",
        b"If-None-Match",
        b"Accept-Encoding",
        b"Content-Encoding",
        b"Max-Forwards",
        b"Origin",
        b"Date",
    ):
        yield passes(
            f"passed-{name.decode()}", head(b"GET / HTTP/1.1", name + b": x y"), Form(fields=((name, b"x y"),))
        )


# -- sizes, sequences, versions --


def sizes() -> Iterator[Case]:
    many = tuple((b"X-%d" % number, b"v") for number in range(99))
    yield passes("size-100-fields", head(b"GET / HTTP/1.1", *[name + b": v" for name, _ in many]), Form(fields=many))
    for count in (101, 150, 1000, 10000):
        yield refused(
            f"size-{count}-fields", head(b"GET / HTTP/1.1", *[b"X-%d: v" % number for number in range(count)]), 431
        )
    yield refused("size-101-same-fields", head(b"GET / HTTP/1.1", *[b"X: v"] * 101), 431)
    yield passes("size-target-8191", head(b"GET /" + b"a" * 8191 + b" HTTP/1.1"), Form(target=b"/" + b"a" * 8191))
    for size in (8192, 9000, 30000, 40000, 300000):
        yield refused(f"size-target-{size}", head(b"GET /" + b"a" * size + b" HTTP/1.1"), 414, 431, 400)
        yield refused(f"size-query-{size}", head(b"GET /?" + b"a" * size + b" HTTP/1.1"), 414, 431, 400)
    yield passes(
        "size-value-30000", head(b"GET / HTTP/1.1", b"X: " + b"v" * 30000), Form(fields=((b"X", b"v" * 30000),))
    )
    for size in (33000, 70000, 300000):
        yield refused(f"size-value-{size}", head(b"GET / HTTP/1.1", b"X: " + b"v" * size), 431, 400)
        yield refused(f"size-name-{size}", head(b"GET / HTTP/1.1", b"X" * size + b": v"), 431, 400)
        yield refused(f"size-method-{size}", head(b"A" * size + b" / HTTP/1.1"), 400, 431, 501)
        yield refused(f"size-version-{size}", head(b"GET / HTTP/1." + b"1" * size), 400, 431, 505)
        yield refused(f"size-spaces-{size}", head(b"GET / HTTP/1.1", b"X:" + b" " * size + b"v"), 431, 400)
        yield refused(f"size-host-{size}", head(host=b"a" * size), 431, 400)
        yield refused(f"size-no-end-{size}", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * size, 431, 400)
        yield refused(
            f"size-endless-fields-{size}", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: v\r\n" * (size // 6), 431, 400
        )
    for size in (65535, 65536, 65537, 200000, 1048576):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        yield passes(
            f"size-content-{size}",
            head(b"POST / HTTP/1.1", b"Content-Length: %d" % size) + body,
            Form(b"POST", body=body),
        )
        pieces = [body[at : at + 9999] for at in range(0, size, 9999)]
        yield passes(f"size-chunked-{size}", head(b"POST / HTTP/1.1", _TE) + chunked(*pieces), Form(b"POST", body=body))


def sequences() -> Iterator[Case]:
    first, second = head(b"GET /1 HTTP/1.1"), head(b"GET /2 HTTP/1.1")
    forms = (Form(target=b"/1"), Form(target=b"/2"))
    yield passes("pipeline-two", first + second, *forms)
    yield passes("pipeline-crlf-between", first + b"\r\n" + second, *forms)
    for count in (10, 33, 100):
        data = b"".join(head(b"GET /%d HTTP/1.1" % number) for number in range(count))
        yield passes(f"pipeline-{count}", data, *[Form(target=b"/%d" % number) for number in range(count)])
    post = head(b"POST /1 HTTP/1.1", b"Content-Length: 5") + b"hello"
    posted = Form(b"POST", b"/1", b"hello")
    yield passes("pipeline-post-get", post + second, posted, forms[1])
    yield passes("pipeline-chunked-get", head(b"POST /1 HTTP/1.1", _TE) + chunked(b"hello") + second, posted, forms[1])
    yield passes("pipeline-head-get", head(b"HEAD /1 HTTP/1.1") + second, Form(b"HEAD", b"/1"), forms[1])
    yield passes("pipeline-post-post", post + post, posted, posted)
    for name, rest in {
        "bad-line": b"X\r\n\r\n", "bad-field": head(b"GET /2 HTTP/1.1", b"X : y"), "smuggle": head(b"POST /2 HTTP/1.1", b"Content-Length: 5", _TE) + b"0\r\n\r\n", "two-hosts": head(b"GET /2 HTTP/1.1", b"Host: b"),
        "nul": b"\x00" + second, "two-crlf": b"\r\n\r\n" + second, "garbage": b"\xff\xfe\xfd", "lf": second.replace(b"\r\n", b"\n"), "no-host": head(b"GET /2 HTTP/1.1", host=None), "h2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "connect": head(b"CONNECT a:1 HTTP/1.1"), "fragment": head(b"GET /2#a HTTP/1.1"), "large": head(b"GET /2 HTTP/1.1", b"X: " + b"a" * 40000), "rtsp": head(b"GET /2 RTSP/1.0"), "crlf-space": b"\r\n " + second,
    }.items():  # fmt: skip
        statuses = frozenset({400, 405, 431, 501, 505})
        yield Case(f"then-{name}", first + rest, forms[:1], statuses)
        yield Case(f"post-then-{name}", post + rest, (posted,), statuses)
        yield Case(
            f"chunked-then-{name}", head(b"POST /1 HTTP/1.1", _TE) + chunked(b"hello") + rest, (posted,), statuses
        )
        yield Case(f"two-then-{name}", first + second + rest, forms, statuses)
    # what stands in the content must not pass for the line that is looked for behind it
    for junk in (b"\n", b"\r", b"\r\n\r\n", b"\n\n"):
        name, statuses = repr(junk), frozenset({400})
        by_length = head(b"POST /1 HTTP/1.1", INSIDE) + SMUGGLED + junk + SMUGGLED
        yield Case(f"then-line-of-content-{name}", by_length, (Form(b"POST", b"/1", SMUGGLED),), statuses)
        by_head = first + junk + first
        yield Case(f"then-line-of-head-{name}", by_head, forms[:1], statuses)
    yield passes("close-then", head(b"GET /1 HTTP/1.1", b"Connection: close") + second, forms[0])
    yield passes("1.0-then", head(b"GET /1 HTTP/1.0") + second, forms[0])
    yield passes("1.0-keep-alive-then", head(b"GET /1 HTTP/1.0", b"Connection: keep-alive") + second, *forms)
    for name, line in {"length-0": b"Content-Length: 0", "get-length": INSIDE}.items():
        data = head(b"GET /1 HTTP/1.1", line) + SMUGGLED
        inside = (Form(target=b"/1", body=SMUGGLED),) if name == "get-length" else (forms[0], Form(target=b"/smuggled"))
        yield passes(f"inside-{name}", data, *inside)
    for length in (1, 4, 43):
        rest = SMUGGLED[length:]
        data = head(b"POST /1 HTTP/1.1", b"Content-Length: %d" % length) + SMUGGLED
        yield Case(
            f"length-shorter-{length}",
            data,
            (Form(b"POST", b"/1", SMUGGLED[:length]),),
            frozenset({400, 501, 505, CLOSED}),
            eof=True,
        )
        del rest
    for length in (45, 100, 65536, 1000000):
        yield refused(
            f"length-longer-{length}",
            head(b"POST /1 HTTP/1.1", b"Content-Length: %d" % length) + SMUGGLED,
            400,
            408,
            CLOSED,
            eof=True,
        )
    for cut in (1, 3, 10, 14, 16, 18, 24, 30, len(first) - 2, len(first) - 1):
        yield refused(f"head-cut-{cut}", first[:cut], 400, 408, CLOSED, eof=True)
    yield Case("half-close", first, forms[:1], eof=True)
    for name, rest in {
        "head": second[:-2],
        "content": post[:-2],
        "chunk": head(b"POST /1 HTTP/1.1", _TE) + b"5\r\nhel",
    }.items():
        yield Case(f"half-close-then-cut-{name}", first + rest, forms[:1], eof=True)
        yield Case(f"half-close-two-then-cut-{name}", first + second + rest, forms, eof=True)
    yield Case("half-close-post", post, (posted,), eof=True)
    yield Case("half-close-pipeline", first + second, forms, eof=True)
    yield refused("nothing", b"", CLOSED, eof=True)
    yield refused("crlf-only", b"\r\n", CLOSED, 400, eof=True)


def old_versions() -> Iterator[Case]:
    line = b"GET /1 HTTP/1.0"
    yield passes("1.0-no-host", head(line, host=None), Form(target=b"/1", host=None))
    yield passes("1.0-host", head(line), Form(target=b"/1"))
    yield either("1.0-empty-host", head(line, host=b""), Form(target=b"/1", host=None))
    yield refused("1.0-two-hosts", head(line, b"Host: b"))
    yield refused("1.0-bad-host", head(line, host=b"a b"))
    yield refused("1.0-chunked", head(b"POST /1 HTTP/1.0", _TE) + chunked(b"hello"), 400, 501)
    yield passes("1.0-post", head(b"POST /1 HTTP/1.0", b"Content-Length: 5") + b"hello", Form(b"POST", b"/1", b"hello"))
    yield passes("1.0-post-no-length", head(b"POST /1 HTTP/1.0"), Form(b"POST", b"/1"))
    yield passes("1.0-keep-alive", head(line, b"Connection: keep-alive"), Form(target=b"/1"))
    yield passes("1.0-keep-alive-close", head(line, b"Connection: keep-alive, close"), Form(target=b"/1"))
    yield passes("1.0-hop", head(line, b"Connection: X-A", b"X-A: b"), Form(target=b"/1"))
    yield refused("1.0-fragment", head(b"GET /1#a HTTP/1.0"))
    yield refused("1.0-fold", head(line, b"X: a\r\n b"))


def early_answers() -> Iterator[Case]:
    """Answered before the content is read: what is left of it must never become a request (W13)."""
    for path, status in ((b"/admin/a", 401), (b"/small/a", 413), (b"/denied/a", 429), (b"/a%2f..%2fadmin", 400)):
        name = f"early-{status}"
        long = b"a" * 2000 + SMUGGLED
        statuses = (status,)
        yield refused(
            f"{name}-length",
            head(b"POST %b HTTP/1.1" % path, b"Content-Length: %d" % len(long), b"Connection: close") + long,
            *statuses,
        )
        yield refused(
            f"{name}-chunked", head(b"POST %b HTTP/1.1" % path, _TE, b"Connection: close") + chunked(long), *statuses
        )
        yield refused(
            f"{name}-cut", head(b"POST %b HTTP/1.1" % path, b"Content-Length: 100000") + SMUGGLED, *statuses, eof=True
        )
        yield refused(
            f"{name}-endless",
            head(b"POST %b HTTP/1.1" % path, b"Content-Length: 9999999999") + SMUGGLED * 50,
            *statuses,
        )
        for kept, content in {
            "length": head(b"POST %b HTTP/1.1" % path, b"Content-Length: %d" % len(long)) + long,
            "chunked": head(b"POST %b HTTP/1.1" % path, _TE) + chunked(SMUGGLED, long),
        }.items():
            yield Case(f"{name}-kept-{kept}", content, (), frozenset(statuses), stays=True)
        yield refused(
            f"{name}-bad-chunk",
            head(b"POST %b HTTP/1.1" % path, _TE) + b"7d0\r\n" + b"a" * 2000 + b"X\r\n" + SMUGGLED,
            *statuses,
            400,
        )


GROUPS = {
    "request lines": request_lines,
    "methods": methods,
    "targets": targets,
    "guarded paths": guarded_paths,
    "hosts": hosts,
    "field names": field_names,
    "field values": field_values,
    "content lengths": content_lengths,
    "transfer encodings": transfer_encodings,
    "chunks": chunks,
    "expectations": expectations,
    "upgrades": upgrades,
    "connection fields": connection_fields,
    "forged fields": forged_fields,
    "sizes": sizes,
    "sequences": sequences,
    "old versions": old_versions,
    "early answers": early_answers,
}
CASES = tuple(case for make in GROUPS.values() for case in make())
