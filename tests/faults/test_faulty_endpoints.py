"""Every way in which an endpoint can fail a request, and a request can be left: nothing of it stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from proxy.upstreams.address import parse_address
from proxy.upstreams.hold import HoldRules
from proxy.upstreams.retry import RetryRules
from proxy.upstreams.upstream import PoolNumbers
from tests.faults.conftest import Origin
from tests.faults.fetching import Fetcher
from tests.faults.tcp import Fault, FaultProxy, any_fault

Fetching = Callable[..., Any]


@pytest.fixture
async def fetching(network: FaultProxy) -> AsyncIterator[Fetching]:
    made: list[Fetcher] = []

    async def make(*others: FaultProxy, **rest: Any) -> Fetcher:
        addresses = [parse_address(each.url) for each in (network, *others)]
        fetcher = Fetcher(*addresses, **{"hold": HoldRules(0.0), "eject": None, **rest})
        made.append(fetcher)
        return await fetcher.__aenter__()

    yield make
    for fetcher in made:
        await fetcher.__aexit__()


# what the network does -> how a GET ends, how a POST ends, how often each is executed at most
FAULTS = [
    pytest.param(Fault(), "200", "200", id="nothing"),
    pytest.param(Fault(delay_s=0.02, jitter_s=0.02), "200", "200", id="slow"),
    pytest.param(Fault(drip_bytes=7, delay_s=0.0002), "200", "200", id="in small pieces"),
    pytest.param(Fault(bytes_per_s=500_000), "200", "200", id="narrow"),
    pytest.param(Fault(cut_after=0), "connection_reset", "connection_reset", id="cut before the head"),
    pytest.param(Fault(reset_after=0), "connection_reset", "connection_reset", id="reset before the head"),
    pytest.param(Fault(cut_after=9), "response_truncated", "response_truncated", id="cut in the head"),
    pytest.param(Fault(stall_after=0), "response_timeout", "response_timeout", id="silent before the head"),
    pytest.param(Fault(stall_after=9), "response_timeout", "response_timeout", id="silent in the head"),
    pytest.param(Fault(stall_up_after=3), "response_timeout", "response_timeout", id="the request never arrives"),
    pytest.param(Fault(is_black_hole=True), "response_timeout", "response_timeout", id="a black hole"),
    pytest.param(Fault(cut_after=100), "broken", "broken", id="cut in the content"),
    pytest.param(Fault(stall_after=100), "broken", "broken", id="silent in the content"),
]


@pytest.mark.parametrize("target", [b"/short", b"/large", b"/chunked"])
@pytest.mark.parametrize(("fault", "of_get", "of_post"), FAULTS)
async def test_every_fault_has_its_word_and_leaves_nothing(
    network: FaultProxy, origin: Origin, fetching: Fetching, fault: Fault, of_get: str, of_post: str, target: bytes
) -> None:
    fetcher: Fetcher = await fetching(timeout_s=0.4)
    network.always(fault)
    for method, expected, content in ((b"GET", of_get, b""), (b"POST", of_post, b"buy")):
        _, outcome = await fetcher.ask(method, target, content)
        assert outcome.word == expected, (method, outcome.error)
        await fetcher.settled()
    assert origin.executed[b"POST " + target] <= 1
    assert origin.executed[b"GET " + target] <= 2


async def test_a_refused_connect_leaves_nothing(network: FaultProxy, fetching: Fetching) -> None:
    fetcher: Fetcher = await fetching()
    await network.refuse()
    _, outcome = await fetcher.ask(b"POST", b"/", b"buy")
    assert outcome.word == "connect_refused"
    await fetcher.settled()


async def test_a_connect_that_hangs_is_given_up(fetching: Fetching, origin: Origin) -> None:
    # a listener whose backlog is full takes no more connections and does not refuse them
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex(full.getsockname())
            waiting.append(made)
        await asyncio.sleep(0.05)
        address = parse_address(f"http://127.0.0.1:{full.getsockname()[1]}")
        async with Fetcher(address, pool=PoolNumbers(connect_timeout_s=0.2), retry=RetryRules(attempts=0)) as fetcher:
            began_at = time.monotonic()
            _, outcome = await fetcher.ask()
            assert outcome.word == "connect_timeout"
            assert time.monotonic() - began_at < 2.0
            await fetcher.settled()
        for made in waiting:
            made.close()


async def test_no_descriptors_left_is_not_the_endpoints_fault(network: FaultProxy, fetching: Fetching) -> None:
    import os
    import resource

    fetcher: Fetcher = await fetching(hold=HoldRules(15.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        _, outcome = await fetcher.ask()
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert outcome.word == "out_of_sockets"
    assert outcome.error is not None
    assert outcome.error.retry_after_s == 1.0
    endpoint = fetcher.registry.endpoints[0]
    assert (endpoint.healthy, endpoint.failures) == (True, 0)
    _, outcome = await fetcher.ask()
    assert outcome.word == "200"
    await fetcher.settled()


# A request is left at each of its waits, one after the other


async def plain(fetcher: Fetcher, network: FaultProxy, other: FaultProxy) -> None:
    pass


async def with_an_idle_connection(fetcher: Fetcher, network: FaultProxy, other: FaultProxy) -> None:
    await fetcher.ask()
    await fetcher.ask()


async def retried(fetcher: Fetcher, network: FaultProxy, other: FaultProxy) -> None:
    network.first(Fault(cut_after=0), 100)
    other.first(Fault(reset_after=0), 100)


async def refused_and_held(fetcher: Fetcher, network: FaultProxy, other: FaultProxy) -> None:
    await network.refuse()
    await other.refuse()

    async def back() -> None:
        await asyncio.sleep(0.05)
        await network.start()

    fetcher.restart = asyncio.ensure_future(back())  # type: ignore[attr-defined]


async def queued(fetcher: Fetcher, network: FaultProxy, other: FaultProxy) -> None:
    network.always(Fault(delay_s=0.03))
    other.always(Fault(delay_s=0.03))
    fetcher.others = [fetcher.start(b"GET", b"/other") for _ in range(4)]  # type: ignore[attr-defined]


async def dying_idle(fetcher: Fetcher, network: FaultProxy, other: FaultProxy) -> None:
    """The idle connections end in the moment in which they are used."""
    await fetcher.ask()
    await fetcher.ask()
    network.cut_all()
    other.cut_all()


SCENES = [plain, with_an_idle_connection, retried, refused_and_held, queued, dying_idle]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in the loop's next turn"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_a_request_may_be_left_at_any_of_its_waits(
    network: FaultProxy, origin: Origin, scene: Any, method: bytes, later: bool
) -> None:
    cut_at, most = 0, 0
    async with FaultProxy(origin.port, seed=2) as other:
        addresses = [parse_address(each.url) for each in (network, other)]
        while cut_at <= most:
            cut_at += 1
            for each in (network, other):
                each.always(Fault())
                await each.refuse()
                await each.start()
            target = b"/%d" % cut_at
            async with Fetcher(*addresses, pool=PoolNumbers(max_in_flight=1), eject=None) as fetcher:
                await scene(fetcher, network, other)
                run, outcome = await fetcher.ask(
                    method, target, b"buy" if method == b"POST" else b"", cut_at=cut_at, later=later
                )
                most = max(most, run.waits)
                if not later and run.waits >= cut_at:
                    assert outcome.was_cancelled
                for _, another in getattr(fetcher, "others", []):
                    await another.ended.wait()
                    assert another.word == "200", "who was left alone got its answer"
                if (restart := getattr(fetcher, "restart", None)) is not None:
                    await restart
                    await asyncio.sleep(0.3)
                await fetcher.settled()
            assert origin.executed[b"POST " + target] <= 1
    assert most >= 1


async def test_a_hundred_requests_under_random_faults_leave_nothing(network: FaultProxy, origin: Origin) -> None:
    async with FaultProxy(origin.port, seed=3) as other:
        network.faults = other.faults = any_fault
        addresses = [parse_address(each.url) for each in (network, other)]
        async with Fetcher(
            *addresses, timeout_s=0.5, pool=PoolNumbers(max_in_flight=8, queue_timeout_s=0.3)
        ) as fetcher:
            words = await crowd(fetcher, origin, random.Random(4), requests=300, clients=20)
            await fetcher.settled()
    assert words["200"] > 50
    assert len(words) >= 4, words


async def crowd(fetcher: Fetcher, origin: Origin, draw: random.Random, *, requests: int, clients: int) -> Counter[str]:
    """So many requests, some of them left at some wait. No POST is executed twice."""
    words: Counter[str] = Counter()
    numbers = iter(range(requests))
    run = f"{draw.random()}".encode()[2:8]

    async def client() -> None:
        for number in numbers:
            method = draw.choice([b"GET", b"GET", b"POST"])
            target = draw.choice([b"/short", b"/large", b"/chunked"]) + b"-%b-%d" % (run, number)
            cut_at = draw.choice([0, 0, 0, 1, 2, 3])
            content = b"buy" if method == b"POST" else b""
            _, outcome = await fetcher.ask(method, target, content, cut_at=cut_at, later=draw.random() < 0.5)
            words[outcome.word] += 1
            assert origin.executed[b"POST " + target] <= 1

    await asyncio.gather(*[client() for _ in range(clients)])
    return words


@pytest.mark.parametrize("is_restarted", [True, False], ids=["it is being restarted", "the request kills it"])
async def test_after_a_reused_and_a_fresh_connection_died_only_a_restart_is_waited_for(is_restarted: bool) -> None:
    asked: list[int] = []
    writers: list[asyncio.StreamWriter] = []
    server: Any = None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal server
        writers.append(writer)
        with contextlib.suppress(EOFError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                asked.append(len(asked))
                if len(asked) in (2, 3) or (len(asked) > 3 and not is_restarted):
                    if len(asked) == 3 and is_restarted:
                        server.close()
                        asyncio.get_running_loop().call_later(0.2, restart)
                    writer.transport.abort()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    restarts: list[asyncio.Task[Any]] = []

    def restart() -> None:
        restarts.append(asyncio.ensure_future(start()))

    async def start() -> None:
        nonlocal server
        server = await asyncio.start_server(serve, "127.0.0.1", port)

    port = 0
    await start()
    port = server.sockets[0].getsockname()[1]
    async with Fetcher(parse_address(f"http://127.0.0.1:{port}")) as fetcher:
        assert (await fetcher.ask())[1].word == "200"
        _, outcome = await fetcher.ask()
        assert outcome.word == ("200" if is_restarted else "connection_reset")
        assert len(asked) == (4 if is_restarted else 3)
        await fetcher.settled()
    server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


LATE = {
    # what the first attempt is made on, seconds until it breaks, whether the endpoint is being restarted -> word, asked
    "a fresh connection, soon": (False, 0.0, False, "200", 2),
    "a fresh connection, late": (False, 0.1, False, "connection_reset", 1),
    "a fresh connection, late, and it restarts": (False, 0.1, True, "200", 2),
    "a reused connection, soon": (True, 0.0, False, "200", 2),
    "a reused connection, late": (True, 0.1, False, "reused_connection_closed", 1),
    "a reused connection, late, and it restarts": (True, 0.1, True, "200", 2),
}


@pytest.mark.parametrize(("is_reused", "after_s", "restarts", "word", "expected"), LATE.values(), ids=LATE)
async def test_what_broke_late_at_the_only_endpoint_is_not_tried_again_unless_it_is_being_restarted(
    is_reused: bool, after_s: float, restarts: bool, word: str, expected: int
) -> None:
    asked: list[float] = []  # when, of the request in question
    writers: list[asyncio.StreamWriter] = []
    server: Any = None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(EOFError, OSError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"/breaks" in head:
                    asked.append(time.monotonic())
                    if len(asked) == 1:
                        await asyncio.sleep(after_s)
                        if restarts:
                            server.close()
                        writer.transport.abort()
                        return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Fetcher(parse_address(f"http://127.0.0.1:{port}"), retry=RetryRules(again_within_s=0.05)) as fetcher:
        if is_reused:
            assert (await fetcher.ask())[1].word == "200"
        asking = asyncio.ensure_future(fetcher.ask(b"GET", b"/breaks"))
        if restarts:
            await asyncio.sleep(after_s + 0.2)
            server = await asyncio.start_server(serve, "127.0.0.1", port)
        assert (await asking)[1].word == word
        assert len(asked) == expected
        await fetcher.settled()
    server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)
