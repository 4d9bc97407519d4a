"""Rules that set and remove fields, on requests and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http.message import Field
from proxy.routing.route import FieldRules

if TYPE_CHECKING:
    from proxy.routing.settings import FieldRulesSettings


def compile_field_rules(settings: FieldRulesSettings | None) -> FieldRules:
    """Names and values were checked by the settings: no framing, no line ends."""
    if settings is None:
        return ()
    rules = []
    for name, value in settings.set.items():
        raw = name.encode("ascii")
        rules.append(("set", raw.lower(), raw + b": " + value.encode("ascii")))
    for name in settings.remove:
        rules.append(("remove", name.lower().encode("ascii"), b""))
    return tuple(rules)


def apply(fields: list[Field], rules: FieldRules) -> list[Field]:
    """A new list: every line of a name with a rule is gone, and what is set stands at the end."""
    names = {rule[1] for rule in rules}
    kept = [line for line in fields if line[0] not in names]
    for action, lower, line in rules:
        if action == "set":
            raw, _, value = line.partition(b": ")
            kept.append((lower, raw, value))
    return kept
