"""Prints the tables of docs/reference/limits.md from the models: `python -m proxy.limits.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from proxy.core.settings import Model
from proxy.core.units import format_duration
from proxy.limits.settings import (
    CandidateSettings,
    CostSettings,
    LimiterSettings,
    LimitSettings,
    PenaltySettings,
    PlanSettings,
)


def reference() -> str:
    """Every key of a limit and of the limiter, with its default and its meaning."""
    return "\n".join(_sections()) + "\n"


def _sections() -> Iterator[str]:
    yield from _table("A limit", "Under `limits:`, or in a route's `limits` with a `name`.", LimitSettings)
    yield from _table("cost", "In place of a number.", CostSettings)
    yield from _table("plans", "In place of a rate, under the name of a plan.", PlanSettings)
    yield from _table("candidate", "Counted, never enforced: `weir_limit_candidate_denied_total`.", CandidateSettings)
    yield from _table("penalty", "", PenaltySettings)
    yield from _table("limiter", "For all limits, in the root file.", LimiterSettings)


def _table(title: str, remark: str, model: type[Model]) -> Iterator[str]:
    yield f"\n## {title}\n" if model is LimitSettings else f"\n### `{title}`\n"
    if remark:
        yield f"{remark}\n"
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        default = (
            ""
            if field.is_required() or field.default in (None, ())
            else _text(name, field.get_default(call_default_factory=True))
        )
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{name}` | {default} | {meaning} |"


def _text(name: str, value: Any) -> str:
    if value in (None, (), {}):
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return (
            f"`{value:.0%}`"
            if name in _SHARES
            else f"`{value:g}`"
            if name == "growth"
            else f"`{format_duration(value)}`"
        )
    return f"`{value}`"


_SHARES = frozenset({"near"})


if __name__ == "__main__":
    sys.stdout.write(reference())
