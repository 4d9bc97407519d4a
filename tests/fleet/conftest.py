"""Fleets: many Weirs, one store, one backend that keeps the book, and a load that does not wait.

To start a Weir takes a second of a core. So most tests share four that run all the time, and those that need more, or
that break something, start their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleet.member import Member
from tests.fleet.recorder import Recorder
from tests.line.store import Store

StartFleet = Callable[..., list[Member]]

POLICIES = Path(__file__).with_name("policies.yaml").read_text()
SETTINGS = """
store: {store}
limiter: {{store_timeout: {store_timeout}}}
access_log: {{path: "off"}}
trusted_proxies: [127.0.0.1/32]
upstreams: {{app: {{primary: {app}, pool: {{max_in_flight: 512, max_idle: 512, queue: 4096}}}}}}
defaults: {{upstream: app}}
"""
# No hiccup of a busy machine uses this up: for tests in which nothing may be decided without the store.
PATIENT = "2s"


@pytest.fixture(scope="session")
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.close()


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """Stays up. A test that breaks its store has its own."""
    made = Store()
    yield made
    made.close()


@pytest.fixture(scope="session")
def four(tmp_path_factory: pytest.TempPathFactory, store: Store, recorder: Recorder) -> Iterator[list[Member]]:
    """Run through all modules, under policies.yaml."""
    with starter(tmp_path_factory) as start:
        yield start(4, settings(store, recorder, PATIENT) + POLICIES, is_skewed=True)


@pytest.fixture(scope="session")
def sixteen(
    tmp_path_factory: pytest.TempPathFactory, four: list[Member], store: Store, recorder: Recorder
) -> Iterator[list[Member]]:
    """Those four and twelve more."""
    with starter(tmp_path_factory) as start:
        more = start(12, settings(store, recorder, PATIENT) + POLICIES, is_skewed=True)
        yield [*four, *more]


@pytest.fixture(scope="module")
def start_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartFleet]:
    with starter(tmp_path_factory) as start:
        yield start


@contextmanager
def starter(folders: pytest.TempPathFactory) -> Iterator[StartFleet]:
    """Starts Weirs, all at the same time. At the end each has stopped well and found no defect in itself."""
    started: list[Member] = []

    def start(count: int, *configs: str, is_skewed: bool = False, wait: bool = True) -> list[Member]:
        """`count` of each configuration."""
        each = [config for config in configs for _ in range(count)]
        made = [
            Member(folders.mktemp("member"), config, None, *(skew(n) if is_skewed else (0.0, 0.0)))
            for n, config in enumerate(each)
        ]
        started.extend(made)
        for member in made:
            member.launch()
        return [member.ready() for member in made] if wait else made

    yield start
    try:
        stop(started)
    finally:
        for member in started:
            member.kill()


def stop(members: Sequence[Member]) -> None:
    running = [member for member in members if member.process.poll() is None]
    for member in running:
        member.process.terminate()
    for member in running:
        assert member.wait() == 0, member.stderr
    for member in members:
        assert member.defects() == [], member.stderr


def skew(number: int) -> tuple[float, float]:
    """Calendars from five seconds slow to five seconds fast, on machines that booted hours apart."""
    return 5.0 * (-1) ** number * (1.0 - number // 2 / 8.0), 3600.0 * number


def settings(store: Store | str, recorder: Recorder, store_timeout: str = "25ms") -> str:
    url = store if isinstance(store, str) else store.url
    return SETTINGS.format(store=url, app=recorder.url, store_timeout=store_timeout)
