"""Opening a connection to an endpoint."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl as tls
import struct
from typing import TYPE_CHECKING, Any, cast

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import spawn
from proxy.wire.upstream import UpstreamConnection

if TYPE_CHECKING:
    from proxy.wire.spool import SpoolRoom
    from proxy.wire.timers import Timers


# no descriptor, no memory, no port is left here: it says nothing about the endpoint
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_RESET = struct.pack("ii", 1, 0)


async def open_connection(
    *,
    host: str,
    port: int,
    unix_path: str | None,
    ssl: tls.SSLContext | None,
    server_name: str | None,
    timeout_s: float,
    max_head_bytes: int,
    timers: Timers,
    room: SpoolRoom | None = None,
) -> UpstreamConnection:
    """Connect, and shake hands if `ssl` is given; waits `timeout_s` at most.

    Raises ProxyError: CONNECT_REFUSED, CONNECT_TIMEOUT, TLS_FAILED or OUT_OF_SOCKETS. No byte of a request has left.
    """
    loop = asyncio.get_running_loop()

    def protocol() -> UpstreamConnection:
        return UpstreamConnection(max_head_bytes, timers, room)

    if unix_path is not None:
        connecting: Any = loop.create_unix_connection(protocol, unix_path, ssl=ssl, server_hostname=server_name)
    else:
        connecting = loop.create_connection(protocol, host, port, ssl=ssl, server_hostname=server_name)
    # a task of its own: the caller may not be one yet (core/tasks.py), and a timeout needs somebody to cancel
    task = spawn(_connect(connecting), name="connect")
    try:
        done, _ = await asyncio.wait((task,), timeout=timeout_s)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise ProxyError(ErrorKind.CONNECT_TIMEOUT, f"no connection within {timeout_s:g} s")
    outcome = task.result()
    if isinstance(outcome, ProxyError):
        raise outcome
    return cast("UpstreamConnection", outcome)


async def _connect(connecting: Any) -> UpstreamConnection | ProxyError:
    """The connection, or why there is none, as a value: a background task's exception would be logged as a defect."""
    try:
        _, connection = await connecting
    except (tls.SSLError, tls.CertificateError) as error:
        return ProxyError(ErrorKind.TLS_FAILED, str(error))
    except OSError as error:
        if error.errno in _OURS:
            return ProxyError(ErrorKind.OUT_OF_SOCKETS, str(error), retry_after_s=1.0)
        return ProxyError(ErrorKind.CONNECT_REFUSED, str(error))
    transport = connection.transport
    here = transport.get_extra_info("sockname")
    if isinstance(here, tuple) and here == transport.get_extra_info("peername"):
        # nobody listens, and the kernel chose that very port for our end: TCP lets a socket talk to itself. As long as
        # it does, a backend that is being restarted cannot have its port back; without the reset, for a minute more
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
        return ProxyError(ErrorKind.CONNECT_REFUSED, "nobody listens there: it was connected to itself")
    return cast("UpstreamConnection", connection)
