"""A diagnostic: what is wrong, where, and what to write instead. And how a list of them looks on a terminal.

Codes, by hundreds: 01 the text and its sections, 02 names and rules across sections, 04 advice (warnings).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal

Severity = Literal["error", "warning"]

_WIDTH: Final = 100  # columns of source shown; a key in PEM form would fill the screen
_BEFORE: Final = 40  # of them, before the caret


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `line` and `column` count from 1; `line` is 0 when the finding is about a whole file."""

    code: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    length: int = 1  # of the caret, in characters
    excerpt: str = ""  # the source line as written: substitutions are not resolved in it
    hint: str = ""  # what to do, after the caret
    note: str = ""  # another place that matters
    severity: Severity = "error"

    @property
    def where(self) -> str:
        """`policies/api.yaml:4:5`, or the file alone."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        """One line, for logs."""
        parts = [f"{self.severity}[{self.code}]", self.where, self.message, self.hint, self.note]
        return ": ".join(part for part in parts[:3] if part) + "".join(f"; {part}" for part in parts[3:] if part)


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    return any(diagnostic.severity == "error" for diagnostic in diagnostics)


def render(diagnostics: Sequence[Diagnostic], *, color: bool = False) -> str:
    """All of them as text, one block each, and the count at the end. Empty for an empty list."""
    if not diagnostics:
        return ""
    paint = _Paint(color)
    return "\n".join([*(_block(diagnostic, paint) for diagnostic in diagnostics), summary(diagnostics)]) + "\n"


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`."""
    severities = [diagnostic.severity for diagnostic in diagnostics]
    counts = ((severities.count("error"), "error"), (severities.count("warning"), "warning"))
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count)


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The same as a JSON object, for editors and pipelines."""
    return asdict(diagnostic)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, or an empty string."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""


def _block(diagnostic: Diagnostic, paint: _Paint) -> str:
    lines = [f"{paint.severity(diagnostic)}: {diagnostic.message}"]
    if diagnostic.file:
        lines.append(f"  --> {diagnostic.where}")
    if diagnostic.excerpt.strip():
        gutter = f"{diagnostic.line:>4}"
        shown, offset = _window(diagnostic.excerpt, diagnostic.column - 1)
        caret = "^" * max(1, min(diagnostic.length, len(shown) - offset))
        lines.append(f"{gutter} | {shown}")
        lines.append(f"{' ' * len(gutter)} | {' ' * offset}{paint.caret(f'{caret} {diagnostic.hint}'.rstrip())}")
    elif diagnostic.hint:
        lines.append(f"     = {diagnostic.hint}")
    if diagnostic.note:
        lines.append(f"     = {diagnostic.note}")
    return "\n".join(lines)


def _window(line: str, offset: int) -> tuple[str, int]:
    """The part of the line around the caret, without control characters, and the caret's place in it."""
    line = "".join(character if character.isprintable() else " " for character in line)
    if len(line) <= _WIDTH:
        return line, offset
    start = max(0, offset - _BEFORE)
    part = line[start : start + _WIDTH]
    return ("…" if start else "") + part + ("…" if start + _WIDTH < len(line) else ""), offset - start + bool(start)


class _Paint:
    def __init__(self, color: bool) -> None:
        self.color = color

    def severity(self, diagnostic: Diagnostic) -> str:
        text = f"{diagnostic.severity}[{diagnostic.code}]"
        return self._with("1;31" if diagnostic.severity == "error" else "1;33", text)

    def caret(self, text: str) -> str:
        return self._with("1;36", text)

    def _with(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.color else text
