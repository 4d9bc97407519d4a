"""`weir upstreams`: how busy the upstreams of a running Weir are, and who waits for them.

Everything comes from the admin listener's /v1/upstreams (proxy/admin/upstreams_operator.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from proxy.cli.asking import Ask, asking
from proxy.cli.operator_api import path_of
from proxy.cli.tables import print_table

__all__ = ["upstreams"]


@asking
def upstreams(ask: Ask, name: Annotated[str | None, typer.Argument(help="Only this one.")] = None) -> None:
    """The upstreams of a running Weir: connections, slots, and who waits for one."""
    if name is None:
        ask("GET", "/upstreams", show=lambda said: _print(said["upstreams"]))
    else:
        ask("GET", path_of("upstreams", name), show=lambda said: _print([said]))


def _print(found: Sequence[Mapping[str, Any]]) -> None:
    """The connections of each endpoint, the classes of those who wait or did, and limits that follow the backend."""
    if not found:
        print("there are no upstreams")
        return
    heads = ("upstream", "endpoint", "healthy", "in use", "idle", "waiting")
    rows: list[tuple[Any, ...]] = []
    for upstream in found:
        pool = upstream["pool"]
        in_use = f"{pool['in_use']} of {upstream['queue']['slots']}"
        rows.append((upstream["name"], "", _yes(upstream["healthy"]), in_use, pool["idle"], pool["waiting"]))
        for endpoint in upstream["endpoints"]:
            own = endpoint["pool"]
            rows.append(("", endpoint["address"], _yes(endpoint["healthy"]), own["in_use"], own["idle"], ""))
    print_table(heads, rows, numbers=(3, 4, 5))
    waits = [row for upstream in found for row in _waits(upstream)]
    if waits:
        print()
        of_waits = (
            "upstream",
            "class",
            "waiting",
            "order",
            "served after a wait",
            "mean wait",
            "refused",
            "left",
        )
        print_table(of_waits, waits, numbers=(2, 4, 5, 6, 7))
    limits = [_limit(upstream) for upstream in found if upstream["queue"].get("adaptive")]
    if limits:
        print()
        of_limits = ("upstream", "adaptive", "limit", "p90", "usual", "held back", "cuts")
        print_table(of_limits, limits, numbers=(2, 3, 4, 5, 6))


def _waits(upstream: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Of the classes in which somebody ever waited, or was refused."""
    rows: list[tuple[Any, ...]] = []
    for word, seen in upstream["queue"]["classes"].items():
        served, refused = seen["served_after_wait"], sum(seen["refused"].values())
        if not (seen["waiting"] or served or refused or seen["left"]):
            continue
        mean = f"{seen['wait_s'] / served * 1000:.0f} ms" if served else "-"
        order = "newest first" if seen["newest_first"] else "oldest first"
        if seen.get("shed"):
            order = "refused at once"
        rows.append((upstream["name"], word, seen["waiting"], order, served, mean, refused, seen["left"]))
    return rows


def _limit(upstream: Mapping[str, Any]) -> tuple[Any, ...]:
    seen = upstream["queue"]["adaptive"]
    times = _ms(seen["p90_s"]), _ms(seen["usual_s"])
    return upstream["name"], seen["mode"], seen["limit"], *times, seen["held_back"], sum(seen["cuts"].values())


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
