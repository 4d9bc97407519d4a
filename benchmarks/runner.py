"""The run: rounds over scenarios over peers, so that a noisy minute meets all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import cpu, load
from benchmarks.fleet import Fleet, Tell
from benchmarks.machine import Cores
from benchmarks.peers import Peer
from benchmarks.probe import WrongAnswer, probe
from benchmarks.scenarios import Scenario
from benchmarks.summary import Measurement, measure


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. `warm_up_s` comes before each measurement and is not in it."""

    scenarios: Sequence[Scenario]
    peers: Sequence[str]
    rounds: int
    seconds: int
    warm_up_s: float


def run(plan: Plan, fleet: Fleet, cores: Cores, tell: Tell) -> list[Measurement]:
    """Blocks until all rounds are through. A peer with a wrong answer is named and left out of that scenario."""
    measurements: list[Measurement] = []
    left_out: set[tuple[str, str]] = set()
    for number in range(1, plan.rounds + 1):
        tell(f"round {number} of {plan.rounds}")
        for scenario in plan.scenarios:
            for name in plan.peers:
                peer = fleet.find(name, scenario)
                if peer is None or (scenario.name, name) in left_out:
                    continue
                try:
                    measurements.append(_measure(plan, scenario, peer, number, cores))
                except (WrongAnswer, load.LoadError) as error:
                    left_out.add((scenario.name, name))
                    tell(f"{name} is left out of {scenario.name}: {error}")
    return measurements


def _measure(plan: Plan, scenario: Scenario, peer: Peer, number: int, cores: Cores) -> Measurement:
    probe(scenario, peer.port)
    load.warm_up(scenario, peer.port, plan.warm_up_s, cores.load)
    busy_before, before = cpu.core_busy_s(cores.proxy), cpu.read_tree(peer.pid)
    seen = load.run(scenario, peer.port, plan.seconds, cores.load)
    after, busy_after = cpu.read_tree(peer.pid), cpu.core_busy_s(cores.proxy)
    if scenario.is_hit:
        probe(scenario, peer.port)  # it was in the cache to the end
    if not seen.requests:
        raise load.LoadError("not one request was answered")
    return measure(scenario, peer.name, number, seen, cpu.spent(before, after), busy_after - busy_before)
