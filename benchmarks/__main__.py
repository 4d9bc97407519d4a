"""`python -m benchmarks`: Weir and its peers side by side, a table, a result file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import load, machine, report, targets
from benchmarks.fleet import Fleet
from benchmarks.peers import PEERS
from benchmarks.process import StartError
from benchmarks.runner import Plan, run
from benchmarks.scenarios import SCENARIOS
from benchmarks.subject import add_option
from benchmarks.summary import summarise

RESULTS = Path(__file__).with_name("results")
NEEDED_FILES = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """0 with figures, whatever the targets say; 1 when nothing was measured, or all but Weir; 2 for a wrong command."""
    options = _parser().parse_args(arguments)
    plan = Plan(
        scenarios=[SCENARIOS[name] for name in options.scenario or SCENARIOS],
        peers=options.peer or list(PEERS),
        rounds=options.rounds or (1 if options.quick else 5),
        seconds=options.seconds or (1 if options.quick else 2),
        warm_up_s=0.3 if options.quick else 0.5,
    )
    try:
        cores = machine.this_machines_cores()
        return _measure(plan, cores, options.json or _usual_file(options))
    except (OSError, StartError) as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _measure(plan: Plan, cores: machine.Cores, file: Path | None) -> int:
    began_at = time.time()
    if (files := machine.raise_file_limit()) < NEEDED_FILES:
        _tell(f"a process may have {files} open files here: the case with 1000 connections will fail")
    if not cores.are_apart:
        _tell("there is one core only: the load disturbs what it measures")
    with tempfile.TemporaryDirectory(prefix="weir-benchmarks-") as directory:
        fleet = Fleet(Path(directory), cores, _tell)
        try:
            fleet.start(plan.peers, plan.scenarios)
            measurements = run(plan, fleet, cores, _tell)
        finally:
            fleet.stop()
    if not measurements:
        _tell("nothing was measured")
        return 1
    summaries = summarise(measurements)
    verdicts = targets.judge(summaries)
    print(*_measured(fleet), report.table(summaries), report.verdicts_text(verdicts), sep="\n\n")
    for warning in report.warnings(summaries):
        _tell(warning)
    if file is not None:
        about = _about(plan, fleet, cores, began_at)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report.document(about, summaries, verdicts, measurements), indent=1) + "\n")
        print(f"\nwritten to {file}")
    return 0 if "weir" not in plan.peers or any(each.peer == "weir" for each in measurements) else 1


def _measured(fleet: Fleet) -> list[str]:
    """Which build of Weir it was, if it was one."""
    return [fleet.versions["weir"]] if "weir" in fleet.versions else []


def _about(plan: Plan, fleet: Fleet, cores: machine.Cores, began_at: float) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began_at)),
        "commit": machine.commit(),
        "machine": machine.describe(cores),
        "versions": {**fleet.versions, "backend": fleet.backend.kind, "load": load.generator()},
        "plan": {"rounds": plan.rounds, "seconds": plan.seconds, "warm_up_s": plan.warm_up_s},
    }


def _usual_file(options: argparse.Namespace) -> Path | None:
    """A whole run is kept; a quick or a partial one only where --json says so."""
    if options.quick or options.scenario or options.peer or options.seconds or options.rounds:
        return None
    return RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{machine.commit()}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one (repeatable)")
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only this one (repeatable)")
    parser.add_argument("--seconds", type=_positive, help="length of each measurement (2; quick: 1)")
    parser.add_argument(
        "--rounds", type=_positive, help="measurements of each, of which the median counts (5; quick: 1)"
    )
    parser.add_argument("--quick", action="store_true", help="all of it in less than a minute; coarse")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result file there")
    add_option(parser)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
