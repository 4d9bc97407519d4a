"""The whole line: backends that record, a store that is real, and Weir as a process of its own.

A process takes a second to start. So a module's tests share one where they can, and a test that needs a configuration
of its own has it loaded by one that runs already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.line.backend import Backend, Hub
from tests.line.process import StartWeir, Weir, starter

Configure = Callable[..., Weir]


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def app(hub: Hub) -> Backend:
    """One backend for the module."""
    return Backend(hub, "app")


@pytest.fixture(scope="module")
def start_module_weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWeir]:
    """Start a Weir for the tests of a module. It must have found nothing to complain of in itself at the end."""
    yield from starter(lambda: tmp_path_factory.mktemp("weir"))


@pytest.fixture
def start_weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWeir]:
    """Start a Weir for one test."""
    yield from starter(lambda: tmp_path_factory.mktemp("weir"))


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Weir, Weir]]:
    """Two that run through all modules. Both start at the same time."""
    for start in starter(lambda: tmp_path_factory.mktemp("weir")):
        yield start(_NOTHING, wait=False), start(_NOTHING, wait=False)


@pytest.fixture(scope="session")
def configure_module(running: tuple[Weir, Weir]) -> Configure:
    """Give a Weir that runs already the configuration of a module.

    Counters go on, and so does what is stored and limited: a module takes names and paths that no other has.
    """
    return _configurer(running[0])


@pytest.fixture(scope="session")
def configure(running: tuple[Weir, Weir]) -> Configure:
    """The same for one test, in the other process."""
    return _configurer(running[1])


_NOTHING = "upstreams: {none: {primary: http://127.0.0.1:9}}\nroutes: [{name: none, upstream: none}]\n"


def _configurer(weir: Weir) -> Configure:
    def configured(config: str, policies: Mapping[str, str] | None = None) -> Weir:
        assert weir.ready().reload(config, policies) == "reload_ok", weir.stderr
        return weir

    return configured
