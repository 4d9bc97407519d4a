"""A parsed file: its values, and where each of them stands.

A path is what pydantic calls `loc`: keys and indices from the root, `("routes", 0, "match", "path")`.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.config.diagnostics import Diagnostic, Severity, has_errors
from proxy.config.scalars import scalar_text

Path = tuple[str | int, ...]
_SHORTEST_SECRET: Final = 4  # characters; what is shorter would be found in every second word


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line. Both count from 1; `length` is in characters."""

    line: int
    column: int
    length: int = 1


class Scalar:
    """Text, number, true, false or null. `written` is set when a `${...}` was resolved: the value may be a secret."""

    __slots__ = ("height", "span", "value", "weight", "written")

    def __init__(self, value: Any, span: Span, written: str | None = None) -> None:
        self.value = value
        self.span = span
        self.written = written
        self.height = 0
        self.weight = 1


class Mapping:
    """Keys in order, each with its own span. `weight` counts the values in it, aliases expanded."""

    __slots__ = ("entries", "height", "keys", "span", "weight")

    def __init__(self, span: Span) -> None:
        self.entries: dict[str, Node] = {}
        self.keys: dict[str, Span] = {}
        self.span = span
        self.height = 1
        self.weight = 1


class Listing:
    """Items in order. `weight` counts the values in it, aliases expanded."""

    __slots__ = ("height", "items", "span", "weight")

    def __init__(self, span: Span) -> None:
        self.items: list[Node] = []
        self.span = span
        self.height = 1
        self.weight = 1


Node = Scalar | Mapping | Listing


@dataclass(slots=True)
class Document:
    """One file: its name as shown to people, its lines and its tree."""

    name: str
    lines: Sequence[str]
    root: Node | None = None
    substituted: list[Scalar] = field(default_factory=list)  # whose values may be secrets
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """Where relative file names in it start."""
        return os.path.dirname(self.name)

    @property
    def has_errors(self) -> bool:
        return has_errors(self.diagnostics)

    def plain(self) -> Any:
        """The values alone: dicts, lists and scalars. The depth is bounded where the tree is built."""
        return None if self.root is None else _plain(self.root)

    def find(self, path: Sequence[str | int]) -> tuple[Node | None, Path]:
        """The deepest node on `path`, and the path to it. Steps that are not in the file are passed over.

        pydantic puts names of union members between the steps of a path, which is why a step may be unknown here.
        """
        node, taken = self.root, list[str | int]()
        for step in path:
            child = _child(node, step)
            if child is not None:
                node = child
                taken.append(step)
        return node, tuple(taken)

    def span(self, path: Sequence[str | int], *, of_key: bool = False) -> Span:
        """Where the value at `path` stands. A mapping or list in block form is shown by its key."""
        node, taken = self.find(path)
        parent = self.find(taken[:-1])[0] if taken else None
        if isinstance(parent, Mapping) and (of_key or not isinstance(node, Scalar)):
            return parent.keys[str(taken[-1])]
        return node.span if node is not None else Span(1, 1)

    def where(self, path: Sequence[str | int], *, of_key: bool = False) -> str:
        """`policies/shop.yaml:12`."""
        return f"{self.name}:{self.span(path, of_key=of_key).line}"

    def shown(self, path: Sequence[str | int]) -> str:
        """The value at `path` for a message: as written where a substitution was resolved."""
        node, _ = self.find(path)
        if not isinstance(node, Scalar):
            return "[...]" if isinstance(node, Listing) else "{...}"
        return node.written if node.written is not None else scalar_text(node.value)

    def is_substituted(self, path: Sequence[str | int]) -> bool:
        node, _ = self.find(path)
        return isinstance(node, Scalar) and node.written is not None

    def report(
        self,
        code: str,
        message: str,
        place: Span | Sequence[str | int],
        *,
        hint: str = "",
        note: str = "",
        of_key: bool = False,
        severity: Severity = "error",
    ) -> Diagnostic:
        """Make a diagnostic at a span or a path, and keep it."""
        span = place if isinstance(place, Span) else self.span(place, of_key=of_key)
        excerpt = self.lines[span.line - 1] if 0 < span.line <= len(self.lines) else ""
        message, hint, note = (self._redacted(text) for text in (message, hint, note))
        diagnostic = Diagnostic(
            code, message, self.name, span.line, span.column, span.length, excerpt, hint, note, severity
        )
        self.diagnostics.append(diagnostic)
        return diagnostic

    def refuse(self, code: str, error: ValueError, path: Sequence[str | int], *, of_key: bool = False) -> Diagnostic:
        """Report what a rule of a feature said about the value at `path`: its sentence, and the hint after `; `."""
        message, _, hint = str(error).partition("; ")
        return self.report(code, message, path, hint=hint, of_key=of_key)

    def _redacted(self, text: str) -> str:
        """`text` with whatever came out of a substitution replaced by what is written: it may be a secret."""
        for scalar in self.substituted:
            if scalar.written is not None and len(str(scalar.value)) >= _SHORTEST_SECRET:
                text = text.replace(str(scalar.value), scalar.written)
        return text


def _child(node: Node | None, step: str | int) -> Node | None:
    if isinstance(node, Mapping):
        return node.entries.get(str(step))
    if isinstance(node, Listing) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step]
    return None


def _plain(node: Node) -> Any:
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Listing):
        return [_plain(item) for item in node.items]
    return {key: _plain(value) for key, value in node.entries.items()}
