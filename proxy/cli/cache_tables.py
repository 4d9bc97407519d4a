"""What `weir cache` prints for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from proxy.cli.tables import print_table
from proxy.core.units import format_duration

__all__ = ["print_cache", "print_entries", "print_precomputes", "print_variants"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def print_cache(document: Mapping[str, Any]) -> None:
    """How full it is, and what became of the requests of each route."""
    used, budget = document["used_bytes"], document["budget_bytes"]
    print(f"{'in use':<10} {_size(used)} of {_size(budget)}, {_size(document['fill_bytes'])} of it on its way in")
    print(f"{'stored':<10} {document['entries']} responses, {document['tags']} tags")
    counters = document["counters"]
    print(f"{'so far':<10} {counters['stored']} stored, {counters['evicted']} evicted, {counters['purged']} purged")
    rows = []
    for route in document["routes"]:
        counts = dict.fromkeys(("hit", "stale", "collapsed", "miss", "bypass"), 0)
        for found in route["requests"]:
            counts[found["result"]] = counts.get(found["result"], 0) + found["count"]
        rows.append((route["route"], *list(counts.values())[:5], route["entries"], _size(route["bytes"])))
    if rows:
        print()
        heads = ("route", "hit", "stale", "collapsed", "miss", "bypass", "stored", "size")
        print_table(heads, rows, numbers=range(1, 8))


def print_entries(entries: Sequence[Mapping[str, Any]], matched: int) -> None:
    """One line each, the most wanted first."""
    if not entries:
        print("nothing is stored")
        return
    rows = [
        (
            entry["hits"],
            _size(entry["size_bytes"]),
            entry["status"],
            _span(entry["age_s"]),
            _left(entry),
            " ".join(entry["tags"]),
            entry["url"],
        )
        for entry in entries
    ]
    print_table(("hits", "size", "status", "age", "fresh for", "tags", "url"), rows, numbers=(0, 1, 2))
    if matched > len(entries):
        print(f"and {matched - len(entries)} more")


def print_variants(entries: Iterable[Mapping[str, Any]]) -> None:
    """Every stored response of one URL, in words."""
    for place, entry in enumerate(entries):
        if place:
            print()
        lines = [
            ("url", entry["url"]),
            ("status", entry["status"]),
            ("age", _span(entry["age_s"])),
            ("fresh for", _left(entry)),
            ("hits", entry["hits"]),
            ("size", f"{_size(entry['size_bytes'])}, {_size(entry['content_bytes'])} of it content"),
            ("tags", ", ".join(entry["tags"]) or "none"),
        ]
        lines += [(f"with {found['field']}", _value(found["value"])) for found in entry["variant"]["selected_by"]]
        if entry["variant"]["key"]:
            lines.append(("for", entry["variant"]["key"]))
        for label, text in lines:
            print(f"{label:<22} {text}")


def print_precomputes(precomputes: Sequence[Mapping[str, Any]]) -> None:
    """One line for each response that is fetched ahead."""
    rows = [
        (
            document["name"],
            "running" if target["running"] else "failing" if target["failing"] else "ok",
            "never" if target["last_success_age_s"] is None else f"{_span(target['last_success_age_s'])} ago",
            document["every"],
            "-" if target["took_s"] is None else f"{target['took_s']:.2f} s",
            target["runs"],
            target["failures"],
            target["skipped"],
            _size(target["bytes"]),
            target["url"],
            target["last_error"] or "",
        )
        for document in precomputes
        for target in document["targets"]
    ]
    if not rows:
        print("nothing is fetched ahead")
        return
    heads = ("route", "now", "renewed", "every", "took", "runs", "failed", "skipped", "size", "url", "last error")
    print_table(heads, rows, numbers=range(4, 9))


def _left(entry: Mapping[str, Any]) -> str:
    left_s = entry["fresh_for_s"]
    return _span(left_s) if entry["is_fresh"] else f"stale for {_span(-left_s)}"


def _span(seconds: float) -> str:
    return format_duration(round(max(seconds, 0.0)))


def _value(value: str | None) -> str:
    return "(absent)" if value is None else value


def _size(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} B"
