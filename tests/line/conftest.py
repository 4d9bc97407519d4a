"""The whole line: backends that record, a store that is real, and Weir as a process of its own.

A process takes a second to start. So a module's tests share one where they can, and a test that needs a configuration
of its own has it loaded by one that runs already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.line.backend import Backend, Hub
from tests.line.process import Weir

StartWeir = Callable[..., Weir]
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
    yield from _starter(lambda: tmp_path_factory.mktemp("weir"))


@pytest.fixture
def start_weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWeir]:
    """Start a Weir for one test."""
    yield from _starter(lambda: tmp_path_factory.mktemp("weir"))


@pytest.fixture(scope="session")
def start_session_weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartWeir]:
    yield from _starter(lambda: tmp_path_factory.mktemp("weir"))


@pytest.fixture(scope="session")
def configure_module(start_session_weir: StartWeir) -> Configure:
    """Give a Weir that runs already the configuration of a module.

    Counters go on, and so does what is stored and limited: a module takes names and paths that no other has.
    """
    return _configurer(start_session_weir)


@pytest.fixture(scope="session")
def configure(start_session_weir: StartWeir) -> Configure:
    """The same for one test, in another process."""
    return _configurer(start_session_weir)


def _configurer(start: StartWeir) -> Configure:
    running: list[Weir] = []

    def configured(config: str, policies: Mapping[str, str] | None = None) -> Weir:
        if not running:
            running.append(start(config, policies))
        else:
            assert running[0].reload(config, policies) == "reload_ok", running[0].stderr
        return running[0]

    return configured


def _starter(folder: Callable[[], Path]) -> Iterator[StartWeir]:
    started: list[Weir] = []

    def start(config: str, policies: Mapping[str, str] | None = None) -> Weir:
        made = Weir(folder(), config, policies)
        started.append(made)
        return made.start()

    yield start
    try:
        for made in started:
            if made.process.poll() is None:
                assert made.stop() == 0, made.stderr
            assert made.defects() == [], made.stderr
    finally:
        for made in started:
            made.kill()
