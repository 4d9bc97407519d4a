"""Prints docs/reference/metrics.md: `python -m proxy.observe.reference > docs/reference/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import msgspec

from proxy.core.errors import ErrorKind
from proxy.observe.definitions import SECTIONS, Definition
from proxy.observe.events import Event
from proxy.observe.families import MAX_SERIES
from proxy.observe.hold_back import BURST, PERIOD_S
from proxy.observe.line import AccessLine
from proxy.observe.loop_lag import BOUNDS_S
from proxy.observe.metrics import DURATION_BOUNDS_S, MAX_OUTCOMES, MAX_ROUTES, METHODS

_HEAD = """\
<!-- Printed by `python -m proxy.observe.reference`. Change proxy/observe/definitions.py instead. -->

# Metrics, access log and events

`/metrics` on the admin listener, in the Prometheus text format (0.0.4).

Labels never hold an address, a user, a path or anything else that a client makes up: `route`, `policy`, `upstream` and
`endpoint` are names from the configuration, the rest are fixed words. What goes beyond a cap is counted under `_other`.

| label | values |
|---|---|
"""


def reference() -> str:
    """The whole page."""
    return _HEAD + "\n".join([*_labels(), *_metrics(), *_access_log(), *_events()]) + "\n"


def _labels() -> Iterator[str]:
    methods = ", ".join(sorted(method.decode("ascii") for method in METHODS))
    yield f"| `route` | the route's name; `-` when no route was found; at most {MAX_ROUTES} |"
    yield f"| `method` | {methods}; everything else is `OTHER` |"
    yield "| `status` | the status sent; 499 when the client left before the response head |"
    yield f"| `reason` | `-`, or {', '.join(f'`{kind.value}`' for kind in ErrorKind)} |"
    yield ""
    yield (
        f"`weir_requests_total` has at most {MAX_OUTCOMES:,} series, every other family of configured names at most "
        f"{MAX_SERIES:,} label sets."
    )
    yield f"Histograms of durations have the bounds {_bounds(DURATION_BOUNDS_S)}; of the loop {_bounds(BOUNDS_S)}."
    yield "On Linux the usual `process_*` metrics (processor time, memory, file descriptors) are there too."


def _metrics() -> Iterator[str]:
    for title, definitions in SECTIONS.items():
        yield f"\n## {title}\n"
        yield "| metric | kind | labels | meaning |"
        yield "|---|---|---|---|"
        yield from map(_row, definitions)


def _row(definition: Definition) -> str:
    labels = ", ".join(f"`{label}`" for label in definition.labels) or "none"
    return f"| `{definition.name}` | {definition.kind} | {labels} | {definition.help} |"


def _access_log() -> Iterator[str]:
    yield "\n## Access log\n"
    yield "One JSON object a line, always with these keys in this order; `null` where there is nothing to say.\n"
    yield "Requests with a status of 400 or more, with a reason, or slower than `access_log.slow` always have a line."
    yield "Of the others the share `access_log.sample` has one, chosen by a hash of the request id, so that several"
    yield "Weirs in a row choose the same ones.\n"
    yield "| key | type | meaning |"
    yield "|---|---|---|"
    schema = msgspec.json.schema(AccessLine)["$defs"]["AccessLine"]["properties"]
    for name, of_field in schema.items():
        yield f"| `{name}` | {_type(of_field)} | {of_field['description']} |"


def _events() -> Iterator[str]:
    yield "\n## Events\n"
    yield "Lines on standard error: text on a terminal, JSON elsewhere. Each kind is limited to a burst of"
    yield f"{BURST} and then one in {PERIOD_S:g} s; `held_back` in the next line counts what was left out.\n"
    yield f"Kinds: {', '.join(f'`{event.word}`' for event in Event)}."


def _type(of_field: dict[str, object]) -> str:
    kinds = of_field.get("anyOf", [of_field])
    assert isinstance(kinds, list)
    return " or ".join(str(kind.get("type", "object")) for kind in kinds)


def _bounds(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{bound * 1000:g} ms" if bound < 1 else f"{bound:g} s" for bound in bounds)


if __name__ == "__main__":
    sys.stdout.write(reference())
