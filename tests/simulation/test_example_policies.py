"""The worked examples hold: their configurations are sound, and so is what their own tests say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli.app import app

FOLDER = Path(__file__).parents[2] / "policies" / "examples"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".test.yaml"))


def test_there_are_examples() -> None:
    assert [path.stem for path in EXAMPLES] == ["login-brute-force", "public-api-plans"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_sound(path: Path) -> None:
    outcome = CliRunner().invoke(app, ["check", "-c", str(path)])
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_an_example_promises_holds(path: Path) -> None:
    outcome = CliRunner().invoke(app, ["test", str(path.with_suffix(".test.yaml"))])
    assert outcome.exit_code == 0, outcome.output
