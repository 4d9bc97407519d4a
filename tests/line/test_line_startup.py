"""How a Weir begins, or says why it does not; and what `weir explain` says of what happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from proxy.cli.explanation import Asked, explain_request
from proxy.config.load import load
from tests.line.backend import Backend
from tests.line.client import ask
from tests.line.conftest import Configure, StartWeir
from tests.line.process import ROOT, Weir, eventually


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


RUN_EACH = """
import sys
from proxy.__main__ import main
for path in sys.argv[1:]:
    sys.argv[1:] = ["run", "-c", path]
    try:
        main()
    except SystemExit as end:
        print(f"exit {end.code}", file=sys.stderr)
"""


def one_route(app: Backend) -> str:
    return f"upstreams: {{app: {{primary: {app.url}}}}}\nroutes: [{{name: all, upstream: app}}]\n"


def test_what_stops_a_start_is_one_clear_line_and_exit_code_1(
    start_weir: StartWeir, app: Backend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with tempfile.TemporaryDirectory(prefix="weir-") as folder:
        first = start_weir(f"listen: [127.0.0.1:0, unix:{folder}/s]\n" + one_route(app))
        port, admin_port = (url.rpartition(":")[2] for url in (first.url, first.admin))
        cases = [
            (f"listen: 127.0.0.1:{port}", "in use", port),
            (f"listen: [127.0.0.1:0, unix:{folder}/s]", "in use", f"{folder}/s"),
            (f"admin: 127.0.0.1:{admin_port}", "in use", admin_port),
            ("listen: {address: 127.0.0.1:0, tls: {cert: a.crt, key: a.key}}", "No such file", "a.crt"),
            ("access_log: {path: nowhere/access.log}", "No such file", "nowhere/access.log"),
        ]
        others = [Weir(tmp_path_factory.mktemp("other"), f"{text}\n" + one_route(app)) for text, _, _ in cases]
        said = subprocess.run(
            [sys.executable, "-c", RUN_EACH, *(str(other.path) for other in others)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stderr.splitlines()
        assert said[1::2] == ["exit 1"] * len(cases), said
        for line, (_, why, what) in zip(said[::2], cases, strict=True):
            assert line.startswith("weir: cannot start: ")
            assert why in line
            assert what in line
        assert first.get("/x").status == 200
        assert ask(f"unix:{folder}/s", "GET", "/x").status == 200, "and its socket was not taken away"


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


def test_a_wrong_command_line_is_exit_code_2(tmp_path: Path) -> None:
    result = weir_command(tmp_path, "run", "-c", "proxy.yaml", "--to", "http://127.0.0.1:1")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "--to" in result.stderr


def test_one_command_limits_a_backend_without_any_file(app: Backend, tmp_path: Path) -> None:
    weir = Weir(tmp_path, "")
    try:
        options = ["--to", app.url, "--limit", "2/s", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        weir.launch(["run", *options])
        weir.ready()
        answers = [weir.get("/x") for _ in range(4)]
        assert [answer.status for answer in answers[:2]] == [200, 200]
        assert 429 in [answer.status for answer in answers[2:]]
        assert answers[0].get("x-ratelimit-limit") == "2"
        assert weir.healthz().status == 200
        weir.signal(signal.SIGHUP)
        assert "no file" in str(eventually(lambda: weir.events("reload_refused"))[0]["first"])
        assert weir.get("/x").status in (200, 429)
        assert weir.stop() == 0
        denied = [json.loads(line) for line in weir.stdout_path.read_text().splitlines()]
        assert {429} <= {line["status"] for line in denied} <= {200, 429}, "the log is on standard output"
    finally:
        weir.kill()


EXPLAINED = """
trusted_proxies: [127.0.0.1/32]
upstreams: {{app: {{primary: {app}, replicas: [{app}]}}}}
identity: {{user: {{header: X-User}}}}
limits: {{explain-ip: {{rate: 100/h, by: ip}}, explain-user: {{rate: 50/h, by: user}}}}
routes:
  - {{name: rest, upstream: app, limits: [explain-ip]}}
  - name: item
    upstream: app
    match: {{path: "/items/{{id}}", methods: [GET]}}
    limits: [explain-ip, explain-user]
    cache: {{ttl: 60s}}
  - {{name: private, upstream: app, match: {{path: /private}}, require_user: true}}
  - name: guarded
    upstream: app
    match: {{path: /guarded, hosts: [a.example]}}
    limits: [{{name: explain-guarded, rate: 1/h, by: user, missing: deny}}]
"""


CASES: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/items/7", {"X-User": "alice"}),
    ("GET", "/items/7", {}),
    ("GET", "/items/7/more", {}),
    ("POST", "/items/7", {}),
    ("GET", "/private", {}),
    ("GET", "/private", {"X-User": "bob"}),
    ("GET", "/guarded", {"Host": "a.example"}),
    ("GET", "/guarded", {"Host": "b.example"}),
    ("GET", "/%2e%2e/items/x%2fy", {}),
    ("GET", "/items/%zz", {}),
]


def test_explain_agrees_with_what_happens(configure: Configure, app: Backend) -> None:
    weir = configure(EXPLAINED.format(app=app.url))
    snapshot = load(str(weir.path)).snapshot
    assert snapshot is not None
    for method, target, fields in CASES:
        said = explain_request(Asked(method, target, "127.0.0.1", list(fields.items())), snapshot)
        answer = weir.ask(method, target, fields)
        predicted = int(found[1]) if (found := re.match(r"(\d{3}) from Weir", said.result)) else 200
        assert answer.status == predicted, (method, target, said.result)
        if said.route is None:
            continue
        line = weir.logged(answer)
        assert line["route"] == said.route["name"]
        assert (line["user"] is None) == (said.client is None or said.client["user"] is None)
        if answer.status != 200:
            continue
        assert re.findall(r'"([^"]+)";q', answer.get("ratelimit-policy") or "") == [limit.name for limit in said.limits]
        assert said.cache is not None
        assert (answer.get("cache-status") is not None) == said.cache["applies"]
        assert said.upstream is not None
        is_hit = (answer.get("cache-status") or "").startswith("weir; hit")
        assert line["endpoint"] in ([None] if is_hit else said.upstream["endpoints"])
