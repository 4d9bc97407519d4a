"""Our connections, hosted by aiohttp: its runner and sites give addresses, TLS and unix sockets.

Only the protocol factory is ours. The bytes never pass through aiohttp.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from aiohttp import web

from proxy.server.socket_files import SocketFile
from proxy.wire.downstream import DownstreamConnection
from proxy.wire.host import Host

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
ACCEPTS = 32  # handles on each listening socket


class Listener(Protocol):
    """Where to listen: `path` is set for a unix socket, else `host` and `port`; TLS from two files."""

    host: str
    port: int
    path: str
    cert: str | None
    key: str | None


class WeirServer(web.Server):
    """A web.Server whose protocol is our own connection."""

    def __init__(self, host: Host) -> None:
        super().__init__(_never)
        self._host = host

    def __call__(self) -> Any:
        return DownstreamConnection(self._host)

    @property
    def connections(self) -> list[Any]:
        return list(self._host.connections)

    def pre_shutdown(self) -> None:
        self._host.is_draining = True

    async def shutdown(self, timeout: float | None = None) -> None:
        for connection in list(self._host.connections):
            await connection.shutdown(timeout)


class Listeners:
    """Everything that is open. `close_sockets` stops accepting; `stop` cuts what is left."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._runner: web.ServerRunner | None = None
        self._files: list[SocketFile] = []
        self._certificates: list[tuple[ssl.SSLContext, str, str]] = []
        self.addresses: list[str] = []  # as printed: http://127.0.0.1:8080

    async def open(self, listeners: Sequence[Listener]) -> None:
        """Bind all of them. Raises OSError when one cannot be had; then none stays open."""
        self._runner = runner = web.ServerRunner(WeirServer(self._host), shutdown_timeout=0.0)
        await runner.setup()
        try:
            for listener in listeners:
                await self._open(runner, listener)
        except BaseException:
            await self.stop()
            raise

    async def close_sockets(self) -> None:
        """Accept nothing more. Connections that are open stay."""
        if self._runner is not None:
            for site in list(self._runner.sites):
                server = getattr(site, "_server", None)  # a site has no public way to stop without the runner
                if server is not None:
                    server.close()
        self._remove_files()

    async def stop(self) -> None:
        """Close what is left, without waiting."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        self._remove_files()

    def renew_certificates(self) -> None:
        """Read the files of every listener again, for connections to come. Raises OSError; then nothing changed."""
        for _, cert, key in self._certificates:
            tls_context(cert, key)  # a context that fails to load keeps neither the old certificate nor the new one
        for context, cert, key in self._certificates:
            context.load_cert_chain(cert, key, password=b"")

    async def _open(self, runner: web.ServerRunner, listener: Listener) -> None:
        context = None
        if listener.cert and listener.key:
            context = tls_context(listener.cert, listener.key)
            self._certificates.append((context, listener.cert, listener.key))
        scheme = "https" if context else "http"
        site: web.BaseSite
        if listener.path:
            SocketFile.claim(listener.path)
            site = web.UnixSite(runner, listener.path, ssl_context=context, backlog=BACKLOG)
            await site.start()
            await _accept_more(runner, site, context)
            self._files.append(SocketFile(listener.path))
            self.addresses.append(f"{scheme}+unix://{listener.path}")
            return
        site = web.TCPSite(runner, listener.host, listener.port, ssl_context=context, backlog=BACKLOG)
        await site.start()
        port = listener.port or int(runner.addresses[-1][1])
        await _accept_more(runner, site, context)
        name = f"[{listener.host}]" if ":" in listener.host else listener.host
        self.addresses.append(f"{scheme}://{name}:{port}")

    def _remove_files(self) -> None:
        for file in self._files:
            file.remove()
        self._files.clear()


async def _accept_more(runner: web.ServerRunner, site: web.BaseSite, context: ssl.SSLContext | None) -> None:
    """Have every turn of the loop accept up to ACCEPTS connections.

    libuv accepts one connection a turn for each handle. Under load a turn takes milliseconds, so that the last of a
    thousand clients who come at once would wait for seconds; further handles on the same socket make it one turn for
    many. A handle that finds nobody costs a failed accept, which does not show in what a connection costs.
    """
    server: Any = getattr(site, "_server", None)
    for bound in list(server.sockets):
        for _ in range(ACCEPTS - 1):
            handle = socket.socket(fileno=os.dup(bound.fileno()))
            await web.SockSite(runner, handle, ssl_context=context, backlog=BACKLOG).start()


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and later, for HTTP/1.1. Raises OSError (ssl.SSLError included) for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=b"")  # without a password OpenSSL would ask at the terminal
    except OSError as error:  # which names no file
        raise OSError(error.errno, f"{cert} is no certificate with its key {key}: {error.strerror or error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _never(request: web.BaseRequest) -> NoReturn:
    raise AssertionError("aiohttp parses nothing here")
