"""`weir test`: policy tests, requests on a clock of their own and what shall become of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from proxy.cli.options import DEFAULT_CONFIG, Config
from proxy.cli.output import print_diagnostics
from proxy.config.load import Loaded, load
from proxy.simulation.cases import Case, CaseFile, check_names, find_files, read_cases
from proxy.simulation.trial import Trial, try_case

__all__ = ["try_policies"]

_BAD_FILE = 2


def try_policies(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files of tests. Default: all *.test.yaml beside the configuration and below it."),
    ] = None,
    config: Config = None,
    keyword: Annotated[
        str | None, typer.Option("-k", help="Only tests with this text in the name or the file.", metavar="TEXT")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Name every test, and show every step.")] = False,
) -> None:
    """Try the limits as tests in YAML say. Exit code 0: all hold, 1: one does not, 2: a file cannot be read."""
    root = config or DEFAULT_CONFIG
    names = files or find_files(os.path.dirname(root) or ".")
    if not names:
        print("weir test: there are no *.test.yaml files here", file=sys.stderr)
        raise typer.Exit(_BAD_FILE)
    read = [read_cases(name, os.environ) for name in names]
    cases = [case for one in read for case in one.cases if _is_meant(case, keyword)]
    configurations = _load(cases, root)
    for case in cases:
        snapshot = configurations[case.given or root].snapshot
        if snapshot is not None:
            check_names(case, snapshot)
    if _tell_errors(read, list(configurations.values())):
        raise typer.Exit(_BAD_FILE)
    if not cases:
        print("weir test: no test has that in its name", file=sys.stderr)
        raise typer.Exit(_BAD_FILE)
    trials = [_try(case, configurations[case.given or root], verbose=verbose) for case in cases]
    failed = sum(not trial.holds for trial in trials)
    count = len(trials)
    print(f"{count - failed} of {count} {'test holds' if count == 1 else 'tests hold'}")
    raise typer.Exit(1 if failed else 0)


def _is_meant(case: Case, keyword: str | None) -> bool:
    return keyword is None or keyword.lower() in f"{case.document.name} {case.name}".lower()


def _load(cases: Sequence[Case], root: str) -> dict[str, Loaded]:
    return {path: load(path) for path in dict.fromkeys(case.given or root for case in cases)}


def _tell_errors(read: Sequence[CaseFile], configurations: Sequence[Loaded]) -> bool:
    """Print what is wrong with the files, if anything is."""
    bad = [loaded.diagnostics for loaded in configurations if loaded.snapshot is None]
    wrong = [one.diagnostics for one in read if not one.is_good]
    diagnostics = [diagnostic for some in (*wrong, *bad) for diagnostic in some]
    print_diagnostics(diagnostics)
    return bool(diagnostics)


def _try(case: Case, loaded: Loaded, *, verbose: bool) -> Trial:
    assert loaded.snapshot is not None
    trial = try_case(case, loaded.snapshot)
    if verbose or not trial.holds:
        print(f"{'holds' if trial.holds else 'FAILS'}  {case.name}  ({case.where})")
    if verbose:
        for line in trial.lines:
            print(f"       {line}")
    print_diagnostics(trial.failures, sys.stdout)
    return trial
