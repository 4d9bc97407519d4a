"""What a YAML parser complains about, in words that help.

The parser names the character at which it gave up. The mistake is nearly always one of a few: a tab, a value that
needs quotes, a missing space. Each is recognised by the text around the place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from proxy.config.document import Span

__all__ = ["explain"]

_ADDRESS: Final = re.compile(r"\[[0-9a-fA-F.]*:[0-9a-fA-F:.]*\](:[0-9]+)?")
_PATH_WITH_NAME: Final = re.compile(r"/[^\s,\"'{}]*\{\w+\}[^\s,\"'}]*")
_NEEDS_QUOTES: Final = "@`%*&!|>"


def explain(error: Any, text: str, lines: Sequence[str]) -> tuple[str, Span, str]:
    """(message, place, hint) for any exception of the parser."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _unreadable(error, text)
    line = lines[mark.line] if mark.line < len(lines) else ""
    place = Span(mark.line + 1, mark.column + 1)
    if "\t" in line[: mark.column + 1] and not line[: mark.column].strip():
        return "a tab cannot indent YAML", Span(place.line, line.index("\t") + 1), "use spaces"
    if (address := _ADDRESS.search(line)) is not None and address.start() <= mark.column <= address.end():
        span = Span(place.line, address.start() + 1, len(address[0]))
        return "an address in brackets needs quotes", span, f'quote the address: "{address[0]}"'
    if (path := _PATH_WITH_NAME.search(line)) is not None and path.start() <= mark.column <= path.end() + 1:
        span = Span(place.line, path.start() + 1, len(path[0]))
        return "a path with a `{name}` in it needs quotes here", span, f'quote the path: "{path[0]}"'
    return _by_problem(str(error.problem), error.context_mark, place, line, lines)


def _by_problem(problem: str, context_mark: Any, place: Span, line: str, lines: Sequence[str]) -> tuple[str, Span, str]:
    started = Span(context_mark.line + 1, context_mark.column + 1) if context_mark else place
    if "cannot start any token" in problem or "alphabetic or numeric" in problem:
        return _special(started, lines)
    if "mapping values are not allowed" in problem:
        if ": " in line[: place.column - 1]:
            return "a second `: ` in one line", place, "quote the value, or start a new line"
        return "a `:` where no key can be", place, "check the indentation of this line and of the one above"
    if "unexpected ':'" in problem:
        return "a `:` without a space after it", place, "put a space after the colon"
    if "could not find expected ':'" in problem:
        return "this line is neither a key nor a value", started, "a key ends with `:` and a space"
    if "unexpected end of stream" in problem:
        return "this quote is never closed", started, "add the closing quote"
    if "',' or ']'" in problem or "',' or '}'" in problem:
        bracket = "]" if "']'" in problem else "}"
        hint = f"missing `,` or `{bracket}` before line {place.line}"
        return f"this bracket is not closed by `{bracket}`", started, hint
    if "escape character" in problem:
        return "an unknown escape in a quoted text", place, "use single quotes, or write two backslashes"
    if "expected key" in problem or "<block end>" in problem or "'-' indicator" in problem:
        return "this line does not fit the ones above", place, "check its indentation"
    return f"this is not YAML: {problem}", place, ""


def _special(started: Span, lines: Sequence[str]) -> tuple[str, Span, str]:
    """A value that begins with a character that means something in YAML."""
    line = lines[started.line - 1] if started.line <= len(lines) else ""
    rest = line[started.column - 1 :]
    value = re.split(r"[,\]}]|\s#", rest, maxsplit=1)[0].rstrip() or rest[:1]
    if value[:1] in _NEEDS_QUOTES:
        span = Span(started.line, started.column, len(value))
        return f"a value that starts with `{value[:1]}` needs quotes", span, f'quote it: "{value}"'
    return f"`{value[:1]}` cannot start a value", started, "quote the value"


def _unreadable(error: Any, text: str) -> tuple[str, Span, str]:
    """A character that no YAML file may contain; the parser gives its offset and no line."""
    position = getattr(error, "position", 0) or 0
    bad = next((index for index, character in enumerate(text) if _is_control(character)), min(position, len(text)))
    line = text.count("\n", 0, bad) + 1
    column = bad - (text.rfind("\n", 0, bad) + 1) + 1
    return "a control character is in the file", Span(line, column), "remove it"


def _is_control(character: str) -> bool:
    return (character < " " and character not in "\t\n\r") or "\x7f" <= character <= "\x9f"
