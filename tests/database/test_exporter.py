"""What Weir hears from a real PgBouncer's console, and what it does when nobody or somebody else answers there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest

from proxy.cli.demo_postgres import Postgres
from proxy.cli.demo_processes import free_ports
from proxy.database import exporter as exporter_file
from proxy.database.console import Console, ProtocolError
from proxy.database.console_url import parse_console_url
from proxy.database.exporter import Exporter
from proxy.database.settings import DatabasePoolSettings, DatabaseSettings, PgBouncerSettings
from proxy.observe.definitions import SECTIONS
from proxy.upstreams.address import parse_address
from proxy.upstreams.registry import Registry
from proxy.upstreams.upstream import PoolNumbers, Upstream
from tests.database.conftest import Pooler, StartPgBouncer
from tests.database.contention import somebody_waits
from tests.line.process import Weir, eventually

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DATABASES = {"main": DatabaseSettings(pools={"app": DatabasePoolSettings()})}


@pytest.fixture
async def exporter() -> AsyncIterator[Exporter]:
    """Not started: the tests call its rounds."""
    made = Exporter(lambda: None)
    yield made
    await made.stop()


async def test_the_pools_of_a_real_console_are_read(exporter: Exporter, transaction_pooler: Pooler) -> None:
    client = await asyncpg.connect(transaction_pooler.url, statement_cache_size=0)
    async with client.transaction():
        await client.fetchval("SELECT 1")
        exporter.use(transaction_pooler.settings, {"main": transaction_pooler.database})
        await exporter.read_once()
    await client.close()
    state = exporter.pools["app"]
    assert exporter.error is None
    assert (state.client_active, state.client_waiting, state.server_active) == (1, 0, 1)
    assert exporter.share_of("any") == 1.0
    status = exporter.status()
    assert status["error"] is None
    assert "console word" not in repr(status)


SIGNING_IN = ["scram-sha-256", "md5", "trust"]


@pytest.mark.parametrize("auth_type", SIGNING_IN)
async def test_every_way_to_sign_in_works(start_pgbouncer: StartPgBouncer, auth_type: str) -> None:
    pooler = start_pgbouncer(auth_type=auth_type)
    console = await Console.open(parse_console_url(pooler.settings.console))
    rows = await console.ask("SHOW VERSION")
    with pytest.raises(ProtocolError):
        await console.ask("SHOW NONSENSE")
    again = await console.ask("SHOW VERSION")
    console.close()
    assert rows == again
    assert "PgBouncer" in str(rows[0]["version"])


@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5"])
async def test_a_wrong_password_is_refused(start_pgbouncer: StartPgBouncer, auth_type: str) -> None:
    pooler = start_pgbouncer(auth_type=auth_type)
    url = pooler.settings.console.replace("console%20word", "other")
    with pytest.raises(ProtocolError, match="auth"):
        await Console.open(parse_console_url(url))


async def test_the_console_is_reached_over_a_unix_socket(start_pgbouncer: StartPgBouncer, postgres: Postgres) -> None:
    pooler = start_pgbouncer(socket_folder=str(postgres.folder))
    folder = str(postgres.folder).replace("/", "%2F")
    exporter = Exporter(lambda: None)
    console = pooler.settings.console.replace("127.0.0.1", folder)
    exporter.use(pooler.settings.model_copy(update={"console": console}), {"main": pooler.database})
    await exporter.read_once()
    assert exporter.error is None
    assert str(postgres.folder) in exporter.status()["console"]
    await exporter.stop()


async def test_a_pooler_that_is_taken_out_of_the_configuration_holds_nothing_back(exporter: Exporter) -> None:
    exporter.use(PgBouncerSettings(console="postgresql://weir@127.0.0.1:1/pgbouncer"), DATABASES)
    exporter.shares["main"] = 0.5
    exporter.use(PgBouncerSettings(console="postgresql://weir@127.0.0.1:1/pgbouncer", max_wait=1.0), DATABASES)
    kept = exporter.share_of("app")
    exporter.use(None, DATABASES)
    assert (kept, exporter.share_of("app"), exporter.is_on) == (0.5, 1.0, False)


async def test_a_long_wait_for_the_database_halves_what_the_backend_gets_and_its_end_gives_it_back(
    start_pgbouncer: StartPgBouncer,
) -> None:
    pooler = start_pgbouncer(size=1, max_wait=0.2)
    changes: list[float] = []
    exporter = Exporter(lambda: changes.append(exporter.share_of("app")))
    exporter.use(pooler.settings, {"main": pooler.database})
    async with somebody_waits(pooler.url):
        async with asyncio.timeout(20):
            while not changes:
                await asyncio.sleep(0.05)
                await exporter.read_once()
    assert changes == [0.5]
    assert exporter.pools["app"].client_waiting == 1
    for _ in range(4):
        await exporter.read_once()
    assert changes == [0.5, 0.625, 0.75, 0.875, 1.0]
    await exporter.stop()


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[PgBouncerSettings]:
    """Somebody at the console's address who is no PgBouncer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield PgBouncerSettings(console=f"postgresql://weir:x@127.0.0.1:{port}/pgbouncer")


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def ask_for_kerberos(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"R\0\0\0\x08\0\0\0\x07")
    await reader.read()


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IT\0\0\x10\0\0\x05ab")
    await writer.drain()


async def lie_about_columns(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IT\0\0\0\x06\0\x05Z\0\0\0\x05I")
    await reader.read()


FAULTS = [
    pytest.param(hang_up, "onnection", id="hangs up"),
    pytest.param(stall, "no answer within", id="stalls"),
    pytest.param(speak_http, "not the Postgres protocol", id="speaks HTTP"),
    pytest.param(ask_for_kerberos, "a way to sign in that is not known", id="wants another way to sign in"),
    pytest.param(break_off, "onnection", id="breaks off in a message"),
    pytest.param(lie_about_columns, "malformed", id="lies about its columns"),
]


@pytest.mark.parametrize(("answer", "reason"), FAULTS)
async def test_whoever_is_there_instead_costs_one_round_and_holds_nothing_back(
    exporter: Exporter, answer: Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter_file, "TIMEOUT_S", 0.3)
    async with listening(answer) as settings:
        exporter.use(settings, DATABASES)
        exporter.shares["main"] = 0.5
        await exporter.read_once()
        assert reason in str(exporter.error)
        assert (exporter.pools, exporter.share_of("app"), exporter.failures) == ({}, 1.0, 1)
        await exporter.stop()


class Slow:
    """A console that signs in, and answers, when it is told to; it has no pools."""

    def __init__(self) -> None:
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            self.is_asked.set()
            await self.may_answer.wait()
            writer.write(b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I")


@pytest.mark.parametrize("is_open", [False, True], ids=["while it is opened", "while it answers"])
async def test_a_reload_that_moves_the_console_asks_the_new_one_and_calls_none_of_them_away(
    exporter: Exporter, transaction_pooler: Pooler, is_open: bool
) -> None:
    slow = Slow()
    async with listening(slow) as settings:
        exporter.use(settings, {"main": transaction_pooler.database})
        if is_open:
            slow.may_answer.set()
            await exporter.read_once()
            slow.is_asked.clear()
            slow.may_answer.clear()
        reading = asyncio.ensure_future(exporter.read_once())
        await slow.is_asked.wait()
        exporter.use(transaction_pooler.settings, {"main": transaction_pooler.database})
        slow.may_answer.set()
        await reading
        assert (exporter.error, exporter.failures) == (None, 0)
        client = await asyncpg.connect(transaction_pooler.url, statement_cache_size=0)
        await exporter.read_once()
        await client.close()
    assert (exporter.error, exporter.failures) == (None, 0)
    assert "app" in exporter.pools


async def test_a_console_that_is_away_and_comes_back_is_read_again(
    exporter: Exporter, transaction_pooler: Pooler
) -> None:
    [port] = free_ports(1)
    away = transaction_pooler.settings.model_copy(update={"console": f"postgresql://weir:x@127.0.0.1:{port}/pgbouncer"})
    exporter.use(away, DATABASES)
    await exporter.read_once()
    assert exporter.error is not None
    exporter.use(transaction_pooler.settings, DATABASES)
    await exporter.read_once()
    assert exporter.error is None


async def test_it_reads_by_itself_and_stops_at_once(transaction_pooler: Pooler) -> None:
    exporter = Exporter(lambda: None)
    exporter.start(transaction_pooler.settings, {"main": transaction_pooler.database})
    async with asyncio.timeout(10):
        while "read_s_ago" not in exporter.status():
            await asyncio.sleep(0.01)
        await exporter.stop()


async def test_without_a_console_nothing_is_asked() -> None:
    exporter = Exporter(lambda: None)
    exporter.start(PgBouncerSettings(), DATABASES)
    await asyncio.sleep(0)
    assert (exporter.is_on, exporter.failures, exporter.share_of("app")) == (False, 0, 1.0)
    await exporter.stop()


OWN, ALL, NOBODYS = DatabaseSettings(upstreams=("one",)), DatabaseSettings(), DatabaseSettings(upstreams=())
SHARES = [
    pytest.param({"a": (OWN, 0.5)}, "one", 0.5, id="its own server"),
    pytest.param({"a": (OWN, 0.5)}, "two", 1.0, id="not its server"),
    pytest.param({"a": (OWN, 0.5), "b": (ALL, 0.75)}, "two", 0.75, id="a server for all"),
    pytest.param({"a": (OWN, 0.5), "b": (ALL, 0.75)}, "one", 0.5, id="the least of several"),
    pytest.param({"a": (NOBODYS, 0.5)}, "one", 1.0, id="a server for none"),
    pytest.param({}, "one", 1.0, id="no server"),
]


@pytest.mark.parametrize(("servers", "upstream", "share"), SHARES)
def test_an_upstream_follows_the_servers_that_it_uses(
    servers: dict[str, tuple[DatabaseSettings, float]], upstream: str, share: float
) -> None:
    exporter = Exporter(lambda: None)
    exporter.use(PgBouncerSettings(), {name: settings for name, (settings, _) in servers.items()})
    exporter.shares = {name: share for name, (_, share) in servers.items()}
    assert exporter.share_of(upstream) == share


HELD_BACK = [
    pytest.param(1.0, None, (64, None), id="all"),
    pytest.param(0.5, None, (32, None), id="half"),
    pytest.param(0.0, None, (1, None), id="never less than one"),
    pytest.param(0.999, None, (63, None), id="rounded down"),
    pytest.param(0.5, 80, (32, 40), id="half of a bound for all endpoints too"),
    pytest.param(0.1, 3, (6, 1), id="never less than one together"),
    pytest.param(1.0, 80, (64, 80), id="all of a bound for all endpoints"),
]


@pytest.mark.parametrize(("share", "total", "most"), HELD_BACK)
async def test_endpoints_get_their_share_and_all_of_it_back(
    share: float, total: int | None, most: tuple[int, int | None]
) -> None:
    async def connect(*_: object) -> object:
        raise AssertionError("nothing is sent")

    registry: Registry[object] = Registry(connect)  # type: ignore[type-var, arg-type]
    upstream = Upstream(
        "app", (parse_address("http://127.0.0.1:1"),), pool=PoolNumbers(max_in_flight=64, max_in_flight_total=total)
    )
    registry.apply({"app": upstream}, 0.0)
    registry.hold_back(lambda name: share)
    [numbers] = [endpoint.pool.numbers for endpoint in registry.endpoints]
    assert (numbers.max_in_flight, numbers.max_in_flight_total) == most
    assert registry.gates["app"].slots == min(bound for bound in most if bound is not None)
    registry.hold_back(lambda name: 1.0)
    assert [endpoint.pool.numbers for endpoint in registry.endpoints] == [upstream.pool]


def test_weir_tells_of_its_pooler_in_metrics_and_health_and_goes_on_without_it(
    transaction_pooler: Pooler, start_pgbouncer: StartPgBouncer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = (
        "upstreams: {app: {primary: http://127.0.0.1:1}}\n"
        "databases: {main: {pools: {app: {database: postgres}}}}\n"
        f"pgbouncer: {{console: '{transaction_pooler.settings.console}'}}\n"
        "routes: [{name: all, upstream: app}]\n"
    )
    weir = Weir(tmp_path_factory.mktemp("weir"), config)
    weir.launch()
    try:
        weir.ready()
        eventually(lambda: weir.metric("weir_db_up") == 1)
        names = {definition.name for definition in SECTIONS["Database"]}
        eventually(lambda: names <= set(weir.metrics()))  # pools come with the first client of one
        assert weir.metric("weir_db_admission_share", database="main") == 1
        assert _database(weir)["healthy"] is True
        [port] = free_ports(1)
        weir.reload(config.replace(transaction_pooler.settings.listen, f"127.0.0.1:{port}"))
        eventually(lambda: weir.metric("weir_db_up") == 0)
        eventually(lambda: _database(weir)["healthy"] is False)  # the report is kept for a second
        assert weir.metric("weir_db_admission_share", database="main") == 1
    finally:
        weir.stop()


@pytest.mark.long
async def test_a_running_weir_sends_less_while_the_database_keeps_clients_waiting(
    start_pgbouncer: StartPgBouncer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pooler = start_pgbouncer(size=1, query_wait=20.0)
    config = (
        "upstreams: {app: {primary: http://127.0.0.1:1}}\n"
        "databases: {main: {pools: {app: {database: postgres}}}}\n"
        f"pgbouncer: {{console: '{pooler.settings.console}'}}\n"
        "routes: [{name: all, upstream: app}]\n"
    )
    weir = Weir(tmp_path_factory.mktemp("weir"), config)
    weir.launch()
    share = partial(weir.metric, "weir_db_admission_share", database="main")
    try:
        await asyncio.to_thread(weir.ready)
        async with somebody_waits(pooler.url):
            await asyncio.to_thread(eventually, lambda: share() == 0.5, 15.0)
            assert weir.metric("weir_db_pool_client_waiting", pool="app") == 1
        await asyncio.to_thread(eventually, lambda: share() == 1.0, 25.0)
    finally:
        weir.stop()


def _database(weir: Weir) -> dict[str, object]:
    [component] = [one for one in weir.healthz().json()["components"] if one["name"] == "database"]
    return dict(component)
