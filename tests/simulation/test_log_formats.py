"""Every format of access log, its odd lines included, becomes the same entries."""

from __future__ import annotations

import json

import msgspec
import pytest

from proxy.observe.line import AccessLine, LimitLine
from proxy.simulation.caddy import read_caddy
from proxy.simulation.combined import read_combined
from proxy.simulation.entry import Entry
from proxy.simulation.escapes import unescape
from proxy.simulation.formats import detect
from proxy.simulation.instants import common_time, iso_time
from proxy.simulation.nginx import nginx_reader
from proxy.simulation.weir_lines import read_weir

AT = 1775779200.0  # 2026-04-10T00:00:00Z
COMBINED = rb'203.0.113.7 - - [10/Apr/2026:00:00:00 +0000] "GET /api HTTP/1.1" 200 23 "https://a.example/" "curl/8"'


def read(line: bytes) -> Entry:
    entry = read_combined(line)
    assert isinstance(entry, Entry), entry
    return entry


def test_a_combined_line_says_who_what_and_how_it_ended() -> None:
    entry = read(COMBINED)
    assert (entry.at_wall, entry.address, entry.user) == (AT, "203.0.113.7", None)
    assert (entry.method, entry.target, entry.status, entry.bytes_sent) == (b"GET", b"/api", 200, 23)
    assert (entry.weight, entry.took_s, entry.host, entry.is_good) == (1.0, None, b"", True)


@pytest.mark.parametrize(
    ("line", "address", "user", "host"),
    [
        (b'::1 - - [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1', "::1", None, b""),
        (b'2001:db8::7 - alice [10/Apr/2026:00:00:00 +0000] "GET / HTTP/2.0" 200 1', "2001:db8::7", "alice", b""),
        (b'a.b.example.net - - [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.0" 200 1', "a.b.example.net", None, b""),
        (rb'192.0.2.1 - al\x22ice\\ [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1', "192.0.2.1", 'al"ice\\', b""),
        (b'192.0.2.1 - Alice B [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1', "192.0.2.1", "Alice B", b""),
        (b'192.0.2.1 -  [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1', "192.0.2.1", None, b""),
        (b'192.0.2.1 - "" [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1', "192.0.2.1", None, b""),
        (
            b'shop.example:443 192.0.2.1 - bob [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
            *("192.0.2.1", "bob", b"shop.example:443"),
        ),
        (
            b'shop.example:443 2001:db8::7 - - [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
            *("2001:db8::7", None, b"shop.example:443"),
        ),
    ],
    ids=["ipv6", "ipv6-user", "name", "escapes", "user-with-blank", "no-user", "quoted-nobody", "vhost", "vhost-ipv6"],
)
def test_who_asked_is_read_from_the_beginning_of_the_line(
    line: bytes, address: str, user: str | None, host: bytes
) -> None:
    entry = read(line)
    assert (entry.address, entry.user, entry.host, entry.target) == (address, user, host, b"/")


@pytest.mark.parametrize(
    ("request_line", "method", "target"),
    [
        (rb"GET /a%20b?q=1 HTTP/1.1", b"GET", b"/a%20b?q=1"),
        (rb"GET /say\"hi\" HTTP/1.1", b"GET", b'/say"hi"'),
        (rb"GET /say\x22hi\x22 HTTP/1.1", b"GET", b'/say"hi"'),
        (rb"GET http://a.example/x HTTP/1.1", b"GET", b"http://a.example/x"),
        (rb"-", b"", b""),
        (rb"", b"", b""),
        (rb"\x16\x03\x01\x02\x00\x01\x00", b"", b""),
        (rb"GET /a b HTTP/1.1", b"", b""),
        (rb"GET /", b"", b""),
        (rb"HELO example.org", b"", b""),
    ],
    ids=["plain", "quote", "hex", "absolute", "none", "empty", "tls", "blank", "simple", "smtp"],
)
def test_what_is_no_request_is_an_entry_without_a_method(request_line: bytes, method: bytes, target: bytes) -> None:
    entry = read(b'192.0.2.1 - - [10/Apr/2026:00:00:00 +0000] "%b" 400 0 "-" "-"' % request_line)
    assert (entry.method, entry.target) == (method, target)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"rubbish",
        COMBINED[:60],
        COMBINED.replace(b"/Apr/", b"/Xyz/"),
        COMBINED.replace(b"10/Apr", b"31/Apr"),
        COMBINED.replace(b" 200 ", b" two "),
        b"\x00\xff\xfe" * 50,
        b'{"not": "combined"}',
    ],
    ids=["empty", "rubbish", "cut", "month", "day", "status", "binary", "json"],
)
def test_rubbish_has_a_reason_and_never_raises(line: bytes) -> None:
    for reader in (read_combined, read_caddy, read_weir, nginx_reader("$remote_addr [$time_local] $request")):
        reason = reader(line)
        assert isinstance(reason, str)
        assert reason


def test_a_line_of_brackets_is_refused_quickly() -> None:
    assert isinstance(read_combined(b"1 - " + b"[ " * 30_000), str)
    assert isinstance(nginx_reader("$remote_addr - $remote_user [$time_local] $request")(b"1 - " + b" [" * 30_000), str)


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        (b"10/Apr/2026:00:00:00 +0000", AT),
        (b"10/Apr/2026:02:30:00 +0230", AT),
        (b"09/Apr/2026:17:00:00 -0700", AT),
        (b"10/Apr/2026:00:00:00", None),
        (b"10/Apr/2026:00:00:00 0000 ", None),
        (b"10/Apr/2026:24:00:00 +0000", None),
    ],
)
def test_the_common_time(text: bytes, wall: float | None) -> None:
    assert common_time(text) == wall


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("2026-04-10T00:00:00Z", AT),
        ("2026-04-10T00:00:00.250Z", AT + 0.25),
        ("2026-04-10T02:00:00+02:00", AT),
        ("2026-04-10 00:00:00", AT),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_with_and_without_an_offset(text: str, wall: float | None) -> None:
    assert iso_time(text) == wall


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (rb"plain", b"plain"),
        (rb"\x22\x5C", b'"\\'),
        (rb"\\x22", rb"\x22"),
        (rb"\t\"", b'\t"'),
        (rb"\u00e4", "ä".encode()),
        (rb"\ud800", b"?"),
        (b"end\\", b"end\\"),
        (rb"\x2", b"x2"),
    ],
)
def test_escapes_are_undone(text: bytes, meant: bytes) -> None:
    assert unescape(text) == meant


MAIN = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent" "$http_x_forwarded_for" $request_time $upstream_response_time $host'
)
DIRECTIVE = """log_format timed escape=default
    '$remote_addr - $remote_user [$time_local] "$request" '
    '$status $body_bytes_sent rt=$request_time';"""
JSON = (
    '{"t":$msec,"ip":"$remote_addr","m":"$request_method","u":"$request_uri","s":$status,'
    '"user":"${remote_user}","h":"$http_host","ua":"$http_user_agent"}'
)


def test_nginx_lines_are_read_by_their_own_format() -> None:
    entry = nginx_reader(MAIN)(
        rb'10.0.0.1 - - [10/Apr/2026:00:00:02 +0000] "GET /x?y=1 HTTP/1.1" 304 0 "-" "a \x22b\x22" '
        rb'"198.51.100.7, 10.0.0.9" 1.500 0.100, 0.200 : 0.300 shop.example'
    )
    assert isinstance(entry, Entry), entry
    assert (entry.at_wall, entry.took_s) == (AT + 0.5, 1.5)  # it is written when the request has ended
    assert (entry.address, entry.host, entry.target, entry.status) == ("10.0.0.1", b"shop.example", b"/x?y=1", 304)
    assert entry.fields == ((b"x-forwarded-for", b"x-forwarded-for", b"198.51.100.7, 10.0.0.9"),)


def test_nginx_formats_may_be_given_as_the_directive() -> None:
    entry = nginx_reader(DIRECTIVE)(
        b'2001:db8::7 - alice [10/Apr/2026:00:00:02 +0000] "POST /login HTTP/1.1" 401 12 rt=0.250'
    )
    assert isinstance(entry, Entry), entry
    assert (entry.address, entry.user, entry.method, entry.status) == ("2001:db8::7", "alice", b"POST", 401)
    assert entry.at_wall == AT + 1.75


def test_nginx_formats_may_be_json() -> None:
    line = (
        '{"t":1775779200.250,"ip":"192.0.2.1","m":"PUT","u":"/a\\"b","s":201,'
        '"user":"","h":"a.example:8443","ua":"x\\u0001y"}'
    )
    entry = nginx_reader(JSON)(line.encode())
    assert isinstance(entry, Entry), entry
    assert (entry.at_wall, entry.method, entry.target, entry.user) == (AT + 0.25, b"PUT", b'/a"b', None)
    assert entry.host == b"a.example:8443"


def test_nginx_without_quotes_around_the_request() -> None:
    entry = nginx_reader("$time_iso8601|$remote_addr|$request|$status")(
        b"2026-04-10T00:00:00+00:00|192.0.2.1|GET /x HTTP/1.1|200"
    )
    assert isinstance(entry, Entry), entry
    assert (entry.at_wall, entry.method, entry.target) == (AT, b"GET", b"/x")


@pytest.mark.parametrize(
    ("log_format", "missing"),
    [
        ("$remote_addr $status", r"\$request"),
        ('"$request" [$time_local]', r"\$remote_addr"),
        ('$remote_addr "$request"', r"\$time_local"),
        ("", r"\$remote_addr"),
    ],
)
def test_an_nginx_format_that_lacks_something_is_refused(log_format: str, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        nginx_reader(log_format)


CADDY = {
    "level": "info",
    "ts": AT + 2.0,
    "logger": "http.log.access.log0",
    "msg": "handled request",
    "request": {
        "remote_ip": "10.0.0.9",
        "client_ip": "2001:db8::7",
        "proto": "HTTP/2.0",
        "method": "GET",
        "host": "shop.example",
        "uri": "/caf%C3%A9?x=1",
        "headers": {"X-Device": ["d7"], "Authorization": ["REDACTED"], "X-Two": ["a", "b"]},
    },
    "bytes_read": 0,
    "user_id": "alice",
    "duration": 0.5,
    "size": 10900,
    "status": 200,
    "resp_headers": {"Server": ["Caddy"]},
}


def test_a_line_of_caddy() -> None:
    entry = read_caddy(json.dumps(CADDY).encode())
    assert isinstance(entry, Entry), entry
    assert (entry.at_wall, entry.took_s, entry.address) == (AT + 1.5, 0.5, "2001:db8::7")
    assert (entry.host, entry.target, entry.user) == (b"shop.example", b"/caf%C3%A9?x=1", "alice")
    assert (entry.status, entry.bytes_sent) == (200, 10900)
    assert [(lower, value) for lower, _, value in entry.fields] == [
        (b"x-device", b"d7"),
        (b"x-two", b"a"),
        (b"x-two", b"b"),
    ]


@pytest.mark.parametrize(
    ("changes", "at_wall", "address"),
    [
        ({"ts": "2026-04-10T00:00:02.000Z", "duration": "500ms"}, AT + 1.5, "2001:db8::7"),
        ({"ts": "2026-04-10T00:00:02Z", "duration": "12.5µs"}, AT + 2.0, "2001:db8::7"),
        ({"duration": "1.5m"}, AT - 88.0, "2001:db8::7"),
        ({"duration": "long"}, AT + 2.0, "2001:db8::7"),
        ({"request": {"method": "GET", "uri": "/", "remote_addr": "[2001:db8::9]:4711"}}, AT + 1.5, "2001:db8::9"),
        ({"request": {"method": "GET", "uri": "/", "remote_addr": "192.0.2.4:4711"}}, AT + 1.5, "192.0.2.4"),
        ({"request": {"method": "GET", "uri": "/", "remote_ip": "192.0.2.5"}}, AT + 1.5, "192.0.2.5"),
    ],
    ids=["iso", "micro", "minutes", "odd", "old-ipv6", "old", "before-client-ip"],
)
def test_other_ways_in_which_caddy_writes(changes: dict[str, object], at_wall: float, address: str) -> None:
    entry = read_caddy(json.dumps({**CADDY, **changes}).encode())
    assert isinstance(entry, Entry), entry
    assert (entry.at_wall, entry.address) == (pytest.approx(at_wall), address)


def test_what_caddy_says_about_no_request_is_no_entry() -> None:
    assert isinstance(read_caddy(b'{"level":"info","ts":1.5,"msg":"serving initial configuration"}'), str)


def weir_line(**changes: object) -> bytes:
    line = AccessLine(
        ts="2026-04-10T00:00:00.250Z",
        request_id="0" * 32,
        client_ip="203.0.113.7",
        user="2bd806c97f0e",
        fault=None,
        method="GET",
        host="shop.example",
        route="search",
        path="/api/search?q=***",
        status=200,
        reason=None,
        bytes_in=0,
        bytes_out=512,
        dur_ms=12.5,
        queue_ms=0.0,
        upstream_ms=11.0,
        endpoint="127.0.0.1:3000",
        attempts=1,
        cache=None,
        limit=LimitLine("per-ip", 7),
        sample_rate=0.01,
    )
    for name, value in changes.items():
        setattr(line, name, value)
    return msgspec.json.encode(line)


def test_a_line_of_weir_stands_for_as_many_requests_as_it_says() -> None:
    entry = read_weir(weir_line())
    assert isinstance(entry, Entry), entry
    assert (entry.at_wall, entry.address, entry.user) == (AT + 0.25, "203.0.113.7", "2bd806c97f0e")
    assert (entry.target, entry.host, entry.status) == (b"/api/search?q=***", b"shop.example", 200)
    assert (entry.bytes_sent, entry.took_s, entry.weight) == (512, 0.0125, pytest.approx(100.0))


@pytest.mark.parametrize("rate", [0.0, -1.0, 2.0, 1e-9])
def test_a_line_of_weir_with_an_impossible_rate_is_rubbish(rate: float) -> None:
    assert isinstance(read_weir(weir_line(sample_rate=rate)), str)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([COMBINED], "combined"),
        ([weir_line()], "weir"),
        ([json.dumps(CADDY).encode()], "caddy"),
        ([b"rubbish", b"{}", weir_line(), weir_line()], "weir"),
        ([b"rubbish"], "combined"),
        ([], "combined"),
    ],
    ids=["combined", "weir", "caddy", "mixed", "rubbish", "empty"],
)
def test_the_format_is_known_by_the_first_lines(lines: list[bytes], name: str) -> None:
    assert detect(lines) == name
