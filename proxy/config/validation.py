"""A document against its model: the settings, and a diagnostic for each thing that does not fit.

What is wrong in one route, limit or upstream does not hide the rest: the broken entry is left out and the others are
taken, so that names can still be checked across files and every error is told at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from proxy.config.document import Document, Path
from proxy.config.reasons import report
from proxy.config.unions import Finding, choose
from proxy.core.settings import FromText, Model

__all__ = ["Validated", "validate"]

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
        return Validated(settings, indices=_indices(raw, frozenset()))
    except ValidationError as error:
        findings = choose(document, error)
    for finding in findings:
        report(document, model, finding)
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
