"""The file for PgBouncer: what is in it, what another one is told, and that PgBouncer itself takes it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.database.ini import make_plan, render
from proxy.database.ini_check import check_ini
from proxy.database.settings import DatabasePoolSettings, DatabaseSettings, PgBouncerSettings
from proxy.database.sizing import plan_servers
from tests.database.conftest import Pooler, StartPgBouncer

ROOT = Path(__file__).parents[2]
POOLS = {"shop": DatabasePoolSettings(user="shop", size=20), "re-ports": DatabasePoolSettings(user="o'r x", size=5)}
PLAN = make_plan(PgBouncerSettings(clients=1000), plan_servers({"main": DatabaseSettings(pools=POOLS)}), 0)
GOOD = render(PLAN)


def settings_of(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and line[0] not in ";["]
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def test_the_file_says_what_the_rules_want() -> None:
    settings = settings_of(GOOD)
    wanted = {
        "pool_mode": "transaction",
        "max_client_conn": "1201",
        "query_wait_timeout": "5",
        "idle_transaction_timeout": "30",
        "server_idle_timeout": "60",
        "reserve_pool_size": "5",
        "reserve_pool_timeout": "1",
    }
    assert wanted.items() <= settings.items()
    assert settings["shop"] == (
        "host=127.0.0.1 port=5432 dbname=shop user=shop pool_size=20 reserve_pool=5 max_db_connections=25"
    )
    assert settings["re-ports"].startswith("host=127.0.0.1 port=5432 dbname=re-ports user='o''r x' ")


def test_every_value_has_a_reason_above_it_and_no_line_is_too_long() -> None:
    lines = GOOD.splitlines()
    start = lines.index("[pgbouncer]")
    for number in range(start + 1, len(lines)):
        if lines[number] and not lines[number].startswith(";"):
            assert lines[number - 1].startswith("; "), lines[number]
    assert max(map(len, lines)) <= 130


def test_the_same_configuration_gives_the_same_bytes() -> None:
    again = make_plan(PgBouncerSettings(clients=1000), plan_servers({"main": DatabaseSettings(pools=POOLS)}), 0)
    assert render(again) == GOOD


VERSIONS = [("1.18", False), ("1.20", False), ("1.21", True), ("1.24", True)]


@pytest.mark.parametrize(("version", "is_there"), VERSIONS)
def test_what_a_version_does_not_know_is_left_out(version: str, is_there: bool) -> None:
    text = render(make_plan(PgBouncerSettings(version=version), (), 0))
    assert ("max_prepared_statements" in text) is is_there


def test_a_wait_that_nobody_lives_to_see_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_wait is not below query_wait"):
        PgBouncerSettings(query_wait=1.0, max_wait=1.0)


def test_the_rendered_file_keeps_every_rule() -> None:
    assert check_ini(GOOD, PLAN) == []


def test_a_file_that_is_generous_in_the_right_direction_is_fine() -> None:
    text = GOOD.replace("max_client_conn = 1201", "max_client_conn = 5000").replace("_timeout = 5", "_timeout = 2")
    assert check_ini(text.replace("pool_mode = transaction", "POOL_MODE=Transaction"), PLAN) == []


BROKEN = [
    pytest.param("pool_mode = transaction", "pool_mode = session", "pool_mode is session", id="mode"),
    pytest.param("pool_mode = transaction", "", "pool_mode is not set, which means session", id="mode left out"),
    pytest.param("max_client_conn = 1201", "", "max_client_conn is not set, which means 100", id="clients left out"),
    pytest.param("max_client_conn = 1201", "max_client_conn = 1200", "max_client_conn is 1200, below", id="clients"),
    pytest.param("query_wait_timeout = 5", "query_wait_timeout = 120", "query_wait_timeout is 120, above", id="wait"),
    pytest.param("query_wait_timeout = 5", "query_wait_timeout = 0", "query_wait_timeout is 0, for ever", id="no end"),
    pytest.param("idle_transaction_timeout = 30", "", "idle_transaction_timeout is not set", id="open transactions"),
    pytest.param("auth_type = scram-sha-256", "auth_type = trust", "auth_type is trust", id="nobody proves anything"),
    pytest.param("pool_size=20", "pool_size=90", "", id="a size that max_db_connections still holds"),
    pytest.param(
        "pool_size=20 reserve_pool=5 max_db_connections=25",
        "pool_size=90",
        "the pools of main may open",
        id="more than the server has",
    ),
    pytest.param("shop = host", "other = host", "there is no pool `shop`", id="pool"),
    pytest.param("port=5432 dbname=shop", "port=5433 dbname=shop", "`shop` goes to 127.0.0.1:5433", id="server"),
    pytest.param("dbname=shop", "dbname=test", "`shop` is not the database `shop`", id="database"),
    pytest.param("user=shop ", "user=shop pool_mode=session ", "`shop` has pool_mode session", id="mode of a pool"),
    pytest.param("[pgbouncer]", "[pgbouncer]\n%include more.ini", "an included file is not looked into", id="include"),
    pytest.param("[pgbouncer]", "[pgbouncer]\nnonsense", "this is no setting", id="nonsense"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_a_file_that_breaks_a_rule_is_told_where(old: str, new: str, message: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    found = check_ini(text, PLAN)
    if not message:
        assert found == []
        return
    [difference] = [one for one in found if one.message.startswith(message)]
    assert (difference.line == 0) is (not new or message.startswith("there is no pool"))
    if difference.line:
        assert new.splitlines()[-1].split("=")[0].strip() in text.splitlines()[difference.line - 1]


@given(st.text(max_size=300))
def test_no_file_breaks_the_check(text: str) -> None:
    assert check_ini(text, PLAN)


async def test_pgbouncer_takes_the_file_and_a_thousand_statements_need_a_few_connections(
    start_pgbouncer: StartPgBouncer,
) -> None:
    pooler = start_pgbouncer(size=3)
    pids: set[int] = set()

    async def client() -> None:
        connection = await asyncpg.connect(pooler.url, statement_cache_size=0)
        for _ in range(10):
            async with connection.transaction():
                pids.add(await connection.fetchval("SELECT pg_backend_pid()"))
        await connection.close()

    await asyncio.gather(*(client() for _ in range(40)))
    assert 1 <= len(pids) <= 3


async def test_users_of_their_own_are_held_to_the_size_together(start_pgbouncer: StartPgBouncer) -> None:
    pooler = start_pgbouncer(size=2, forces_user=False)
    assert " user=" not in next(line for line in pooler.ini.splitlines() if line.startswith("app = "))
    admin = await asyncpg.connect(pooler.url, statement_cache_size=0)
    async with admin.transaction():
        assert await admin.fetchval("SELECT current_user") == "shop"
    await admin.close()


async def test_a_client_that_waits_too_long_is_told_in_time(start_pgbouncer: StartPgBouncer) -> None:
    pooler = start_pgbouncer(size=1, query_wait=1.0)
    holder, waiter = [await asyncpg.connect(pooler.url, statement_cache_size=0) for _ in range(2)]
    async with holder.transaction():
        await holder.fetchval("SELECT 1")
        async with asyncio.timeout(15):
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError), match=r"query_wait_timeout|closed"):
                await waiter.execute("BEGIN")
    holder.terminate()
    waiter.terminate()


CONFIG = """
version: 1
upstreams: {app: {primary: http://127.0.0.1:3000, pool: {max_in_flight: 50}}, other: {primary: http://127.0.0.1:3001}}
databases: {main: {upstreams: [app], pools: {shop: {}}}}
pgbouncer: {}
routes: [{name: all, upstream: app}]
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", "pgbouncer", "render", "-c", str(folder / "proxy.yaml"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_command_prints_a_file_and_compares_one(tmp_path: Path) -> None:
    (tmp_path / "proxy.yaml").write_text(CONFIG)
    rendered = run(tmp_path)
    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert (
        settings_of(rendered.stdout)["max_client_conn"] == "61"
    )  # 1.2 times the 50 of the upstream that uses it, and 1
    file = tmp_path / "pgbouncer.ini"
    file.write_text(rendered.stdout)
    assert run(tmp_path, "--check", str(file)).returncode == 0
    file.write_text(rendered.stdout.replace("pool_mode = transaction", "pool_mode = session"))
    compared = run(tmp_path, "--check", str(file))
    assert compared.returncode == 1
    assert (
        f"{file}:{rendered.stdout.splitlines().index('pool_mode = transaction') + 1}: pool_mode is session"
        in compared.stdout
    )
    assert run(tmp_path, "--check", str(tmp_path / "missing.ini")).returncode == 2


def test_a_bound_for_all_endpoints_bounds_the_connections_of_the_backend(tmp_path: Path) -> None:
    (tmp_path / "proxy.yaml").write_text(
        CONFIG.replace("max_in_flight: 50", "max_in_flight: 15, max_in_flight_total: 20").replace(
            "http://127.0.0.1:3000,", "[http://127.0.0.1:3000, http://127.0.0.1:3002],"
        )
    )
    rendered = run(tmp_path)
    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert settings_of(rendered.stdout)["max_client_conn"] == "25"  # 1.2 times 20 and not 30, and 1


def test_the_command_says_what_the_configuration_lacks(tmp_path: Path) -> None:
    (tmp_path / "proxy.yaml").write_text(CONFIG.replace("pgbouncer: {}", ""))
    result = run(tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "has no `pgbouncer`" in result.stderr


def test_the_running_pooler_has_what_was_rendered(transaction_pooler: Pooler) -> None:
    plan = make_plan(transaction_pooler.settings, plan_servers({"main": transaction_pooler.database}), 0)
    assert check_ini(transaction_pooler.ini, plan) == []
