"""A cluster and the shop for all tests of this folder, and Weirs of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.line.process import Weir
from tests.replicas.postgres import Cluster
from tests.replicas.stand import Stand

StartWeir = Callable[[str], Weir]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def shared_stand(cluster: Cluster) -> Iterator[Stand]:
    made = Stand(cluster)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def stand(shared_stand: Stand) -> Iterator[Stand]:
    """The stand, its replicas as quick as they can be before and after the test."""
    yield shared_stand
    for server in shared_stand.cluster.replicas:
        server.lag("0")
        server.resume()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weir]:
    for start in _starter(tmp_path_factory):
        yield start("upstreams: {none: {primary: http://127.0.0.1:9}}\nroutes: [{name: none, upstream: none}]\n")


@pytest.fixture
def configure(running: Weir) -> StartWeir:
    """Give a Weir that runs already the configuration of a test. What it has said and stored before stays."""

    def configured(config: str) -> Weir:
        assert running.reload(config) == "reload_ok", running.stderr
        return running

    return configured


@pytest.fixture
def start_weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWeir]:
    """Start a Weir for one test."""
    yield from _starter(tmp_path_factory)


def _starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWeir]:
    """It must have found nothing to complain of in itself at the end."""
    started: list[Weir] = []

    def start(config: str) -> Weir:
        made = Weir(tmp_path_factory.mktemp("weir"), config)
        started.append(made)
        made.launch()
        return made.ready()

    yield start
    try:
        for made in started:
            if made.process.poll() is None:
                assert made.stop() == 0, made.stderr
            assert made.defects() == [], made.stderr
    finally:
        for made in started:
            made.kill()
