"""The reference pages name every key and every option, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from proxy.cli.app import app
from proxy.simulation.cases import read_cases
from proxy.simulation.settings import CaseFileSettings, CaseSettings, ExpectSettings, StepSettings

PAGES = Path(__file__).parents[2] / "docs" / "reference"


def keys_under(page: str, heading: str) -> set[str]:
    section = re.split(r"^#+ ", page.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`([a-z_]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## The file", CaseFileSettings),
        ("### A test", CaseSettings),
        ("### A step", StepSettings),
        ("### What may be expected", ExpectSettings),
    ],
)
def test_every_key_of_a_policy_test_is_described(heading: str, model: type) -> None:
    page = (PAGES / "policy-tests.md").read_text()
    assert keys_under(page, heading) == set(model.model_fields)  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", ["simulate", "test"])
def test_every_option_is_described(verb: str) -> None:
    page = (PAGES / {"simulate": "simulate.md", "test": "policy-tests.md"}[verb]).read_text()
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    options = [option.opts for option in command.params if option.param_type_name == "option"]
    assert len(options) > 2
    for names in options:
        assert names == ["--help"] or any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", page) for name in names)


def test_the_example_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    page = (PAGES / "policy-tests.md").read_text()
    (tmp_path / "a.test.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    file = read_cases(str(tmp_path / "a.test.yaml"), {})
    assert file.is_good
    assert len(file.cases[0].steps) == 4
