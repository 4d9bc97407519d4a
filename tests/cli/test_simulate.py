"""`weir simulate`: what is printed, what is written, and how it exits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from proxy.cli.app import app

CONFIGURATION = """
version: 1
upstreams: {app: {primary: http://127.0.0.1:3000}}
limits: {per-ip: {rate: 3/min, algorithm: fixed}, per-user: {rate: 100/min, by: user}}
routes: [{name: all, upstream: app, limits: [per-ip, per-user]}]
"""
LINE = '192.0.2.{} - - [10/Apr/2026:00:00:{:02d} +0000] "GET / HTTP/1.1" 200 5 "-" "-"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proxy.yaml").write_text(CONFIGURATION)
    loud = [LINE.format(1, second) for second in range(10)]
    quiet = [LINE.format(client, 5) for client in range(2, 12)]
    (tmp_path / "access.log").write_text("".join([*loud, "rub[bold]bish\n", *quiet]))
    return tmp_path


def simulate(*arguments: str, **how: Any) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments], env={"TERM": "dumb", "COLUMNS": "160"}, **how)


def test_text_for_people(folder: Path) -> None:
    result = simulate("access.log", "--limit", "per-ip=5/min")
    assert result.exit_code == 0, result.output
    lines = [re.sub(" +", " ", line).strip() for line in result.stdout.splitlines()]
    for line in (
        "proxy.yaml against access.log (combined)",
        "20 requests from 2026-04-10 00:00:00 to 2026-04-10 00:00:09 UTC",
        "7 denied (35.00 %); 7 of 20 that had succeeded (35.00 %)",
        "1 of 21 lines could not be read:",
        "access.log:11: not in the combined log format: rub[bold]bish",
        "per-ip 3/min 20 7 35.00 % 7 11 1",
        "per-user 100/min 20 0 0.00 % 0 11 0",
        "per-ip 3/min 7 (35.00 %) 1 (9.09 %) now",
        "per-ip 5/min 5 (25.00 %) 1 (9.09 %) candidate",
        "per-ip 10/min 0 (0.00 %) 0 (0.00 %) suffices for 99.9 % of requests",
        "per-ip 10/min 0 (0.00 %) 0 (0.00 %) suffices for 99.9 % of keys",
        "192.0.2.1 10 7 7 6s from 2026-04-10 00:00:03 per-ip",
        "all 20 7 7",
    ):
        assert line in lines, result.stdout
    assert any(line.startswith("note: The log names no user: per-user did what `missing` says") for line in lines)


def test_json_for_programs_says_the_same(folder: Path) -> None:
    said = json.loads(simulate("access.log", "--json").stdout)
    assert (said["requests"], said["denied"], said["rubbish"], said["files"]) == (20, 7, 1, {"access.log": "combined"})
    limit = said["limits"][0]
    assert (limit["name"], limit["denied"], limit["suggestion"]["for_keys"]["rate"]) == ("per-ip", 7, "10/min")
    assert said["clients"][0]["limits"] == {"per-ip": 7}


def test_the_report_is_one_file(folder: Path) -> None:
    result = simulate("access.log", "--report", "out.html")
    assert result.exit_code == 0
    assert "The report is in out.html" in result.stdout
    assert (folder / "out.html").read_text().startswith("<!doctype html>")
    assert simulate("access.log", "--report", "no/such/folder.html").exit_code == 1


@pytest.mark.parametrize(("above", "code"), [("40%", 0), ("35%", 0), ("34%", 1), ("0%", 1)])
def test_too_many_denials_fail_if_asked(folder: Path, above: str, code: int) -> None:
    result = simulate("access.log", "--fail-above", above)
    assert result.exit_code == code
    assert ("more than" in result.stderr) == bool(code)


def test_standard_input_and_a_format_of_nginx(folder: Path) -> None:
    log_format = "$remote_addr|$time_iso8601|$request|$status"
    lines = "192.0.2.1|2026-04-10T00:00:00+00:00|GET / HTTP/1.1|200\n" * 5
    result = simulate("-", "--log-format", log_format, "--json", input=lines)
    assert (json.loads(result.stdout)["denied"], json.loads(result.stdout)["files"]) == (2, {"standard input": "nginx"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["access.log", "--limit", "per-ip"], "per-ip=300/min"),
        (["access.log", "--limit", "per-pi=3/min"], "did you mean `per-ip`?"),
        (["access.log", "--limit", "per-ip=3"], "has no period"),
        (["access.log", "--fail-above", "1"], "no percent sign"),
        (["access.log", "--format", "squid"], "squid"),
        (["access.log", "--log-format", "$status"], "the log format has no $remote_addr"),
        (["access.log", "--log-format", "$status", "--format", "caddy"], "the format is caddy"),
        (["access.log", "--formt", "caddy"], "formt"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_exits_with_2(folder: Path, arguments: list[str], message: str) -> None:
    result = simulate(*arguments)
    assert result.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.log"], "nowhere.log cannot be read: no such file or directory"),
        (["."], "cannot be read: is a directory"),
        (["access.log", "-c", "nowhere.yaml"], "the file cannot be read: no such file"),
        (["access.log", "--format", "caddy"], "no line could be read as a request; what is its format?"),
    ],
)
def test_what_cannot_be_read_exits_with_1(folder: Path, arguments: list[str], message: str) -> None:
    result = simulate(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
