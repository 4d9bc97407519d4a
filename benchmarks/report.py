"""What is printed, and what is kept: a table for people, JSON for comparing runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.scenarios import SCENARIOS
from benchmarks.summary import Measurement, Summary
from benchmarks.targets import Verdict

_OTHERS = ("nginx", "envoy", "varnish")  # whom everybody is held against
_COLUMNS = ("", "us/request", "(low-high)", *(f"of {name}" for name in _OTHERS), "requests/s", "p50 ms", "p99 ms")
_COLUMNS += ("core", "errors")
_WIDTHS = (10, 12, 16, 10, 10, 12, 12, 10, 10, 7, 8)
_NOISE = 0.10  # share of the proxy's core used by others from which on a figure is not to be trusted


def table(summaries: Sequence[Summary]) -> str:
    """One block for each scenario, one line for each peer."""
    found = {(each.scenario, each.peer): each for each in summaries}
    lines = []
    for name, scenario in SCENARIOS.items():
        rows = [each for each in summaries if each.scenario == name]
        if rows:
            lines += ["", scenario.title, _line(_COLUMNS)]
            lines += [_line(_cells(row, found)) for row in rows]
    return "\n".join(lines[1:])


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    words = {True: "pass", False: "MISS", None: "-"}
    return "\n".join(f"{words[each.is_met]:<6}{each.text:<34}{each.value}" for each in verdicts)


def warnings(summaries: Sequence[Summary]) -> Iterator[str]:
    """Why some figures deserve less trust."""
    noisy = [each for each in summaries if each.others_busy > _NOISE]
    if noisy:
        worst = max(noisy, key=lambda each: each.others_busy)
        yield (
            f"{len(noisy)} of {len(summaries)} figures are disturbed: other processes used the proxy's core, "
            f"at worst {worst.others_busy:.0%} of it ({worst.peer}, {worst.scenario})"
        )
    for each in summaries:
        if each.errors:
            yield f"{each.peer}, {each.scenario}: {each.errors} wrong or broken answers"


def document(
    about: dict[str, Any],
    summaries: Sequence[Summary],
    verdicts: Sequence[Verdict],
    measurements: Sequence[Measurement],
) -> dict[str, Any]:
    """The result file. `about` says when, where and with which versions; every round is kept."""
    return {
        **about,
        "targets": [asdict(each) for each in verdicts],
        "summaries": [_rounded(asdict(each)) for each in summaries],
        "measurements": [_rounded(asdict(each)) for each in measurements],
    }


def _cells(row: Summary, found: dict[tuple[str, str], Summary]) -> tuple[str, ...]:
    return (
        row.peer,
        _us(row.cpu_us),
        f"({_us(row.cpu_us_low)}-{_us(row.cpu_us_high)})",
        *(_ratio(row, found.get((row.scenario, name))) for name in _OTHERS),
        f"{row.requests_per_s:,.0f}",
        f"{row.p50_ms:.2f}",
        f"{row.p99_ms:.2f}",
        f"{row.proxy_busy:.0%}",
        str(row.errors),
    )


def _us(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _ratio(row: Summary, other: Summary | None) -> str:
    return f"{row.cpu_us / other.cpu_us:.2f}x" if other is not None and other.cpu_us else "-"


def _line(cells: Sequence[str]) -> str:
    first, *others = zip(cells, _WIDTHS, strict=True)
    return f"  {first[0]:<{first[1]}}" + "".join(f"{cell:>{width}}" for cell, width in others)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
