"""One simulation from its logs to its findings. How it is shown is the command line's business."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.core.units import Rate
from proxy.limits.ladder import Step
from proxy.simulation.conclude import Source, conclude
from proxy.simulation.entry import Entry, ReadLine
from proxy.simulation.findings import Findings
from proxy.simulation.log_files import Logs
from proxy.simulation.ordering import SPREAD_S, spread
from proxy.simulation.replay import Replay
from proxy.simulation.variants import Variants

if TYPE_CHECKING:
    from proxy.limits.limit import Limit
    from proxy.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be simulated."""

    configuration: str  # the name of its root file
    files: Sequence[str]  # "-": standard input
    read: ReadLine | str = "auto"  # a reader, or the name of a format
    host: str = "localhost"  # for logs that do not say
    candidates: Mapping[str, Sequence[Rate]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how far it is."""

    opened: Callable[[int | None], None]  # bytes in all, if that is known
    read: Callable[[int, int], None]  # bytes, lines
    suggesting: Callable[[str], None]  # the limit


class Unreadable(Exception):
    """No line of the logs could be read. The findings say why."""

    def __init__(self, samples: Sequence[tuple[str, str, str]]) -> None:
        super().__init__("no line could be read as a request")
        self.samples = samples


def simulate(snapshot: Snapshot, wish: Wish, watcher: Watcher) -> Findings:
    """Read, replay and conclude. Raises OSError for a file that cannot be opened, and Unreadable."""
    replay = Replay(snapshot, wish.host)
    with Logs(wish.files, wish.read, watcher.read) as logs:
        watcher.opened(logs.size_bytes)
        sampled = _Sampled()
        tally = replay.run(spread(sampled.watch(logs.entries())))
    stats = logs.stats
    if stats.lines and stats.rubbish == stats.lines:
        raise Unreadable(stats.samples)
    limits: Sequence[Limit] = snapshot.limits
    source = Source(
        wish.configuration,
        stats.formats,
        stats.lines,
        stats.rubbish,
        stats.samples,
        logs.late,
        tuple(_notes(replay, sampled, logs, limits)),
    )
    return conclude(
        tally, source, {limit.name: Variants(limit) for limit in limits}, wish.candidates, watcher.suggesting
    )


class _Sampled:
    """Counts the lines that stand for several requests."""

    def __init__(self) -> None:
        self.lines = 0
        self.requests = 0.0
        self.has_durations = False

    def watch(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if entry.weight > 1.0:
                self.lines += 1
                self.requests += entry.weight
            if entry.took_s is not None:
                self.has_durations = True
            yield entry


def _notes(replay: Replay, sampled: _Sampled, logs: Logs, limits: Sequence[Limit]) -> Iterator[str]:
    """What to know before believing the numbers."""
    asked = [limit for limit in limits if limit.name in replay.tally.limits]
    if sampled.lines:
        yield (
            f"{sampled.lines:,} lines are samples and stand for {sampled.requests:,.0f} requests. Each was played as "
            f"often as it stands for, evenly over the {SPREAD_S:g} seconds after it. Sums are right on average; what "
            "is said of one client is an estimate, and a client of whom few requests were logged may be far from it. "
            "For exact numbers, log every request for a while (access_log: sample: 100%)."
        )
    words = {word for limit in asked for word in limit.by}
    unknown = [] if replay.has_fields else sorted(words & {"tenant", "api_key"})
    if "user" in words and not replay.has_users:
        unknown.append("user")
    if unknown:
        names = ", ".join(limit.name for limit in asked if set(limit.by) & set(unknown))
        yield f"The log names no {' and no '.join(unknown)}: {names} did what `missing` says for such requests."
    if any(word.startswith("header:") for word in words) and not replay.has_fields:
        yield "The log has no request fields: limits by a field did what `missing` says for such requests."
    if not replay.has_hosts and any(route.hosts for route in replay.engine.snapshot.routes.routes):
        yield "Some routes are for certain hosts, and the log has none: see --host."
    if any(limit.algorithm == "inflight" for limit in asked) and not sampled.has_durations:
        yield "The log has no durations: requests ended as they came, so limits of what is under way saw hardly any."
    if any(limit.cost_field is not None for limit in asked):
        yield "The log has no response fields: what they say of the cost was not known, and `reserve` was charged."
    steps = {step for limit in asked for step in limit.live.ladder}
    if Step.STALE in steps:
        yield "What a cache would have held is not known: `on_limit: stale` was passed over, and counts as denied."
    if Step.REPLICA in steps:
        yield "Requests that `on_limit: replica` lets pass count as denied by their limit, and not in the sums."
    if logs.late:
        yield f"{logs.late:,} lines were more than ten seconds out of order, and were played as late as they stood."
    if logs.strays:
        yield f"{logs.strays:,} lines had a time more than an hour ahead of those around them, and were left out."
    if replay.tally.denied:
        yield (
            "Requests were played as they were made. A client that is denied may come again sooner, later or not at "
            "all: no log knows."
        )
