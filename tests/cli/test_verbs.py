"""The command line: what verbs print, and how they exit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxy import __version__
from proxy.cli.app import app

GOOD = """
version: 1
upstreams: {app: {primary: http://127.0.0.1:3000}}
limits: {per-ip: {rate: 10/s}}
routes: [{name: all, upstream: app, limits: [per-ip]}]
"""
BAD = GOOD + "listne: 127.0.0.1:80\n"


def weir(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"TERM": "dumb", "COLUMNS": "200"}, prog_name="weir")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_weir_alone_prints_help() -> None:
    result = weir()
    assert result.exit_code == 0
    for verb in ("run", "check", "explain", "schema", "demo", "healthcheck", "version"):
        assert verb in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["chekc"],
        ["check", "--formt", "json"],
        ["check", "--format", "xml"],
        ["check", "surplus"],
        ["explain"],
        ["explain", "GET /", "--ip", "nobody"],
        ["explain", "GET /", "-H", "no colon"],
        ["run", "--limit", "5/s"],
        ["run", "--to", "http://127.0.0.1:1", "-c", "proxy.yaml"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2(folder: Path, arguments: list[str]) -> None:
    (folder / "proxy.yaml").write_text(GOOD)
    assert weir(*arguments).exit_code == 2


def test_check_says_that_all_is_fine(folder: Path) -> None:
    (folder / "proxy.yaml").write_text(GOOD)
    result = weir("check")
    assert result.exit_code == 0
    assert result.stdout == "proxy.yaml is fine: 1 file, 1 upstream, 1 limit, 1 route\n"


def test_check_of_a_configuration_with_warnings_is_fine_too(folder: Path) -> None:
    (folder / "other.yaml").write_text(GOOD.replace("limits: [per-ip]", "limits: []"))
    result = weir("check", "-c", "other.yaml")
    assert result.exit_code == 0
    assert "warning[WEIR0402]: limit `per-ip` is used by no route" in result.stdout


def test_check_of_a_bad_configuration_exits_with_1(folder: Path) -> None:
    (folder / "proxy.yaml").write_text(BAD)
    result = weir("check")
    assert result.exit_code == 1
    assert "did you mean `listen`?" in result.stdout


def test_check_tells_programs_the_same(folder: Path) -> None:
    (folder / "proxy.yaml").write_text(BAD)
    result = weir("check", "--format", "json")
    said = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (said["ok"], said["files"], said["version"]) == (False, ["proxy.yaml"], None)
    (diagnostic,) = said["diagnostics"]
    assert (diagnostic["code"], diagnostic["line"], diagnostic["column"]) == ("WEIR0102", 6, 1)
    (folder / "proxy.yaml").write_text(GOOD)
    said = json.loads(weir("check", "--format", "json").stdout)
    assert said["ok"]
    assert re.fullmatch("[0-9a-f]{12}", said["version"])


def test_check_without_a_file_exits_with_1(folder: Path) -> None:
    result = weir("check")
    assert result.exit_code == 1
    assert "the file cannot be read: no such file" in result.stdout


def test_run_refuses_a_bad_configuration_and_says_everything(folder: Path) -> None:
    (folder / "proxy.yaml").write_text(BAD + "admn: off\n")
    result = weir("run")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "unknown key `listne`" in result.stderr
    assert "unknown key `admn`" in result.stderr


def test_run_without_a_file_says_how_to_do_without(folder: Path) -> None:
    result = weir("run")
    assert result.exit_code == 1
    assert "weir run --to http://127.0.0.1:3000" in result.stderr


def test_run_names_the_option_that_is_wrong() -> None:
    result = weir("run", "--to", "localhost:3000", "--limit", "20", "--cache", "5")
    assert result.exit_code == 1
    for option in ("--to:", "--limit:", "--cache:"):
        assert option in result.stderr


def test_schema_is_json() -> None:
    assert "upstreams" in json.loads(weir("schema").stdout)["properties"]
    assert "upstreams" not in json.loads(weir("schema", "--included").stdout)["properties"]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    repository = Path(__file__).parents[2]
    return subprocess.run([sys.executable, *arguments], cwd=repository, capture_output=True, text=True, timeout=30)


def test_version_names_the_version() -> None:
    result = python("-m", "proxy", "version")
    assert result.returncode == 0
    assert result.stdout.startswith(f"weir {__version__} (Python 3.")
    assert weir("version").stdout == result.stdout


@pytest.mark.parametrize("verb", ["version", "healthcheck --help"])
def test_what_runs_often_imports_little(verb: str) -> None:
    code = (
        "import sys\nfrom proxy.__main__ import main\n"
        f"sys.argv = ['weir', *{verb.split()!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'typer', 'rich', 'pydantic', 'yaml', 'aiohttp', 'asyncio', 'redis', 'jwt'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = python("-c", code)
    assert (result.returncode, result.stderr) == (0, "")
