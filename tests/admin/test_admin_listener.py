from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin import runner as runner_module
from proxy.admin.app import SECURITY_FIELDS, make_admin
from proxy.admin.health import Component
from proxy.admin.runner import AdminRunner
from proxy.observe.collector import Collector, Sources
from proxy.observe.exposition import SLICE
from proxy.observe.observe import Observe


class Parts:
    """A Weir whose state a test sets."""

    def __init__(self) -> None:
        self.started = True
        self.draining = False
        self.healthy = True
        self.looks = 0
        self.fails = False

    def is_started(self) -> bool:
        if self.fails:
            raise RuntimeError("CANARY in a traceback")
        return self.started

    def is_draining(self) -> bool:
        return self.draining

    async def components(self) -> Sequence[Component]:
        self.looks += 1
        return [Component("store", self.healthy, {"latency_ms": 0.4, "url": "redis://:CANARY@store:6379"})]


@dataclass
class View:
    health: Parts
    metrics: Collector
    address: str = "127.0.0.1:9901"


@dataclass
class Admin:
    """A running admin listener."""

    parts: Parts
    observe: Observe
    port: int
    session: aiohttp.ClientSession
    runner: AdminRunner

    async def ask(self, path: str, method: str = "GET", **options: Any) -> tuple[int, Any, str]:
        """Status, fields, text."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, **options) as answer:
            return answer.status, answer.headers, await answer.text()

    async def raw(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer

    async def raw_or_reset(self, data: bytes) -> bytes:
        try:
            return await self.raw(data)
        except ConnectionResetError:
            return b""


@pytest.fixture
def observe() -> Observe:
    return Observe()


@pytest.fixture
async def admin(observe: Observe) -> AsyncIterator[Admin]:
    parts = Parts()
    runner = AdminRunner(make_admin(View(parts, Collector(Sources(observe)))))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        yield Admin(parts, observe, runner.addresses[0][1], session, runner)
    await runner.cleanup()


async def test_alive_while_the_loop_runs_whatever_else_is_wrong(admin: Admin) -> None:
    admin.parts.started, admin.parts.healthy, admin.parts.draining = False, False, True
    status, fields, text = await admin.ask("/livez")
    assert (status, json.loads(text)) == (200, {"status": "alive"})
    assert fields["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("started", "draining", "status", "reason"),
    [
        pytest.param(True, False, 200, None, id="ready"),
        pytest.param(False, False, 503, "starting", id="starting"),
        pytest.param(True, True, 503, "draining", id="draining"),
    ],
)
async def test_ready_is_started_and_not_draining(
    admin: Admin, started: bool, draining: bool, status: int, reason: str | None
) -> None:
    admin.parts.started, admin.parts.draining = started, draining
    answered, fields, text = await admin.ask("/readyz")
    assert answered == status
    assert json.loads(text).get("reason") == reason
    assert ("Retry-After" in fields) is (status == 503)


async def test_a_store_that_is_away_degrades_but_does_not_make_unready(admin: Admin) -> None:
    admin.parts.healthy = False
    assert (await admin.ask("/readyz"))[0] == 200
    status, _, text = await admin.ask("/healthz")
    assert status == 503
    assert json.loads(text)["status"] == "degraded"


async def test_healthy_says_every_component_and_no_secret(admin: Admin) -> None:
    status, fields, text = await admin.ask("/healthz")
    assert status == 200
    assert fields["Content-Type"] == "application/json"
    assert json.loads(text) == {
        "status": "healthy",
        "ready": True,
        "components": [{"name": "store", "healthy": True, "latency_ms": 0.4, "url": "redis://***@store:6379"}],
    }


async def test_a_hundred_probes_look_once(admin: Admin) -> None:
    await asyncio.gather(*(admin.ask("/healthz") for _ in range(100)))
    assert admin.parts.looks == 1


async def test_metrics_are_what_prometheus_reads(admin: Admin) -> None:
    admin.observe.routes.for_route("search").count(b"GET", 200, "-")
    status, fields, text = await admin.ask("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert status == 200
    assert fields["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (sample,) = families["weir_requests"].samples
    assert sample.labels == {"route": "search", "method": "GET", "status": "200", "reason": "-"}
    assert sample.value == 1


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics"])
async def test_head_is_get_without_content(admin: Admin, path: str) -> None:
    status, fields, text = await admin.ask(path, "HEAD")
    assert (status, text) == (200, "")
    assert int(fields["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/livez", "/metrics"])
async def test_nothing_can_be_changed_here(admin: Admin, method: str, path: str) -> None:
    status, fields, text = await admin.ask(path, method)
    assert status == 405
    assert fields["Allow"] == "GET,HEAD"
    assert fields["Content-Type"] == "application/problem+json"
    assert json.loads(text)["status"] == 405


async def test_an_unknown_path_is_a_problem_that_repeats_nothing(admin: Admin) -> None:
    status, fields, text = await admin.ask("/CANARY?token=CANARY")
    assert (status, fields["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(text) == {"type": "about:blank", "title": "Not Found", "status": 404}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("evil.example:9901", 421, id="a rebound name"),
        pytest.param("localhost:9901", 200, id="localhost"),
        pytest.param("10.1.2.3:9901", 200, id="an address"),
        pytest.param("weir:9901", 200, id="a service name"),
    ],
)
async def test_a_rebound_name_gets_nothing(admin: Admin, host: str, status: int) -> None:
    for path in ("/metrics", "/healthz", "/nowhere"):
        answered, _, text = await admin.ask(path, headers={"Host": host})
        assert answered == (404 if path == "/nowhere" and status == 200 else status)
        assert "weir_" not in text or status == 200


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        pytest.param("/livez", "GET", {}, id="good"),
        pytest.param("/metrics", "GET", {}, id="metrics"),
        pytest.param("/nowhere", "GET", {}, id="not found"),
        pytest.param("/livez", "POST", {}, id="not allowed"),
        pytest.param("/livez", "GET", {"Host": "evil.example"}, id="rebound"),
    ],
)
async def test_every_answer_has_the_protective_fields_and_no_banner(
    admin: Admin, path: str, method: str, headers: dict[str, str]
) -> None:
    _, fields, _ = await admin.ask(path, method, headers=headers)
    assert {name: fields[name] for name in SECURITY_FIELDS} == SECURITY_FIELDS
    assert "Server" not in fields
    assert "Access-Control-Allow-Origin" not in fields


async def test_a_defect_is_a_bare_500(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    admin.parts.fails = True
    status, fields, text = await admin.ask("/readyz")
    assert status == 500
    assert json.loads(text) == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    assert "CANARY" not in text + str(fields)
    assert [record.message for record in caplog.records] == ["an admin request failed"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /CANARY\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n", id="control character"),
        pytest.param(b"CANARY\r\n\r\n", id="no request"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nCANARY\r\n\r\n", id="bad field"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"CANARY" * 4000 + b"\r\n\r\n", id="long field"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="TLS"),
    ],
)
async def test_a_malformed_request_is_not_repeated_and_not_logged(
    admin: Admin, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await admin.raw(data)
    assert answer.startswith(b"HTTP/1.1 400 ") or answer.startswith(b"HTTP/1.0 400 ")
    assert b"application/problem+json" in answer
    assert b"CANARY" not in answer
    assert b"aiohttp" not in answer
    assert b"Python" not in answer
    assert caplog.records == []


async def test_a_request_without_host_is_a_plain_probe(admin: Admin) -> None:
    answer = await admin.raw(b"GET /livez HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 ")


async def test_a_connection_too_many_is_closed_and_the_others_stay(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "MAX_CONNECTIONS", 3)
    held = [await asyncio.open_connection("127.0.0.1", admin.port) for _ in range(3)]
    await asyncio.sleep(0.02)
    assert await admin.raw_or_reset(b"GET /livez HTTP/1.0\r\n\r\n") == b""
    held[0][1].write(b"GET /livez HTTP/1.0\r\n\r\n")
    assert (await held[0][0].read()).startswith(b"HTTP/1.0 200 ")
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.02)
    assert (await admin.ask("/livez"))[0] == 200


async def test_half_a_request_does_not_hold_a_connection_for_ever(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "MAX_CONNECTION_AGE_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: local")
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_one_connection_carries_one_request(admin: Admin) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await admin.raw(request * 3)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_reader_that_stops_does_not_hold_a_connection_for_ever(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "MAX_CONNECTION_AGE_S", 0.05)
    for number in range(500):
        for status in range(200, 300):
            admin.observe.routes.for_route(f"r{number}").count(b"GET", status, "-")
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.port, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
    await asyncio.sleep(0.05)
    server = admin.runner.server
    assert isinstance(server, web.Server)
    async with asyncio.timeout(5):
        while server.connections:
            await asyncio.sleep(0.01)
    writer.close()
    reader.feed_eof()


async def test_it_works_over_a_unix_socket_with_any_local_host(observe: Observe, tmp_path: Path) -> None:
    runner = AdminRunner(make_admin(View(Parts(), Collector(Sources(observe)), f"unix:{tmp_path}/admin.sock")))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "admin.sock")).start()
    connector = aiohttp.UnixConnector(str(tmp_path / "admin.sock"))
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://localhost/livez") as answer:
        assert answer.status == 200
    await runner.cleanup()


async def test_a_large_page_of_metrics_does_not_hold_up_the_loop(admin: Admin) -> None:
    for number in range(200):
        stats = admin.observe.routes.for_route(f"r{number}")
        for status in range(200, 225):
            stats.count(b"GET", status, "-")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count_turns())
    _, _, text = await admin.ask("/metrics")
    counting.cancel()
    assert text.count("\n") > 10_000
    assert turns > 10_000 / SLICE
