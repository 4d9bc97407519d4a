"""A backend that is killed and started again under load, as a deployment does it: real processes, real sockets."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.line.client import Client
from tests.line.conftest import Configure
from tests.line.crowd import Load
from tests.line.process import Weir, eventually
from tests.line.restarting import Restarting
from tests.ports import free_port

StartBackend = Callable[..., Restarting]


@pytest.fixture
def start_backend(tmp_path: Path) -> Iterator[StartBackend]:
    started: list[Restarting] = []

    def start(wait_s: float = 0.0) -> Restarting:
        backend = Restarting(free_port(), tmp_path / f"ledger-{len(started)}", wait_s)
        started.append(backend)
        backend.start()
        return backend

    yield start
    for backend in started:
        backend.kill()


def configured(configure: Configure, backend: Restarting, **rest: str) -> Weir:
    more = "".join(f", {key}: {value}" for key, value in rest.items())
    return configure(
        f"upstreams: {{app: {{primary: 'http://127.0.0.1:{backend.port}'{more}}}}}\n"
        "routes: [{name: restarts, upstream: app, timeout: 30s}]\n"
    )


async def under_load(load: Load, backend: Restarting, *, down_s: float) -> float:
    """Kill it after a second and start it again. Gives the seconds from then to the first 200."""
    running = asyncio.ensure_future(load.run(for_s=down_s + 3.0))
    await asyncio.sleep(1.0)
    await asyncio.to_thread(backend.kill)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(backend.start)
    up_at = time.monotonic()
    await running
    return min(at for at in load.answered_at if at > up_at - 0.5) - up_at


@pytest.mark.parametrize("wait_s", [0.0, 0.03], ids=["quick answers", "requests under way when it is killed"])
async def test_no_read_fails_when_a_backend_is_restarted(
    configure: Configure, start_backend: StartBackend, wait_s: float
) -> None:
    backend = start_backend(wait_s)
    weir = configured(configure, backend)
    load = Load(weir, b"GET", clients=100, think_s=0.2)
    first_s = await under_load(load, backend, down_s=3.0)
    failed = [line for line in weir.log() if line["route"] == "restarts" and line["status"] != 200]
    assert set(load.outcomes) == {200}, (load.outcomes, failed)
    assert load.outcomes[200] > 500
    assert first_s <= 1.0
    assert max(load.waits_s) > 2.5, "some of them waited for it"
    assert weir.metric("weir_upstream_holds_total", upstream="app", result="held") >= 50
    assert weir.metric("weir_upstream_held", upstream="app") == 0
    assert {event["event"] for event in weir.events()} >= {"endpoint_out", "endpoint_back"}


async def test_a_write_is_never_sent_twice_when_its_backend_is_killed(
    configure: Configure, start_backend: StartBackend
) -> None:
    backend = start_backend(0.03)
    weir = configured(configure, backend)
    load = Load(weir, b"POST", clients=60, think_s=0.05)
    first_s = await under_load(load, backend, down_s=1.0)
    executed = Counter(backend.executed())
    assert max(executed.values()) == 1
    assert set(load.outcomes) <= {200, 502}
    assert load.outcomes[502] <= 60, "at most what each client had under way when it was killed"
    assert len(executed) >= load.outcomes[200]
    assert len(executed) <= sum(load.outcomes.values())
    assert first_s <= 1.0


async def test_without_the_hold_requests_fail_at_once(configure: Configure, start_backend: StartBackend) -> None:
    backend = start_backend()
    weir = configured(configure, backend, hold_on_refused="0s")
    load = Load(weir, b"GET", clients=10, think_s=0.1)
    await under_load(load, backend, down_s=1.0)
    assert load.outcomes[502] >= 20, "the test above bites"
    assert max(load.waits_s) < 1.0


def test_a_client_that_leaves_while_it_is_held_is_forgotten(configure: Configure, start_backend: StartBackend) -> None:
    backend = start_backend()
    weir = configured(configure, backend)
    assert weir.get("/up").status == 200
    backend.kill()
    clients = [weir.client() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send("GET", f"/left-{number}")
    eventually(lambda: weir.metric("weir_upstream_held", upstream="app") == 5)
    for client in clients[:4]:
        client.close()
    eventually(lambda: weir.metric("weir_upstream_held", upstream="app") == 1)
    backend.start()
    assert clients[4].answer().status == 200
    clients[4].close()
    assert [line for line in backend.executed() if "left" in line] == ["GET /left-4"]


def test_no_more_are_held_than_configured_and_only_for_so_long(
    configure: Configure, start_backend: StartBackend
) -> None:
    backend = start_backend()
    weir = configured(configure, backend, hold_on_refused="1s", hold_requests="2")
    backend.kill()
    began_at = time.monotonic()
    clients: list[Client] = []
    for number in range(2):
        clients.append(weir.client())
        clients[-1].send("POST", f"/held-{number}", None, b"{}")
    eventually(lambda: weir.metric("weir_upstream_held", upstream="app") == 2)
    refused = weir.get("/too-many")
    assert (refused.status, refused.reason) == (502, "connect_refused")
    assert time.monotonic() - began_at < 0.9
    for client in clients:
        answer = client.answer()
        assert (answer.status, answer.reason) == (502, "connect_refused")
        client.close()
    assert 0.8 < time.monotonic() - began_at < 4.0
    began_at = time.monotonic()
    assert weir.get("/later").status == 502
    assert time.monotonic() - began_at < 0.5, "it is not being restarted, it is away"
