r"""Escapes that servers write into logs: `\x22` (nginx, Apache), `\"`, `\\`, `\n`, `\t` (Apache), `\u0022` (JSON)."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(rb"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"v": b"\v", b"f": b"\f"}


def unescape(text: bytes) -> bytes:
    """What was there before it was escaped. A backslash before anything else stands for what follows it."""
    return _ESCAPE.sub(_meant, text) if b"\\" in text else text


def _meant(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    if len(escape) == 1:
        return _LETTERS.get(escape, escape)
    code = int(escape[1:], 16)
    # half of a surrogate pair cannot be UTF-8; the replacement keeps the line readable
    return bytes((code,)) if escape[:1] == b"x" else chr(code).encode("utf-8", "replace")
