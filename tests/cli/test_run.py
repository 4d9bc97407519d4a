"""`weir run` as a process: started, asked, reloaded, stopped."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, web

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 20.0


class Weir:
    """A running `weir run`, with what it said on standard error so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    @classmethod
    async def started(cls, folder: Path, *arguments: str) -> Weir:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "run", *arguments),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until standard error matches."""
        stream = self.process.stderr
        assert stream is not None
        async with asyncio.timeout(PATIENCE_S):
            while (match := re.search(pattern, self.said)) is None:
                line = await stream.readline()
                assert line, f"weir ended; it said:\n{self.said}"
                self.said += line.decode()
        return match

    async def ends(self) -> int:
        stream = self.process.stderr
        assert stream is not None
        async with asyncio.timeout(PATIENCE_S):
            self.said += (await stream.read()).decode()
            return await self.process.wait()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ends()


Start = Callable[..., Awaitable[Weir]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start("--to", url)`. Whatever still runs after the test is ended."""
    running: list[Weir] = []

    async def start(*arguments: str) -> Weir:
        running.append(await Weir.started(tmp_path, *arguments))
        return running[-1]

    yield start
    for weir in running:
        if weir.process.returncode is None:
            weir.process.kill()
            await weir.ends()


@pytest.fixture
async def backend() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"hello {request.path}")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def get(url: str) -> tuple[int, str]:
    async with ClientSession(timeout=ClientTimeout(PATIENCE_S)) as session, session.get(url) as response:
        return response.status, await response.text()


def configuration(backend: str, rate: str = "2/h", more: str = "") -> str:
    return f"""
version: 1
listen: 127.0.0.1:0
admin: 127.0.0.1:0
upstreams: {{app: {{primary: "{backend}"}}}}
limits: {{per-ip: {{rate: {rate}}}}}
routes: [{{name: all, upstream: app, limits: [per-ip]}}]
{more}
"""


async def test_without_a_file_it_limits_what_it_passes_on(backend: str, start: Start) -> None:
    weir = await start("--to", backend, "--limit", "2/h", "--listen", "127.0.0.1:0", "--admin", "off")
    url = (await weir.says(r"listening +(http://127\.0\.0\.1:[0-9]+)"))[1]
    assert await get(f"{url}/a") == (200, "hello /a")
    assert (await get(f"{url}/b"))[0] == 200
    assert (await get(f"{url}/c"))[0] == 429
    assert await weir.stop() == 0


async def test_the_lines_of_the_start_are_facts(backend: str, tmp_path: Path, start: Start) -> None:
    (tmp_path / "proxy.yaml").write_text(configuration(backend))
    weir = await start()
    await weir.says(r"reload +kill -HUP [0-9]+\n")
    lines = [line.split(maxsplit=1) for line in weir.said.splitlines()]
    assert lines[0][0] == "weir"
    assert lines[0][1].endswith("proxy.yaml")
    facts = dict(lines[1:])
    assert facts["upstream"] == f"app: {backend.removeprefix('http://')}"
    assert facts["store"] == "memory: limits count in this process alone"
    assert (facts["limits"], facts["routes"]) == ("1: per-ip 2/h", "1: all")
    admin = facts["admin"].split()[0]
    assert (await get(f"{admin}/livez"))[0] == 200
    assert await weir.stop() == 0


async def test_a_bad_reload_changes_nothing_and_is_told_and_a_good_one_is_in_force(
    backend: str, tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text(configuration(backend))
    weir = await start()
    url = (await weir.says(r"listening +(http://[^\n]+)"))[1]
    await weir.says("reload ")
    path.write_text(configuration(backend, more="listne: 1"))
    weir.process.send_signal(signal.SIGHUP)
    await weir.says("did you mean `listen`")
    assert (await get(url))[0] == 200
    path.write_text(
        configuration(backend, more="defaults: {}").replace("name: all", "name: everything, match: {path: /x}")
    )
    weir.process.send_signal(signal.SIGHUP)
    await weir.says("reload_ok|new configuration is in force")
    assert (await get(f"{url}/y"))[0] == 404
    assert (await get(f"{url}/x"))[0] == 200
    assert await weir.stop() == 0


async def test_an_address_that_is_taken_ends_it_with_1(backend: str, start: Start) -> None:
    taken = backend.removeprefix("http://")
    weir = await start("--to", backend, "--listen", taken, "--admin", "off")
    assert await weir.ends() == 1
    assert "cannot start" in weir.said
    assert "Traceback" not in weir.said
