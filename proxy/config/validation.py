"""A document against its model: the settings, and a diagnostic for each thing that does not fit.

What is wrong in one route, limit or upstream does not hide the rest: the broken entry is left out and the others are
taken, so that names can still be checked across files and every error is told at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from proxy.config.document import Document, Path, Span
from proxy.config.reasons import report
from proxy.config.unions import Finding, choose
from proxy.core.settings import FromText, Model

__all__ = ["Validated", "validate"]

MAX_FINDINGS: Final = 100  # of one file; whoever has more reads no further
_COLLECTIONS: Final = ("routes", "limits", "upstreams")
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Validated(Generic[M]):
    """`settings` holds what is right; None when nothing is. `broken` are the paths of what was left out."""

    settings: M | None
    broken: frozenset[Path] = field(default=frozenset())
    indices: tuple[int, ...] = ()  # for each route that was taken, its place in the file


def validate(document: Document, model: type[M]) -> Validated[M]:
    """Read the document as `model`. What is refused is reported in the document, in our words."""
    raw = document.plain()
    if not isinstance(raw, dict):
        if document.root is not None:
            document.report("WEIR0104", "the file must be a mapping of sections", (), hint="write `key: value` lines")
        return Validated(None)
    context = FromText(document.folder)
    try:
        settings = model.model_validate(raw, context=context)
    except ValidationError as error:
        findings = choose(document, error)
    else:
        findings = list(_coerced(settings, raw, ()))
        if not findings:
            return Validated(settings, indices=_indices(raw, frozenset()))
    for finding in findings[:MAX_FINDINGS]:
        report(document, model, finding)
    if len(findings) > MAX_FINDINGS:
        document.report("WEIR0107", f"{len(findings) - MAX_FINDINGS} more errors are not shown", Span(0, 0))
    broken = frozenset(_entry(finding) for finding in findings)
    return _rest(raw, model, broken, context)


def _rest(raw: dict[str, Any], model: type[M], broken: frozenset[Path], context: FromText) -> Validated[M]:
    """The settings without the broken entries."""
    pruned = {key: value for key, value in raw.items() if (key,) not in broken}
    for collection in _COLLECTIONS:
        entries = pruned.get(collection)
        if isinstance(entries, dict):
            pruned[collection] = {k: v for k, v in entries.items() if (collection, k) not in broken}
        elif isinstance(entries, list):
            pruned[collection] = [v for i, v in enumerate(entries) if (collection, i) not in broken]
    if () in broken and "version" in model.model_fields:
        pruned["version"] = 1  # reported as missing; the rest is still worth reading
    try:
        return Validated(model.model_validate(pruned, context=context), broken, _indices(raw, broken))
    except ValidationError:
        return Validated(None, broken)


def _entry(finding: Finding) -> Path:
    """What to leave out: one route, one limit, one upstream, or else a whole section."""
    path = finding.path
    return path[:2] if path and path[0] in _COLLECTIONS else path[:1]


def _indices(raw: dict[str, Any], broken: frozenset[Path]) -> tuple[int, ...]:
    routes = raw.get("routes")
    count = len(routes) if isinstance(routes, list) else 0
    return tuple(index for index in range(count) if ("routes", index) not in broken and ("routes",) not in broken)


def _coerced(value: Any, raw: Any, path: Path) -> Iterator[Finding]:
    """Where pydantic took `true` for 1, or 1 for true: in a configuration that is a mistake."""
    if isinstance(value, Model) and isinstance(raw, dict):
        for key, item in raw.items():
            yield from _coerced(getattr(value, key, None), item, (*path, key))
    elif isinstance(value, dict) and isinstance(raw, dict):
        for key, item in value.items():
            yield from _coerced(item, raw.get(key), (*path, key))
    elif isinstance(value, tuple | list) and isinstance(raw, list):
        for index, (item, raw_item) in enumerate(zip(value, raw, strict=False)):
            yield from _coerced(item, raw_item, (*path, index))
    elif isinstance(value, int | float) and isinstance(raw, int | float):
        if isinstance(value, bool) != isinstance(raw, bool):
            yield Finding("bool_type" if isinstance(value, bool) else "int_type", path)
