"""Our words for what a model refuses, by the type of the error. None of pydantic's own texts reaches a person.

The words say what is wrong with what stands in the file; the hint says what to write. A value that came out of a
`${...}` is never repeated: it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from proxy.config.diagnostics import did_you_mean
from proxy.config.document import Document, Listing, Mapping, Path, Scalar
from proxy.config.unions import SHAPE_ERRORS, Finding
from proxy.core.settings import Model

__all__ = ["report", "section"]

_SINGULAR: Final = {"routes": "route", "limits": "limit", "upstreams": "upstream"}
_BOUNDS: Final = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_LENGTHS: Final = {
    "too_short": ("min_length", "at least", "entries"),
    "too_long": ("max_length", "at most", "entries"),
    "string_too_short": ("min_length", "at least", "characters"),
    "string_too_long": ("max_length", "at most", "characters"),
}


def report(document: Document, model: type[Model], finding: Finding) -> None:
    """Write the diagnostic of one finding into the document."""
    for types, tell in _TELLERS:
        if finding.type in types:
            tell(document, model, finding)
            return
    document.report("WEIR0130", f"{_subject(document, finding.path)} is not valid here", finding.path)


def section(document: Document, path: Path) -> str:
    """What people call the mapping at `path`: route `search`, `pool` of upstream `app`, or an empty string."""
    if not path:
        return ""
    head, rest = str(path[0]), path[1:]
    if head in _SINGULAR and rest:
        owner = _entry(document, head, path[:2])
        return f"`{_dotted(rest[1:])}` of {owner}" if rest[1:] else owner
    return f"`{_dotted(path)}`"


def _entry(document: Document, head: str, path: Path) -> str:
    if isinstance(path[1], str):
        return f"{_SINGULAR[head]} `{path[1]}`"
    node, taken = document.find((*path, "name"))
    if len(taken) == 3 and isinstance(node, Scalar):
        return f"{_SINGULAR[head]} `{document.shown(taken)}`"
    return f"`{_dotted(path)}`"


def _dotted(path: Path) -> str:
    """`listen[4].tls`, counted from 0."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _subject(document: Document, path: Path) -> str:
    node, _ = document.find(path)
    key = next((step for step in reversed(path) if isinstance(step, str)), "")
    if isinstance(node, Mapping | Listing):
        return f"`{key}`" if key else "the file"
    return f"`{document.shown(path)}`"


def _unknown_key(document: Document, model: type[Model], finding: Finding) -> None:
    *parent, key = finding.path
    known = _keys(model, tuple(parent))
    hint = did_you_mean(str(key), known)
    if key in getattr(model, "only_in_root", ()) and not parent:
        hint = "this belongs into the root file, proxy.yaml"
    elif ":" in str(key):
        before, _, after = str(key).partition(":")
        hint = f"put a space after the colon: `{before}: {after}`"
    elif not hint and known:
        hint = "known here: " + ", ".join(known)
    where = section(document, tuple(parent))
    message = f"unknown key `{key}`" + (f" in {where}" if where else "")
    document.report("WEIR0102", message, finding.path, hint=hint, of_key=True)


def _missing_key(document: Document, model: type[Model], finding: Finding) -> None:
    where = section(document, finding.path)
    message = f"`{finding.missing}` is missing" + (f" in {where}" if where else "")
    hint = "write `version: 1` at the top" if finding.missing == "version" else f"add `{finding.missing}:`"
    document.report("WEIR0103", message, finding.path, hint=hint)


def _wrong_shape(document: Document, model: type[Model], finding: Finding) -> None:
    wanted = finding.context.get("wanted") or SHAPE_ERRORS[finding.type]
    subject = _name(finding.path)
    if document.is_substituted(finding.path):
        message = f"{subject}: expected {wanted}; `{document.shown(finding.path)}` stands for something else"
    else:
        message = f"{subject}: expected {wanted}, found {_found(document, finding.path)}"
    hint = f'quote it: "{document.shown(finding.path)}"' if _is_unquoted_text(document, finding) else ""
    document.report("WEIR0104", message, finding.path, hint=hint)


def _not_a_choice(document: Document, model: type[Model], finding: Finding) -> None:
    expected = str(finding.context.get("expected", "")).replace("'", "`")
    message = f"{_subject(document, finding.path)} is not a value of {_name(finding.path)}"
    hint = ""
    if not document.is_substituted(finding.path):
        hint = did_you_mean(document.shown(finding.path), re.findall("`([^`]*)`", expected))
    document.report("WEIR0105", message, finding.path, hint=hint or f"write {expected}")


def _refused(document: Document, model: type[Model], finding: Finding) -> None:
    """A validator of ours said no; its sentence is the message, and what follows `; ` the hint."""
    if document.is_substituted(finding.path):
        message = f"`{document.shown(finding.path)}` does not stand for a valid {_name(finding.path)}"
        document.report("WEIR0131", message, finding.path, hint="what it stands for is not shown")
        return
    message, _, hint = finding.message.partition("; ")
    words = finding.context.get("or", [])  # what else the key would take
    close = did_you_mean(document.shown(finding.path), words)
    also = "".join(f", or `{word}`" for word in words)
    document.report("WEIR0131", message, finding.path, hint=close or hint + also)


def _out_of_bounds(document: Document, model: type[Model], finding: Finding) -> None:
    key, words = _BOUNDS[finding.type]
    bound = finding.context.get(key)
    bound = int(bound) if isinstance(bound, float) and bound.is_integer() else bound
    message = f"{_subject(document, finding.path)} is out of bounds for {_name(finding.path)}"
    document.report("WEIR0132", message, finding.path, hint=f"it must be {words} {bound}")


def _wrong_length(document: Document, model: type[Model], finding: Finding) -> None:
    key, words, things = _LENGTHS[finding.type]
    bound = finding.context.get(key)
    message = f"{_name(finding.path)} is too {finding.type.rpartition('_')[2]}"
    if bound == 1:
        message, things = f"{_name(finding.path)} is empty", things.replace("entries", "entry").rstrip("s")
    document.report("WEIR0132", message, finding.path, hint=f"it must have {words} {bound} {things}")


def _wrong_pattern(document: Document, model: type[Model], finding: Finding) -> None:
    message = f"{_subject(document, finding.path)} is not a valid {_name(finding.path)}"
    document.report("WEIR0133", message, finding.path, hint=f"it must match {finding.context.get('pattern')}")


_TELLERS: Final[tuple[tuple[set[str], Callable[[Document, type[Model], Finding], None]], ...]] = (
    ({"extra_forbidden"}, _unknown_key),
    ({"missing"}, _missing_key),
    ({"value_error", "assertion_error"}, _refused),
    ({*SHAPE_ERRORS, "union"}, _wrong_shape),
    ({"literal_error", "enum"}, _not_a_choice),
    (set(_BOUNDS), _out_of_bounds),
    (set(_LENGTHS), _wrong_length),
    ({"string_pattern_mismatch"}, _wrong_pattern),
)


def _name(path: Path) -> str:
    """The key whose value is meant: `rate`, or `limits[2]` for an item of a list."""
    keys = [at for at, step in enumerate(path) if isinstance(step, str)]
    return f"`{_dotted(path[keys[-1] :])}`" if keys else "the file"


def _found(document: Document, path: Path) -> str:
    node, _ = document.find(path)
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Listing):
        return "a list"
    value = node.value if node is not None else None
    if value is None:
        return "nothing"
    kind = {bool: "", int: "the number ", float: "the number "}.get(type(value), "the text ")
    return f"{kind}`{document.shown(path)}`"


def _is_unquoted_text(document: Document, finding: Finding) -> bool:
    """A number or a truth value where text is wanted: quotes make it text."""
    node, _ = document.find(finding.path)
    return finding.type == "string_type" and isinstance(node, Scalar) and node.value is not None


def _keys(model: type[Model], path: Path) -> list[str]:
    """The keys that the models allow in the mapping at `path`."""
    candidates: list[Any] = [model]
    for step in path:
        candidates = [inner for candidate in candidates for inner in _inside(candidate, step)]
    known: dict[str, None] = {}
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, Model):
            known.update(dict.fromkeys(field.alias or name for name, field in candidate.model_fields.items()))
    return list(known)


def _inside(kind: Any, step: str | int) -> Iterator[Any]:
    """The types that a step leads to, unions and annotations opened."""
    if isinstance(kind, type) and issubclass(kind, Model):
        for name, field in kind.model_fields.items():
            if step == (field.alias or name):
                yield from _members(field.annotation)
    elif get_origin(kind) in (list, tuple) and isinstance(step, int):
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) is not None and len(get_args(kind)) == 2 and isinstance(step, str):
        yield from _members(get_args(kind)[1])


def _members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member)
    elif hasattr(kind, "__metadata__"):
        yield from _members(get_args(kind)[0])
    else:
        yield kind
