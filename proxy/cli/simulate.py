"""`weir simulate access.log`: what the limits of a configuration would have done to requests that were made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from proxy.cli.options import DEFAULT_CONFIG, Config
from proxy.cli.output import print_diagnostics, print_json
from proxy.config.diagnostics import did_you_mean
from proxy.config.load import load
from proxy.core.units import Rate, format_duration, parse_percent, parse_rate
from proxy.simulation.entry import ReadLine
from proxy.simulation.findings import Findings, LimitFinding, RateFinding
from proxy.simulation.log_files import STDIN
from proxy.simulation.nginx import nginx_reader
from proxy.simulation.page import percent, render
from proxy.simulation.simulate import Unreadable, Watcher, Wish
from proxy.simulation.simulate import simulate as simulate_logs
from proxy.snapshot import Snapshot

__all__ = ["simulate"]

T = TypeVar("T")
_MOST_ROWS = 10


class LogFormat(StrEnum):
    """Formats that are known by name."""

    AUTO = "auto"
    COMBINED = "combined"
    NGINX = "nginx"
    CADDY = "caddy"
    WEIR = "weir"


def simulate(
    access_log: Annotated[
        list[str], typer.Argument(help="Access logs, plain or gzipped; - is standard input.", metavar="ACCESS_LOG...")
    ],
    config: Config = None,
    format: Annotated[LogFormat, typer.Option("--format", help="How the logs are written.")] = LogFormat.AUTO,
    log_format: Annotated[
        str | None, typer.Option(help="nginx's `log_format`, as in nginx.conf.", metavar="TEXT")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="A rate to try: per-ip=300/min. May be repeated.", metavar="NAME=RATE"),
    ] = None,
    host: Annotated[str, typer.Option(help="The host that was asked for, where a log does not say.")] = "localhost",
    report: Annotated[
        Path | None, typer.Option(help="Write a report to this file: HTML, complete in itself.", metavar="FILE")
    ] = None,
    fail_above: Annotated[
        str | None, typer.Option(help="Exit with 1 when more than this share is denied.", metavar="1%")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Play requests of access logs against the limits, and say who would have been denied. Nothing is sent."""
    read = _reader(format, log_format)
    most_denied = None if fail_above is None else _option("--fail-above", parse_percent, fail_above)
    path = config or DEFAULT_CONFIG
    loaded = load(path)
    if loaded.snapshot is None:
        print_diagnostics(loaded.diagnostics)
        raise typer.Exit(1)
    wish = Wish(path, access_log, read, host, _candidates(limit or [], loaded.snapshot))
    found = _simulate(loaded.snapshot, wish)
    if report is not None:
        try:
            report.write_text(render(found), encoding="utf-8")
        except OSError as error:
            raise _failed(f"the report cannot be written to {report}: {(error.strerror or 'error').lower()}") from None
    if as_json:
        print_json(asdict(found))
    else:
        _print(found, report)
    if most_denied is not None and found.denied_share > most_denied:
        print(f"{percent(found.denied_share)} denied: more than {fail_above}", file=sys.stderr)
        raise typer.Exit(1)


def _reader(format: LogFormat, log_format: str | None) -> ReadLine | str:
    if log_format is None:
        if format is LogFormat.NGINX:  # what nginx writes when nobody says otherwise
            return LogFormat.COMBINED.value
        return format.value
    if format not in (LogFormat.AUTO, LogFormat.NGINX):
        raise typer.BadParameter(f"it is nginx's, and the format is {format.value}", param_hint="--log-format")
    return _option("--log-format", nginx_reader, log_format)


def _candidates(texts: Sequence[str], snapshot: Snapshot) -> dict[str, list[Rate]]:
    known = [limit.name for limit in snapshot.limits]
    wanted: dict[str, list[Rate]] = {}
    for text in texts:
        name, equals, rate = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"write per-ip=300/min, not {text!r}", param_hint="--limit")
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise typer.BadParameter(f"there is no limit {name!r}; {hint}", param_hint="--limit")
        wanted.setdefault(name, []).append(_option("--limit", parse_rate, rate))
    return wanted


def _option(name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=name) from None


def _simulate(snapshot: Snapshot, wish: Wish) -> Findings:
    """With a bar on standard error, where a person looks at it."""
    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        try:
            return simulate_logs(snapshot, wish, _watcher(progress))
        except OSError as error:
            name = "the log" if error.filename in (None, STDIN) else str(error.filename)
            raise _failed(f"{name} cannot be read: {(error.strerror or str(error)).lower()}") from None
        except Unreadable as error:
            said = "".join(f"\n  {where}: {why}: {text}" for where, why, text in error.samples)
            raise _failed(f"{error}; what is its format? (--format, --log-format){said}") from None


def _watcher(progress: Progress) -> Watcher:
    task: TaskID = progress.add_task("reading", total=None, rate="")

    def read(size_bytes: int, lines: int) -> None:
        elapsed_s = progress.tasks[0].elapsed or 0.0
        rate = f"{lines / elapsed_s:,.0f} lines/s" if elapsed_s > 0.5 else ""
        progress.update(task, completed=size_bytes, rate=rate)

    def suggesting(name: str) -> None:
        progress.update(task, description=f"trying rates for {escape(name)}", rate="")

    return Watcher(lambda total: progress.update(task, total=total), read, suggesting)


def _failed(message: str) -> typer.Exit:
    print(f"weir simulate: {message}", file=sys.stderr)
    return typer.Exit(1)


def _print(found: Findings, report: Path | None) -> None:
    console = Console(soft_wrap=False)
    for line in _summary(found):
        console.print(line, highlight=False, soft_wrap=True)
    if found.limits:
        console.print(_limits(found))
        console.print(_suggestions(found.limits))
    if found.clients:
        console.print(_clients(found))
    denied_routes = [route for route in found.routes if route.denied]
    if denied_routes:
        table = _table("Routes", "route", "requests", "denied", "successful")
        for route in denied_routes[:_MOST_ROWS]:
            table.add_row(escape(route.name), f"{route.requests:,}", f"{route.denied:,}", f"{route.good_denied:,}")
        console.print(table)
    for note in found.notes:
        console.print(f"[dim]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    if report is not None:
        console.print(f"The report is in {escape(str(report))}", highlight=False, soft_wrap=True)


def _summary(found: Findings) -> Iterator[str]:
    files = ", ".join(f"{name} ({form})" for name, form in found.files.items())
    yield escape(f"{found.configuration} against {files}")
    yield f"{found.requests:,} requests from {found.first_at} to {found.last_at} UTC"
    yield (
        f"{found.denied:,} denied ({percent(found.denied_share)}); {found.good_denied:,} of {found.good:,} that had "
        f"succeeded ({percent(found.good_denied_share)})"
    )
    if found.rubbish:
        yield f"{found.rubbish:,} of {found.lines:,} lines could not be read:"
        for where, why, text in found.rubbish_samples:
            yield escape(f"  {where}: {why}: {text}")
    if found.no_requests:
        yield f"{found.no_requests:,} lines are about no request"
    for status, count in found.refused.items():
        yield f"{count:,} requests have no route: Weir answers {status}"


def _limits(found: Findings) -> Table:
    table = _table("Limits", "limit", "rate", "requests", "denied", "share", "successful", "keys", "denied keys")
    for limit in found.limits:
        share = limit.denied / limit.requests if limit.requests else 0.0
        mode = "" if limit.mode == "enforce" and not limit.would_deny else f" ({limit.would_deny:,} in shadow)"
        table.add_row(
            escape(limit.name),
            escape(limit.rate),
            f"{limit.requests:,}",
            f"{limit.denied:,}{mode}",
            percent(share),
            f"{limit.good_denied:,}",
            f"{limit.keys:,}",
            f"{limit.keys_denied:,}",
        )
    return table


def _suggestions(limits: Sequence[LimitFinding]) -> Table:
    """Each limit by itself: as it is, with the rates asked for, and with those that deny one in a thousand."""
    table = _table("Each limit alone, with other rates", "limit", "rate", "requests denied", "keys denied", "")
    for limit in limits:
        rows: list[tuple[RateFinding | None, str]] = [(limit.now, "now")]
        rows += [(one, "candidate") for one in limit.candidates]
        if limit.suggestion is not None:
            about = "" if limit.suggestion.one_key_of == 1 else f", from one key in {limit.suggestion.one_key_of}"
            rows.append((limit.suggestion.for_requests, f"suffices for 99.9 % of requests{about}"))
            rows.append((limit.suggestion.for_keys, f"suffices for 99.9 % of keys{about}"))
        for rate, why in rows:
            if rate is not None:
                burst = "" if rate.burst is None else f", burst {rate.burst}"
                table.add_row(
                    escape(limit.name),
                    rate.rate + burst,
                    f"{rate.denied:,} ({percent(rate.denied_share)})",
                    f"{rate.keys_denied:,} ({percent(rate.keys_denied_share)})",
                    why,
                )
        if limit.note:
            table.add_row(escape(limit.name), "", "", "", escape(limit.note))
    return table


def _clients(found: Findings) -> Table:
    table = _table("Clients denied most", "client", "requests", "denied", "successful", "longest blocked", "by")
    for client in found.clients[:_MOST_ROWS]:
        table.add_row(
            escape(client.client),
            f"{client.requests:,}",
            f"{client.denied:,}",
            f"{client.good_denied:,}",
            f"{format_duration(round(client.longest_blocked_s))} from {client.longest_blocked_at}",
            escape(", ".join(client.limits)),
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        is_number = column in ("requests", "denied", "share", "successful", "keys", "denied keys")
        table.add_column(column, justify="right" if is_number else "left", header_style="dim", overflow="fold")
    return table
