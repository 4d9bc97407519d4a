"""What all tests share: how the examples of property tests are drawn."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("new draws", print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """`make test` says the same of the same tree each time; `make test-long`, or WEIR_NEW_DRAWS=1, draws anew."""
    is_new = config.getoption("markexpr") == "long" or "WEIR_NEW_DRAWS" in os.environ
    settings.load_profile("new draws" if is_new else "repeatable")
