"""The connection to one server: what it asks, what it is told, and what ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from threading import Thread
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from proxy.core.clock import monotonic
from proxy.limits.policy import compile_limit
from proxy.limits.settings import LimitSettings
from proxy.limits.shared.group import Question
from proxy.limits.shared.link import Answer, Link, StoreLost, link_to
from proxy.store import wire as redis_wire_store
from proxy.store.dial import dial
from proxy.store.errors import explain
from proxy.store.url import parse_store_url
from proxy.store.wire import Wire
from tests.line.certificates import Authority
from tests.ports import free_port
from tests.store.tls import tls_in_front

LIMIT = compile_limit("a", LimitSettings.model_validate({"rate": "10/h", "by": "ip"}), "test.yaml:1")
KEY = LIMIT.prefix + b"x"
ONE = [Question((LIMIT,), (KEY,))]


async def lost(link: Link) -> StoreLost:
    with pytest.raises(StoreLost) as raised:
        await link.evaluate(ONE)
    return raised.value


async def open_and_ask(link: Link) -> None:
    try:
        await link.open()
        await asyncio.sleep(0.01)
        await link.evaluate(ONE)
    finally:
        await link.close()


# Questions and answers.


async def test_answers_come_in_the_order_of_the_questions_without_a_turn_of_the_loop(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    got: list[Answer] = []
    all_there = asyncio.get_running_loop().create_future()

    def on_answer(answer: Answer) -> None:
        got.append(answer)
        if len(got) < 10:
            link.send(ONE, on_answer)  # from within
        elif len(got) == 12:
            all_there.set_result(None)

    for _ in range(3):
        link.send(ONE, on_answer)
    await all_there
    assert [answer[0] for answer in got if isinstance(answer, list)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]


async def test_a_flushed_script_is_sent_once_and_counts_once(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    for expected in (9, 8, 7):
        server.admin.script_flush()
        assert (await link.evaluate(ONE))[0] == expected
    assert server.calls("eval") == 3  # the first call of a connection carries the source anyway
    assert server.calls("evalsha") == 2


async def test_a_group_in_flight_when_the_server_dies_is_lost_and_never_sent_again(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    await link.evaluate(ONE)
    server.stall()
    asking = asyncio.ensure_future(link.evaluate(ONE))
    await asyncio.sleep(0.01)
    server.kill()
    with pytest.raises(StoreLost):
        await asking
    assert not link.is_open
    server.start()
    await link.open()
    assert (await link.evaluate(ONE))[0] == 9  # the new server knows of nothing


async def test_the_end_of_the_connection_is_known_at_once(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    assert await link.is_quiet()
    server.kill()
    await asyncio.sleep(0.01)
    assert not link.is_open
    assert not await link.is_quiet()
    assert "closed" in str(await lost(link))


async def test_a_connection_that_the_operator_killed_is_known_at_once(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    server.admin.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.01)
    assert not link.is_open


async def test_a_server_that_owes_an_answer_for_too_long_is_given_up(
    server: Any, connect: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_wire_store, "CALL_TIMEOUT_S", 0.1)
    link = await connect(server.url)
    server.stall()
    started = monotonic()
    assert "no answer within" in str(await lost(link))
    assert 0.09 < monotonic() - started < 0.5
    assert not link.is_open
    server.go_on()


async def test_answers_put_the_deadline_off(server: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(redis_wire_store, "CALL_TIMEOUT_S", 0.1)
    wire = await dial(parse_store_url(server.url).endpoints[0])
    for _ in range(6):
        assert await wire.call("PING") == b"PONG"
        await asyncio.sleep(0.03)
    assert wire.is_open
    wire.close()


async def test_an_answer_that_came_while_this_process_stood_still_is_in_time(
    server: Any, connect: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_wire_store, "CALL_TIMEOUT_S", 0.1)
    link = await connect(server.url)
    server.stall()
    asking = asyncio.ensure_future(link.evaluate(ONE))
    await asyncio.sleep(0.01)
    server.go_on()
    time.sleep(0.3)
    assert (await asking)[0] == 9


async def test_a_waiter_that_is_cancelled_disturbs_no_later_answer(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    server.stall()
    leaving = asyncio.ensure_future(link.evaluate(ONE))
    await asyncio.sleep(0.01)
    leaving.cancel()
    staying = asyncio.ensure_future(link.evaluate(ONE))
    await asyncio.sleep(0.01)
    server.go_on()
    assert (await staying)[0] == 8


async def test_closing_tells_whoever_waits_and_may_be_done_twice(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    server.stall()
    asking = asyncio.ensure_future(link.evaluate(ONE))
    await asyncio.sleep(0.01)
    await link.close()
    await link.close()
    with pytest.raises(StoreLost, match="closed"):
        await asking
    server.go_on()


# What nobody should say.


@asynccontextmanager
async def speaker(says: bytes, later: bytes = b"") -> AsyncIterator[str]:
    """Something at an address that is no store, which says this whenever it is asked. Gives the URL."""
    peers = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer)
        while await reader.read(65536):
            writer.write(says)
            await asyncio.sleep(0.01)
            writer.write(later)
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for peer in peers:
            peer.close()
        await listening.wait_closed()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak its protocol"),
        (b"+OK\r\n+OK\r\n", "nobody asked"),
        (b"", "within"),
        (b"+PONG", "within"),
    ],
    ids=["http", "an answer too many", "silence", "half an answer"],
)
async def test_whoever_is_no_store_is_found_out_at_the_start(says: bytes, words: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("proxy.store.dial.CONNECT_TIMEOUT_S", 0.2)
    async with speaker(says) as url:
        link = link_to(url)
        with pytest.raises(StoreLost, match=words):
            await open_and_ask(link)  # by then the second answer is there
        assert not link.is_open
        await link.close()


async def test_an_answer_of_the_wrong_shape_ends_the_connection(connect: Any) -> None:
    async with speaker(b"*2\r\n:1\r\n:2\r\n") as url:
        link = await connect(url)
        assert "does not fit" in str(await lost(link))
        assert not link.is_open


async def test_what_is_said_unasked_ends_the_connection(connect: Any) -> None:
    async with speaker(b"+OK\r\n", later=b"+OK\r\n") as url:
        link = await connect(url)
        async with asyncio.timeout(2.0):
            while link.is_open:
                await asyncio.sleep(0.005)
        assert "nobody asked" in str(await lost(link))


async def test_nobody_there_is_said_with_the_address(connect: Any) -> None:
    port = free_port()
    with pytest.raises(StoreLost, match=f"no connection to 127.0.0.1:{port}: .*refused|Connect call failed"):
        await connect(f"redis://127.0.0.1:{port}")
    with pytest.raises(StoreLost, match="no connection to /nowhere/at/all"):
        await connect("unix:///nowhere/at/all")


# Refusals of the server, said in the operator's words.


@pytest.mark.parametrize(
    ("said", "words", "drops"),
    [
        ("LOADING Valkey is loading the dataset in memory", "reads its data", True),
        ("READONLY You can't write against a read only replica.", "read only", True),
        ("ERR Error running script (call to f_1): @user_script:3: -READONLY You can't write", "read only", True),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.", "lost its master", True),
        ("NOAUTH Authentication required.", "wants a password", True),
        ("WRONGPASS invalid username-password pair or user is disabled.", "user and password", True),
        ("NOPERM User x has no permissions to run the 'evalsha' command", "'evalsha'", False),
        ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory", False),
        ("BUSY Valkey is busy running a script.", "script that does not end", False),
        ("UNKILLABLE Sorry the script already executed write commands", "cannot be stopped", False),
        ("MISCONF Valkey is configured to save RDB snapshots", "disk", False),
        ("NOREPLICAS Not enough good replicas to write.", "without its replicas", False),
        ("CLUSTERDOWN Hash slot not served", "no master", True),
        ("MOVED 3999 127.0.0.1:6381", "redis+cluster", True),
        ("ASK 3999 127.0.0.1:6381", "redis+cluster", True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "moving", False),
        ("CROSSSLOT Keys in request don't hash to the same slot", "redis+cluster", True),
        ("ERR something\r\n else " + "x" * 999, "refused: ERR something else", False),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) and value[:3].isupper() else None,
)
def test_what_a_refusal_means(said: str, words: str, drops: bool) -> None:
    meaning = explain(said)
    assert words in str(meaning)
    assert meaning.drops is drops
    assert len(str(meaning)) < 400


async def test_a_replica_is_left(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    await link.evaluate(ONE)
    server.admin.replicaof("127.0.0.1", 1)
    assert "read only" in str(await lost(link))
    assert not link.is_open


async def test_a_replica_without_its_master_is_left(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    server.admin.config_set("replica-serve-stale-data", "no")
    server.admin.replicaof("127.0.0.1", 1)
    assert "lost its master" in str(await lost(link))
    assert not link.is_open


async def test_a_full_store_is_not_left(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    server.admin.config_set("maxmemory", 1)
    assert "maxmemory" in str(await lost(link))
    assert link.is_open
    server.admin.config_set("maxmemory", 0)
    assert (await link.evaluate(ONE))[0] == 9


async def test_a_store_held_up_by_a_script_is_not_left(server: Any, connect: Any) -> None:
    link = await connect(server.url)
    server.admin.config_set("busy-reply-threshold", 1)
    other = Redis(unix_socket_path=str(server.path), protocol=2)

    def hold_up() -> None:
        with pytest.raises(RedisError):
            other.eval("while true do end", 0)

    thread = Thread(target=hold_up)
    thread.start()
    try:
        await asyncio.sleep(0.05)
        assert "script" in str(await lost(link))
        assert link.is_open
    finally:
        server.admin.script_kill()
        thread.join()
        other.close()
    assert (await link.evaluate(ONE))[0] == 9


async def test_a_starting_store_says_so(server: Any) -> None:
    for i in range(400):
        server.admin.set(f"k{i}", token_hex(50))  # nothing that can be compressed
    server.admin.save()
    server.kill()
    server._command += ["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]
    server.start()
    with pytest.raises(StoreLost, match="reads its data"):
        await open_and_ask(link_to(server.url + "?db=1"))


async def test_a_node_of_a_cluster_says_how_to_write_its_address(connect: Any, own_server: Any) -> None:
    cluster_node = own_server("--cluster-enabled", "yes")
    link = await connect(cluster_node.url)
    assert "cluster" in str(await lost(link))


@pytest.fixture
def own_server(server: Any) -> Iterator[Callable[..., Any]]:
    """A server with options of its own."""
    made = []

    def make(*options: str) -> Any:
        made.append(type(server)(server._command[0], *options))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()


# Who we are, and who it is.


async def test_a_user_needs_the_script_and_its_keys_and_nothing_else(server: Any, connect: Any) -> None:
    server.admin.execute_command(
        *("ACL", "SETUSER", "weir", "on", ">pa@ss", "resetkeys", "~weir:*", "-@all"),
        *("+evalsha", "+eval", "+get", "+set", "+time", "+zadd", "+zcard", "+zrem", "+zscore", "+zremrangebyscore"),
    )
    link = await connect(f"unix://weir:pa%40ss@{server.path}")
    assert (await link.evaluate(ONE))[0] == 9
    server.admin.execute_command("ACL", "SETUSER", "weir", "-evalsha")
    refused = await lost(link)
    assert "permission" in str(refused)
    assert "evalsha" in str(refused)
    assert link.is_open


@pytest.mark.parametrize("login", ["", ":guess@", "nobody:guess@"], ids=["none", "wrong", "of nobody"])
async def test_who_is_not_let_in_is_told_why_without_the_password(server: Any, connect: Any, login: str) -> None:
    server.admin.config_set("requirepass", "secret")
    server.admin.execute_command("AUTH", "secret")
    with pytest.raises(StoreLost, match="password") as raised:
        await connect(f"unix://{login}{server.path}")
    assert "guess" not in str(raised.value)


async def test_the_connection_has_a_name_and_a_database(server: Any, connect: Any) -> None:
    link = await connect(server.url + "?db=3")
    await link.evaluate(ONE)
    names = {client["name"]: client["db"] for client in server.admin.client_list()}
    assert names["weir"] == "3"
    await connect(server.url + "?client_name=edge-1")
    assert "edge-1" in {client["name"] for client in server.admin.client_list()}


@pytest.mark.parametrize(
    ("host", "options", "words"),
    [
        ("127.0.0.1", "?ssl_ca_certs={ca}", None),
        ("127.0.0.1", "", "certificate verify failed"),
        ("127.0.0.1", "?ssl_ca_certs={other}", "certificate verify failed"),
        ("localhost", "?ssl_ca_certs={ca}", "certificate verify failed"),
        ("localhost", "?ssl_ca_certs={ca}&ssl_check_hostname=false", None),
        ("127.0.0.1", "?ssl_cert_reqs=none", None),
        ("127.0.0.1", "?ssl_ca_certs=/nowhere.pem", "No such file"),
    ],
    ids=["own CA", "unknown CA", "another CA", "another host", "any host", "unverified", "no such file"],
)
async def test_the_server_has_to_prove_who_it_is(
    server: Any, connect: Any, tmp_path: Path, host: str, options: str, words: str | None
) -> None:
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    async with tls_in_front(server.path, authority.issue("server", "127.0.0.1")) as port:
        url = f"rediss://{host}:{port}/2{options.format(ca=authority.path, other=other.path)}"
        if words is None:
            link = await connect(url)
            assert (await link.evaluate(ONE))[0] == 9
            assert server.admin.info("keyspace")["db2"]["keys"] == 1
            await link.close()
        else:
            with pytest.raises(StoreLost, match=words):
                await connect(url)


async def test_we_prove_who_we_are_where_the_server_asks(server: Any, connect: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    certificate, key = authority.issue("client", "weir")
    async with tls_in_front(server.path, authority.issue("server", "127.0.0.1"), authority.path) as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.path}"
        link = await connect(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}")
        assert (await link.evaluate(ONE))[0] == 9
        await link.close()
        with pytest.raises(StoreLost):
            await connect(url)


async def test_a_wire_has_no_use_for_what_was_never_sent() -> None:
    got: list[Any] = []
    Wire().ask(b"PING", lambda reply, context: got.append((reply, context)), 7)
    assert isinstance(got[0][0], StoreLost)
    assert got[0][1] == 7
