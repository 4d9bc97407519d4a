"""The report: one HTML file that needs nothing else. Whatever a log brought in is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from proxy.core.units import format_duration
from proxy.simulation.chart import chart
from proxy.simulation.findings import ClientFinding, Findings, LimitFinding, RateFinding
from proxy.simulation.instants import text_of

_TABLE_SLOTS: Final = 24  # rows of the table beside a chart


def render(found: Findings) -> str:
    """The whole page."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        # nothing may be loaded or run, even if something of the log had got through unescaped
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>Weir simulation of {escape(', '.join(found.files))}</title>",
        f"<style>{_STYLE}</style></head><body><main>",
        "<h1>What the limits would have done</h1>",
        f"<p>{escape(found.configuration)} against {escape(', '.join(found.files))}, "
        f"{found.first_at} to {found.last_at} UTC.</p>",
        *_numbers(found),
        *_notes(found.notes),
        "<h2>All requests</h2>",
        *_chart("all", "All requests", found, found.requests_over_time, found.denied_over_time),
        *_suggestions(found.limits),
        "<h2>Clients that were denied most</h2>",
        *_clients(found.clients),
        "<h2>Routes</h2>",
        *_table(
            ("route", "requests", "denied", "of them successful before"),
            [(route.name, route.requests, route.denied, route.good_denied) for route in found.routes],
        ),
    ]
    for number, limit in enumerate(found.limits):
        parts += _limit(number, limit, found)
    parts += _rubbish(found)
    parts.append("</main></body></html>")
    return "\n".join(parts) + "\n"


def _numbers(found: Findings) -> Iterable[str]:
    yield '<dl class="numbers">'
    for name, value in (
        ("requests", f"{found.requests:,}"),
        ("denied", f"{found.denied:,} ({percent(found.denied_share)})"),
        ("successful, and denied", f"{found.good_denied:,} ({percent(found.good_denied_share)} of {found.good:,})"),
        ("without a route", f"{sum(found.refused.values()):,}"),
        ("lines about no request", f"{found.no_requests:,}"),
        ("lines that could not be read", f"{found.rubbish:,} of {found.lines:,}"),
    ):
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"
    yield "</dl>"


def _notes(notes: Sequence[str]) -> Iterable[str]:
    if notes:
        yield "<ul class=notes>"
        yield from (f"<li>{escape(note)}</li>" for note in notes)
        yield "</ul>"


def _chart(name: str, title: str, found: Findings, came: Sequence[int], denied: Sequence[int]) -> Iterable[str]:
    yield "<figure>"
    yield chart(name, title, found.start_wall, found.slot_s, came, denied)
    yield '<figcaption><span class="key came"></span> requests <span class="key denied"></span> denied</figcaption>'
    yield "<details><summary>The same as a table</summary>"
    together = max(1, -(-len(came) // _TABLE_SLOTS))
    rows = [
        (text_of(found.start_wall + at * found.slot_s), sum(came[at : at + together]), sum(denied[at : at + together]))
        for at in range(0, len(came), together)
    ]
    yield from _table(("from (UTC)", "requests", "denied"), rows)
    yield "</details></figure>"


def _suggestions(limits: Sequence[LimitFinding]) -> Iterable[str]:
    yield "<h2>Suggested limits</h2>"
    yield (
        "<p>The smallest count in each limit's own period with which it alone would have denied at most one in a "
        "thousand: of the requests, or of the keys (a key that is denied once counts).</p>"
    )
    rows: list[tuple[object, ...]] = []
    for limit in limits:
        now = _effect(limit.now) if limit.now is not None else limit.note
        suggestion = limit.suggestion
        if suggestion is None:
            rows.append((limit.name, limit.rate, now, "", "", limit.note))
        else:
            accuracy = "" if suggestion.one_key_of == 1 else f"estimated from one key in {suggestion.one_key_of}"
            rows.append(
                (
                    *(limit.name, limit.rate, now),
                    *(_rate(suggestion.for_requests), _rate(suggestion.for_keys), accuracy or limit.note),
                )
            )
        rows += [(limit.name, f"candidate {one.rate}", _effect(one), "", "", "") for one in limit.candidates]
    yield from _table(
        ("limit", "rate", "alone it denies", "0.1 % of requests", "0.1 % of keys", "remark"), rows, texts=6
    )


def _clients(clients: Sequence[ClientFinding]) -> Iterable[str]:
    if not clients:
        yield "<p>None was denied.</p>"
        return
    rows = [
        (
            *(client.client, client.requests, client.denied, client.good_denied),
            _spell(client.longest_blocked_s, client.longest_blocked_at),
            ", ".join(f"{name} ({count:,})" for name, count in client.limits.items()),
        )
        for client in clients
    ]
    yield from _table(("client", "requests", "denied", "of them successful before", "longest blocked", "by"), rows)


def _limit(number: int, limit: LimitFinding, found: Findings) -> Iterable[str]:
    mode = f"; {limit.would_deny:,} of the denials below are not enforced" if limit.would_deny else ""
    yield f"<h2>{escape(limit.name)}</h2>"
    yield (
        f"<p>{escape(limit.rate)} by {escape(' + '.join(limit.by))}, {escape(limit.algorithm)}{mode}. "
        f"<code>{escape(limit.where)}</code></p>"
    )
    yield (
        f"<p>{limit.requests:,} requests by {limit.keys:,} keys; {limit.denied:,} denied "
        f"({percent(limit.denied / limit.requests if limit.requests else 0.0)}), of {limit.keys_denied:,} keys.</p>"
    )
    yield from _chart(f"limit{number}", f"Limit {limit.name}", found, limit.requests_over_time, limit.denied_over_time)
    if limit.worst:
        rows = [
            (
                *(key.key, key.requests, key.denied, key.good_denied),
                _spell(key.longest_blocked_s, key.longest_blocked_at),
            )
            for key in limit.worst
        ]
        yield from _table(("key", "requests", "denied", "of them successful before", "longest blocked"), rows)


def _rubbish(found: Findings) -> Iterable[str]:
    if found.rubbish:
        yield "<h2>Lines that could not be read</h2>"
        yield from _table(("where", "why", "it begins"), found.rubbish_samples, texts=3)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], texts: int = 1) -> Iterable[str]:
    """Numbers to the right, with separators; the first `texts` columns are text whatever is in them."""
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    yield "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(_cell(place, value, texts) for place, value in enumerate(row)) + "</tr>"
    yield "</tbody></table></div>"


def _cell(place: int, value: object, texts: int) -> str:
    if place == 0:
        return f'<th scope="row">{escape(str(value))}</th>'
    if isinstance(value, int) and place >= texts:
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"


def _rate(rate: RateFinding) -> str:
    burst = f", burst {rate.burst}" if rate.burst is not None else ""
    return f"{rate.rate}{burst} ({_effect(rate)})"


def _effect(rate: RateFinding) -> str:
    return f"{percent(rate.denied_share)} of requests, {percent(rate.keys_denied_share)} of keys"


def _spell(seconds: float, at: str) -> str:
    return f"{format_duration(round(seconds))} from {at}"


def percent(share: float) -> str:
    """Never 0 % for what is not nothing."""
    percent = share * 100
    return f"{percent:.2f} %" if percent >= 0.01 or not percent else "< 0.01 %"


_STYLE: Final = """
:root { --ink: #1b2733; --dim: #5a6b7b; --paper: #ffffff; --line: #d5dde5; --came: #4c86b8; --denied: #b3261e;
  --stripe: #ffffff; --panel: #f4f7fa }
@media (prefers-color-scheme: dark) { :root { --ink: #e4ebf2; --dim: #9fb0c0; --paper: #12181f; --line: #33414e;
  --came: #6ea8da; --denied: #ff8a80; --stripe: #12181f; --panel: #1a222b } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 }
main { max-width: 62rem; margin: 0 auto; padding: 1rem 1.25rem 4rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; overflow-wrap: anywhere }
p, td, th { overflow-wrap: anywhere }
.numbers { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 }
.numbers div { background: var(--panel); padding: .6rem .9rem; border-radius: .4rem }
dt { color: var(--dim); font-size: .85rem } dd { margin: 0; font-size: 1.15rem; font-weight: 600 }
.notes { background: var(--panel); padding: .6rem .9rem .6rem 2rem; border-radius: .4rem }
figure { margin: 1rem 0 } svg { width: 100%; height: auto; display: block }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim) }
svg .grid { stroke: var(--line) } svg .came { fill: var(--came) } svg .denied { fill: var(--denied) }
svg .stripe { stroke: var(--stripe); stroke-width: 1.5 } svg .edge { stroke: var(--denied); stroke-width: .75 }
figcaption { color: var(--dim); font-size: .85rem }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .2em 0 .8em }
.key.came { background: var(--came) }
.key.denied { background: repeating-linear-gradient(45deg, var(--denied) 0 3px, var(--stripe) 3px 5px) }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { color: var(--dim); font-weight: 500; font-size: .85rem } tbody th { font-weight: 600 }
.number { text-align: right; font-variant-numeric: tabular-nums }
summary { cursor: pointer; color: var(--dim) } :focus-visible { outline: 2px solid var(--came); outline-offset: 2px }
"""
