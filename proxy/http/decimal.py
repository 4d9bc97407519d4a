"""Numbers in fields, as text. Most are small and come again and again."""

from __future__ import annotations

from typing import Final

_MOST: Final = 4096
_SMALL: Final = tuple([b"%d" % number for number in range(_MOST)])


def decimal(number: int) -> bytes:
    """ASCII digits, with a minus sign below zero."""
    return _SMALL[number] if 0 <= number < _MOST else b"%d" % number
