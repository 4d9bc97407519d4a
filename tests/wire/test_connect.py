"""Opening a connection to an endpoint."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.wire.connect import open_connection
from proxy.wire.timers import Timers


async def test_a_connection_to_itself_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may choose for our end the very port that nobody listens at; here it is told to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "create_connection", partial(loop.create_connection, local_addr=(host, port)))
    timers = Timers(1.0)
    with pytest.raises(ProxyError) as caught:
        await open_connection(
            host=host,
            port=port,
            unix_path=None,
            ssl=None,
            server_name=None,
            timeout_s=5.0,
            max_head_bytes=1000,
            timers=timers,
        )
    assert caught.value.kind is ErrorKind.CONNECT_REFUSED
    await asyncio.sleep(0)
    assert len(timers) == 0
    with socket.socket() as backend:  # it may have its port back
        backend.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        backend.bind((host, port))
