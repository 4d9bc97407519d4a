"""Path patterns: `/api/items/{id}`, `/static/**`.

A segment is literal, `{name}` (one segment, kept), `*` (one segment) or, at the end, `**` (all that follows, also
nothing). A final slash makes no difference: too many backends see none, and a rule that one slash evades is no rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final
from urllib.parse import quote

from proxy.http.targets import BadTarget, canonical_path
from proxy.routing.readings import other_readings

_NAME: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
# Escapes of these stay escapes: decoded, they would be another path.
_STRUCTURAL: Final = frozenset("/\\;%?#")
_ESCAPES: Final = {f"%{octet:02X}": chr(octet) for octet in range(0x20, 0x7F) if chr(octet) not in _STRUCTURAL}


class Kind(IntEnum):
    """Kinds of segments, the most specific first."""

    LITERAL = 0
    NAME = 1
    ANY = 2
    REST = 3


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern: the kind of each segment with its literal text (in matching form) or its name."""

    text: str
    segments: tuple[tuple[Kind, str], ...]

    @property
    def names(self) -> tuple[tuple[int, str], ...]:
        """(position, name) of every `{name}`."""
        return tuple((at, text) for at, (kind, text) in enumerate(self.segments) if kind is Kind.NAME)

    @property
    def shape(self) -> tuple[tuple[Kind, str], ...]:
        """Equal for two patterns that match exactly the same paths."""
        return tuple((Kind.ANY, "") if kind is Kind.NAME else (kind, text) for kind, text in self.segments)

    def matches(self, segments: Sequence[str]) -> bool:
        """Whether it matches a path's segments in matching form. For oracles and explanations: the table is faster."""
        last = len(self.segments) - 1
        for at, (kind, text) in enumerate(self.segments):
            if kind is Kind.REST:
                return True
            if at >= len(segments) or (kind is Kind.LITERAL and segments[at] != text):
                return False
            if at == last:
                return len(segments) == len(self.segments)
        return not segments


def parse_pattern(text: str) -> Pattern:
    """A pattern from its text. Raises ValueError with one sentence."""
    if text[:1] != "/":
        raise ValueError(f"the path `{_short(text)}` does not begin with `/`")
    if text == "/":
        return Pattern(text, ())
    if text[-1] == "/":
        plain = _short(text.rstrip("/")) or "/"
        below = plain.rstrip("/") + "/**"
        raise ValueError(f"a final `/` makes no difference; write `{plain}`, or `{below}` for all that is below it")
    segments = tuple(_parse_segment(segment, text) for segment in text[1:].split("/"))
    if any(kind is Kind.REST for kind, _ in segments[:-1]):
        raise ValueError(f"`**` stands for the rest of a path, so nothing can follow it in `{_short(text)}`")
    names = [name for kind, name in segments if kind is Kind.NAME]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"`{{{name}}}` stands twice in `{_short(text)}`")
    return Pattern(text, segments)


def matching_form(path: str) -> str:
    """A canonical path for comparing: escapes that mean a printable character become that character.

    RFC 3986 §2.2 lets `/@me` and `/%40me` differ; no backend does, so no rule may. The form is for comparing only: it
    is never sent, and slashes, backslashes, semicolons and percent signs stay as they are.
    """
    if "%" not in path:
        return path
    head, *parts = path.split("%")
    out = [head]
    for part in parts:
        escape = "%" + part[:2]
        out.append(_ESCAPES.get(escape, escape) + part[2:])
    return "".join(out)


def split_path(path: str, most: int = -1) -> list[str]:
    """The segments of a canonical path; after `most` of them, the rest is one. A final slash counts for nothing."""
    segments = path[1:].split("/", most)
    if not segments[-1]:
        segments.pop()
    return segments


def _parse_segment(segment: str, text: str) -> tuple[Kind, str]:
    if segment == "**":
        return Kind.REST, ""
    if segment == "*":
        return Kind.ANY, ""
    if match := _NAME.fullmatch(segment):
        return Kind.NAME, match[1]
    if "{" in segment or "}" in segment:
        raise ValueError(
            f"`{_short(segment)}` in `{_short(text)}` is not a name in braces; `{{name}}` is a whole segment"
        )
    if "*" in segment:
        raise ValueError(f"`{_short(segment)}` in `{_short(text)}` mixes `*` and text; `*` stands for a whole segment")
    return Kind.LITERAL, literal_form(segment, text)


def literal_form(segment: str, text: str) -> str:
    """A literal segment in matching form. `text` is the whole, for the message of the ValueError."""
    if not segment:
        raise ValueError(f"`{_short(text)}` has an empty segment")
    for mark, what in (("?", "query"), ("#", "fragment")):
        if mark in segment:
            raise ValueError(f"`{_short(text)}` has a {what}, and a path has none")
    try:
        path = canonical_path(b"/" + quote(segment, safe=_PRINTABLE).encode("ascii"))
    except (BadTarget, UnicodeEncodeError) as error:
        raise ValueError(f"`{_short(text)}` is not a path: {error}") from error
    if other_readings(path) != ():
        raise ValueError(f"backends read `{_short(segment)}` in different ways, so requests for it are refused")
    return matching_form(path[1:])


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
