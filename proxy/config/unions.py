"""Which of a union's members did the author mean?

pydantic reports every member of a union that a value failed to be. People meant one of them: the member of the same
shape (a mapping for a mapping), and of several such the one whose keys fit best.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError

from proxy.config.document import Document, Path

__all__ = ["SHAPE_ERRORS", "Finding", "choose"]

SHAPE_ERRORS: Final = {
    "string_type": "text",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "none_required": "nothing",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One error of pydantic's, with its path in the document and the union members on the way to it."""

    type: str
    path: Path  # as far as it exists in the document
    members: tuple[tuple[Path, str], ...] = ()  # (where the union stands, which member)
    missing: str = ""  # the key that is not there, for `missing`
    message: str = ""  # of the ValueError that a validator raised
    context: dict[str, Any] = field(default_factory=dict)


def choose(document: Document, error: ValidationError) -> list[Finding]:
    """The findings worth telling, in the order of the file."""
    findings = [_finding(document, item) for item in error.errors(include_url=False, include_input=False)]
    chosen = _of_best_members(findings, 0)
    return sorted(chosen, key=lambda finding: _position(document, finding))


def _finding(document: Document, item: Any) -> Finding:
    location = list(item["loc"])
    missing = str(location.pop()) if item["type"] == "missing" else ""
    path: Path = ()
    members = []
    for step in location:
        longer = (*path, step)
        if document.find(longer)[1] == longer:
            path = longer
        elif isinstance(step, str) and step != "[key]":
            members.append((path, step))
    context = item.get("ctx", {})
    cause = context.get("error")
    return Finding(item["type"], path, tuple(members), missing, str(cause) if cause else "", context)


def _of_best_members(findings: Iterable[Finding], level: int) -> list[Finding]:
    """Keep, of every union at this level of nesting, the findings of one member; then go one level deeper."""
    kept: list[Finding] = []
    unions: dict[tuple[Any, ...], dict[str, list[Finding]]] = {}
    for finding in findings:
        if len(finding.members) <= level:
            kept.append(finding)
            continue
        place, member = finding.members[level]
        unions.setdefault((place, finding.members[:level]), {}).setdefault(member, []).append(finding)
    for (place, _), members in unions.items():
        kept.extend(_of_best_members(_best(place, members), level + 1))
    return kept


def _best(place: Path, members: dict[str, list[Finding]]) -> list[Finding]:
    shaped = {name: found for name, found in members.items() if not any(_has_wrong_shape(f, place) for f in found)}
    if shaped:
        best = min(shaped.values(), key=lambda found: _misfit(found, place))
        words = [word for found in members.values() for finding in found for word in _choices(finding, place)]
        return [replace(finding, context={**finding.context, "or": words}) for finding in best]
    return [_merged([finding for found in members.values() for finding in found if finding.path == place])]


def _has_wrong_shape(finding: Finding, place: Path) -> bool:
    return finding.path == place and (finding.type in SHAPE_ERRORS or finding.type in ("literal_error", "enum"))


def _choices(finding: Finding, place: Path) -> list[str]:
    """The words of a `Literal` beside the member that was meant, such as `off`."""
    if finding.type != "literal_error" or finding.path != place:
        return []
    return re.findall("'([^']*)'", str(finding.context.get("expected", "")))


def _misfit(found: list[Finding], place: Path) -> tuple[int, int]:
    strangers = sum(f.type == "extra_forbidden" and f.path[:-1] == place for f in found)
    return strangers, len(found)


def _merged(found: list[Finding]) -> Finding:
    """No member has the shape of the value: say what all of them want."""
    wanted: dict[str, None] = {}
    for finding in found:
        wanted[_wanted(finding)] = None
    first = found[0]
    if len(wanted) == 1:
        return first
    words = list(wanted)
    return replace(first, type="union", context={"wanted": ", ".join(words[:-1]) + " or " + words[-1]})


def _wanted(finding: Finding) -> str:
    if finding.type in SHAPE_ERRORS:
        return SHAPE_ERRORS[finding.type]
    return str(finding.context.get("expected", "another value")).replace("'", "`")


def _position(document: Document, finding: Finding) -> tuple[int, int]:
    span = document.span(finding.path)
    return span.line, span.column
