"""Metric families as text (Prometheus exposition format 0.0.4), without holding up the event loop.

A series costs about 8 us, so thousands of them at once would stop every request for tens of milliseconds. A thread
would not help: it competes for the interpreter lock and delays each turn of the loop by up to 5 ms. So samples are
read and rendered in slices of about 1 ms, with a turn of the loop between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Protocol

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest

from proxy.observe.families import Family

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SLICE: Final = 100  # samples read and rendered in one turn of the loop


class Families(Protocol):
    def families(self) -> Iterable[Family]: ...


async def expose(source: Families) -> bytes:
    """The text of all families. One route's histogram is a picture of one instant; the whole page is not."""
    text: list[bytes] = []
    room = SLICE
    for family in source.families():
        for part, count in _parts(family):
            text.append(part)
            room -= count + 1
            if room <= 0:
                room = SLICE
                await asyncio.sleep(0)
    return b"".join(text)


def _parts(family: Family) -> Iterator[tuple[bytes, int]]:
    """The family's text in slices, and the samples in each."""
    samples = list(islice(family.samples, SLICE))
    yield generate_latest(_One(family.metric(samples))), len(samples)
    while samples := list(islice(family.samples, SLICE)):
        text = generate_latest(_One(family.metric(samples)))
        yield text.split(b"\n", 2)[2], len(samples)  # HELP and TYPE stand once, before the first sample


class _One:
    """A registry of one metric, as `generate_latest` wants it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric
