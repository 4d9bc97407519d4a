"""A cluster and the shop for all tests of this folder, and Weirs of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.line.process import StartWeir, Weir, starter
from tests.replicas.postgres import Cluster
from tests.replicas.stand import Stand


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
    for start in starter(lambda: tmp_path_factory.mktemp("weir")):
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
    """Start a Weir for one test. It must have found nothing to complain of in itself at the end."""
    yield from starter(lambda: tmp_path_factory.mktemp("weir"))
