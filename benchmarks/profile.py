"""Where Weir's time goes: `python -m benchmarks.profile --scenario hit`.

Sampled from outside, under the load of a normal run: by py-spy where it is installed (Python functions and the C
beneath them), else by perf (C and kernel functions only).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cpu, load, machine
from benchmarks.fleet import Fleet
from benchmarks.peers.peer import Missing
from benchmarks.probe import WrongAnswer, probe
from benchmarks.process import StartError
from benchmarks.scenarios import SCENARIOS, Scenario

_SAMPLES_PER_S = 250
_EVERYWHERE = 0.9  # a function in so many stacks is the loop that runs everything, and no news
_WAITING = ";Condition.wait (threading.py"  # py-spy takes a thread that waits for the interpreter lock for a busy one
_NATIVE = (".c", ".h", ".cpp", ".pyx")


@dataclass(frozen=True, slots=True)
class Fold:
    """Samples by function: in which it ran itself, and in which it was anywhere on the stack."""

    samples: int
    own: Counter[str]
    inclusive: Counter[str]


def fold(stacks: str) -> Fold:
    """Count stacks of the form "outer;...;inner COUNT", one a line, but for threads that wait.

    A recursive function counts once for a stack.
    """
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    samples = 0
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdecimal() or _WAITING in stack:
            continue
        frames = [_short(frame) for frame in stack.split(";")]
        samples += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            inclusive[frame] += int(count)
    return Fold(samples, own, inclusive)


def tables(folded: Fold, each_us: float, top: int) -> str:
    """The two rankings, with each function's share of the `each_us` that one request takes."""
    scaffold = folded.samples * _EVERYWHERE
    inclusive = Counter({frame: count for frame, count in folded.inclusive.items() if count < scaffold})
    blocks = []
    for title, counter in (("in the function itself", folded.own), ("with all that it calls", inclusive)):
        blocks.append(f"  share   us/request  {title}")
        for frame, count in counter.most_common(top):
            share = count / folded.samples
            blocks.append(f"  {share:5.1%}  {share * each_us:11.2f}  {frame}")
        blocks.append("")
    return "\n".join(blocks).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """0 with a profile printed, 1 without, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        cores = machine.this_machines_cores()
        machine.raise_file_limit()
        with tempfile.TemporaryDirectory(prefix="weir-profile-") as directory:
            return _profile(SCENARIOS[options.scenario], options, cores, Path(directory))
    except (OSError, Missing, StartError, WrongAnswer, load.LoadError) as error:
        print(error, file=sys.stderr)
        return 1


def _profile(scenario: Scenario, options: argparse.Namespace, cores: machine.Cores, directory: Path) -> int:
    samples = directory / "samples"
    fleet = Fleet(directory, cores, lambda text: print(text, file=sys.stderr))
    try:
        fleet.start(["weir"], [scenario])
        weir = fleet.find("weir", scenario)
        if weir is None:
            return 1
        probe(scenario, weir.port)
        load.warm_up(scenario, weir.port, 1.0, cores.load)
        with subprocess.Popen(
            _sampler(options, weir.pid, samples), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as sampler:
            before = cpu.read_tree(weir.pid)
            seen = load.run(scenario, weir.port, options.seconds, cores.load)
            used = cpu.spent(before, cpu.read_tree(weir.pid))
            _, said = sampler.communicate()
    finally:
        fleet.stop()
    if not samples.exists():
        raise load.LoadError(f"no samples were taken: {said.strip()[-500:]}")
    each_us = used.total_s * 1e6 / max(seen.requests, 1)
    print(f"{scenario.title}: {seen.requests:,} requests, {each_us:.1f} us each while sampled")
    print(f"({used.user_s:.1f} s in user code, {used.system_s:.1f} s in the kernel)\n")
    print(
        _perf_report(samples, options.top) if _uses_perf() else tables(fold(samples.read_text()), each_us, options.top)
    )
    return 0


def _sampler(options: argparse.Namespace, pid: int, samples: Path) -> list[str]:
    """Raises Missing."""
    if not _uses_perf():
        native = [] if options.python_only else ["--native"]
        wanted = ["--format", "raw", "--function", "--rate", str(_SAMPLES_PER_S), *native]
        return [_py_spy(), "record", "--pid", str(pid), "--duration", str(options.seconds), *wanted, "-o", str(samples)]
    if shutil.which("perf") is None:
        raise Missing("neither py-spy nor perf is installed")
    wanted = ["-e", "cpu-clock", "-F", str(_SAMPLES_PER_S), "-p", str(pid), "-o", str(samples)]
    return ["perf", "record", "-q", *wanted, "--", "sleep", str(options.seconds)]


def _perf_report(samples: Path, top: int) -> str:
    command = ["perf", "report", "--stdio", "-q", "--no-children", "-i", str(samples)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return "\n".join([line for line in lines if line.strip() and not line.startswith("#")][:top])


def _uses_perf() -> bool:
    return not _py_spy()


def _py_spy() -> str:
    """Beside this Python first, where pip puts it; "" when there is none."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy") or ""


def _short(frame: str) -> str:
    """The C functions lose their line: each call site would be a row of its own."""
    name, colon, line = frame.rpartition(":")
    return f"{name})" if colon and name.endswith(_NATIVE) and line.rstrip(")").isdecimal() else frame


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="get")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--top", type=int, default=30, help="rows of each table (30)")
    parser.add_argument("--python-only", action="store_true", help="count C functions as their Python caller")
    return parser


if __name__ == "__main__":
    sys.exit(main())
