"""How a Weir begins, or says why it does not; and what `weir explain` says of what happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.line.backend import Backend
from tests.line.client import ask
from tests.line.conftest import StartWeir
from tests.line.process import ROOT, Weir


def weir_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def one_route(app: Backend) -> str:
    return f"upstreams: {{app: {{primary: {app.url}}}}}\nroutes: [{{name: all, upstream: app}}]\n"


@pytest.mark.parametrize("key", ["listen", "admin"])
def test_an_address_in_use_is_one_clear_line_and_exit_code_1(
    start_weir: StartWeir, app: Backend, tmp_path: Path, key: str
) -> None:
    first = start_weir(one_route(app))
    taken = (first.url if key == "listen" else first.admin).removeprefix("http://")
    second = Weir(tmp_path, f"{key}: {taken}\n" + one_route(app))
    second.launch()
    try:
        assert second.wait(20) == 1
    finally:
        second.kill()
    lines = [line for line in second.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, second.stderr
    assert lines[0].startswith("weir: cannot start: ")
    assert "in use" in lines[0]
    assert taken in lines[0] or taken.rpartition(":")[2] in lines[0]
    assert first.get("/x").status == 200


def test_a_unix_socket_that_somebody_listens_on_is_not_taken_away(
    start_weir: StartWeir, app: Backend, tmp_path: Path
) -> None:
    path = f"/tmp/weir-{os.getpid()}.sock"
    first = start_weir(f"listen: unix:{path}\n" + one_route(app))
    second = Weir(tmp_path, f"listen: unix:{path}\n" + one_route(app))
    second.launch()
    try:
        assert second.wait(20) == 1
    finally:
        second.kill()
    assert "in use" in second.stderr
    assert ask(f"unix:{path}", "GET", "/x").status == 200
    assert first.stop() == 0


def test_a_wrong_configuration_is_refused_with_its_place_and_exit_code_1(app: Backend, tmp_path: Path) -> None:
    weir = Weir(
        tmp_path, one_route(app).replace("name: all", "name: all, limits: [per-ipp]") + "limits: {per-ip: {rate: 5}}\n"
    )
    result = weir_command(tmp_path, "run", "-c", str(weir.path))
    assert result.returncode == 1
    assert result.stdout == ""
    places = re.findall(r"proxy\.yaml:(\d+):(\d+)", result.stderr)
    lines = weir.path.read_text().splitlines()
    pointed_at = [lines[int(line) - 1][int(column) - 1 :] for line, column in places]
    assert any(text.startswith("per-ipp") for text in pointed_at), result.stderr
    assert any(text.startswith("5}") for text in pointed_at), "all errors at once"
    assert "per-ip" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--nonsense"],
        ["runn"],
        ["run", "--limit", "2/s"],
        ["run", "-c", "proxy.yaml", "--to", "http://127.0.0.1:1"],
        ["explain", "GET /", "--ip", "nowhere"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    result = weir_command(tmp_path, *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr


def test_without_a_file_it_says_how_to_do_without_one(tmp_path: Path) -> None:
    result = weir_command(tmp_path, "run")
    assert result.returncode == 1
    assert "weir run --to" in result.stderr


def test_one_command_limits_a_backend_without_any_file(app: Backend, tmp_path: Path) -> None:
    weir = Weir(tmp_path, "")
    try:
        options = ["--to", app.url, "--limit", "2/s", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        weir.start(options)
        answers = [weir.get("/x") for _ in range(4)]
        assert [answer.status for answer in answers[:2]] == [200, 200]
        assert 429 in [answer.status for answer in answers[2:]]
        assert answers[0].get("x-ratelimit-limit") == "2"
        assert weir.healthz().status == 200
        assert weir.stop() == 0
        denied = [json.loads(line) for line in weir.stdout_path.read_text().splitlines()]
        assert [line["status"] for line in denied if line["status"] != 200][0] == 429, "the log is on standard output"
    finally:
        weir.kill()


EXPLAINED = """
trusted_proxies: [127.0.0.1/32]
upstreams: {{app: {{primary: {app}, replicas: [{app}]}}}}
identity: {{user: {{header: X-User}}}}
limits: {{per-ip: {{rate: 100/h, by: ip}}, per-user: {{rate: 50/h, by: user}}}}
routes:
  - {{name: rest, upstream: app, limits: [per-ip]}}
  - {{name: item, upstream: app, match: {{path: "/items/{{id}}", methods: [GET]}}, limits: [per-ip, per-user], cache: {{ttl: 60s}}}}
  - {{name: private, upstream: app, match: {{path: /private}}, require_user: true}}
  - {{name: guarded, upstream: app, match: {{path: /guarded, hosts: [a.example]}}, limits: [{{name: g, rate: 1/h, by: user, missing: deny}}]}}
"""


def test_explain_agrees_with_what_happens(start_weir: StartWeir, app: Backend) -> None:
    weir = start_weir(EXPLAINED.format(app=app.url))
    cases: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/items/7", {"X-User": "alice"}),
        ("GET", "/items/7/more", {}),
        ("POST", "/items/7", {}),
        ("GET", "/private", {}),
        ("GET", "/private", {"X-User": "bob"}),
        ("GET", "/guarded", {"Host": "a.example"}),
        ("GET", "/%2e%2e/items/x%2fy", {}),
        ("CONNECT", "/x", {}),
    ]
    for method, target, fields in cases:
        headers = [part for name, value in fields.items() for part in ("-H", f"{name}: {value}")]
        result = weir_command(weir.folder, "explain", f"{method} {target}", "--ip", "127.0.0.1", "--json", *headers)
        assert result.returncode == 0, result.stderr
        said = json.loads(result.stdout)
        answer = weir.ask(method, target, fields)
        predicted = int(found[1]) if (found := re.match(r"(\d{3}) from Weir", said["result"])) else 200
        assert answer.status == predicted, (method, target, said["result"])
        if predicted in (400, 405) and said["route"] is None:
            continue
        line = weir.logged(answer)
        assert line["route"] == said["route"]["name"]
        if said["limits"] and answer.status == 200:
            policies = answer.get("ratelimit-policy") or ""
            assert re.findall(r'"([^"]+)"', policies) == [limit["name"] for limit in said["limits"]]
        if said["cache"] is not None and answer.status == 200:
            assert (answer.get("cache-status") is not None) == said["cache"]["applies"]
