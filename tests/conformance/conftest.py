"""One backend and one Weir for the whole session; tests that need other settings start their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conformance.backend import Backend
from tests.conformance.weir import Weir


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    made = Backend()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(scope="session")
def weir(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weir]:
    made = Weir(tmp_path_factory.mktemp("weir"), backend.port)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def start_weir(tmp_path: Path) -> Iterator[Callable[..., Weir]]:
    """Start a Weir with settings of its own."""
    started: list[Weir] = []

    def start(backend_port: int, **settings: Any) -> Weir:
        folder = tmp_path / f"weir-{len(started)}"
        folder.mkdir()
        made = Weir(folder, backend_port, **settings)
        started.append(made)
        made.start()
        return made

    yield start
    for made in started:
        made.stop()
