"""What consistent reads cost and how many of them replicas answer: `python -m benchmarks.replicas` (about 2 minutes).

A real primary with two replicas, the shop of tests/replicas on each, and a Weir, all on this machine: the shares are
those of the rules, the times are those of a small machine that does everything at once.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.line.process import Weir
from tests.replicas.histories import play
from tests.replicas.postgres import Cluster
from tests.replicas.stand import Stand, in_rotation

USERS, READS, THINK_S, WRITES = 150, 1500, 1.0, 0.2
CASES = (
    ("positions", "100ms", "", True),
    ("positions", "1s", "max_lag: 5s", True),
    ("positions, monotonic: false", "1s", "max_lag: 5s, monotonic: false", True),
    ("pin: 1s", "100ms", "pin: 1s", False),
    ("pin: 1s", "1s", "pin: 1s", False),
    ("pin: 1s", "3s", "pin: 1s", False),
)
ROUNDS = 1000


def main() -> None:
    cluster = Cluster()
    try:
        stand = Stand(cluster)
        try:
            shares(stand)
            added(stand)
        finally:
            stand.stop()
    finally:
        cluster.close()


def shares(stand: Stand) -> None:
    print(f"{USERS} users, {THINK_S:g} s between two requests, {WRITES:.0%} of them writes")
    print("| decided by | lag | reads on replicas | own writes missed | went back |\n|---|---|---|---|---|")
    for name, lag, consistency, databases in CASES:
        for server in stand.cluster.replicas:
            server.lag(lag)
        weir = started(stand.config(consistency, databases=databases))
        try:
            if databases:
                in_rotation(weir, 2)
            port = int(weir.url.rpartition(":")[2])
            tally = play(port, users=USERS, reads=READS, writes=WRITES, think_s=THINK_S)
        finally:
            weir.stop()
        missed, back = len(tally.own_write_missed), len(tally.went_back)
        print(f"| {name} | {lag} | {tally.on_replicas:.0%} | {missed} of {tally.reads} | {back} |", flush=True)


def added(stand: Stand) -> None:
    """The time of a POST, one after the other, in turn through Weirs that differ in one thing."""
    for server in stand.cluster.replicas:
        server.lag("0")
    plain, positions, inline = (
        started(stand.config("pin: 0s", databases=False)),
        started(stand.config()),
        started(stand.config("mode: inline")),
    )
    named = {"X-User": "ann"}
    cases = {
        "nothing promised": (plain, named),
        "async": (positions, named),
        "inline": (inline, named),
        "no identity: a cookie": (positions, {}),
    }
    try:
        time.sleep(1.0)
        clients = {name: weir.client() for name, (weir, _) in cases.items()}
        took: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for number, (name, (_, fields)) in enumerate(cases.items()):
                began = time.perf_counter()
                assert clients[name].ask("POST", f"/counters/case-{number}", fields).status == 200
                took[name].append(time.perf_counter() - began)
        for client in clients.values():
            client.close()
    finally:
        for weir in (plain, positions, inline):
            weir.stop()
    print("| POST | p50 | p95 |\n|---|---|---|")
    for name, times in took.items():
        times.sort()
        print(f"| {name} | {times[len(times) // 2] * 1e3:.2f} ms | {times[len(times) * 95 // 100] * 1e3:.2f} ms |")


def started(config: str) -> Weir:
    weir = Weir(Path(tempfile.mkdtemp(prefix="weir-bench-")), config)
    weir.launch()
    return weir.ready()


if __name__ == "__main__":
    main()
