"""Prints the tables of docs/reference/cache.md from the models: `python -m proxy.cache.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from proxy.cache.precompute.settings import PrecomputeSettings
from proxy.cache.settings import (
    CacheKeySettings,
    CacheRouteSettings,
    CacheSettings,
    DiskSettings,
    SharedCacheSettings,
)
from proxy.core.settings import Model
from proxy.core.units import format_duration, format_size


def reference() -> str:
    """Every key of a route's `cache` and `precompute`, and of the root file's `cache`: its default and its meaning."""
    return "\n".join(_sections()) + "\n"


def _sections() -> Iterator[str]:
    yield from _table("`cache` of a route", CacheRouteSettings)
    yield from _table("`key`", CacheKeySettings)
    yield from _table("`precompute` of a route", PrecomputeSettings)
    yield from _table("`cache` of the root file", CacheSettings)
    yield from _table("`disk`", DiskSettings)
    yield from _table("`shared`", SharedCacheSettings)


def _table(title: str, model: type[Model]) -> Iterator[str]:
    yield f"\n### {title}\n"
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        default = "" if field.is_required() else _text(field.get_default(call_default_factory=True))
        if any(getattr(bound, "le", None) == 1 for bound in field.metadata):
            default = f"`{field.default:.0%}`"  # a share, not seconds
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{name}` | {default} | {meaning} |"


def _text(value: Any) -> str:
    if value in (None, (), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{format_duration(value)}`"
    return f"`{format_size(value)}`" if isinstance(value, int) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
