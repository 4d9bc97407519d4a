"""Rule 33: one range of a complete stored response (RFC 9110 §14). Several at once are answered with the whole."""

from __future__ import annotations

from typing import Final

_MAX_DIGITS: Final = 18  # a position past this is past every end


def parse_range(value: bytes, length: int) -> tuple[int, int] | bytes | None:
    """(first, last + 1) of the bytes that `value` asks of `length`.

    None when the field must be ignored: malformed, another unit, or more than one range. The value of Content-Range for
    a 416 when no byte of the range exists (§14.4).
    """
    unit, equals, ranges = value.partition(b"=")
    if not equals or unit.strip(b" \t").lower() != b"bytes":  # §14.1: units are case-insensitive
        return None
    spec = ranges.strip(b" \t")
    first, dash, last = spec.partition(b"-")
    if not dash or b"," in spec:
        return None
    if not first:
        return _suffix(last, length)
    if not first.isdigit() or (last and not last.isdigit()):
        return None
    start = _number(first)
    end = length if not last else _number(last) + 1
    if end <= start and last:
        return None  # §14.1.1: an int-range whose last is less than its first is invalid
    if start >= length:
        return _unsatisfied(length)
    return start, min(end, length)


def content_range(start: int, end: int, length: int) -> bytes:
    return b"bytes %d-%d/%d" % (start, end - 1, length)


def _suffix(digits: bytes, length: int) -> tuple[int, int] | bytes | None:
    if not digits.isdigit():
        return None
    count = _number(digits)
    if count == 0 or length == 0:
        return _unsatisfied(length)
    return max(0, length - count), length


def _unsatisfied(length: int) -> bytes:
    return b"bytes */%d" % length


def _number(digits: bytes) -> int:
    stripped = digits.lstrip(b"0")
    return int(stripped or b"0") if len(stripped) <= _MAX_DIGITS else 10**_MAX_DIGITS
