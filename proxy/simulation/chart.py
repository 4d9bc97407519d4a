"""A chart of counts over time as inline SVG: what came as an area, what was denied as a second one in front of it.

No script and no network. Colours are CSS variables of the page, so the chart is readable in light and in dark; the
two areas differ in pattern too, for whoever does not see the colours apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from proxy.simulation.instants import text_of

WIDTH: Final = 760
HEIGHT: Final = 190
_LEFT: Final = 58
_RIGHT: Final = 12
_TOP: Final = 10
_BOTTOM: Final = 28
_STEPS: Final = (1, 2, 5)


def chart(name: str, title: str, start_wall: float, width_s: float, came: Sequence[int], denied: Sequence[int]) -> str:
    """An `<svg>`. `name` makes its ids unique in the page; everything that is text is escaped."""
    most = max(came, default=0)
    top = _round_up(most)
    described = (
        f"Requests and denials from {text_of(start_wall)} to {text_of(start_wall + width_s * len(came))} UTC, "
        f"counted every {width_s:g} seconds. At most {most} requests, of which {sum(denied)} of {sum(came)} in all "
        "were denied. The numbers are in the table below the chart."
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{escape(name)}-t {escape(name)}-d">',
        f'<title id="{escape(name)}-t">{escape(title)}</title>',
        f'<desc id="{escape(name)}-d">{escape(described)}</desc>',
        f'<defs><pattern id="{escape(name)}-p" width="5" height="5" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect class="denied" width="5" height="5"/>'
        '<line class="stripe" x1="0" y1="0" x2="0" y2="5"/></pattern></defs>',
        *_grid(top),
        f'<path class="came" d="{_area(came, top)}"/>',
        f'<path fill="url(#{escape(name)}-p)" class="edge" d="{_area(denied, top)}"/>' if any(denied) else "",
        *_times(start_wall, width_s * len(came)),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def _area(counts: Sequence[int], top: int) -> str:
    """Steps, not slopes: a count is of a slot, and nothing is known of what lies between two of them."""
    if not counts:
        return ""
    base = _y(0, top)
    width = (WIDTH - _LEFT - _RIGHT) / len(counts)
    path = [f"M{_LEFT} {base}"]
    last = -1
    for place, count in enumerate(counts):
        if count != last:
            path.append(f"H{_LEFT + place * width:.1f}V{_y(count, top)}")
            last = count
    path.append(f"H{WIDTH - _RIGHT}V{base}Z")
    return "".join(path)


def _grid(top: int) -> list[str]:
    parts = []
    for number in (0, top // 2, top) if top > 1 else (0, top):
        y = _y(number, top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{number:,}</text>')
    return parts


def _times(start_wall: float, span_s: float) -> list[str]:
    parts = []
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * share
        text = text_of(start_wall + span_s * share)
        parts.append(f'<text x="{x:.0f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{text}</text>')
    return parts


def _y(count: int, top: int) -> float:
    return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * count / top, 1)


def _round_up(most: int) -> int:
    """The next 1, 2 or 5 with noughts: what the axis ends with."""
    power = 1
    while True:
        for step in _STEPS:
            if most <= step * power:
                return step * power
        power *= 10
