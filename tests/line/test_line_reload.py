"""SIGHUP: the configuration is replaced whole or not at all, and nobody who is connected notices."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading

from tests.line.backend import Backend, Call, Hub, Out
from tests.line.client import ask
from tests.line.conftest import Configure
from tests.line.process import eventually


def config(app: Backend, route: str = "", more: str = "") -> str:
    return f"""
upstreams: {{app: {{primary: {app.url}}}}}
{more}
routes:
  - {{name: all, upstream: app{route}}}
"""


def test_a_good_file_is_in_force_at_once_and_no_connection_is_dropped(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "steady")
    gate = asyncio.Event()

    async def download(call: Call, out: Out) -> None:
        await out.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"a" * 300_000)
        await gate.wait()
        await out.raw(b"b" * 300_000)

    backend.on("/download", download)
    weir = configure(config(backend))
    version = weir.metrics()["weir_config_info"]
    reloads = weir.metric("weir_config_reloads_total", result="ok")
    with weir.client() as downloading, weir.client() as idle:
        downloading.send("GET", "/download")
        head = downloading.head()
        assert head.status == 200
        assert downloading.read(300_000) == b"a" * 300_000
        assert idle.ask("GET", "/x").get("x-new") is None

        assert weir.reload(config(backend, ", response_fields: {set: {X-New: 'yes'}}")) == "reload_ok"

        assert idle.ask("GET", "/x").get("x-new") == "yes", "on a connection that was open before"
        hub.loop.call_soon_threadsafe(gate.set)
        assert downloading.read(300_000) == b"b" * 300_000, "what began before goes on"
        assert downloading.ask("GET", "/x").status == 200
    assert weir.metric("weir_config_reloads_total", result="ok") == reloads + 1
    assert weir.metrics()["weir_config_info"] != version
    assert backend.connections <= 2, "connections to the backend are kept"


def test_under_load_no_request_fails_through_reloads(configure: Configure, app: Backend) -> None:
    weir = configure(config(app, ", limits: [{name: wide, rate: 100000/s, by: ip}], cache: {}"))
    statuses: list[int] = []
    is_over = threading.Event()

    def traffic() -> None:
        with weir.client() as client:
            while not is_over.is_set():
                statuses.append(client.ask("GET", "/x").status)

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        assert weir.reload(config(app, f", response_fields: {{set: {{X-Number: '{number}'}}}}")) == "reload_ok"
    is_over.set()
    for thread in threads:
        thread.join(10)
    assert len(statuses) > 50
    assert set(statuses) == {200}


def test_a_bad_file_changes_nothing_and_is_reported_with_its_place(configure: Configure, app: Backend) -> None:
    weir = configure(config(app, ", response_fields: {set: {X-Version: one}}"))
    refusals = weir.metric("weir_config_reloads_total", result="refused")
    said_before = len(weir.stderr)  # of other tests' files too
    bad = config(app, ", response_fields: {set: {X-Version: two}}, limitz: []")
    assert weir.reload(bad) == "reload_refused"
    assert weir.get("/x").get("x-version") == "one"
    place = eventually(lambda: re.search(r"proxy\.yaml:(\d+):(\d+)", weir.stderr[said_before:]))
    line = weir.path.read_text().splitlines()[int(place[1]) - 1]
    assert line[int(place[2]) - 1 :].startswith("limitz")
    assert "did you mean" in weir.stderr.lower()
    assert weir.metric("weir_config_reloads_total", result="refused") == refusals + 1
    assert weir.reload("routes: [") == "reload_refused"
    assert weir.get("/x").get("x-version") == "one"
    os.unlink(weir.path)
    weir.signal(signal.SIGHUP)
    eventually(lambda: len(weir.events("reload_refused")) >= refusals + 3)
    assert weir.get("/x").get("x-version") == "one"
    assert weir.reload(config(app, ", response_fields: {set: {X-Version: three}}")) == "reload_ok"
    assert weir.get("/x").get("x-version") == "three"
    assert weir.healthz().status == 200


def test_quotas_counters_and_stored_responses_survive(configure: Configure, hub: Hub) -> None:
    backend = Backend(hub, "counted")
    limits = "limits: {per-ip: {rate: 5/h, by: ip}}"
    weir = configure(config(backend))
    before = weir.metric("weir_requests_total", route="all")
    configure(config(backend, ", limits: [per-ip], cache: {ttl: 60s}", limits))
    assert [weir.get("/kept").get("x-ratelimit-remaining") for _ in range(3)] == ["4", "3", "2"]
    changed = ", limits: [per-ip], cache: {ttl: 90s}, response_fields: {set: {X-New: 'yes'}}"
    assert weir.reload(config(backend, changed, limits)) == "reload_ok"
    answer = weir.get("/kept")
    assert answer.get("x-new") == "yes"
    assert answer.get("x-ratelimit-remaining") == "1", "nothing was refilled"
    assert (answer.get("cache-status") or "").startswith("weir; hit"), "and nothing forgotten"
    assert len(backend.asked("/kept")) == 1
    assert weir.metric("weir_requests_total", route="all") == before + 4
    # the same policy with another rate goes on counting what was spent
    assert weir.reload(config(backend, changed, limits.replace("5/h", "6/h"))) == "reload_ok"
    answer = weir.get("/kept")
    assert answer.get("x-ratelimit-limit") == "6"
    assert int(answer.get("x-ratelimit-remaining") or 9) <= 2
    assert [weir.get("/kept").status for _ in range(3)][-1] == 429


def test_an_upstream_may_move_and_a_route_may_go(configure: Configure, hub: Hub) -> None:
    old, new = Backend(hub, "old"), Backend(hub, "new")
    weir = configure(
        config(old) + "  - {name: extra, upstream: app, match: {path: /extra}, limits: [{name: x, rate: 1/h}]}\n"
    )
    with weir.client() as slow, weir.client() as client:
        assert client.ask("GET", "/extra").backend == "old"
        slow.send("GET", "/x?wait=0.6")
        eventually(lambda: old.in_flight == 1)
        assert weir.reload(config(new)) == "reload_ok"
        assert client.ask("GET", "/x").backend == "new"
        assert [client.ask("GET", "/extra").status for _ in range(2)] == [200, 200], "the route and its limit are gone"
        assert slow.answer().backend == "old", "who began there ends there"
    assert weir.metric("weir_endpoint_healthy", endpoint=new.label) == 1.0
    assert ("endpoint", old.label) not in {
        pair for labels in weir.metrics()["weir_endpoint_healthy"] for pair in labels
    }


def test_included_files_are_read_again_too(configure: Configure, app: Backend) -> None:
    root = f"upstreams: {{app: {{primary: {app.url}}}}}\ninclude: [policies/*.yaml]\n"
    shop = "routes: [{name: shop, upstream: app, match: {path: /shop}}]\n"
    weir = configure(root, {"policies/shop.yaml": shop})
    assert (weir.get("/shop").status, weir.get("/blog").status) == (200, 404)
    blog = "routes: [{name: blog, upstream: app, match: {path: /blog}}]\n"
    assert weir.reload(root, {"policies/blog.yaml": blog}) == "reload_ok"
    assert (weir.get("/shop").status, weir.get("/blog").status) == (200, 200)


def test_what_needs_a_restart_is_said(configure: Configure, app: Backend) -> None:
    weir = configure(config(app))
    url = weir.url
    assert weir.reload("listen: 127.0.0.1:1\n" + config(app)) == "reload_ok"
    assert "listen" in str(weir.events("reload_ok")[-1]["needs_restart"])
    assert ask(url, "GET", "/x").status == 200


def test_sigusr1_opens_the_access_log_anew(configure: Configure, app: Backend) -> None:
    weir = configure("access_log: {path: rotated.log, sample: 100%}\n" + config(app))
    weir.get("/before")
    eventually(lambda: weir.log("rotated.log"))
    os.rename(weir.folder / "rotated.log", weir.folder / "rotated.log.1")
    weir.signal(signal.SIGUSR1)
    eventually(lambda: (weir.folder / "rotated.log").exists())
    weir.get("/after")
    eventually(lambda: weir.log("rotated.log"))
    assert [line["path"] for line in weir.log("rotated.log")] == ["/after"]
    assert [line["path"] for line in weir.log("rotated.log.1")] == ["/before"]


def test_a_trusted_proxy_that_is_added_is_trusted_by_new_connections(configure: Configure, app: Backend) -> None:
    weir = configure(config(app))
    claim = {"X-Forwarded-For": "203.0.113.5"}
    assert weir.logged(weir.get("/x", claim))["client_ip"] == "127.0.0.1"
    assert weir.reload(config(app, "", "trusted_proxies: [127.0.0.1/32]")) == "reload_ok"
    assert weir.logged(weir.get("/x", claim))["client_ip"] == "203.0.113.5"
