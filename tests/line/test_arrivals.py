"""Many clients at once: how they are let in."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import uvloop

from proxy.server.listeners import Listeners
from proxy.wire.host import Host
from proxy.wire.limits import WireLimits
from proxy.wire.timers import Timers

_CLIENTS = 320


@dataclass
class _Here:
    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    cert: str | None = None
    key: str | None = None


def test_a_crowd_that_comes_at_once_is_let_in_within_a_few_turns_of_the_loop() -> None:
    async def turns_until_all_are_in() -> int:
        came: list[Any] = []
        host = Host(limits=WireLimits(), timers=Timers(1.0), serve=_never, refuse=_never, welcome=came.append)
        listeners = Listeners(host)
        await listeners.open([_Here()])
        port = int(listeners.addresses[0].rsplit(":", 1)[1])
        clients = [_connect(port) for _ in range(_CLIENTS)]
        turns = 0
        while len(came) < _CLIENTS and turns < _CLIENTS:
            await asyncio.sleep(0)
            turns += 1
        for client in clients:
            client.close()
        await listeners.stop()
        assert len(came) == _CLIENTS
        return turns

    assert uvloop.run(turns_until_all_are_in()) < 40  # libuv alone: one a turn


def _connect(port: int) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client


def _never(*arguments: Any) -> Any:
    raise AssertionError(arguments)
