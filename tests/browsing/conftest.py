from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browsing.shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.close()
