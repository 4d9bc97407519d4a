"""Endpoints that answer with nothing of use: skipped, tried again, stood in for; and how often Weir asks again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from tests.line.backend import Backend, Call, Handler, Hub, Out, reply
from tests.line.client import at_once
from tests.line.conftest import Configure
from tests.line.crowd import Load
from tests.line.process import Weir, eventually

_numbers = count()


async def hangs_up(call: Call, out: Out) -> None:
    out.close()


async def hangs(call: Call, out: Out) -> None:
    await asyncio.sleep(30.0)


async def talks_nonsense(call: Call, out: Out) -> None:
    await out.raw(b"SSH-2.0-OpenSSH\r\n\r\n")
    out.close()


@pytest.fixture
def name() -> str:
    """Of an upstream that no other test has: its budget of retries is kept over a reload."""
    return f"app-{next(_numbers)}"


@pytest.fixture
def start_three(configure: Configure, hub: Hub, name: str) -> Callable[..., tuple[Weir, list[Backend]]]:
    def start(**rest: str) -> tuple[Weir, list[Backend]]:
        backends = [Backend(hub, f"shop-{number}") for number in range(3)]
        more = "".join(f", {key}: {value}" for key, value in rest.items())
        urls = ", ".join(backend.url for backend in backends)
        routes = f"routes: [{{name: three, upstream: {name}, timeout: 1s}}]\n"
        return configure(f"upstreams: {{{name}: {{primary: [{urls}]{more}}}}}\n{routes}"), backends

    return start


class Everything:
    """A handler for each path that the load asks for."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def get(self, path: str, default: Handler) -> Handler:
        return self._handler


def spoil(backend: Backend, handler: Handler) -> None:
    backend._handlers = Everything(handler)  # type: ignore[assignment]


BAD = [
    pytest.param(b"GET", hangs_up, "{}", id="reads, and it hangs up"),
    pytest.param(b"GET", hangs, "{}", id="reads, and it hangs"),
    pytest.param(b"GET", reply(503), "{}", id="reads, and it says 503"),
    pytest.param(b"GET", reply(500), "{statuses: [500, 502, 503, 504]}", id="reads, and it says 500"),
    pytest.param(b"POST", hangs_up, "{}", id="writes, and it hangs up"),
    pytest.param(b"POST", talks_nonsense, "{}", id="writes, and it talks nonsense"),
    pytest.param(b"POST", reply(503), "{}", id="writes, and it says 503"),
]


@pytest.mark.alone
@pytest.mark.parametrize(("method", "handler", "eject"), BAD)
async def test_one_bad_endpoint_of_three_is_hardly_noticed_after_two_seconds(
    start_three: Callable[..., tuple[Weir, list[Backend]]], method: bytes, handler: Handler, eject: str
) -> None:
    weir, backends = start_three(eject=eject)
    spoil(backends[1], handler)
    warm_up = Load(weir, method, clients=30, think_s=0.1)
    await warm_up.run(for_s=2.0)
    load = Load(weir, method, clients=30, think_s=0.1)
    await load.run(for_s=2.0)
    failed = sum(count for status, count in load.outcomes.items() if status >= 500)
    assert failed <= 0.005 * sum(load.outcomes.values()), load.outcomes
    assert sum(load.outcomes.values()) > 200
    assert weir.metric("weir_endpoint_healthy", endpoint=backends[1].label) == 0.0
    assert weir.metric("weir_endpoint_ejections_total", endpoint=backends[1].label) == 1
    assert any("ejected" not in event["error"] and event["error"] for event in weir.events("endpoint_out"))


async def test_an_endpoint_that_is_well_again_is_let_in_by_one_request_and_starts_slowly(
    start_three: Callable[..., tuple[Weir, list[Backend]]],
) -> None:
    weir, backends = start_three(eject="{base: 500ms}", slow_start="3s")
    bad = backends[1]
    spoil(bad, hangs_up)
    await Load(weir, b"GET", clients=10, think_s=0.02).run(for_s=0.4)
    at_first = len(bad.calls)
    await Load(weir, b"GET", clients=10, think_s=0.02).run(for_s=1.5)
    assert 1 <= len(bad.calls) - at_first <= 4, "trials only, further and further apart"
    bad._handlers = {}
    load = Load(weir, b"GET", clients=10, think_s=0.02)
    await load.run(for_s=8.0)
    assert load.outcomes[200] == sum(load.outcomes.values())
    assert weir.metric("weir_endpoint_healthy", endpoint=bad.label) == 1.0
    assert weir.metric("weir_endpoint_share", endpoint=bad.label) == 1.0
    assert bad.label in [event["endpoint"] for event in weir.events("endpoint_back")]


# -- how often it is asked again --


@pytest.mark.parametrize("eject", ["off", "{}"], ids=["without a breaker", "with one"])
@pytest.mark.parametrize("handler", [hangs_up, reply(503)], ids=["it hangs up", "it says 503"])
async def test_when_everything_fails_the_backends_get_a_fifth_more_at_most(
    start_three: Callable[..., tuple[Weir, list[Backend]]], handler: Handler, eject: str
) -> None:
    weir, backends = start_three(eject=eject)
    for backend in backends:
        spoil(backend, handler)
    load = Load(weir, b"GET", clients=40, think_s=0.01)
    await load.run(for_s=3.0)
    asked = sum(len(backend.calls) for backend in backends)
    requests = sum(load.outcomes.values())
    assert requests > 300
    assert set(load.outcomes) <= {502, 503}
    assert asked <= 1.2 * requests + 5, (asked, requests)


def test_reused_connections_that_die_cost_no_read_however_many(configure: Configure, hub: Hub, name: str) -> None:
    backend = Backend(hub, "forgetful")
    seen: Counter[int] = Counter()

    async def once(call: Call, out: Out) -> None:
        seen[call.connection] += 1
        if seen[call.connection] == 1:
            await out.send(200, b"first of its connection")
        else:
            out.close()

    backend.on("/once", once)
    weir = configure(
        f"upstreams: {{{name}: {{primary: {backend.url}, retry: off}}}}\nroutes: [{{name: reused, upstream: {name}}}]\n"
    )
    with weir.client() as client:
        assert [client.ask("GET", "/once").status for _ in range(300)] == [200] * 300
    assert len(backend.asked("/once")) == 599
    assert weir.metric("weir_upstream_retries_total", upstream=name) == 0
    assert weir.metric("weir_endpoint_failures_total", endpoint=backend.label) == 0
    assert weir.ask("POST", "/once", None, b"buy").status == 502


def test_a_request_under_which_two_connections_died_is_not_tried_a_third_time(
    configure: Configure, hub: Hub, name: str
) -> None:
    backend = Backend(hub, "poisoned")
    backend.on("/poison", hangs_up)
    weir = configure(
        f"upstreams: {{{name}: {{primary: {backend.url}}}}}\nroutes: [{{name: poison, upstream: {name}}}]\n"
    )
    assert weir.get("/warm").status == 200
    assert (weir.get("/poison").status, len(backend.asked("/poison"))) == (502, 2)


STATUSES = [
    # method, first answer, its fields, retry -> status for the client, requests that both endpoints got
    pytest.param("GET", 503, {}, "{}", 200, 2, id="another endpoint is asked"),
    pytest.param("OPTIONS", 502, {}, "{}", 200, 2, id="for OPTIONS too"),
    pytest.param("POST", 503, {}, "{}", 503, 1, id="never for a write"),
    pytest.param("PUT", 503, {}, "{}", 503, 1, id="not even one that is idempotent"),
    pytest.param("GET", 500, {}, "{}", 500, 1, id="500 is an answer"),
    pytest.param("GET", 500, {}, "{on: [500]}", 200, 2, id="unless it is said to be none"),
    pytest.param("GET", 503, {}, "{on: [connect]}", 503, 1, id="not where statuses are not listed"),
    pytest.param("GET", 503, {}, "off", 503, 1, id="not with retry: off"),
    pytest.param("GET", 503, {"Retry-After": "1"}, "{}", 200, 2, id="after the time that it asked for"),
    pytest.param("GET", 503, {"Retry-After": "30"}, "{}", 503, 1, id="not when that is long"),
]


@pytest.mark.parametrize(("method", "status", "fields", "retry", "expected", "asked"), STATUSES)
def test_a_status_is_tried_again_at_another_endpoint_where_that_is_safe_and_wise(
    configure: Configure,
    hub: Hub,
    name: str,
    method: str,
    status: int,
    fields: dict[str, str],
    retry: str,
    expected: int,
    asked: int,
) -> None:
    left, right = Backend(hub, "left"), Backend(hub, "right")

    async def says(call: Call, out: Out) -> None:
        if len(left.asked("/x")) + len(right.asked("/x")) == 1:
            await out.send(status, b"", fields)
        else:
            await out.send(200, b"well")

    for backend in (left, right):
        backend.on("/x", says)
    weir = configure(
        f"upstreams: {{{name}: {{primary: [{left.url}, {right.url}], retry: {retry}}}}}\n"
        f"routes: [{{name: statuses, upstream: {name}}}]\n"
    )
    began_at = time.monotonic()
    answer = weir.ask(method, "/x", None, b"{}" if method in ("POST", "PUT") else None)
    took_s = time.monotonic() - began_at
    assert answer.status == expected
    assert len(left.asked("/x")) + len(right.asked("/x")) == asked
    if asked == 2:
        assert len(left.asked("/x")) == len(right.asked("/x")) == 1
        assert took_s >= 1.0 if fields else took_s < 1.0
    else:
        assert took_s < 1.0


def test_a_status_of_the_only_endpoint_is_the_answer(configure: Configure, hub: Hub, name: str) -> None:
    backend = Backend(hub, "only")
    backend.on("/x", reply(503, b"come again", Retry_After="0"))
    weir = configure(f"upstreams: {{{name}: {{primary: {backend.url}}}}}\nroutes: [{{name: only, upstream: {name}}}]\n")
    answer = weir.get("/x")
    assert (answer.status, answer.content, len(backend.asked("/x"))) == (503, b"come again", 1)


# -- when nobody can be asked --


FALLBACK = """
upstreams:
  {name}:
    primary: {url}
    hold_on_refused: 0s
    eject: {{open: 1s}}
    fallback: {{status: 503, content_type: text/plain, body: "We are back soon."}}
routes:
  - {{name: rest, upstream: {name}, timeout: 1s}}
  - {{name: own, match: {{path: /own}}, upstream: {name}, fallback: {{status: 200, body: "<p>Nothing here.</p>"}}}}
  - {{name: kept, match: {{path: /kept}}, upstream: {name}, cache: {{ttl: 100ms, stale_on_error: 1h}}}}
"""


def test_when_nobody_can_be_asked_something_stands_in(configure: Configure, hub: Hub, name: str) -> None:
    backend = Backend(hub, "gone")
    backend.on("/kept", reply(200, b"stored"))
    weir = configure(FALLBACK.format(name=name, url=backend.url))
    assert weir.get("/kept").content == b"stored"
    backend.stop()
    time.sleep(0.15)
    answer = weir.get("/x")
    assert (answer.status, answer.content) == (503, b"We are back soon.")
    assert answer.get("content-type") == "text/plain"
    assert answer.get("cache-control") == "no-store"
    assert weir.logged(answer)["reason"] == "connect_refused"
    own = weir.get("/own")
    assert (own.status, own.content, own.get("content-type")) == (
        200,
        b"<p>Nothing here.</p>",
        "text/html; charset=utf-8",
    )
    assert weir.get("/kept").content == b"stored", "what is stored is better"
    head = weir.ask("HEAD", "/x")
    assert (head.status, head.get("content-length")) == (503, "17")
    backend.start()
    assert weir.get("/x").status == 200


def test_what_is_stored_stands_in_at_once_without_a_wait_for_the_restart(
    configure: Configure, hub: Hub, name: str
) -> None:
    backend = Backend(hub, "stored")
    backend.on("/stored", reply(200, b"stored"))
    weir = configure(
        f"upstreams: {{{name}: {{primary: {backend.url}}}}}\n"
        f"routes: [{{name: stored, upstream: {name}, cache: {{ttl: 100ms, stale_on_error: 1h}}}}]\n"
    )
    assert weir.get("/stored").content == b"stored"
    backend.stop()
    time.sleep(0.15)
    began_at = time.monotonic()
    answer = weir.get("/stored")
    assert (answer.status, answer.content) == (200, b"stored")
    assert time.monotonic() - began_at < 2.0
    backend.start()


def test_the_breaker_of_the_only_endpoint_opens_tells_when_to_come_again_and_closes(
    configure: Configure, hub: Hub, name: str
) -> None:
    backend = Backend(hub, "silent")
    backend.on("/hangs", hangs)
    weir = configure(f"""
upstreams: {{{name}: {{primary: {backend.url}, eject: {{open: 1s}}}}}}
routes: [{{name: breaker, upstream: {name}, timeout: 500ms}}]
""")
    hung = at_once(*[lambda: weir.get("/hangs") for _ in range(20)])
    assert {answer.status for answer in hung} == {504}
    answer = weir.get("/x")
    assert (answer.status, answer.reason) == (503, "no_endpoint")
    assert 1 <= int(answer.get("retry-after") or 0) <= 2
    assert weir.healthz().status == 503
    asked = len(backend.calls)
    assert {weir.get("/x").status for _ in range(20)} == {503}
    assert len(backend.calls) == asked, "nobody bothers it"
    eventually(lambda: weir.get("/x").status == 200)
    assert {weir.get("/x").status for _ in range(20)} == {200}


def test_a_breaker_that_is_open_answers_with_the_fallback_and_with_what_is_stored(
    configure: Configure, hub: Hub, name: str
) -> None:
    backend = Backend(hub, "broken")
    backend.on("/kept", reply(200, b"stored"))
    backend.on("/hangs", hangs_up)
    weir = configure(FALLBACK.format(name=name, url=backend.url))
    assert weir.get("/kept").content == b"stored"
    assert {weir.ask("POST", "/hangs", None, b"{}").status for _ in range(45)} == {502, 503}
    answer = weir.get("/x")
    assert (answer.status, answer.content) == (503, b"We are back soon.")
    assert int(answer.get("retry-after") or 0) >= 1
    assert weir.get("/kept").content == b"stored"
    eventually(lambda: weir.get("/x").status == 200)


# -- asked twice, and found anew --


async def test_a_read_that_hangs_at_one_endpoint_is_answered_by_another(
    configure: Configure, hub: Hub, name: str
) -> None:
    left, right = Backend(hub, "left"), Backend(hub, "right")
    weir = configure(
        f"upstreams: {{{name}: {{primary: [{left.url}, {right.url}], hedge: {{extra: 5%, least: 50ms}}}}}}\n"
        f"routes:\n  - {{name: hedged, upstream: {name}}}\n"
        f"  - {{name: dear, match: {{path: /dear}}, upstream: {name}, hedge: false}}\n"
    )

    async def hangs_once(call: Call, out: Out) -> None:
        if len(left.asked(call.path)) + len(right.asked(call.path)) == 1:
            await asyncio.sleep(3.0)
        await out.send(200, b"well")

    for backend in (left, right):
        backend.on("/hangs-once", hangs_once)
        backend.on("/dear", hangs_once)
    await Load(weir, b"GET", clients=20, think_s=0.01).run(for_s=2.5)
    assert weir.metric("weir_upstream_hedges_total", upstream=name, result="sent") < 20
    began_at = time.monotonic()
    answer = await asyncio.to_thread(weir.get, "/hangs-once")
    assert (answer.status, answer.content) == (200, b"well")
    assert time.monotonic() - began_at < 2.5
    assert weir.logged(answer)["attempts"] == 2
    assert weir.metric("weir_upstream_hedges_total", upstream=name, result="won") >= 1
    began_at = time.monotonic()
    assert (await asyncio.to_thread(weir.get, "/dear")).status == 200
    assert time.monotonic() - began_at >= 3.0


def test_a_name_is_looked_up_and_its_addresses_are_the_endpoints(configure: Configure, hub: Hub, name: str) -> None:
    backend = Backend(hub, "named")
    weir = configure(
        f"upstreams: {{{name}: {{primary: 'http://localhost:{backend.port}', resolve: 1s, host: upstream}}}}\n"
        f"routes: [{{name: named, upstream: {name}}}]\n"
    )

    def labels() -> list[str]:
        parts = weir.healthz().json()["components"]
        part = next(part for part in parts if part["name"] == f"upstream {name}")
        return [endpoint["address"] for endpoint in part["endpoints"]]

    eventually(lambda: backend.label in labels())
    assert f"localhost:{backend.port}" not in labels()
    assert {weir.get("/x").backend for _ in range(10)} == {"named"}
    assert backend.last("/x").get("host") == f"localhost:{backend.port}"
