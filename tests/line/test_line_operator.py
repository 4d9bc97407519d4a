"""What the operator sees, and the orderly end."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from proxy.observe.definitions import DEFINITIONS, SECTIONS
from tests.line.backend import Backend, Hub
from tests.line.client import Answer, ask, at_once
from tests.line.conftest import Configure, StartWeir
from tests.line.process import Weir, eventually
from tests.line.store import Store

CONFIG = """
upstreams: {{app: {{primary: {app}, replicas: [{replica}]}}}}
routes:
  - {{name: rest, upstream: app}}
  - {{name: limited, upstream: app, match: {{path: /limited}}, limits: [{{name: operator, rate: 2/h, by: ip}}]}}
  - {{name: cached, upstream: app, match: {{path: /cached}}, cache: {{ttl: 60s}}}}
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture(scope="module")
def weir(
    start_module_weir: StartWeir, hub: Hub, app: Backend, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Weir:
    """With everything that has metrics of its own."""
    files = tmp_path_factory.mktemp("files")
    cache = f"cache: {{disk: {{path: {files}, size: 64MiB}}, shared: {{url: '{store.url}', namespace: operator}}}}"
    return start_module_weir(cache + CONFIG.format(app=app.url, replica=Backend(hub, "replica").url))


@pytest.fixture(scope="module")
def ending(start_module_weir: StartWeir, weir: Weir, app: Backend) -> dict[str, Weir]:
    """Weirs that a test each will end, by how they drain. They start at the same time."""
    drains = ["timeout: 5s", "timeout: 500ms", "delay: 800ms, timeout: 2s", "timeout: 6s"]
    text = CONFIG.format(app=app.url, replica=app.url)
    return {drain: start_module_weir(f"drain: {{{drain}}}\n{text}", wait=False) for drain in drains}


def test_a_healthy_weir_says_so_component_by_component(weir: Weir) -> None:
    assert ask(weir.admin, "GET", "/livez").status == 200
    assert weir.readyz().status == 200
    answer = weir.healthz()
    said = answer.json()
    assert (answer.status, said["status"], said["ready"]) == (200, "healthy", True)
    names = {part["name"]: part["healthy"] for part in said["components"]}
    parts = {"store", "upstream app", "controls", "purges", "cache", "cache disk", "shared cache", "configuration"}
    assert names == dict.fromkeys(parts, True)
    assert ask(weir.admin, "GET", "/nothing").status == 404
    assert ask(weir.admin, "POST", "/livez").status == 405
    assert ask(weir.admin, "GET", "/metrics", {"Host": "evil.example.com"}).status == 421, "DNS rebinding"


def test_the_operators_pages_are_not_on_the_public_listener(weir: Weir) -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        assert weir.get(path).backend == "replica", "the backend's own"


def test_every_metric_is_there_and_says_what_happened(weir: Weir, app: Backend) -> None:
    before = weir.metrics()
    text = ask(weir.admin, "GET", "/metrics").content.decode()
    for definition in DEFINITIONS:
        if definition in SECTIONS["Database"]:
            assert definition.name not in text, "only with a console of PgBouncer: tests/database/test_exporter.py"
            continue
        names = {
            "counter": [definition.name],
            "gauge": [definition.name],
            "summary": [f"{definition.name}_sum", f"{definition.name}_count"],
            "histogram": [f"{definition.name}_{part}" for part in ("bucket", "sum", "count")],
        }[definition.kind]
        assert f"# HELP {definition.name} " in text
        assert f"# TYPE {definition.name} {definition.kind}" in text
        assert all(name in before or definition.labels for name in names), definition.name

    counts = {name: weir.metric(name, **labels) for name, labels in TRAFFIC}
    for _ in range(3):
        weir.get("/limited")
    for _ in range(4):
        weir.get("/cached")
    weir.ask("POST", "/upload", None, b"x" * 1000)
    weir.get("/broken?status=500")
    with weir.client() as client:
        client.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert client.answer().status == 400
    gained = {name: weir.metric(name, **labels) - counts[name] for name, labels in TRAFFIC}
    assert gained == {
        "weir_requests_total": 9,
        "weir_request_duration_seconds_count": 9,
        "weir_limit_decisions_total": 1,
        "weir_cache_requests_total": 3,
        "weir_request_content_bytes_total": 1000,
        "weir_upstream_duration_seconds_count": 5,
        "weir_malformed_requests_total": 1,
        "weir_endpoint_requests_total": 6,  # what failed on the replica was asked of the primary too
    }
    assert weir.metric("weir_requests_total", route="rest", status="500", reason="-") == 1, "the backend's own 500"
    assert weir.metric("weir_requests_total", route="limited", status="429", reason="rate_limited") == 1
    assert weir.metric("weir_endpoint_requests_total", endpoint=app.label) == 2
    assert weir.metric("weir_response_content_bytes_total") > 0
    assert weir.metric("weir_connections") <= 1
    assert weir.metric("weir_connections_accepted_total") >= 9
    assert weir.metric("weir_request_duration_seconds_sum") > 0
    assert weir.metric("weir_build_info") == 1


TRAFFIC: list[tuple[str, dict[str, str]]] = [
    ("weir_requests_total", {}),
    ("weir_request_duration_seconds_count", {}),
    ("weir_limit_decisions_total", {"policy": "operator", "decision": "denied"}),
    ("weir_cache_requests_total", {"result": "hit"}),
    ("weir_request_content_bytes_total", {"route": "rest"}),
    ("weir_upstream_duration_seconds_count", {}),
    ("weir_malformed_requests_total", {}),
    ("weir_endpoint_requests_total", {"upstream": "app"}),
]


def test_strangers_cannot_make_series_without_end(weir: Weir) -> None:
    for number in range(30):
        weir.ask(f"M{number}", f"/path-{number}", {"Host": f"host-{number}.example"})
    text = ask(weir.admin, "GET", "/metrics").content.decode()
    assert not re.search(r"path-\d|host-\d", text)
    assert len(re.findall(r'method="M\d+"', text)) == 0


def test_the_access_log_has_every_error_and_a_sample_of_the_rest(configure: Configure, app: Backend) -> None:
    weir = configure(
        "access_log: {path: sampled.log, sample: 0%, slow: 200ms}\n"
        + CONFIG.format(app=app.url, replica=app.url).replace("name: operator", "name: sampled")
    )
    for _ in range(5):
        weir.get("/fast")
    weir.get("/slow?wait=0.3&token=secret")
    weir.get("/broken?status=503")
    for _ in range(3):
        weir.get("/limited")
    lines = eventually(lambda: lines if len(lines := weir.log("sampled.log")) >= 3 else None)
    assert [(line["path"], line["status"]) for line in lines] == [
        ("/slow?wait=0.3&token=***", 200),
        ("/broken?status=503", 503),
        ("/limited", 429),
    ]
    assert all(line["sample_rate"] == 1.0 for line in lines)
    assert lines[0]["upstream_ms"] >= 290


# -- the end --


def test_sigterm_lets_what_is_under_way_finish_and_exits_with_0(ending: dict[str, Weir], app: Backend) -> None:
    weir = ending["timeout: 5s"].ready()
    with weir.client() as slow, weir.client() as idle:
        assert idle.ask("GET", "/x").get("connection") is None
        slow.send("GET", "/slow?wait=1")
        eventually(lambda: app.asked("/slow"))
        started = time.monotonic()
        weir.signal(signal.SIGTERM)
        eventually(lambda: refuses(weir.url))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            weir.signal(number)  # none of them does any harm now
        assert weir.readyz().status == 503
        assert ask(weir.admin, "GET", "/livez").status == 200
        answer = slow.answer()
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert slow.is_ended()
        assert idle.is_ended()
    assert weir.wait() == 0
    assert time.monotonic() - started < 4
    assert [line["path"] for line in weir.log()] == ["/x", "/slow?wait=1"], "the log is written out"
    said = [event["event"] for event in weir.events()]
    assert (said[0], said[-1]) == ("drain_started", "drain_finished")


def refuses(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_does_not_finish_in_time_is_cut(ending: dict[str, Weir], app: Backend) -> None:
    weir = ending["timeout: 500ms"].ready()
    with weir.client() as client:
        client.send("GET", "/endless?wait=20")
        eventually(lambda: app.asked("/endless"))
        started = time.monotonic()
        weir.signal(signal.SIGTERM)
        with pytest.raises((EOFError, ConnectionResetError)):
            client.answer()
    assert weir.wait() == 0
    assert time.monotonic() - started < 3
    assert weir.events("drain_cut_short")[0]["cut"] == 1
    assert weir.log()[-1]["path"] == "/endless?wait=20"


def test_before_the_drain_a_balancer_gets_time_to_look_away(ending: dict[str, Weir], app: Backend) -> None:
    weir = ending["delay: 800ms, timeout: 2s"].ready()
    weir.signal(signal.SIGTERM)
    eventually(lambda: weir.readyz().status == 503)
    late = weir.get("/late")
    assert (late.status, late.get("connection")) == (200, "close"), "still accepted"
    assert weir.wait() == 0


def test_under_load_a_stop_loses_no_request_that_it_took(ending: dict[str, Weir], app: Backend) -> None:
    weir = ending["timeout: 6s"].ready()
    answers: list[Answer] = []
    lost: list[BaseException] = []

    def traffic() -> None:
        while True:
            try:
                client = weir.client()
            except ConnectionRefusedError:
                return
            with client:
                try:
                    while (answer := client.ask("GET", "/x?wait=0.01")).get("connection") != "close":
                        answers.append(answer)
                    answers.append(answer)
                except (EOFError, ConnectionResetError) as error:
                    lost.append(error)
                    return

    threads = [threading.Thread(target=traffic) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answers) > 40)
    assert weir.stop() == 0
    for thread in threads:
        thread.join(10)
    assert {answer.status for answer in answers} == {200}
    assert len(weir.log()) == len(answers)
    # a connection that was accepted by the system and not yet by us may end without an answer, but not more than that
    assert len(lost) <= len(threads)


def test_many_clients_at_once_are_all_answered(weir: Weir) -> None:
    answers = at_once(*[lambda: weir.get("/x") for _ in range(60)])
    assert {answer.status for answer in answers} == {200}
