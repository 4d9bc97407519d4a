"""Who answers: replicas and the primary, endpoints that go and come back, the queue, and every way to fail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.line.backend import Backend, Call, Handler, Hub, Out
from tests.line.client import Answer, at_once
from tests.line.conftest import Configure
from tests.line.process import Weir, eventually
from tests.ports import free_port

NORMAL = {"class": "normal"}
CONFIG = """
upstreams:
  shop:
    primary: {primary}
    replicas: [{one}, {two}]
  narrow:
    primary: {primary}
    pool: {{max_in_flight: 1, queue: 1, queue_timeout: 400ms}}
  own-name: {{primary: {primary}, host: upstream}}
  nobody: {{primary: "http://127.0.0.1:{closed}", hold_on_refused: 0s}}
  unreachable: {{primary: "http://192.0.2.1:81", pool: {{connect_timeout: 200ms}}}}
routes:
  - {{name: shop, upstream: shop}}
  - {{name: fresh, match: {{path: /fresh/**}}, upstream: shop, read: primary}}
  - {{name: narrow, match: {{path: /narrow/**}}, upstream: narrow}}
  - {{name: own-name, match: {{path: /own-name}}, upstream: own-name}}
  - {{name: nobody, match: {{path: /nobody}}, upstream: nobody}}
  - {{name: unreachable, match: {{path: /unreachable}}, upstream: unreachable, timeout: 1s}}
  - {{name: bad, match: {{path: /bad/**}}, upstream: own-name, timeout: 500ms}}
"""


@pytest.fixture(scope="module")
def one(hub: Hub) -> Backend:
    return Backend(hub, "one")


@pytest.fixture(scope="module")
def two(hub: Hub) -> Backend:
    return Backend(hub, "two")


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend, one: Backend, two: Backend) -> Weir:
    return configure_module(CONFIG.format(primary=app.url, one=one.url, two=two.url, closed=free_port()))


@pytest.fixture
def start_shop(configure: Configure, hub: Hub) -> Callable[[], tuple[Weir, Backend, Backend, Backend]]:
    """A Weir with backends of its own, which a test may stop."""

    def start() -> tuple[Weir, Backend, Backend, Backend]:
        primary, left, right = (Backend(hub, name) for name in ("primary", "left", "right"))
        text = f"""
upstreams: {{shop: {{primary: {primary.url}, replicas: [{left.url}, {right.url}]}}}}
routes: [{{name: shop, upstream: shop}}]
"""
        return configure(text), primary, left, right

    return start


# -- selection --


def test_reads_go_round_the_replicas_and_writes_to_the_primary(weir: Weir) -> None:
    reads = [weir.get("/list").backend for _ in range(6)]
    assert Counter(reads) == {"one": 3, "two": 3}
    assert all(left != right for left, right in pairwise(reads))
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert weir.ask(method, "/list", None, b"{}").backend == "app"


def test_a_head_request_reads_from_a_replica(weir: Weir, one: Backend, two: Backend, app: Backend) -> None:
    for _ in range(2):
        assert weir.ask("HEAD", "/headed").status == 200
    assert [len(backend.asked("/headed")) for backend in (app, one, two)] == [0, 1, 1]


def test_a_route_may_read_from_the_primary(weir: Weir) -> None:
    assert {weir.get("/fresh/list").backend for _ in range(4)} == {"app"}


def test_the_backend_sees_the_clients_host_or_its_own(weir: Weir, app: Backend) -> None:
    weir.get("/fresh/host", {"Host": "shop.example.com"})
    assert app.last("/fresh/host").get("host") == "shop.example.com"
    weir.get("/own-name", {"Host": "shop.example.com"})
    assert app.last("/own-name").get("host") == f"127.0.0.1:{app.port}"
    assert app.last("/own-name").get("x-forwarded-host") == "shop.example.com"


def test_a_replica_that_dies_is_skipped_at_once_and_comes_back(
    start_shop: Callable[[], tuple[Weir, Backend, Backend, Backend]],
) -> None:
    weir, _, left, right = start_shop()
    assert {weir.get("/x").backend for _ in range(4)} == {"left", "right"}
    assert weir.metric("weir_endpoint_healthy", endpoint=left.label) == 1.0
    left.stop()
    answers = [weir.get("/x") for _ in range(10)]
    assert {answer.status for answer in answers} == {200}, "no client notices"
    assert {answer.backend for answer in answers} == {"right"}
    assert weir.metric("weir_endpoint_healthy", endpoint=left.label) == 0.0
    assert weir.metric("weir_endpoint_healthy", endpoint=right.label) == 1.0
    assert weir.metric("weir_retries_total", route="shop") >= 1
    right.stop()
    answers = [weir.get("/x") for _ in range(4)]
    assert [answer.backend for answer in answers] == ["primary"] * 4, "better a fresh answer than none"
    left.start()
    right.start()
    eventually(lambda: {weir.get("/x").backend for _ in range(4)} == {"left", "right"}, 8.0)
    eventually(lambda: weir.healthz().status == 200)


# -- the queue --


def test_a_full_queue_is_a_503_at_once_and_a_long_wait_is_a_503_later(weir: Weir) -> None:
    def slow() -> Answer:
        return weir.get("/narrow/slow?wait=1.2")

    def waits() -> tuple[Answer, float]:
        time.sleep(0.3)
        started = time.monotonic()
        return weir.get("/narrow/waits"), time.monotonic() - started

    def too_many() -> tuple[Answer, float]:
        time.sleep(0.5)
        started = time.monotonic()
        return weir.get("/narrow/too-many"), time.monotonic() - started

    first, (second, waited_s), (third, refused_s) = at_once(slow, waits, too_many)
    assert first.status == 200
    assert (second.status, second.reason) == (503, "queue_timeout")
    assert (third.status, third.reason) == (503, "queue_full")
    assert 0.35 <= waited_s < 0.9
    assert refused_s < 0.25
    for answer, reason in ((second, "queue_timeout"), (third, "queue_full")):
        assert int(answer.get("retry-after") or 0) >= 1
        assert answer.get("proxy-status") == "weir; error=connection_limit_reached"
        said = weir.logged(answer)
        assert (said["status"], said["reason"]) == (503, reason)
        assert weir.metric("weir_requests_total", route="narrow", status="503", reason=reason) == 1
        assert weir.metric("weir_upstream_refused_total", upstream="narrow", reason=reason, **NORMAL) == 1
    assert 350 <= weir.logged(second)["queue_ms"] < 900
    assert weir.get("/narrow/after").status == 200


def test_no_more_than_max_in_flight_are_at_the_backend_at_once(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "bounded")
    weir = configure(f"""
upstreams: {{app: {{primary: {backend.url}, pool: {{max_in_flight: 3, queue: 100, queue_timeout: 10s}}}}}}
routes: [{{name: all, upstream: app}}]
""")
    answers = at_once(*[lambda: weir.get("/x?wait=0.02") for _ in range(30)])
    assert {answer.status for answer in answers} == {200}
    assert backend.most_in_flight == 3
    assert backend.connections <= 3
    assert weir.metric("weir_upstream_waiting", upstream="app", **NORMAL) == 0.0
    assert weir.metric("weir_endpoint_connections", upstream="app", state="in_use") == 0.0


# -- failures --


def handler(raw: bytes, *, then: str = "close") -> Handler:
    async def answer(call: Call, out: Out) -> None:
        if raw:
            await out.raw(raw)
        if then == "hang":
            await asyncio.sleep(5)
        await asyncio.sleep(0.05)  # let what was sent arrive before the reset
        out.close()

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
FAILURES = [
    pytest.param("/nobody", None, 502, "connect_refused", "connection_refused", id="refused"),
    pytest.param("/bad/silent", handler(b"", then="hang"), 504, "response_timeout", "http_response_timeout", id="slow"),
    pytest.param("/bad/closed", handler(b""), 502, "connection_reset", "connection_terminated", id="closed"),
    pytest.param(
        "/bad/half", handler(OK + b"X-A: "), 502, "response_truncated", "http_response_incomplete", id="half a head"
    ),
    pytest.param(
        "/bad/nonsense",
        handler(b"SSH-2.0-OpenSSH\r\n\r\n"),
        502,
        "response_malformed",
        "http_protocol_error",
        id="not HTTP",
    ),
    pytest.param(
        "/bad/two-lengths",
        handler(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        502,
        "response_malformed",
        "http_protocol_error",
        id="two lengths",
    ),
    pytest.param(
        "/bad/big-head",
        handler(OK + b"X-Big: " + b"x" * 70_000 + b"\r\n\r\n"),
        502,
        "response_malformed",
        "http_protocol_error",
        id="head too large",
    ),
]


@pytest.mark.parametrize(("path", "broken", "status", "reason", "word"), FAILURES)
def test_each_failure_of_a_backend_names_its_reason_in_the_body_the_log_and_the_metrics(
    weir: Weir, app: Backend, path: str, broken: Handler | None, status: int, reason: str, word: str
) -> None:
    if broken is not None:
        app.on(path, broken)
    route = "nobody" if path == "/nobody" else "bad"
    before = weir.metric("weir_requests_total", route=route, reason=reason)
    answer = weir.ask("POST", path, None, b"{}")
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.get("proxy-status") == f"weir; error={word}"
    assert answer.get("cache-control") == "no-store"
    assert str(app.port) not in answer.content.decode(), "the client learns no address"
    said = weir.logged(answer)
    assert (said["status"], said["reason"]) == (status, reason)
    assert said["endpoint"] is not None
    assert weir.metric("weir_requests_total", route=route, reason=reason, status=str(status)) == before + 1


def test_a_backend_that_cannot_be_reached_in_time_is_a_504(weir: Weir) -> None:
    answer = weir.ask("POST", "/unreachable", None, b"{}")
    # a machine without a network says at once that there is no way
    assert (answer.status, answer.reason) in ((504, "connect_timeout"), (502, "connect_refused"))


def test_a_response_that_is_cut_short_is_cut_for_the_client_too(weir: Weir, app: Backend) -> None:
    app.on("/bad/short", handler(OK + b"Content-Length: 1000\r\n\r\nabc"))
    app.on("/bad/short-chunk", handler(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"))
    for path in ("/bad/short", "/bad/short-chunk"):
        with weir.client() as client, pytest.raises((EOFError, ConnectionResetError, ValueError)):
            client.ask("GET", path)
        said = eventually(lambda path=path: [line for line in weir.log() if line["path"] == path])
        assert said[-1]["reason"] == "response_truncated"
        assert said[-1]["status"] == 200


def test_a_request_that_met_a_connection_closing_is_sent_again_only_when_that_is_safe(
    configure: Configure, hub: Hub
) -> None:
    backend = Backend(hub, "racy")
    seen: Counter[int] = Counter()

    async def once(call: Call, out: Out) -> None:
        seen[call.connection] += 1
        if seen[call.connection] == 1:
            await out.send(200, b"first of its connection")
        else:
            out.close()  # as a server does whose idle timeout and whose next request cross

    backend.on("/once", once)
    weir = configure(f"upstreams: {{app: {{primary: {backend.url}}}}}\nroutes: [{{name: all, upstream: app}}]\n")
    assert weir.get("/once").status == 200
    again = weir.get("/once")
    assert (again.status, again.content) == (200, b"first of its connection")
    assert weir.logged(again)["attempts"] == 2
    assert len(backend.asked("/once")) == 3
    put = weir.ask("PUT", "/once", None, b"idempotent")
    assert put.status == 200
    assert [call.content for call in backend.asked("/once")[-2:]] == [b"idempotent"] * 2

    before = len(backend.asked("/once"))
    post = weir.ask("POST", "/once", None, b"buy")
    assert (post.status, post.reason) == (502, "reused_connection_closed")
    assert len(backend.asked("/once")) == before + 1, "executed once at most"
    said = weir.logged(post)
    assert (said["attempts"], said["reason"]) == (1, "reused_connection_closed")


def test_a_write_whose_connection_cannot_be_made_may_go_to_another_endpoint(configure: Configure, hub: Hub) -> None:
    left, right = Backend(hub, "left"), Backend(hub, "right")
    weir = configure(
        f"upstreams: {{app: {{primary: [{left.url}, {right.url}]}}}}\nroutes: [{{name: all, upstream: app}}]\n"
    )
    left.stop()
    answers = [weir.ask("POST", "/buy", None, b"{}") for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert len(right.asked("/buy")) == 4, "each once"


def test_an_active_check_takes_an_endpoint_out_and_brings_it_back(configure: Configure, hub: Hub) -> None:
    left, right = Backend(hub, "left"), Backend(hub, "right")
    state = {"status": 200}

    async def health(call: Call, out: Out) -> None:
        await out.send(state["status"], b"")

    left.on("/health", health)
    weir = configure(f"""
upstreams:
  app:
    primary: [{left.url}, {right.url}]
    health: {{path: /health, interval: 100ms, timeout: 1s, rise: 2, fall: 2}}
routes: [{{name: all, upstream: app}}]
""")
    assert {weir.get("/x").backend for _ in range(4)} == {"left", "right"}
    state["status"] = 500
    eventually(lambda: {weir.get("/x").backend for _ in range(4)} == {"right"})
    degraded = eventually(lambda: answer if (answer := weir.healthz()).status == 503 else None).json()
    part = next(part for part in degraded["components"] if part["name"] == "upstream app")
    assert part["available"] is True
    said = {endpoint["address"]: endpoint["error"] for endpoint in part["endpoints"]}
    assert said == {left.label: "status 500", right.label: None}
    assert weir.readyz().status == 200, "it can still serve"
    state["status"] = 204
    eventually(lambda: {weir.get("/x").backend for _ in range(4)} == {"left", "right"}, 8.0)


def test_a_client_that_leaves_gives_back_what_it_held(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "held")
    weir = configure(f"""
upstreams: {{app: {{primary: {backend.url}, pool: {{max_in_flight: 1, queue: 4, queue_timeout: 5s}}}}}}
routes: [{{name: all, upstream: app}}]
""")
    with weir.client() as client:
        client.send("GET", "/left?wait=5")
        eventually(lambda: backend.in_flight == 1)
    started = time.monotonic()
    assert weir.get("/y").status == 200
    assert time.monotonic() - started < 2.0
    line = eventually(lambda: [line for line in weir.log() if line["path"].startswith("/left")])[0]
    assert (line["status"], line["reason"]) == (499, "client_disconnected")
