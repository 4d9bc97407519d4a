"""Stages that meet: what one of them does must not undo what another one promises."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.line.backend import Backend, Call, Hub, Out, reply
from tests.line.client import at_once
from tests.line.conftest import Configure
from tests.line.process import Weir, eventually

CONFIG = """
trusted_proxies: [127.0.0.1/32]
upstreams: {{app: {{primary: {app}}}}}
defaults: {{upstream: app}}
identity:
  user: {{header: X-User}}
  tenant: {{header: X-Tenant}}
routes:
  - {{name: rest}}
  - {{name: t-cors, match: {{path: /cors/**}}, cache: {{ttl: 60s}},
      cors: {{origins: ["https://a.example", "https://b.example"], credentials: true}}}}
  - {{name: t-tight, match: {{path: /tight/**}}, cache: {{ttl: 60s}}, limits: [{{name: t-tight, rate: 3/h, by: ip}}]}}
  - {{name: t-private, match: {{path: /private/**}}, require_user: true,
      cache: {{ttl: 60s, shared_with_everyone: "the same page for all members"}}}}
  - {{name: t-tenant, match: {{path: /tenant}}, limits: [{{name: t-tenant, rate: 2/h, by: tenant}}]}}
  - {{name: t-device, match: {{path: /device}}, limits: [{{name: t-device, rate: 2/h, by: "header:X-Device"}}]}}
  - {{name: t-route, match: {{path: /route/**}}, limits: [{{name: t-route, rate: 2/h, by: route}}]}}
  - {{name: t-stream, match: {{path: /stream/**}}, cache: {{ttl: 60s}}}}
  - {{name: t-renamed, match: {{path: /renamed/**}}, cache: {{ttl: 60s}}, rewrite: {{strip_prefix: /renamed}}}}
  - {{name: t-denied, match: {{path: /denied/**}}, limits: [{{name: t-denied, rate: 1/h, by: route}}]}}
"""


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend) -> Weir:
    return configure_module(CONFIG.format(app=app.url))


def test_a_stored_response_tells_each_origin_its_own(weir: Weir, app: Backend) -> None:
    app.on("/cors/a", reply(200, b"ok"))
    origins = ["https://a.example", "https://b.example", "https://evil.example", None]
    answers = [weir.get("/cors/a", {"Origin": origin} if origin else None) for origin in origins * 2]
    allowed = [answer.get("access-control-allow-origin") for answer in answers]
    assert allowed == ["https://a.example", "https://b.example", None, None] * 2
    assert all("origin" in (answer.get("vary") or "").lower() for answer in answers)
    assert len(app.asked("/cors/a")) == 1


def test_a_hit_costs_quota_and_a_denial_is_never_a_hit(weir: Weir, app: Backend) -> None:
    app.on("/tight/a", reply(200, b"ok"))
    answers = [weir.get("/tight/a") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.get("cache-status") is None for answer in answers] == [False, False, False, True, True]
    assert len(app.asked("/tight/a")) == 1


def test_what_is_stored_is_given_to_users_only_where_one_is_required(weir: Weir, app: Backend) -> None:
    app.on("/private/a", reply(200, b"for members"))
    assert weir.get("/private/a", {"X-User": "alice"}).content == b"for members"
    stranger = weir.get("/private/a")
    assert (stranger.status, stranger.reason) == (401, "unauthenticated")
    assert (weir.get("/private/a", {"X-User": "bob"}).get("cache-status") or "").startswith("weir; hit")


def test_limits_count_tenants_fields_and_routes(weir: Weir) -> None:
    assert [weir.get("/tenant", {"X-Tenant": "acme", "X-User": user}).status for user in "abc"] == [200, 200, 429]
    assert weir.get("/tenant", {"X-Tenant": "other"}).status == 200
    assert [weir.get("/device", {"X-Device": "one"}).status for _ in range(3)] == [200, 200, 429]
    assert weir.get("/device", {"X-Device": "two"}).status == 200
    assert [weir.get(f"/route/{n}", {"X-Forwarded-For": f"203.0.113.{n}"}).status for n in range(3)] == [200, 200, 429]


def test_a_cached_route_may_rewrite_and_is_invalidated_under_the_clients_url(weir: Weir, app: Backend) -> None:
    app.on("/thing", reply(200, b"one"))
    assert weir.get("/renamed/thing").content == b"one"
    app.on("/thing", reply(200, b"two"))
    assert weir.get("/renamed/thing").content == b"one"
    assert weir.ask("PUT", "/renamed/thing", None, b"{}").status == 200
    assert weir.get("/renamed/thing").content == b"two"


def test_content_reaches_the_client_while_it_is_still_being_stored(weir: Weir, app: Backend, hub: Hub) -> None:
    gate = asyncio.Event()

    async def slowly(call: Call, out: Out) -> None:
        await out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await gate.wait()
        await out.raw(b"4\r\nlast\r\n0\r\n\r\n")

    app.on("/stream/a", slowly)
    with weir.client() as client:
        client.send("GET", "/stream/a")
        assert client.head().status == 200
        assert client.read(10) == b"5\r\nfirst\r\n"
        hub.loop.call_soon_threadsafe(gate.set)
        assert client.read(14) == b"4\r\nlast\r\n0\r\n\r\n"
    again = weir.get("/stream/a")
    assert again.content == b"firstlast"
    assert again.get("content-length") == "9"
    assert len(app.asked("/stream/a")) == 1


def test_events_pass_one_by_one_however_long_the_pause(weir: Weir, app: Backend, hub: Hub) -> None:
    async def events(call: Call, out: Out) -> None:
        await out.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await out.raw(b"data: %d\n\n" % number)
            await asyncio.sleep(0.15)
        out.close()

    app.on("/events", events)
    arrived = []
    with weir.client() as client:
        client.send("GET", "/events")
        assert client.head().get("transfer-encoding") == "chunked"
        for number in range(3):
            assert client.read(14) == b"9\r\ndata: %d\n\n\r\n" % number
            arrived.append(time.monotonic())
    assert arrived[2] - arrived[0] > 0.2, "nothing was held back"


def test_a_denied_upload_leaves_the_connection_in_order_or_closed(weir: Weir, app: Backend) -> None:
    assert weir.get("/denied/a").status == 200
    for size in (10, 300_000):
        with weir.client() as client:
            denied = client.ask("POST", "/denied/a", None, b"x" * size)
            assert denied.status == 429
            if denied.get("connection") == "close":
                assert client.is_ended()
            else:
                assert client.ask("GET", "/fine").status == 200
    with weir.client() as client:
        client.send("POST", "/denied/a", {"Expect": "100-continue", "Content-Length": "5000"})
        assert client.head().status == 429, "and no 100 before it"
    assert len(app.asked("/denied/a")) == 1


def test_a_problem_has_no_content_when_only_the_head_was_asked_for(weir: Weir) -> None:
    with weir.client() as client:
        assert client.ask("HEAD", "/denied/a").status in (200, 429)
        denied = client.ask("HEAD", "/denied/a")
        assert denied.status == 429
        assert int(denied.get("content-length") or 0) > 50
        assert client.ask("GET", "/fine").status == 200, "the next answer begins where it should"


def test_an_answer_that_comes_before_the_upload_is_over_reaches_the_client(weir: Weir, app: Backend, hub: Hub) -> None:
    early = EarlyAnswer(hub)
    weir_url = weir.url
    try:
        text = CONFIG.format(app=app.url).replace(app.url, early.url)
        assert weir.reload(text) == "reload_ok"
        with weir.client() as client:
            client.send("POST", "/early", {"Transfer-Encoding": "chunked"})
            client.raw(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            answer = client.answer()
        assert (answer.status, answer.content) == (403, b"no")
        assert weir.url == weir_url
    finally:
        assert weir.reload(CONFIG.format(app=app.url)) == "reload_ok"
        early.stop()


class EarlyAnswer:
    """A backend that answers 403 as soon as it has seen the head, reads no content, and closes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._server = hub.do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._hub.loop.call_soon_threadsafe(self._server.close)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await writer.drain()
        writer.write_eof()
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        writer.close()


def test_connections_that_a_backend_closed_while_idle_cost_no_request(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "restarting")
    weir = configure(f"upstreams: {{app: {{primary: {backend.url}}}}}\nroutes: [{{name: all, upstream: app}}]\n")
    assert {answer.status for answer in at_once(*[lambda: weir.get("/x?wait=0.05") for _ in range(5)])} == {200}
    backend.cut()
    eventually(lambda: weir.metric("weir_endpoint_connections", upstream="app", state="idle") == 0)
    answers = [weir.ask("POST", "/buy", None, b"{}") for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert len(backend.asked("/buy")) == 3


def test_a_backend_that_restarts_is_used_at_once_when_there_is_no_other(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "lonely")
    weir = configure(
        f"upstreams: {{app: {{primary: {backend.url}, hold_on_refused: 0s}}}}\nroutes: [{{name: all, upstream: app}}]\n"
    )
    assert weir.get("/x").status == 200
    backend.stop()
    down = weir.get("/x")
    assert (down.status, down.reason) == (502, "connect_refused")
    backend.start()
    assert weir.get("/x").status == 200


def test_the_form_of_the_limit_fields_is_a_choice(configure: Configure, app: Backend) -> None:
    route = "routes: [{name: all, upstream: app, limits: [{name: t-form, rate: 100/h, by: ip}]}]\n"
    base = f"upstreams: {{app: {{primary: {app.url}}}}}\n" + route
    epoch = configure("limiter: {reset: epoch, fields: [x-ratelimit]}\n" + base).get("/x")
    assert abs(int(epoch.get("x-ratelimit-reset") or 0) - time.time()) < 3700
    assert epoch.get("ratelimit") is None
    ietf = configure("limiter: {fields: [ietf]}\n" + base).get("/x")
    assert ietf.get("x-ratelimit-limit") is None
    assert ietf.get("ratelimit") is not None
    none = configure("limiter: {fields: []}\n" + base).get("/x")
    assert not [name for name, _ in none.fields if "ratelimit" in name]


def test_a_slow_client_slows_the_backend_instead_of_filling_memory(weir: Weir, app: Backend, hub: Hub) -> None:
    sent = [0]
    piece = b"x" * 65536

    async def endless(call: Call, out: Out) -> None:
        await out.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        while sent[0] < 200_000_000 - len(piece):
            await out.raw(piece)
            sent[0] += len(piece)

    app.on("/endless", endless)
    with weir.client() as client:
        client.send("GET", "/endless")
        assert client.head().status == 200
        before = -1
        while sent[0] != before:  # until nothing moves any more
            before = sent[0]
            time.sleep(0.2)
        assert sent[0] < 30_000_000 + 64 * 2**20, "what the sockets of three processes hold, what is spooled, no more"
        client.read(20_000_000)
        eventually(lambda: sent[0] > before, 5.0)
    eventually(lambda: weir.metric("weir_endpoint_connections", upstream="app", state="in_use") == 0)


def test_a_client_that_does_not_read_keeps_nobody_else_waiting(weir: Weir, app: Backend) -> None:
    content = bytes(range(256)) * 28_000  # 7 MB: more than the sockets hold, and less than an entry may have

    async def large(call: Call, out: Out) -> None:
        await asyncio.sleep(0.1)
        await out.send(200, content)

    app.on("/stream/large", large)
    with weir.client() as lazy:
        lazy.send("GET", "/stream/large")
        eventually(lambda: app.asked("/stream/large"))
        started = time.monotonic()
        answers = at_once(*[lambda: weir.get("/stream/large") for _ in range(4)])
        assert {answer.content == content for answer in answers} == {True}
        assert time.monotonic() - started < 5.0
        assert len(app.asked("/stream/large")) <= 2
        assert lazy.answer().content == content, "and who read nothing for a while gets all of it"


def test_a_tunnel_stays_open_through_a_reload_and_ends_with_either_side(weir: Weir, app: Backend, hub: Hub) -> None:
    async def upgrade(call: Call, out: Out) -> None:
        await out.raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        for _ in range(20):
            await asyncio.sleep(0.05)
            await out.raw(b".")
        out.close()

    app.on("/socket", upgrade)
    wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    with weir.client() as client:
        client.send("GET", "/socket", wanted | {"Sec-WebSocket-Version": "13"})
        assert client.head().status == 101
        assert client.read(5) == b"hello"
        assert weir.reload(weir.path.read_text()) == "reload_ok"
        assert client.read(10) == b"." * 10
        with pytest.raises(EOFError):
            client.read(1000)
    eventually(lambda: weir.metric("weir_endpoint_connections", upstream="app", state="in_use") == 0)
