"""Where a request goes, what changes on the way, and what Weir answers itself."""

from __future__ import annotations

import pytest

from tests.line.backend import Backend, reply
from tests.line.conftest import Configure
from tests.line.process import Weir

CONFIG = """
upstreams:
  app: {{primary: {app}}}
  other: {{primary: {other}}}
defaults: {{upstream: app}}
identity: {{user: {{header: X-User}}}}
routes:
  - {{name: rest}}
  - {{name: api, match: {{path: /api/**}}, upstream: other}}
  - {{name: item, match: {{path: "/api/items/{{id}}"}}, rewrite: {{path: "/things/{{id}}"}}}}
  - {{name: exact, match: {{path: /api/items/new}}, upstream: other}}
  - {{name: star, match: {{path: /api/*/detail}}}}
  - {{name: reports, match: {{path: /reports, methods: [GET, PUT]}}}}
  - {{name: shop, match: {{path: /, hosts: [shop.example.com]}}, upstream: other}}
  - {{name: subs, match: {{path: /, hosts: ["*.example.com"]}}, response_fields: {{set: {{X-Route: subs}}}}}}
  - {{name: stripped, match: {{path: /v1/**}}, rewrite: {{strip_prefix: /v1, add_prefix: /internal}}}}
  - name: fields
    match: {{path: /fields}}
    request_fields: {{set: {{X-Added: "yes", User-Agent: weir-test}}, remove: [X-Secret]}}
    response_fields: {{set: {{X-Answer: "42", Cache-Control: no-store}}, remove: [X-Powered-By]}}
  - {{name: cors, match: {{path: /cors, methods: [GET, POST]}}, require_user: true,
      cors: {{origins: ["https://shop.example.com"], credentials: true, expose: [X-Total], max_age: 5m}}}}
  - {{name: open-cors, match: {{path: /open}}, cors: {{origins: ["https://shop.example.com"], credentials: true}}}}
  - {{name: secure, match: {{path: /secure}}, security_headers: true}}
  - {{name: small, match: {{path: /small}}, max_body: 1000B}}
  - {{name: hasty, match: {{path: /hasty}}, timeout: 300ms}}
  - {{name: plain, match: {{path: /plain}}, upgrade: false}}
"""


@pytest.fixture(scope="module")
def other(hub: object, app: Backend) -> Backend:
    return Backend(app.hub, "other")


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend, other: Backend) -> Weir:
    return configure_module(CONFIG.format(app=app.url, other=other.url))


@pytest.mark.parametrize(
    ("path", "backend", "route"),
    [
        ("/anything", "app", "rest"),
        ("/api/whatever/deep", "other", "api"),
        ("/api/items/7", "app", "item"),
        ("/api/items/new", "other", "exact"),
        ("/api/items/detail", "app", "item"),
        ("/api/things/detail", "app", "star"),
        ("/api/items/7/more", "other", "api"),
    ],
)
def test_the_most_specific_route_wins(weir: Weir, path: str, backend: str, route: str) -> None:
    before = weir.metric("weir_requests_total", route=route)
    answer = weir.get(path)
    assert answer.status == 200
    assert answer.backend == backend
    assert weir.metric("weir_requests_total", route=route) == before + 1


@pytest.mark.parametrize(
    ("host", "backend", "route"),
    [
        ("shop.example.com", "other", "shop"),
        ("SHOP.example.com:8080", "other", "shop"),
        ("admin.example.com", "app", "subs"),
        ("example.com", "app", "rest"),
        ("shop.example.org", "app", "rest"),
    ],
)
def test_a_route_may_be_for_some_hosts_only(weir: Weir, host: str, backend: str, route: str) -> None:
    before = weir.metric("weir_requests_total", route=route)
    answer = weir.get("/", {"Host": host})
    assert answer.backend == backend
    assert weir.metric("weir_requests_total", route=route) == before + 1


def test_a_method_that_no_route_takes_is_answered_405_with_those_that_are(configure: Configure, app: Backend) -> None:
    weir = configure(
        f"upstreams: {{app: {{primary: {app.url}}}}}\n"
        "routes:\n"
        "  - {name: a, upstream: app, match: {path: /reports, methods: [GET, PUT], hosts: [shop.example.com]}}\n"
        "  - {name: b, upstream: app, match: {path: /reports, methods: [DELETE], hosts: [shop.example.com]}}\n"
    )
    answer = weir.ask("POST", "/reports", {"Host": "shop.example.com"}, b"{}")
    assert (answer.status, answer.reason) == (405, "method_not_allowed")
    assert set((answer.get("allow") or "").replace(" ", "").split(",")) >= {"GET", "HEAD", "PUT", "DELETE"}
    nowhere = weir.get("/nothing", {"Host": "shop.example.com"})
    assert (nowhere.status, nowhere.reason) == (404, "no_route")
    stranger = weir.get("/reports", {"Host": "evil.example.com"})
    assert (stranger.status, stranger.reason) == (421, "misdirected")
    for refused in (answer, nowhere, stranger):
        line = weir.logged(refused)
        assert (line["status"], line["reason"], line["attempts"]) == (refused.status, refused.reason, 0)
        assert refused.get("cache-control") == "no-store"
    assert app.asked("/reports") == []


def test_a_rewrite_changes_the_path_and_keeps_the_query_as_it_came(weir: Weir, app: Backend) -> None:
    assert weir.get("/api/items/a%20b?q=%7Bx%7D&&b=1").json()["target"] == "/things/a%20b?q=%7Bx%7D&&b=1"
    assert weir.get("/v1/users/7?x").json()["target"] == "/internal/users/7?x"
    assert weir.get("/v1/").json()["target"] == "/internal/"


def test_field_rules_change_what_goes_up_and_what_comes_down(weir: Weir, app: Backend) -> None:
    app.on("/fields", reply(200, b"ok", X_Powered_By="PHP", Cache_Control="public", X_Kept="1"))
    answer = weir.get(
        "/fields", [("X-Secret", "s"), ("x-added", "no"), ("X-Added", "nor this"), ("User-Agent", "curl")]
    )
    call = app.last("/fields")
    assert call.get("x-secret") is None
    assert call.get("x-added") == "yes"
    assert call.get("user-agent") == "weir-test"
    assert answer.get("x-powered-by") is None
    assert answer.get("x-answer") == "42"
    assert answer.get("cache-control") == "no-store"
    assert answer.get("x-kept") == "1"


def test_a_preflight_is_answered_without_the_backend_and_without_a_user(weir: Weir, app: Backend) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-Token"}
    answer = weir.ask("OPTIONS", "/cors", {"Origin": "https://shop.example.com", **asked})
    assert answer.status == 204
    assert answer.get("access-control-allow-origin") == "https://shop.example.com"
    assert answer.get("access-control-allow-methods") == "GET, POST"
    assert answer.get("access-control-allow-headers") == "X-Token"
    assert answer.get("access-control-allow-credentials") == "true"
    assert answer.get("access-control-max-age") == "300"
    stranger = weir.ask("OPTIONS", "/cors", {"Origin": "https://evil.example.com", **asked})
    assert stranger.status == 204
    assert stranger.get("access-control-allow-origin") is None
    assert app.asked("/cors") == []


def test_an_actual_request_of_another_origin_is_told_what_its_page_may_read(weir: Weir, app: Backend) -> None:
    app.on("/open", reply(200, b"ok", Access_Control_Allow_Origin="*"))
    allowed = weir.get("/open", {"Origin": "https://shop.example.com"})
    assert allowed.all("access-control-allow-origin") == ["https://shop.example.com"]
    assert "Origin" in (allowed.get("vary") or "")
    stranger = weir.get("/open", {"Origin": "https://evil.example.com"})
    assert (stranger.status, stranger.all("access-control-allow-origin")) == (200, [])


def test_a_denial_can_be_read_by_a_page_of_an_allowed_origin(weir: Weir) -> None:
    answer = weir.get("/cors", {"Origin": "https://shop.example.com"})
    assert (answer.status, answer.reason) == (401, "unauthenticated")
    assert answer.get("access-control-allow-origin") == "https://shop.example.com"
    assert answer.get("access-control-expose-headers") == "X-Total"


def test_the_security_preset_adds_what_the_backend_does_not_send(weir: Weir, app: Backend) -> None:
    app.on("/secure", reply(200, b"ok", X_Frame_Options="DENY"))
    answer = weir.get("/secure")
    assert answer.get("x-frame-options") == "DENY"
    assert answer.get("x-content-type-options") == "nosniff"
    assert answer.get("referrer-policy") is not None
    assert answer.get("strict-transport-security") is None, "never over plain http (RFC 6797 §7.2)"
    assert weir.get("/anything").get("x-content-type-options") is None


def test_content_that_says_it_is_too_large_is_refused_before_a_byte_of_it_is_read(weir: Weir, app: Backend) -> None:
    before = app.connections
    with weir.client() as client:
        client.send("POST", "/small", {"Content-Length": "1001", "Expect": "100-continue"})
        answer = client.head()
        assert answer.status == 413, "and no 100 before it"
        answer.content = client.read(int(answer.get("content-length") or 0))
        assert answer.reason == "content_too_large"
        assert answer.get("connection") == "close"
        assert client.is_ended()
    assert app.asked("/small") == []
    assert app.connections == before
    assert weir.ask("POST", "/small", None, b"x" * 1000).status == 200


def test_chunked_content_is_refused_when_it_grows_too_large(weir: Weir, app: Backend) -> None:
    before = len(app.asked("/small"))
    with weir.client() as client:
        client.send("POST", "/small", {"Transfer-Encoding": "chunked"})
        for _ in range(3):
            client.raw(b"190\r\n" + b"x" * 400 + b"\r\n")
        answer = client.answer()
        assert (answer.status, answer.reason, answer.get("connection")) == (413, "content_too_large", "close")
    assert len(app.asked("/small")) == before, "the backend never saw the end of it"
    with weir.client() as client:
        assert client.ask("POST", "/small", chunks=[b"x" * 500, b"y" * 500]).status == 200
    assert app.last("/small").content == b"x" * 500 + b"y" * 500


def test_a_backend_slower_than_the_routes_timeout_is_a_504(weir: Weir) -> None:
    answer = weir.get("/hasty?wait=2")
    assert (answer.status, answer.reason) == (504, "response_timeout")
    assert 290 <= weir.logged(answer)["dur_ms"] < 1500
    assert weir.get("/hasty").status == 200


def test_an_upgrade_that_a_route_does_not_want_goes_up_as_a_plain_request(weir: Weir, app: Backend) -> None:
    wanted = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    answer = weir.get("/plain", wanted)
    assert answer.status == 200
    assert app.last("/plain").get("upgrade") is None
    assert "upgrade" not in (app.last("/plain").get("connection") or "").lower()
