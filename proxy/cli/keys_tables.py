"""What `weir keys` prints for people: tables, and one key in words."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from proxy.cli.tables import print_table
from proxy.core.units import format_duration

__all__ = ["print_audit", "print_change", "print_controls", "print_key", "print_limits", "print_offenders"]

_ANSWERS: Final = {
    "admit": "admitted",
    "deny": "denied: the quota is used up",
    "block": "refused: the key is banned",
    "not counted": "admitted and not counted: the key is allowed",
}


def print_limits(limits: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (
            limit["name"],
            limit["numbers"]["limit"],
            "+".join(limit["by"]),
            _mode(limit),
            *(limit["counters"][name] for name in ("allowed", "denied", "near", "blocked", "would_deny")),
            ", ".join(f"{offender['key']} ({_about(offender)})" for offender in limit["offenders"][:3]),
        )
        for limit in limits
    ]
    heads = ("limit", "rate", "by", "mode", "allowed", "denied", "near", "blocked", "would deny", "denied most of late")
    _table(heads, rows, "there are no limits", numbers=(4, 5, 6, 7, 8))


def print_controls(entries: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (
            entry["kind"],
            *_target(entry),
            _numbers(entry),
            format_duration(round(entry["ends_in_s"])),
            entry["who"],
            entry["reason"],
        )
        for entry in entries
    ]
    heads = ("what", "of", "key or name", "numbers", "ends in", "who", "reason")
    _table(heads, rows, "nothing is in force beside the configuration")


def print_offenders(limit: str, offenders: Iterable[Mapping[str, Any]]) -> None:
    rows = [(offender["key"], offender["denied"] - offender["error"], offender["denied"]) for offender in offenders]
    _table(("key", "denied at least", "at most"), rows, f"{limit} has denied nobody of late", numbers=(1, 2))


def print_audit(lines: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (line["at"], line["who"], line["what"], line["target"], line["reason"] or "", line["until"] or "")
        for line in lines
    ]
    _table(("when", "who", "what", "key or scope", "reason", "until"), rows, "nobody has changed anything")


def print_key(document: Mapping[str, Any]) -> None:
    numbers = document["numbers"]
    lines = [
        ("limit", f"{document['limit']}  {numbers['limit']}, {numbers['algorithm']}"),
        ("key", document["key"]),
        ("next request", _ANSWERS.get(document["answer"], document["answer"])),
        ("remaining", f"{document['remaining']} of {numbers['burst'] or numbers['quota']}"),
    ]
    if not document["is_enforced"]:
        lines.append(("mode", "in shadow: it is counted and never refused"))
    if document["retry_after_s"]:
        lines.append(("passes in", format_duration(document["retry_after_s"])))
    lines.append(("full again in", _span(document["reset_s"])))
    lines.append(("decided", document["decided"]))
    for entry in document["in_force"]:
        what = f"{_numbers(entry)}, " if _numbers(entry) else ""
        ends = format_duration(round(entry["ends_in_s"]))
        lines.append((entry["kind"], f"{what}ends in {ends}, by {entry['who']}: {entry['reason']}"))
    for label, text in lines:
        print(f"{label:<14} {text}")


def print_change(document: Mapping[str, Any], done: str) -> None:
    """What was done, and whether it is in force everywhere."""
    print(done)
    if not document["shared"]:
        print("the store is away: this Weir has it now, the others will when it is back", file=sys.stderr)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], empty: str, numbers: Sequence[int] = ()) -> None:
    if rows:
        print_table(heads, rows, numbers)
    else:
        print(empty)


def _mode(limit: Mapping[str, Any]) -> str:
    share = limit["enforce_share"]
    return str(limit["mode"]) if share is None else f"{limit['mode']} {share:.4%}".replace(".0000%", "%")


def _about(offender: Mapping[str, Any]) -> str:
    return f"~{offender['denied']}" if offender["error"] else str(offender["denied"])


def _target(entry: Mapping[str, Any]) -> tuple[str, str]:
    if entry["kind"] == "kill":
        return entry["scope"], entry["name"] or "everything"
    return entry["limit"], entry["key"]


def _numbers(entry: Mapping[str, Any]) -> str:
    if entry["kind"] != "override":
        return ""
    return str(entry["rate"]) + (f" burst {entry['burst']}" if entry["burst"] else "")


def _span(seconds: float | None) -> str:
    return "never by waiting" if seconds is None else format_duration(seconds)
