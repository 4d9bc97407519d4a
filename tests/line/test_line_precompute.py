"""Refresh-ahead: what is fetched on a schedule is there before anybody asks, and when the backend is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.line.backend import Backend, Call, Hub, Out, reply
from tests.line.client import Answer, ask, at_once
from tests.line.conftest import StartWeir
from tests.line.process import Weir, eventually
from tests.ports import free_port

TOKEN = "a-token-of-the-tests"
SHOP = {"Host": "shop.example"}
HEAD = f"""
operator: {{tokens: {{ci: "sha256:{sha256(TOKEN.encode()).hexdigest()}"}}}}
"""
SLOW_S = 60.0  # bounds on a machine that does other things too


def config(app: str, routes: str, pool: str = "") -> str:
    return f"upstreams: {{app: {{primary: {app}{pool}}}}}\ndefaults: {{upstream: app}}\n{HEAD}routes:\n{routes}"


def route(name: str, more: str = "", ahead: str = "every: 10m", cache: str = "{}") -> str:
    return (
        f"  - {{name: {name}, match: {{path: /{name}}}, cache: {cache}, "
        f"precompute: {{hosts: [shop.example], {ahead}}}{more}}}\n"
    )


class Counting:
    """A handler that says how often it was asked, as its `answer` is at that time."""

    def __init__(self, app: Backend, path: str) -> None:
        self.calls = 0
        self.status = 200
        self.wait_s = 0.0
        self.fields: dict[str, str] = {"Cache-Control": "max-age=1"}
        app.on(path, self)

    async def __call__(self, call: Call, out: Out) -> None:
        self.calls += 1
        number = self.calls
        await asyncio.sleep(self.wait_s)
        await out.send(self.status, b"figures %d" % number, self.fields)


def api(weir: Weir, method: str = "GET", path: str = "", token: str | None = TOKEN) -> Answer:
    fields = {} if token is None else {"Authorization": f"Bearer {token}"}
    return ask(weir.admin, method, "/v1/precompute" + path, fields)


def said(weir: Weir, name: str) -> Any:
    answer = api(weir, path=f"/{name}")
    assert answer.status == 200, answer.content
    return answer.json()


def after_runs(weir: Weir, name: str, runs: int = 1) -> Any:
    def look() -> Any:
        document = said(weir, name)
        return document if document["runs"] >= runs and not document["running"] else None

    return eventually(look, SLOW_S)


def events(weir: Weir, word: str, name: str) -> int:
    return [event["route"] for event in weir.events(word)].count(name)


def is_hit(answer: Answer) -> bool:
    return (answer.get("cache-status") or "").startswith("weir; hit")


BACKEND = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.send_header("Cache-Control", "max-age=1")
        self.end_headers()
        self.wfile.write(b"figures")
    def log_message(self, *args):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def weir(start_module_weir: StartWeir, app: Backend) -> Weir:
    """One for most tests. Each has paths of its own."""
    counted = [
        route("p-first"),
        route("p-no-store"),
        route("p-hook", ahead="every: 10m, jitter: 0%"),
        route("p-slow", ahead="every: 1s, timeout: 5s, keep: 1h, jitter: 0%"),
        route("p-purge", ahead="every: 10m, tags: [figures]"),
        route("p-write"),
        route("p-late", ahead="every: 10m, timeout: 500ms"),
        route("p-fails", ahead="every: 2s, jitter: 0%"),
        route("p-varies", ahead="every: 10m, fields: {Accept-Encoding: gzip}"),
        route("p-waits", ", limits: [{name: p-waits, rate: 60/min, by: ip}]"),
    ]
    app.on("/p-no-store", reply(200, b"secret", Cache_Control="no-store"))
    return start_module_weir(config(app.url, "".join(counted) + "  - {name: rest}\n"))


def test_what_is_fetched_ahead_is_a_hit_for_the_first_client_and_the_run_says_who_it_is(
    weir: Weir, app: Backend
) -> None:
    document = after_runs(weir, "p-first")
    assert (document["failing"], document["last_error"], document["every"]) == (False, None, "10m")
    (target,) = document["targets"]
    assert (target["url"], target["last_status"]) == ("http://shop.example/p-first", 200)
    assert target["bytes"] > 0
    calls = len(app.asked("/p-first"))
    answer = weir.get("/p-first", SHOP)
    assert is_hit(answer), answer.fields
    assert weir.get("/p-first", {"Host": "SHOP.example:80"}).content == answer.content, "one authority, written so too"
    assert len(app.asked("/p-first")) == calls
    run = app.asked("/p-first")[0]
    assert (run.get("user-agent"), run.get("host")) == ("weir-precompute (p-first)", "shop.example")
    assert not is_hit(weir.get("/p-first", {"Host": "other.example"})), "another authority is another response"


def test_an_answer_that_may_not_be_stored_is_an_error_that_shows_and_stops_nothing(weir: Weir, app: Backend) -> None:
    document = after_runs(weir, "p-no-store")
    assert (document["failing"], document["last_error"]) == (True, "not stored: no-store")
    assert document["failures"] >= 1
    assert not is_hit(weir.get("/p-no-store", SHOP))
    health = weir.healthz()
    (part,) = [part for part in health.json()["components"] if part["name"] == "precompute"]
    assert (health.status, part["state"], part["failing"]["p-no-store"]) == (200, "degraded", "not stored: no-store")
    after_runs(weir, "p-no-store", 2)
    assert eventually(lambda: events(weir, "precompute_failed", "p-no-store")) == 1, "once, not each time"
    assert weir.metric("weir_precompute_runs_total", route="p-no-store", result="failed") >= 1


def test_a_webhook_runs_it_now_and_needs_the_token(weir: Weir, app: Backend) -> None:
    handler = Counting(app, "/p-hook")
    runs = after_runs(weir, "p-hook")["runs"]
    assert api(weir, "POST", "/p-hook", token=None).status == 401
    assert api(weir, "POST", "/p-nothing").status == 404
    answer = api(weir, "POST", "/p-hook?reason=deploy")
    assert (answer.status, answer.json()["joined"]) == (202, 0)
    after_runs(weir, "p-hook", runs + 1)
    assert weir.get("/p-hook", SHOP).content == b"figures %d" % handler.calls
    names = [one["name"] for one in api(weir).json()["precomputes"]]
    assert names == [f"p-{name}" for name in "first no-store hook slow purge write late fails varies waits".split()]
    audit = ask(weir.admin, "GET", "/v1/audit?most=1", {"Authorization": f"Bearer {TOKEN}"}).json()["audit"][0]
    assert [audit[key] for key in ("who", "what", "target", "reason")] == ["ci", "precompute", "p-hook", "deploy"]


def test_a_webhook_joins_the_run_that_is_under_way(weir: Weir, app: Backend) -> None:
    handler = Counting(app, "/p-hook")
    handler.wait_s = 1.0
    runs = said(weir, "p-hook")["runs"]
    joined = [api(weir, "POST", "/p-hook").json()["joined"] for _ in range(3)]
    assert joined == [0, 1, 1]
    after_runs(weir, "p-hook", runs + 1)
    time.sleep(0.2)
    assert (handler.calls, said(weir, "p-hook")["runs"]) == (1, runs + 1)


def test_the_command_line_lists_and_triggers(weir: Weir, app: Backend) -> None:
    Counting(app, "/p-hook")
    runs = after_runs(weir, "p-hook")["runs"]
    environment = os.environ | {"WEIR_TOKEN": TOKEN, "WEIR_ADMIN": weir.admin.removeprefix("http://")}

    def verb(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "proxy", "cache", "precompute", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SLOW_S)

    done = verb("p-hook", "--reason", "new figures")
    assert (done.returncode, done.stdout.splitlines()[1].split()[0]) == (0, "p-hook"), done.stderr
    after_runs(weir, "p-hook", runs + 1)
    listed = verb()
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("p-no-store")]
    assert "failing" in line
    assert line.rstrip().endswith("not stored: no-store")
    refused = verb("nothing")
    assert refused.returncode == 1
    assert "No route of this name has a `precompute`." in refused.stderr


def test_a_slow_run_is_never_doubled_and_clients_do_not_wait_for_it(weir: Weir, app: Backend) -> None:
    after_runs(weir, "p-slow")
    handler = Counting(app, "/p-slow")
    handler.wait_s = 3.0
    app.most_in_flight = 0
    skipped = said(weir, "p-slow")["skipped"]
    eventually(lambda: handler.calls, SLOW_S)
    while said(weir, "p-slow")["skipped"] < skipped + 2:
        started = time.monotonic()
        assert is_hit(weir.get("/p-slow", SHOP))
        assert time.monotonic() - started < 1.0, "the backend takes 3 s"
        time.sleep(0.1)
    document = said(weir, "p-slow")
    assert handler.calls <= document["runs"] + 1, "one at a time"
    assert weir.metric("weir_precompute_runs_total", route="p-slow", result="skipped") >= skipped + 2


def test_after_a_purge_it_is_fetched_anew_soon(weir: Weir, app: Backend) -> None:
    handler = Counting(app, "/p-purge")
    runs = after_runs(weir, "p-purge")["runs"]
    fields = {"Authorization": f"Bearer {TOKEN}"}
    body = json.dumps({"tag": "figures", "reason": "new figures"}).encode()
    answer = ask(weir.admin, "POST", "/v1/cache/purge", fields, body)
    assert (answer.status, answer.json()["purged"]) == (200, 1), "its own tag, which the backend did not send"
    after_runs(weir, "p-purge", runs + 1)
    answer = weir.get("/p-purge", SHOP)
    assert is_hit(answer)
    assert answer.content == b"figures %d" % handler.calls
    assert answer.get("surrogate-key") is None


def test_a_burst_of_writes_is_followed_by_few_runs_and_the_last_one_sees_them_all(weir: Weir, app: Backend) -> None:
    handler = Counting(app, "/p-write")
    runs = after_runs(weir, "p-write")["runs"]
    with weir.client() as client:
        for _ in range(30):
            assert client.ask("POST", "/p-write", SHOP, b"").status == 200
        writes = handler.calls
        assert writes >= 30
    after_runs(weir, "p-write", runs + 1)
    time.sleep(0.5)
    done = after_runs(weir, "p-write", runs + 1)["runs"] - runs
    assert 1 <= done <= 4
    answer = weir.get("/p-write", SHOP)
    assert is_hit(answer)
    assert int(answer.content.removeprefix(b"figures ")) > writes - 1


def test_a_run_has_a_deadline_and_what_is_stored_stays(weir: Weir, app: Backend) -> None:
    runs = after_runs(weir, "p-late")["runs"]
    good = weir.get("/p-late", SHOP)
    assert is_hit(good)
    handler = Counting(app, "/p-late")
    handler.wait_s = 30.0
    api(weir, "POST", "/p-late")
    document = after_runs(weir, "p-late", runs + 1)
    assert document["last_error"] == "response_timeout: no whole answer within 500ms"
    assert weir.get("/p-late", SHOP).content == good.content


def test_a_failing_backend_is_asked_less_and_less_and_heals_by_itself(weir: Weir, app: Backend) -> None:
    runs = after_runs(weir, "p-fails")["runs"]
    good = weir.get("/p-fails", SHOP)
    assert is_hit(good)
    handler = Counting(app, "/p-fails")
    handler.status = 503
    document = after_runs(weir, "p-fails", runs + 2)
    eventually(lambda: said(weir, "p-fails")["failing"], SLOW_S)
    document = said(weir, "p-fails")
    assert document["last_error"] == "status 503"
    again = weir.get("/p-fails", SHOP)
    assert is_hit(again)
    assert again.status == 200
    handler.status = 200
    eventually(lambda: not said(weir, "p-fails")["failing"], SLOW_S)
    assert eventually(lambda: weir.get("/p-fails", SHOP).content.startswith(b"figures"), SLOW_S)
    assert eventually(lambda: events(weir, "precompute_back", "p-fails"))
    assert weir.metric("weir_precompute_last_success_age_seconds", route="p-fails") < SLOW_S


def test_a_response_that_varies_shows_by_what_and_is_for_those_who_ask_alike(weir: Weir, app: Backend) -> None:
    handler = Counting(app, "/p-varies")
    handler.fields = {"Vary": "Accept-Encoding", "Cache-Control": "max-age=1"}
    runs = after_runs(weir, "p-varies")["runs"]
    api(weir, "POST", "/p-varies")
    document = after_runs(weir, "p-varies", runs + 1)
    assert document["targets"][0]["varies_by"] == ["accept-encoding"]
    assert is_hit(weir.get("/p-varies", {**SHOP, "Accept-Encoding": "gzip"}))
    assert not is_hit(weir.get("/p-varies", SHOP))


def test_before_the_first_answer_clients_wait_for_the_run_and_it_is_charged_to_nobody(weir: Weir, app: Backend) -> None:
    handler = Counting(app, "/p-waits")
    runs = after_runs(weir, "p-waits")["runs"]
    handler.wait_s = 1.5
    charged = weir.metric("weir_limit_decisions_total", policy="p-waits")
    calls = handler.calls
    fields = {"Authorization": f"Bearer {TOKEN}"}
    ask(weir.admin, "POST", "/v1/cache/purge", fields, b'{"url": "http://shop.example/p-waits", "reason": "cold"}')
    eventually(lambda: said(weir, "p-waits")["running"], SLOW_S)
    answers = at_once(*[lambda: weir.get("/p-waits", SHOP)] * 5)
    assert {answer.content for answer in answers} == {b"figures %d" % (calls + 1)}
    assert handler.calls == calls + 1
    assert said(weir, "p-waits")["runs"] == runs + 1
    assert weir.metric("weir_limit_decisions_total", policy="p-waits") == charged + 5, "by the clients alone"


def test_a_backend_that_was_killed_is_not_missed(start_weir: StartWeir, tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(BACKEND)
    port = free_port()
    backend = subprocess.Popen([sys.executable, str(script), str(port)])
    try:
        eventually(lambda: _answers(port), SLOW_S)
        started = start_weir(config(f"http://127.0.0.1:{port}", route("figures", ahead="every: 1s, timeout: 1s")))
        after_runs(started, "figures")
        os.kill(backend.pid, signal.SIGKILL)
        backend.wait(10)
        eventually(lambda: said(started, "figures")["failing"], SLOW_S)
        # long past its own max-age of 1 s, and past the schedule's 2 s
        eventually(lambda: int(started.get("/figures", SHOP).get("age") or 0) >= 4, SLOW_S)
        answer = started.get("/figures", SHOP)
        assert (answer.status, answer.content) == (200, b"figures")
        assert (answer.get("cache-status") or "").startswith("weir; hit; ttl=-")
        assert "connect_refused" in said(started, "figures")["last_error"]
        assert started.readyz().status == 200
    finally:
        backend.kill()
        backend.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_reload_keeps_what_stays_starts_what_is_new_and_stops_what_is_gone(start_weir: StartWeir, hub: Hub) -> None:
    backend = Backend(hub, "reloaded")
    stays, goes, comes = (Counting(backend, f"/{name}") for name in ("stays", "goes", "comes"))
    hangs = Counting(backend, "/hangs")
    hangs.wait_s = 600.0
    rest = "  - {name: rest}\n"
    before = config(backend.url, route("stays") + route("goes", ahead="every: 1s") + route("hangs") + rest)
    started = start_weir(before)
    first = after_runs(started, "stays")
    after_runs(started, "goes")
    eventually(lambda: hangs.calls, SLOW_S)
    assert started.reload(config(backend.url, route("stays") + route("comes") + rest)) == "reload_ok"
    after_runs(started, "comes")
    kept = said(started, "stays")
    assert (kept["runs"], kept["last_run_at"]) == (first["runs"], first["last_run_at"]), "nothing began anew"
    assert api(started, path="/goes").status == 404
    assert api(started, path="/hangs").status == 404
    in_use = "weir_endpoint_connections"
    eventually(lambda: started.metric(in_use, endpoint=backend.label, state="in_use") == 0, SLOW_S)
    calls = goes.calls
    time.sleep(1.5)
    assert (goes.calls, stays.calls) == (calls, kept["runs"])
    assert comes.calls >= 1


def test_behind_a_proxy_that_speaks_tls_the_scheme_is_the_one_that_clients_speak(
    start_weir: StartWeir, hub: Hub
) -> None:
    backend = Backend(hub, "behind")
    text = config(backend.url, route("figures").replace("shop.example", "'https://shop.example'"))
    started = start_weir(f"trusted_proxies: [127.0.0.1/32]\n{text}")
    document = after_runs(started, "figures")
    assert document["targets"][0]["url"] == "https://shop.example/figures"
    assert backend.last("/figures").get("x-forwarded-proto") == "https"
    assert is_hit(started.get("/figures", {**SHOP, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}))
    assert not is_hit(started.get("/figures", SHOP)), "who speaks http asks for another response"


def test_the_end_does_not_wait_for_a_run(start_weir: StartWeir, hub: Hub) -> None:
    backend = Backend(hub, "hanging")
    handler = Counting(backend, "/hangs")
    handler.wait_s = 600.0
    started = start_weir(config(backend.url, route("hangs")))
    eventually(lambda: handler.calls, SLOW_S)
    began = time.monotonic()
    assert started.stop() == 0
    assert time.monotonic() - began < 5.0


def test_a_busy_pool_is_not_taken_from_those_who_wait(start_weir: StartWeir, hub: Hub) -> None:
    backend = Backend(hub, "busy")
    handler = Counting(backend, "/heavy")
    pool = ", pool: {max_in_flight: 4}"
    started = start_weir(config(backend.url, route("heavy", ahead="every: 10m") + "  - {name: rest}\n", pool))
    runs = after_runs(started, "heavy")["runs"]
    with started.client() as one, started.client() as two, started.client() as three:
        for client in (one, two, three):
            client.send("GET", "/rest?wait=3")
        eventually(lambda: backend.in_flight == 3, SLOW_S)
        api(started, "POST", "/heavy")
        document = eventually(lambda: (found := said(started, "heavy"))["targets"][0]["put_off"] and found, SLOW_S)
        assert (document["runs"], handler.calls) == (runs, runs), "three quarters of the slots are in use"
        for client in (one, two, three):
            assert client.answer().status == 200
    after_runs(started, "heavy", runs + 1)
