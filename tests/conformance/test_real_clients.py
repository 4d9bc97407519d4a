"""Programs that people use, through Weir: a WebSocket client, curl, git and pip."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.conformance.weir import Weir

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE_BYTES = 100 * 2**20
HAS_CURL = shutil.which("curl") is not None
HAS_GIT = shutil.which("git") is not None


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def run(*command: str, stdin: str | None = None, cwd: Path | None = None, timeout_s: float = 60) -> str:
    """Standard output of a command that must succeed."""
    environment = {
        **os.environ,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": str(cwd or Path.cwd()),
        "no_proxy": "*",
    }
    with open(stdin or os.devnull, "rb") as source:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=environment,
        )
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    assert process.returncode == 0, f"{command}: {errors.decode()[-2000:]}"
    return output.decode()


# -- WebSocket --


async def _echo_socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=2**22, protocols=("chat",))
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data.startswith("close "):
            await socket.close(code=int(message.data[6:]), message=b"as asked")
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def test_websocket_messages_of_every_size_and_close_codes_pass(start_weir: Callable[..., Weir]) -> None:
    app = web.Application()
    app.router.add_get("/echo", _echo_socket)
    async with serving(app) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{start_weir(port).port}/echo"
        async with session.ws_connect(url, max_msg_size=2**22, protocols=("chat",), compress=15) as socket:
            assert socket.protocol == "chat"
            for size in (0, 1, 125, 126, 65535, 65536, 2**20):
                await socket.send_bytes(os.urandom(size) if size < 2**20 else b"x" * size)
                assert len((await socket.receive(10)).data) == size
                await socket.send_str("é" * size)
                assert (await socket.receive(10)).data == "é" * size
            for number in range(200):
                await socket.send_str(str(number))
            assert [(await socket.receive(10)).data for _ in range(200)] == [str(number) for number in range(200)]
            await socket.ping(b"are you there")
            await socket.send_str("last")
            assert (await socket.receive(10)).data == "last"
        for code in (1000, 1001, 1011, 3000, 4999):
            async with session.ws_connect(url) as socket:
                await socket.send_str(f"close {code}")
                message = await socket.receive(10)
                assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "as asked")


# -- curl --


async def _digest(request: web.Request) -> web.Response:
    digest, size = hashlib.sha256(), 0
    async for chunk in request.content.iter_chunked(2**18):
        digest.update(chunk)
        size += len(chunk)
    framing = "chunked" if "Transfer-Encoding" in request.headers else "length"
    return web.Response(text=f"{size} {digest.hexdigest()} {framing} {'Expect' in request.headers}")


async def _large(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(LARGE_BYTES // 2**20):
        await response.write(b"y" * 2**20)
    return response


@pytest.mark.skipif(not HAS_CURL, reason="curl is not installed")
@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("expects", [False, True], ids=["", "expect"])
async def test_curl_uploads_100_mb(
    start_weir: Callable[..., Weir], tmp_path: Path, framing: str, expects: bool
) -> None:
    app = web.Application(client_max_size=2**30)
    app.router.add_put("/upload", _digest)
    file = tmp_path / "large"
    block = hashlib.sha256(b"seed").digest() * 32768
    file.write_bytes(block * (LARGE_BYTES // len(block)))
    digest = hashlib.sha256(block * (LARGE_BYTES // len(block))).hexdigest()
    async with serving(app) as port:
        url = f"http://127.0.0.1:{start_weir(port).port}/upload"
        source = ["-T", "-"] if framing == "chunked" else ["-T", str(file)]
        expect = ["-H", "Expect: 100-continue", "--expect100-timeout", "20"] if expects else ["-H", "Expect:"]
        output = await run(
            "curl", "-sS", "-f", *expect, *source, url, stdin=str(file) if framing == "chunked" else None
        )
    assert output == f"{LARGE_BYTES} {digest} {framing} False"


@pytest.mark.skipif(not HAS_CURL, reason="curl is not installed")
async def test_curl_downloads_100_mb_in_chunks_and_in_old_http(start_weir: Callable[..., Weir], tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_get("/large", _large)
    async with serving(app) as port:
        url = f"http://127.0.0.1:{start_weir(port).port}/large"
        for version in ("--http1.1", "--http1.0"):
            file = tmp_path / "got"
            await run("curl", "-sS", "-f", version, "-o", str(file), url)
            assert file.stat().st_size == LARGE_BYTES


# -- git --


def _git_backend(root: Path) -> web.Application:
    """`git http-backend`, the CGI program, behind a few lines of CGI."""

    async def handle(request: web.Request) -> web.StreamResponse:
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "someone",
            "REMOTE_ADDR": "127.0.0.1",
        }
        content = await request.read()
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
        )
        output, _ = await process.communicate(content)
        fields, _, body = output.partition(b"\r\n\r\n")
        pairs = dict(line.split(": ", 1) for line in fields.decode().split("\r\n"))
        status = int(pairs.pop("Status", "200").split(" ")[0])
        response = web.StreamResponse(status=status, headers=pairs)
        await response.prepare(request)
        for at in range(0, len(body), 2**16):
            await response.write(body[at : at + 2**16])
        return response

    app = web.Application(client_max_size=2**30)
    # aiohttp would decode Content-Encoding; git packs its requests itself, and the program wants them as they came
    app.router.add_route("*", "/{path:.*}", handle)
    return app


@pytest.mark.skipif(not HAS_GIT, reason="git is not installed")
async def test_git_clones_and_pushes(start_weir: Callable[..., Weir], tmp_path: Path) -> None:
    served, work, again = tmp_path / "served", tmp_path / "work", tmp_path / "again"
    served.mkdir()
    await run("git", "init", "--quiet", "--bare", str(served / "project.git"), cwd=tmp_path)
    await run("git", "-C", str(served / "project.git"), "config", "http.receivepack", "true", cwd=tmp_path)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.test", "-c", "init.defaultBranch=main"]
    async with serving(_git_backend(served)) as port:
        url = f"http://127.0.0.1:{start_weir(port).port}/project.git"
        await run("git", *who, "clone", "--quiet", url, str(work), cwd=tmp_path)
        (work / "large").write_bytes(os.urandom(5 * 2**20))  # past git's buffer: the push goes in chunks
        for number in range(20):
            (work / f"file-{number}").write_text(f"{number}\n" * 100)
        await run("git", *who, "-C", str(work), "add", ".", cwd=tmp_path)
        await run("git", *who, "-C", str(work), "commit", "--quiet", "-m", "first", cwd=tmp_path)
        await run("git", *who, "-C", str(work), "push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=tmp_path)
        await run("git", *who, "clone", "--quiet", "--branch", "main", url, str(again), cwd=tmp_path)
    assert (again / "large").read_bytes() == (work / "large").read_bytes()
    assert (again / "file-7").read_text() == "7\n" * 100


# -- pip --


def _make_wheel(folder: Path) -> Path:
    name, info = "weir_probe-1.0-py3-none-any.whl", "weir_probe-1.0.dist-info"
    files = {
        "weir_probe.py": b"answer = 42\n" + b"#" * 200_000,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: weir-probe\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_STORED) as wheel:
        for path, data in files.items():
            wheel.writestr(path, data)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return folder / name


async def test_pip_downloads_from_an_index(start_weir: Callable[..., Weir], tmp_path: Path) -> None:
    wheel = _make_wheel(tmp_path)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page = f'<!DOCTYPE html><html><body><a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a></body></html>'

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(wheel)

    app = web.Application()
    app.router.add_get("/simple/weir-probe/", index)
    app.router.add_get(f"/files/{wheel.name}", file)
    got = tmp_path / "got"
    async with serving(app) as port:
        url = f"http://127.0.0.1:{start_weir(port).port}/simple"
        options = [
            "--quiet",
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--no-deps",
            "--isolated",
            "--index-url",
            url,
        ]
        await run(sys.executable, "-m", "pip", "download", *options, "--dest", str(got), "weir-probe", cwd=tmp_path)
    assert (got / wheel.name).read_bytes() == wheel.read_bytes()
