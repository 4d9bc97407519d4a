"""`weir keys` against a real admin listener."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from proxy.admin.app import make_admin
from proxy.admin.health import Component
from proxy.admin.operator import Operator, Parts
from proxy.admin.runner import AdminRunner
from proxy.cli.app import app
from proxy.config.load import load
from proxy.core.clock import monotonic, wall
from proxy.core.units import Rate
from proxy.limits.controls import Controls
from proxy.limits.limit import Limit
from proxy.limits.memory_store import MemoryStore
from proxy.limits.settings import LimitSettings
from proxy.limits.shared.controls_store import ControlsStore
from proxy.observe.collector import Collector, Sources
from proxy.observe.observe import Observe

TOKEN = "a-token-of-the-tests"
BAN = ("--for", "15m", "--reason", "scraper")


class Weir:
    """A listener, what is behind it, and the command line."""

    address = "127.0.0.1:9901"

    def __init__(self) -> None:
        self.observe = Observe()
        self.metrics = Collector(Sources(self.observe))
        self.health = self
        self.store = MemoryStore(max_keys=1000)
        self.controls = Controls(wall)
        settings = {"rate": Rate(5, 60.0), "by": "ip"}
        self.limits = [
            Limit("per-ip", LimitSettings.model_validate(settings), "t.yaml:1"),
            Limit("per-user", LimitSettings.model_validate(settings | {"by": ["user", "ip"]}), "t.yaml:2"),
        ]
        self.sharing = ControlsStore(self.controls)
        self.admin = ""
        parts = Parts(
            tokens=lambda: {"alice": sha256(TOKEN.encode()).hexdigest()},
            limits=lambda: self.limits,
            routes=lambda: {"search"},
            store=self.store,
            controls=self.controls,
            sharing=self.sharing,
            audit=self.observe.audit,
            events=self.observe.events,
        )
        self.operator = Operator(parts)

    def is_started(self) -> bool:
        return True

    def is_draining(self) -> bool:
        return False

    async def components(self) -> Sequence[Component]:
        return []

    def spend(self, times: int) -> None:
        limit = self.limits[0]
        for _ in range(times):
            if self.store.decide((limit.live,), [limit.prefix + b"{i203.0.113.7}"], monotonic()).denied:
                limit.stats.offenders.note(limit.prefix + b"{i203.0.113.7}", monotonic())
                limit.stats.denied += 1

    async def keys(self, *arguments: str, **environment: str | None) -> Result:
        """Run the verb with the token and the address in the environment, unless something else is said."""
        given = {"WEIR_TOKEN": TOKEN, "WEIR_ADMIN": self.admin, "TERM": "dumb", "COLUMNS": "200"} | environment
        return await asyncio.to_thread(CliRunner().invoke, app, ["keys", *arguments], env=given, prog_name="weir")


@pytest.fixture
async def weir() -> AsyncIterator[Weir]:
    made = Weir()
    runner = AdminRunner(make_admin(made, made.operator))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.admin = f"127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_limits_are_a_table(weir: Weir) -> None:
    weir.spend(8)
    result = await weir.keys("limits")
    assert result.exit_code == 0
    head, first, second = result.stdout.splitlines()
    assert head.split()[:4] == ["limit", "rate", "by", "mode"]
    assert first.split() == ["per-ip", "5/min", "ip", "enforce", "0", "3", "0", "0", "0", "203.0.113.7", "(3)"]
    assert second.split()[:4] == ["per-user", "5/min", "user+ip", "enforce"]


async def test_the_heaviest_keys_are_a_table(weir: Weir) -> None:
    weir.spend(8)
    assert (await weir.keys("top", "per-ip")).stdout.splitlines()[1].split() == ["203.0.113.7", "3", "3"]
    assert (await weir.keys("top", "per-user")).stdout == "per-user has denied nobody of late\n"


async def test_a_key_is_told_in_words(weir: Weir) -> None:
    weir.spend(5)
    await weir.keys("ban", "per-ip", "203.0.113.7", *BAN)
    result = await weir.keys("show", "per-ip", "203.0.113.7")
    assert result.exit_code == 0
    said = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if not line.startswith(("next", "full")))
    assert said["limit"] == "per-ip  5/min, gcra"
    assert said["remaining"] == "0 of 5"
    assert said["ban"].endswith("by alice: scraper")
    assert "next request   refused: the key is banned" in result.stdout


async def test_a_key_is_banned_and_let_go(weir: Weir) -> None:
    result = await weir.keys("ban", "per-ip", "203.0.113.7", *BAN)
    assert (result.exit_code, result.stdout) == (0, "203.0.113.7 is banned on per-ip for 15m\n")
    assert weir.controls.counts()["ban"] == 1
    row = (await weir.keys("list")).stdout.splitlines()[1].split()
    assert row == ["ban", "per-ip", "203.0.113.7", "15m", "alice", "scraper"]
    result = await weir.keys("unban", "per-ip", "203.0.113.7", "--reason", "it was us")
    assert (result.exit_code, result.stdout) == (0, "203.0.113.7 is banned no more on per-ip\n")
    assert (await weir.keys("list")).stdout == "nothing is in force beside the configuration\n"
    rows = [line.split()[1:] for line in (await weir.keys("audit")).stdout.splitlines()[1:]]
    assert rows[0] == ["alice", "unban", "per-ip", "203.0.113.7", "it", "was", "us"]
    assert rows[1][:5] == ["alice", "ban", "per-ip", "203.0.113.7", "scraper"]


@pytest.mark.parametrize(
    ("arguments", "back", "slot"),
    [
        pytest.param(
            ["allow", "per-user", "a/b%7C[red]|1.2.3.4"], "disallow", ("allow", "per-user", "a/b|[red]"), id="allow"
        ),
        pytest.param(
            ["override", "per-ip", "2001:db8::1", "--rate", "600/min", "--burst", "50"],
            "restore",
            ("override", "per-ip", "2001:db8::/64"),
            id="override",
        ),
        pytest.param(["kill", "user", "jörg/x"], "revive", ("kill", "user", "jörg/x"), id="kill"),
        pytest.param(["kill", "all"], "revive", ("kill", "all", ""), id="kill all"),
    ],
)
async def test_what_is_decided_can_be_taken_back(
    weir: Weir, arguments: list[str], back: str, slot: tuple[str, str, str]
) -> None:
    result = await weir.keys(*arguments, *BAN)
    assert result.exit_code == 0, result.output
    (entry,) = weir.controls.entries()
    assert entry.slot[:2] == slot[:2]
    assert slot[2].encode() in entry.slot[2]
    listed = await weir.keys("list")
    assert slot[2] in listed.stdout.replace("%7C", "|")
    assert (await weir.keys(back, *arguments[1:3])).exit_code == 0
    assert weir.controls.is_empty


async def test_a_reset_gives_a_key_everything_back(weir: Weir) -> None:
    weir.spend(7)
    result = await weir.keys("reset", "per-ip", "203.0.113.7")
    assert (result.exit_code, result.stdout) == (0, "203.0.113.7 has everything back on per-ip\n")
    assert json.loads((await weir.keys("show", "per-ip", "203.0.113.7", "--json")).stdout)["remaining"] == 5


async def test_an_override_can_give_everything_back_as_well(weir: Weir) -> None:
    weir.spend(7)
    arguments = ["override", "per-ip", "203.0.113.7", "--rate", "50/min", "--reset", *BAN]
    assert (await weir.keys(*arguments)).exit_code == 0
    assert json.loads((await weir.keys("show", "per-ip", "203.0.113.7", "--json")).stdout)["remaining"] == 50


@pytest.mark.parametrize("verb", [["limits"], ["list"], ["top", "per-ip"], ["audit"], ["show", "per-ip", "1.2.3.4"]])
async def test_programs_get_json(weir: Weir, verb: list[str]) -> None:
    assert isinstance(json.loads((await weir.keys(*verb, "--json")).stdout), dict)


async def test_a_decision_that_is_not_shared_yet_says_so(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_shared() -> bool:
        return False

    monkeypatch.setattr(weir.sharing, "is_shared", is_shared)
    result = await weir.keys("ban", "per-ip", "203.0.113.7", *BAN)
    assert result.exit_code == 0
    assert "the store is away: this Weir has it now" in result.stderr


# What goes wrong.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["show", "nope", "x"], "There is no such limit.\nlimits: per-ip, per-user", id="limit"),
        pytest.param(["show", "per-ip", "alice"], "`alice` is not an address", id="key"),
        pytest.param(["unban", "per-ip", "1.2.3.4"], "There is no ban to take back.", id="nothing to take back"),
        pytest.param(["kill", "route", "nope", *BAN], "There is no such route.\nroutes: search", id="route"),
        pytest.param(
            ["ban", "per-ip", "1.2.3.4", "--for", "31d", "--reason", "x"], "for: write 1s to 30d", id="too long"
        ),
    ],
)
async def test_a_refusal_is_a_sentence_and_exit_code_1(weir: Weir, arguments: list[str], said: str) -> None:
    result = await weir.keys(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"weir at {weir.admin} says: {said}")
    assert result.stdout == ""


async def test_a_wrong_token_is_said(weir: Weir) -> None:
    result = await weir.keys("list", WEIR_TOKEN="wrong")
    assert result.exit_code == 1
    assert "This needs a token that is known here." in result.stderr
    assert "wrong" not in result.stderr


async def test_the_token_may_be_in_a_file(weir: Weir, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    result = await weir.keys("list", "--token-file", str(tmp_path / "token"), WEIR_TOKEN=None)
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--token-file", "nowhere"],
        ["ban", "per-ip", "1.2.3.4", "--for", "15m"],
        ["ban", "per-ip", "1.2.3.4", "--reason", "x"],
        ["kill", "all", "search", *BAN],
        ["kill", "route", *BAN],
        ["kill", "planet", "earth", *BAN],
        ["curse"],
    ],
    ids=" ".join,
)
async def test_wrong_usage_exits_with_2(weir: Weir, arguments: list[str]) -> None:
    token = None if arguments[0] == "list" else TOKEN
    assert (await weir.keys(*arguments, WEIR_TOKEN=token)).exit_code == 2
    assert weir.controls.is_empty


async def test_nobody_there_is_said(weir: Weir) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        admin = f"127.0.0.1:{closed.getsockname()[1]}"
        result = await weir.keys("list", "--admin", admin)
    assert (result.exit_code, result.stderr) == (1, f"weir at {admin} does not answer: Connection refused\n")


async def test_something_else_there_is_said(weir: Weir) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        admin = f"127.0.0.1:{other.sockets[0].getsockname()[1]}"
        result = await weir.keys("list", WEIR_ADMIN=admin)
    assert result.exit_code == 1
    assert "is no Weir's admin listener" in result.stderr


async def test_the_address_comes_from_the_configuration(weir: Weir, tmp_path: Path) -> None:
    config = tmp_path / "proxy.yaml"
    text = "version: 1\nupstreams: {app: {primary: http://127.0.0.1:1}}\nroutes: [{name: all, upstream: app}]\n"
    config.write_text(f"{text}admin: {weir.admin}\n")
    assert (await weir.keys("list", "-c", str(config), WEIR_ADMIN=None)).exit_code == 0
    config.write_text(f"{text}admin: off\n")
    assert (await weir.keys("list", "-c", str(config), WEIR_ADMIN=None)).exit_code == 2
    config.write_text(f"{text}adnim: {weir.admin}\n")
    assert (await weir.keys("list", "-c", str(config), WEIR_ADMIN=None)).exit_code == 2


async def test_it_works_over_a_unix_socket(weir: Weir, tmp_path: Path) -> None:
    runner = AdminRunner(make_admin(weir, Operator(weir.operator._parts)))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "admin.sock")).start()
    assert (await weir.keys("list", "--admin", f"unix:{tmp_path}/admin.sock")).exit_code == 0
    await runner.cleanup()


async def test_a_token_is_made_with_what_the_configuration_needs(weir: Weir, tmp_path: Path) -> None:
    result = await weir.keys("token", "bob")
    token = result.stdout.strip()
    assert len(token) > 40
    config = tmp_path / "proxy.yaml"
    text = "version: 1\nupstreams: {app: {primary: http://127.0.0.1:1}}\nroutes: [{name: all, upstream: app}]\n"
    config.write_text(text + result.stderr.partition("proxy.yaml:")[2])
    settings: Any = load(str(config)).settings
    assert settings.operator.tokens == {"bob": sha256(token.encode()).hexdigest()}
    assert token not in result.stderr
