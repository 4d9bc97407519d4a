"""Metric families for the exposition: rows become samples one by one, so that a large family is made in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from proxy.observe.definitions import Definition
from proxy.observe.metrics import OVERFLOW

MAX_SERIES: Final = 2000  # of one family whose labels come from the configuration; the rest is summed under `_other`

Values = Sequence[str]
"""Label values in the order of the definition."""


@dataclass(slots=True)
class Family:
    """A definition and its samples, which are made when they are taken, and once."""

    definition: Definition
    samples: Iterator[Sample]

    def metric(self, samples: Iterable[Sample]) -> Metric:
        """The family with some of its samples, for the library's encoder."""
        definition = self.definition
        name = definition.name.removesuffix("_total") if definition.kind == "counter" else definition.name
        metric = Metric(name, definition.help, definition.kind)
        metric.samples = list(samples)
        return metric


def numbers(definition: Definition, rows: Iterable[tuple[Values, float]], max_series: int = MAX_SERIES) -> Family:
    """Counters or gauges. Rows past `max_series` are summed under `_other`."""

    def samples() -> Iterator[Sample]:
        other = 0.0
        count = 0
        for values, number in rows:
            count += 1
            if count <= max_series:
                yield Sample(definition.name, dict(zip(definition.labels, values, strict=True)), number)
            else:
                other += number
        if count > max_series:
            yield Sample(definition.name, dict.fromkeys(definition.labels, OVERFLOW), other)

    return Family(definition, samples())


def summaries(definition: Definition, rows: Iterable[tuple[Values, int, float]]) -> Family:
    """Rows of (labels, count, sum)."""

    def samples() -> Iterator[Sample]:
        for values, count, total in rows:
            labels = dict(zip(definition.labels, values, strict=True))
            yield Sample(definition.name + "_count", labels, count)
            yield Sample(definition.name + "_sum", labels, total)

    return Family(definition, samples())


def histograms(
    definition: Definition, rows: Iterable[tuple[Values, Sequence[int], float]], edges: Sequence[str]
) -> Family:
    """Rows of (labels, counts between the edges, sum); `edges` come from `edges_of`."""

    def samples() -> Iterator[Sample]:
        for values, buckets, total in rows:
            labels = dict(zip(definition.labels, values, strict=True))
            cumulative = list(accumulate(buckets))  # at once: the next part may be made later, with other counts
            for edge, count in zip(edges, cumulative, strict=True):
                yield Sample(definition.name + "_bucket", labels | {"le": edge}, count)
            yield Sample(definition.name + "_count", labels, cumulative[-1])
            yield Sample(definition.name + "_sum", labels, total)

    return Family(definition, samples())


def edges_of(bounds: Sequence[float]) -> tuple[str, ...]:
    """Bucket bounds as label values, with the last, endless one."""
    return (*map(floatToGoString, bounds), "+Inf")
