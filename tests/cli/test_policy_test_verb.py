"""`weir test`: policy tests from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxy.cli.app import app

CONFIGURATION = """
version: 1
upstreams: {app: {primary: http://127.0.0.1:3000}}
limits: {per-ip: {rate: 3/min, algorithm: fixed}}
routes: [{name: all, upstream: app, limits: [per-ip]}]
"""
GOOD = """
tests:
  - name: three pass and the fourth does not
    steps:
      - {request: GET /, times: 3, expect: admitted}
      - {request: GET /, expect: {denied_by: per-ip}}
  - name: a minute later all is forgotten
    steps:
      - {request: GET /, times: 9}
      - {at: 60s, request: GET /, expect: {remaining: 2}}
"""
FAILING = "tests: [{name: four pass, steps: [{request: GET /, times: 4, expect: admitted}]}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proxy.yaml").write_text(CONFIGURATION)
    (tmp_path / "good.test.yaml").write_text(GOOD)
    return tmp_path


def weir_test(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["test", *arguments], env={"TERM": "dumb", "COLUMNS": "200"})


def test_files_are_found_and_tried(folder: Path) -> None:
    result = weir_test()
    assert (result.exit_code, result.stdout) == (0, "2 of 2 tests hold\n")


def test_a_failure_shows_where_and_what_came(folder: Path) -> None:
    (folder / "bad.test.yaml").write_text(FAILING)
    result = weir_test()
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "FAILS  four pass  (bad.test.yaml:1)",
        "error[WEIR0503]: four pass: expected admitted; request 4 of 4 was denied by per-ip with 429, retry after 1m",
        "  --> bad.test.yaml:1:70",
        "   1 | tests: [{name: four pass, steps: [{request: GET /, times: 4, expect: admitted}]}]",
        "     | " + 69 * " " + "^^^^^^^^ expected admitted",
        "     = route all; per-ip (3/min by ip) counts 203.0.113.1: 0 left, the first back in 1m",
        "1 error",
        "2 of 3 tests hold",
    ]


def test_steps_are_shown_if_asked(folder: Path) -> None:
    result = weir_test("-v", "-k", "FORGOTTEN")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "holds  a minute later all is forgotten  (good.test.yaml:7)",
        "             0s  GET / from 203.0.113.1, 9 times: 3 admitted, 6 not; "
        "the last denied by per-ip with 429, retry after 1m",
        "             1m  GET / from 203.0.113.1: admitted, 2 left of per-ip",
        "1 of 1 test holds",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tests: [{name: a, steps: [{request: GET /, exepct: denied}]}]", "did you mean `expect`?"),
        (
            "tests: [{name: a, steps: [{request: GET /, expect: {denied_by: per-pi}}]}]",
            "there is no limit `per-pi`",
        ),
        ("given: nowhere.yaml\ntests: [{name: a, steps: [{request: GET /}]}]", "no such file"),
        ("tests: [{name: a", "not closed"),
    ],
    ids=["key", "limit", "given", "yaml"],
)
def test_a_bad_file_exits_with_2_and_tries_nothing(folder: Path, text: str, message: str) -> None:
    (folder / "bad.test.yaml").write_text(text)
    result = weir_test()
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_bad_configuration_exits_with_2(folder: Path) -> None:
    (folder / "proxy.yaml").write_text(CONFIGURATION + "listne: 1\n")
    result = weir_test()
    assert result.exit_code == 2
    assert "did you mean `listen`?" in result.stderr


@pytest.mark.parametrize("arguments", [["-k", "nothing of the kind"], ["nowhere.test.yaml"], ["--formt"]])
def test_nothing_to_try_exits_with_2(folder: Path, arguments: list[str]) -> None:
    assert weir_test(*arguments).exit_code == 2


def test_no_files_at_all_exits_with_2(folder: Path) -> None:
    (folder / "good.test.yaml").unlink()
    result = weir_test()
    assert result.exit_code == 2
    assert "there are no *.test.yaml files here" in result.stderr


def test_another_configuration_may_be_tried_with_the_same_tests(folder: Path) -> None:
    (folder / "other.yaml").write_text(CONFIGURATION.replace("3/min", "4/min"))
    assert weir_test("-c", "other.yaml").exit_code == 1
