"""What may be the name of a user or a tenant: it becomes part of keys and of log lines."""

from __future__ import annotations

from typing import Any, Final

LONGEST_NAME: Final = 256  # characters


def user_name(value: Any) -> str | None:
    """The name in a field (bytes), a cookie (bytes) or a claim (text, or a whole number); None when it is none.

    Only printable characters: no controls, no invisible ones, no lone surrogates, which no key could encode.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    elif isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if -(1 << 63) <= value < 1 << 64 else ""
    if not isinstance(value, str) or not value or len(value) > LONGEST_NAME or not value.isprintable():
        return None
    return value
