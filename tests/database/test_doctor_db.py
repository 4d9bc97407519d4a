"""`weir doctor db` against a real Postgres, directly and through a real PgBouncer."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from proxy.cli.demo_postgres import Postgres
from proxy.cli.demo_processes import free_ports
from proxy.database import doctor
from proxy.database.connection_string import parse_connection_string
from proxy.database.doctor import examine
from tests.database.conftest import Pooler, StartPgBouncer

ROOT = Path(__file__).parents[2]


async def texts(url: str, mode: Any = "transaction", *, of: str = "error") -> list[str]:
    return [found.text for found in await examine(parse_connection_string(url), mode) if found.level == of]


async def test_a_direct_connection_is_not_fit_for_transaction_mode(postgres: Postgres) -> None:
    [error] = await texts(postgres.url("main"))
    assert error.startswith("there is no pooler in between")


async def test_a_direct_connection_is_fit_where_one_is_wanted(postgres: Postgres) -> None:
    assert await texts(postgres.url("main"), "direct") == []
    right = await texts(postgres.url("main"), "direct", of="ok")
    assert "there is no pooler in between" in right
    assert "no transaction is left open" in right
    assert any(" of 27 connections of the server are in use" in text for text in right)


async def test_transaction_mode_is_seen_with_what_it_costs(transaction_pooler: Pooler) -> None:
    assert await texts(transaction_pooler.url) == []
    assert "there is a pooler in between, in transaction mode" in await texts(transaction_pooler.url, of="ok")
    warnings = " ".join(await texts(transaction_pooler.url, of="warning"))
    assert "a prepared statement is lost" in warnings
    assert "a SET without LOCAL stays" in warnings
    assert "pg_advisory_lock stays" in warnings


async def test_session_mode_is_seen(session_pooler: Pooler) -> None:
    assert await texts(session_pooler.url) == ["there is a pooler in between, in session mode"]
    assert await texts(session_pooler.url, "session") == []


async def test_a_pool_of_one_is_seen_as_transaction_mode(start_pgbouncer: StartPgBouncer) -> None:
    pooler = start_pgbouncer(size=1)
    assert "there is a pooler in between, in transaction mode" in await texts(pooler.url, of="ok")


async def test_the_examination_leaves_nothing_in_the_pool(transaction_pooler: Pooler, postgres: Postgres) -> None:
    for _ in range(3):
        await examine(parse_connection_string(transaction_pooler.url), "transaction")
    server = await asyncpg.connect(postgres.url("main"))
    assert await server.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    await server.close()
    client = await asyncpg.connect(transaction_pooler.url, statement_cache_size=0)
    async with client.transaction():
        assert await client.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'weir%'") == 0
        assert await client.fetchval("SELECT current_setting('weir_doctor.mark', true)") in (None, "")
    await client.close()


async def test_a_transaction_that_somebody_forgot_is_found(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    query = doctor._ACTIVITY.replace("interval '5 s'", "interval '0 s'")
    monkeypatch.setattr(doctor, "_ACTIVITY", query)
    forgetful = await asyncpg.connect(postgres.url("main"))
    await forgetful.execute("BEGIN")
    await forgetful.fetchval("SELECT 1")
    assert any("a transaction is open and idle" in text for text in await texts(postgres.url("main"), "direct"))
    await forgetful.execute("ROLLBACK")
    assert await texts(postgres.url("main"), "direct") == []
    await forgetful.close()


async def test_a_server_without_room_is_named(postgres: Postgres) -> None:
    clients = [await asyncpg.connect(postgres.url("main"))]
    counted = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    others = await clients[0].fetchval(counted) - 1  # of the poolers of other tests
    clients += [await asyncpg.connect(postgres.url("main")) for _ in range(21 - others)]
    crowded = await texts(postgres.url("main"), "direct", of="warning")
    clients += [await asyncpg.connect(postgres.url("main")) for _ in range(4)]
    full = await texts(postgres.url("main"), "direct")
    for client in clients:
        await client.close()
    assert any("of 27 connections of the server are in use" in text for text in crowded)
    assert any("of 27 connections of the server are in use" in text for text in full)


REFUSALS = [
    pytest.param(lambda url: url.replace("/app", "/nothing"), "PgBouncer does not know this database", id="database"),
    pytest.param(lambda url: url.replace("shop:", "shop:not-"), "check the", id="password"),
    pytest.param(lambda url: url.replace("//shop:", "//nobody:"), "", id="user"),
]


@pytest.mark.parametrize(("edit", "advice"), REFUSALS)
async def test_a_refusal_is_explained_and_holds_no_password(transaction_pooler: Pooler, edit: Any, advice: str) -> None:
    string = parse_connection_string(edit(transaction_pooler.url))
    findings = await examine(string, "transaction")
    assert findings[-1].level == "error"
    assert findings[-1].text.startswith("no connection: ")
    assert findings[-1].advice.startswith(advice)
    assert string.password is not None
    assert all(string.password not in finding.text + finding.advice for finding in findings)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


async def test_who_never_answers_is_given_up(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CONNECT_S", 0.2)
    async with asyncio.timeout(10):
        [error] = await texts(f"postgresql://a:b@127.0.0.1:{silent_port}/c")
    assert error == "no connection: no answer in time"


async def test_parameters_for_other_programs_are_not_sent_and_those_of_tls_are(postgres: Postgres) -> None:
    url = postgres.url("main")
    assert await texts(f"{url}?pgbouncer=true&connection_limit=5&sslmode=disable", "direct") == []
    [error] = await texts(f"{url}?sslmode=require", "direct")
    assert error.startswith("no connection: ")
    [error] = await texts(f"{url}?sslmode=verify-full&sslrootcert=/missing.pem", "direct")
    assert error.startswith("no connection: ")


async def test_a_server_that_is_away_is_told_as_such() -> None:
    [port] = free_ports(1)
    [error] = await texts(f"postgresql://a:secret@127.0.0.1:{port}/c")
    assert error.startswith("no connection: ")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", "doctor", "db", *arguments]
    given = {**os.environ, "NO_COLOR": "1", **environment}
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=60)


def test_the_command_takes_the_string_from_the_environment_and_never_shows_it(postgres: Postgres) -> None:
    result = run("--mode", "direct", DATABASE_URL=postgres.url("main"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Fit for a direct connection." in result.stdout
    assert postgres.password not in result.stdout + result.stderr


def test_the_command_ends_with_1_when_something_must_change(postgres: Postgres) -> None:
    result = run("--format", "json", "$OTHER", OTHER=postgres.url("main"))
    assert result.returncode == 1, result.stdout + result.stderr
    shown = json.loads(result.stdout)
    assert shown["ok"] is False
    assert {"error", "ok"} <= {finding["level"] for finding in shown["findings"]}


def test_the_command_ends_with_2_for_what_is_no_connection_string() -> None:
    result = run("mysql://user:a-secret@host/db")
    assert (result.returncode, result.stdout) == (2, "")
    assert "not Postgres" in result.stderr
    assert "a-secret" not in result.stderr
