r"""Logs of nginx with a `log_format` of its own: the format, as it stands in nginx.conf, becomes a pattern.

Variables that say something of the request are used, fields of it (`$http_NAME`) among them; the others are passed
over. nginx writes a line when a request has ended: with `$request_time` the beginning is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from proxy.http.message import Field, field
from proxy.simulation.entry import Entry, ReadLine, split_request
from proxy.simulation.escapes import unescape
from proxy.simulation.instants import common_time, iso_time, number_time

_VARIABLE: Final = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_QUOTED: Final = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_NAMES: Final = ("$remote_addr", "$request (or $request_method and $request_uri)", "$time_local")
# What a variable looks like where no quote ends it. Only numbers and times can be told by their look.
_LOOKS: Final = {
    "time_local": rb"(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [-+]\d{4})",
    "status": rb"(\d{3}|-)",
    "body_bytes_sent": rb"(\d{1,18}|-)",
    "bytes_sent": rb"(\d{1,18}|-)",
    "msec": rb"(\d{1,12}\.\d{1,6})",
    "request_time": rb"(\d{1,9}(?:\.\d{1,6})?|-)",
}
_IN_QUOTES: Final = rb'([^"\\]*(?:\\.[^"\\]*)*)'
_SPACED: Final = frozenset({"request", "remote_user"})  # may have a space in them and no quote around them
_LIST: Final = rb"([^ ,:]+(?:(?:, | : |,|:)[^ ,:]+)*)"  # $upstream_*: one value for each server that was asked


def nginx_reader(log_format: str) -> ReadLine:
    """A reader for lines of `log_format`: the text, or the whole directive with its quotes.

    Raises ValueError with one sentence when the format lacks what a simulation needs.
    """
    text = _format_text(log_format)
    names, pattern = _compile(text)
    known = set(names)
    has_time = known & {"time_local", "time_iso8601", "msec"}
    has_request = "request" in known or ("request_method" in known and known & {"request_uri", "uri"})
    has_address = known & {"remote_addr", "realip_remote_addr"}
    for has, name in zip((has_address, has_request, has_time), _NAMES, strict=True):
        if not has:
            raise ValueError(f"the log format has no {name}; without it nothing can be simulated")
    return _reader(names, re.compile(pattern, re.DOTALL))


def _format_text(log_format: str) -> str:
    """The format itself. In a directive it may be cut into several quoted texts."""
    if not log_format.lstrip().startswith("log_format"):
        return log_format.strip()
    return "".join(a or b for a, b in _QUOTED.findall(log_format)).replace("\\'", "'").replace('\\"', '"')


def _compile(text: str) -> tuple[list[str], bytes]:
    names: list[str] = []
    pattern = b""
    at = 0
    for match in _VARIABLE.finditer(text):
        pattern += re.escape(text[at : match.start()].encode())
        name = match[1] or match[2]
        names.append(name)
        in_quotes = text[match.start() - 1 : match.start()] == '"' and text[match.end() : match.end() + 1] == '"'
        pattern += _group(name, text[match.end() : match.end() + 1].encode(), in_quotes=in_quotes)
        at = match.end()
    return names, pattern + re.escape(text[at:].encode())


def _group(name: str, following: bytes, *, in_quotes: bool) -> bytes:
    """What a variable may be. As little as possible can be matched in two ways, so that rubbish is refused quickly."""
    if name in _LOOKS:
        return _LOOKS[name]
    if in_quotes:
        return _IN_QUOTES
    if not following:
        return b"(.*)"
    if name in _SPACED:
        return b"(.*?)"
    if name.startswith("upstream_") and following == b" ":
        return _LIST
    return b"([^%b]*)" % re.escape(following)


def _reader(names: Sequence[str], pattern: re.Pattern[bytes]) -> ReadLine:
    places = {name: place for place, name in enumerate(names)}  # of a variable that stands twice, the last
    # the literal text has no groups of its own: the number of a variable is the number of its group

    def read(line: bytes) -> Entry | str:
        match = pattern.match(line)
        if match is None:
            return "not in the given log format"
        values = match.groups()

        def value(name: str) -> bytes:
            place = places.get(name)
            text = b"" if place is None else values[place]
            return b"" if text == b"-" else unescape(text)

        ended_wall = at_wall(values)
        if ended_wall is None:
            return "its time cannot be read"
        took_s = number_time(value("request_time")) if "request_time" in places else None
        if "request" in places:
            method, target = split_request(value("request"))
        else:
            query = value("args") or value("query_string")
            method = value("request_method")
            target = value("request_uri") or value("uri") + (b"?" + query if query else b"")
        status = value("status")
        user = value("remote_user")
        return Entry(
            ended_wall - (took_s or 0.0),
            (value("realip_remote_addr") or value("remote_addr")).decode("latin-1"),
            method if target else b"",
            target,
            int(status) if status else 0,
            int(value("body_bytes_sent") or value("bytes_sent") or b"0"),
            value("http_host") or value("host") or value("server_name"),
            user.decode("utf-8", "replace") if user else None,
            took_s,
            _fields(fields, values),
        )

    fields = _field_places(names)
    at_wall = _clock(places)
    return read


def _clock(places: dict[str, int]) -> Callable[[Sequence[bytes]], float | None]:
    """How the time is read; the variable that says it to the millisecond comes first."""
    if "msec" in places:
        return lambda values: number_time(values[places["msec"]])
    if "time_iso8601" in places:
        return lambda values: iso_time(values[places["time_iso8601"]].decode("latin-1"))
    return lambda values: common_time(values[places["time_local"]])


def _field_places(names: Sequence[str]) -> list[tuple[str, int]]:
    """Request fields in the format, `$http_x_forwarded_for`: nginx writes `_` for `-`."""
    return [
        (name.removeprefix("http_").replace("_", "-"), place)
        for place, name in enumerate(names)
        if name.startswith("http_") and name not in ("http_host", "http_referer", "http_user_agent")
    ]


def _fields(places: Sequence[tuple[str, int]], values: Sequence[bytes]) -> tuple[Field, ...]:
    return tuple([field(name, unescape(values[place])) for name, place in places if values[place] not in (b"", b"-")])
