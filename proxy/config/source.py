"""YAML text becomes a Document. The only door to PyYAML.

PyYAML splits the text into events (its C parser where it is built in); the tree is made of them here, in one pass and
without recursion. So scalars are those of YAML 1.2 (`scalars.py`), keys are always text, a duplicate key is an error,
every value knows its place, and nothing in the text can run code: tags are refused. Bounds stop a hostile or broken
file before it costs memory: an alias counts with everything that it repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Names
from typing import Any, Final

import yaml

from proxy.config import yaml_errors
from proxy.config.document import Document, Listing, Mapping, Node, Scalar, Span
from proxy.config.scalars import scalar_value
from proxy.config.substitute import Substitution, SubstitutionError

__all__ = ["MAX_ALIASES", "MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "parse"]

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_ALIASES: Final = 100
MAX_DUPLICATES: Final = 20  # reported; a file with more is not what its author meant to load
MAX_VALUES: Final = 20_000  # aliases expanded; about 5,000 lines, and 100 ms on a slow processor

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse(data: bytes, name: str, environment: Names[str, str], *, loader: Any = _LOADER) -> Document:
    """The file's content as a tree. What is wrong with it is in `diagnostics`; `root` is None when nothing can be read.

    `name` is what messages call the file; relative `${file:...}` paths are taken from its folder.
    """
    document = Document(name, ())
    if len(data) > MAX_BYTES:
        document.report("WEIR0107", f"the file is larger than 1 MiB ({len(data)} bytes)", Span(0, 0))
        return document
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        document.report("WEIR0101", "the file is not UTF-8 text", Span(line, 1), hint="save the file as UTF-8")
        return document
    document.lines = text.splitlines()
    builder = _Builder(document, Substitution(environment, name))
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except _Refused:
        return document
    except yaml.YAMLError as error:
        message, span, hint = yaml_errors.explain(error, text, document.lines)
        document.report("WEIR0101", message, span, hint=hint)
        return document
    document.root = builder.root
    if builder.root is None:
        document.report("WEIR0109", "the file is empty", Span(0, 0))
    return document


class _Refused(Exception):
    """The diagnostic is written; there is no point in reading on."""


class _Builder:
    """Takes events and grows the tree. Open collections are on a stack, so that no depth can exhaust ours."""

    def __init__(self, document: Document, substitution: Substitution) -> None:
        self.document = document
        self.substitution = substitution
        self.root: Node | None = None
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.aliases = 0
        self.documents = 0
        self.duplicates = 0
        self.values = 0
        self.takers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: lambda event: self._start(event, Mapping(_span(event))),
            yaml.SequenceStartEvent: lambda event: self._start(event, Listing(_span(event))),
            yaml.MappingEndEvent: lambda _: self._end(),
            yaml.SequenceEndEvent: lambda _: self._end(),
            yaml.DocumentStartEvent: self._document,
        }

    def take(self, event: Any) -> None:
        taker = self.takers.get(type(event))
        if taker is not None:
            taker(event)

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self._refuse("WEIR0101", "a second document starts here", _span(event), "one file holds one document")

    def _scalar(self, event: Any) -> None:
        span = _span(event)
        self._refuse_tag(event, span)
        plain = not event.style
        if self.open and self.open[-1].wants_key:
            self._key(event.value, span, plain=plain)
            return
        node = Scalar(scalar_value(event.value) if plain else event.value, span)
        if "$" in event.value:
            self._substitute(node, event.value)
        self._anchor(event, node)
        self._add(node, span)

    def _substitute(self, node: Scalar, written: str) -> None:
        # After parsing, so that a value with `: ` or a line break cannot become structure.
        try:
            node.value = self.substitution.resolve(written)
        except SubstitutionError as error:
            self.document.report("WEIR0108", error.message, node.span, hint=error.hint)
        if "${" in written:
            node.written = written
            self.document.substituted.append(node)

    def _key(self, text: str, span: Span, *, plain: bool) -> None:
        top = self.open[-1]
        assert isinstance(top.node, Mapping)
        if plain and text == "<<":
            self._refuse("WEIR0101", "merge keys (`<<`) are not supported", span, "repeat the keys, or use an alias")
        first = top.node.keys.get(text)
        if first is not None:
            note = f"first at {self.document.name}:{first.line}:{first.column}"
            self.document.report("WEIR0106", f"`{text}` stands twice in the same mapping", span, note=note)
            self.duplicates += 1
            if self.duplicates >= MAX_DUPLICATES:
                raise _Refused
        top.key, top.key_span = text, span

    def _alias(self, event: Any) -> None:
        span = _span(event)
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self._refuse("WEIR0107", f"more than {MAX_ALIASES} aliases", span)
        if self.open and self.open[-1].wants_key:
            self._refuse("WEIR0101", "a key cannot be an alias", span)
        node = self.anchors.get(event.anchor)
        if node is None:
            hint = f'if it is text, quote it: "*{event.anchor}"'
            self._refuse("WEIR0101", f"nothing before this is anchored as `&{event.anchor}`", span, hint)
        else:
            self._add(node, span)

    def _start(self, event: Any, node: Mapping | Listing) -> None:
        self._refuse_tag(event, node.span)
        if self.open and self.open[-1].wants_key:
            self._refuse("WEIR0101", "a key must be text", node.span, "quote it if it starts with `[` or `{`")
        if len(self.open) >= MAX_DEPTH:
            self._refuse("WEIR0107", f"nested deeper than {MAX_DEPTH} levels", node.span)
        self.open.append(_Open(node, event.anchor))

    def _end(self) -> None:
        closed = self.open.pop()
        if closed.anchor:  # only now: a collection cannot contain itself
            self.anchors[closed.anchor] = closed.node
        self._add(closed.node, closed.node.span, counted=True)

    def _anchor(self, event: Any, node: Node) -> None:
        if event.anchor:
            self.anchors[event.anchor] = node

    def _add(self, node: Node, span: Span, *, counted: bool = False) -> None:
        self.values += 1 if counted else node.weight
        if self.values > MAX_VALUES:
            self._refuse("WEIR0107", f"more than {MAX_VALUES} values, aliases expanded", span)
        if not self.open:
            self.root = node
            return
        if len(self.open) + node.height > MAX_DEPTH:
            self._refuse("WEIR0107", f"nested deeper than {MAX_DEPTH} levels, aliases expanded", span)
        self.open[-1].add(node)

    def _refuse_tag(self, event: Any, span: Span) -> None:
        if event.tag:
            self._refuse("WEIR0101", f"tags such as `{_tag(event.tag)}` are not supported", span, "remove the tag")

    def _refuse(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.document.report(code, message, span, hint=hint)
        raise _Refused


class _Open:
    """A collection whose end has not come. In a mapping, `key` is set while its value is awaited."""

    __slots__ = ("anchor", "key", "key_span", "node")

    def __init__(self, node: Mapping | Listing, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: str | None = None
        self.key_span = node.span

    @property
    def wants_key(self) -> bool:
        return self.key is None and isinstance(self.node, Mapping)

    def add(self, child: Node) -> None:
        node = self.node
        node.weight += child.weight
        node.height = max(node.height, child.height + 1)
        if isinstance(node, Listing):
            node.items.append(child)
        elif self.key is not None:
            if self.key not in node.entries:  # the first of two equal keys stays; the second is reported
                node.entries[self.key] = child
                node.keys[self.key] = self.key_span
            self.key = None


def _span(event: Any) -> Span:
    start, end = event.start_mark, event.end_mark
    length = end.column - start.column if end.line == start.line else 1
    return Span(start.line + 1, start.column + 1, max(1, length))


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
