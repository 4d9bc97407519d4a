"""`weir healthcheck` against a listener of ours."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.cli.healthcheck import main


async def answering(response: bytes, path: Path | None = None) -> tuple[asyncio.AbstractServer, list[bytes]]:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(response)
        await writer.drain()
        writer.close()

    if path is not None:
        return await asyncio.start_unix_server(answer, path), asked
    return await asyncio.start_server(answer, "127.0.0.1", 0), asked


READY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\ndraining"


@pytest.mark.parametrize(
    ("response", "code"),
    [
        pytest.param(READY, 0, id="ready"),
        pytest.param(BUSY, 1, id="draining"),
        pytest.param(b"nonsense\r\n\r\n", 1, id="nonsense"),
        pytest.param(b"", 1, id="closed at once"),
    ],
)
async def test_the_answer_becomes_the_exit_code(response: bytes, code: int) -> None:
    server, asked = await answering(response)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await asyncio.to_thread(main, ["--admin", f"127.0.0.1:{port}"]) == code
    assert asked == [b"GET /readyz HTTP/1.1"]


async def test_a_unix_socket_does_as_well(tmp_path: Path) -> None:
    server, asked = await answering(READY, tmp_path / "admin.sock")
    async with server:
        arguments = ["--admin", f"unix:{tmp_path}/admin.sock", "--path", "/livez"]
        assert await asyncio.to_thread(main, arguments) == 0
    assert asked == [b"GET /livez HTTP/1.1"]


def test_nobody_there_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert main(["--admin", f"127.0.0.1:{closed.getsockname()[1]}"]) == 1
    assert "does not answer: Connection refused" in capsys.readouterr().err


def test_a_listener_that_says_nothing_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert main(["--admin", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.1"]) == 1
    assert "does not answer: timed out" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--timeout", "soon"], ["surplus"]], ids=" ".join)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_an_address_that_is_none_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--admin", "nowhere"]) == 1
    assert "write host:port or unix:/path" in capsys.readouterr().err
