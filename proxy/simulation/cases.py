"""Files of policy tests, read and checked like the configuration: with every error and its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.config.diagnostics import Diagnostic, did_you_mean
from proxy.config.document import Document
from proxy.config.document import Path as Place
from proxy.config.files import Files
from proxy.config.validation import validate
from proxy.simulation.settings import MAX_REQUESTS, CaseFileSettings, StepSettings
from proxy.snapshot import Snapshot

SUFFIX: Final = ".test.yaml"
_MOST_FILES: Final = 1000


@dataclass(frozen=True, slots=True)
class Case:
    """One test with its places in the file."""

    document: Document
    place: Place
    name: str
    given: str | None  # the configuration's file
    start_wall: float | None
    steps: tuple[StepSettings, ...]

    @property
    def where(self) -> str:
        return self.document.where((*self.place, "name"))

    def instants(self) -> Iterator[tuple[float, StepSettings, Place]]:
        """(seconds from the start, step, place of the step) in order."""
        at = 0.0
        for number, step in enumerate(self.steps):
            if step.at is not None:
                at = step.at
            yield at, step, (*self.place, "steps", number)
            at += (step.times - 1) * step.every


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file, as far as it could be read."""

    document: Document
    cases: tuple[Case, ...]

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(sorted(self.document.diagnostics, key=lambda one: (one.line, one.column)))

    @property
    def is_good(self) -> bool:
        return not self.document.has_errors


def find_files(folder: str) -> list[str]:
    """All `*.test.yaml` in a folder and below it; hidden folders and environments are left out."""
    found: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name[0] != "." and not (Path(parent) / name / "pyvenv.cfg").exists()
        )
        found += [os.path.normpath(os.path.join(parent, name)) for name in sorted(names) if name.endswith(SUFFIX)]
        if len(found) > _MOST_FILES:
            break
    return found[:_MOST_FILES]


def read_cases(name: str, environment: Mapping[str, str]) -> CaseFile:
    """One file. Never raises for what is in it."""
    document = Files(environment).read(name)
    settings = validate(document, CaseFileSettings).settings
    if settings is None or document.has_errors:
        return CaseFile(document, ())
    cases = tuple(
        Case(document, ("tests", number), test.name, test.given or settings.given, test.start, test.steps)
        for number, test in enumerate(settings.tests)
    )
    for case in cases:
        _check_order(case)
    return CaseFile(document, cases if not document.has_errors else ())


def check_names(case: Case, snapshot: Snapshot) -> bool:
    """Whether every limit and route that the test names is in its configuration; what is not is reported."""
    limits = {limit.name for limit in snapshot.limits}
    routes = {route.name for route in snapshot.routes.routes}
    count = len(case.document.diagnostics)
    for _, step, place in case.instants():
        expected = step.expected
        if expected is None:
            continue
        for name in expected.refusers or ():
            _check_name(case, "limit", name, limits, (*place, "expect", "denied_by"))
        if isinstance(expected.remaining, dict):
            for name in expected.remaining:
                _check_name(case, "limit", name, limits, (*place, "expect", "remaining", name), of_key=True)
        if expected.route is not None:
            _check_name(case, "route", expected.route, routes, (*place, "expect", "route"))
    return len(case.document.diagnostics) == count


def _check_name(case: Case, kind: str, name: str, known: set[str], place: Place, *, of_key: bool = False) -> None:
    if name not in known:
        hint = did_you_mean(name, known)
        case.document.report("WEIR0501", f"there is no {kind} `{name}`", place, hint=hint, of_key=of_key)


def _check_order(case: Case) -> None:
    requests = 0
    earliest = 0.0
    for at, step, place in case.instants():
        requests += step.times
        if at < earliest:
            case.document.report(
                "WEIR0502", "time does not go back: the step before is later", (*place, "at"), hint="sort the steps"
            )
        earliest = at + (step.times - 1) * step.every
    if requests > MAX_REQUESTS:
        case.document.report("WEIR0502", f"more than {MAX_REQUESTS:,} requests in one test", case.place)
