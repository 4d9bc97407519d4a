"""What else a backend may read in a path: the heart of the rule that no two readings choose different routes (W4).

Backends differ in which escapes they decode, whether a backslash is a slash, whether a segment ends at ";", whether
they decode twice, and when, among all that, they resolve dot segments. A list of known backends would never end, so
every order of these steps is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_MARKS: Final = ("%2F", "%5C", "%3B", "%25", "\\", ";")
# Nobody who means well has more segments than this in a path with such marks. Each step costs by the segment.
_MOST_SEGMENTS: Final = 64
_MOST_READINGS: Final = 64
_SEPARATORS: Final = ("/", "\\", "%2F", "%5C", "%252F", "%255C")
_HEX: Final = frozenset("0123456789ABCDEFabcdef")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def other_readings(path: str) -> tuple[str, ...] | None:
    """Every other path that a backend may see in a canonical path; empty for nearly all paths.

    None when there are more than anybody should follow. 5 to 100 microseconds for a path with marks.
    """
    for mark in _MARKS:
        if mark in path:
            break
    else:
        return ()
    if sum([path.count(mark) for mark in _SEPARATORS]) > _MOST_SEGMENTS:
        return None
    found = {path: 0}  # reading -> how often it was decoded again
    waiting = [path]
    while waiting:
        reading = waiting.pop()
        for other, again in _steps(reading, found[reading]):
            if other not in found:
                if len(found) > _MOST_READINGS:
                    return None
                found[other] = again
                waiting.append(other)
    del found[path]
    return tuple(found)


def _steps(path: str, again: int) -> Iterator[tuple[str, int]]:
    """What one more step makes of a reading."""
    for mark, character in (("%2F", "/"), ("%5C", "\\"), ("%3B", ";"), ("\\", "/")):
        if mark in path:
            yield path.replace(mark, character), again
    if ";" in path:
        yield "/".join([segment.partition(";")[0] for segment in path.split("/")]), again
    if "%25" in path and again < 2:
        yield _decoded_again(path), again + 1
    if "//" in path:
        yield "/" + "/".join([segment for segment in path.split("/") if segment]), again
    if "/." in path:
        yield _resolved(path), again


def _decoded_again(path: str) -> str:
    """%25 is a percent sign, and what it begins is an escape; those of plain characters are decoded at once."""
    head, *parts = path.replace("%25", "%").split("%")
    out = [head]
    for part in parts:
        if len(part) >= 2 and part[0] in _HEX and part[1] in _HEX:
            character = chr(int(part[:2], 16))
            out.append((character if character in _UNRESERVED else "%" + part[:2].upper()) + part[2:])
        else:
            out.append("%" + part)
    return "".join(out)


def _resolved(path: str) -> str:
    """Dot segments resolved (RFC 3986 §5.2.4). The final slash is dropped: it makes no difference to routes."""
    out: list[str] = []
    for segment in path[1:].split("/"):
        if segment == "..":
            if out:
                out.pop()
        elif segment != ".":
            out.append(segment)
    return "/" + "/".join(out)
