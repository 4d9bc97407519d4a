"""The fault proxy does what it says, and the same again with the same seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.tcp import Fault, FaultProxy, any_fault

CONTENT = bytes(range(256)) * 8


@pytest.fixture
async def network() -> AsyncIterator[FaultProxy]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(CONTENT if line == b"all\n" else line)
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname()[1], seed=1) as proxy:
        yield proxy
    server.close()


async def ask(
    network: FaultProxy, line: bytes = b"all\n", size: int = len(CONTENT), within_s: float = 5.0
) -> bytes | str:
    """What came: all of it, or as far as it went and how that ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", network.port)
    got = b""
    try:
        writer.write(line)
        async with asyncio.timeout(within_s):
            while len(got) < size:
                data = await reader.read(size - len(got))
                if not data:
                    return f"ended after {len(got)}"
                got += data
        return got
    except TimeoutError:
        return f"silent after {len(got)}"
    except ConnectionResetError:
        return f"reset after {len(got)}"
    finally:
        writer.close()


async def test_without_a_fault_everything_passes(network: FaultProxy) -> None:
    assert await ask(network) == CONTENT
    assert await ask(network, b"hello\n", 6) == b"hello\n"
    assert network.accepted == 2


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(Fault(cut_after=100), "ended after 100", id="cut"),
        pytest.param(Fault(cut_after=0), "ended after 0", id="cut before anything"),
        pytest.param(Fault(reset_after=100), "reset after", id="reset"),
        pytest.param(Fault(stall_after=100), "silent after 100", id="half open"),
        pytest.param(Fault(stall_up_after=2), "silent after 0", id="half open upwards"),
        pytest.param(Fault(is_black_hole=True), "silent after 0", id="black hole"),
    ],
)
async def test_a_connection_ends_as_said(network: FaultProxy, fault: Fault, expected: str) -> None:
    network.always(fault)
    got = await ask(network, within_s=0.5)
    assert isinstance(got, str)
    assert got.startswith(expected)


@pytest.mark.parametrize(
    ("fault", "at_least_s"),
    [
        pytest.param(Fault(delay_s=0.1), 0.2, id="delay, both ways"),
        pytest.param(Fault(drip_bytes=256, delay_s=0.01), 0.08, id="drip"),
        pytest.param(Fault(bytes_per_s=10_000), 0.2, id="bandwidth"),
    ],
)
async def test_a_connection_is_as_slow_as_said(network: FaultProxy, fault: Fault, at_least_s: float) -> None:
    network.always(fault)
    began_at = time.monotonic()
    assert await ask(network) == CONTENT
    assert time.monotonic() - began_at >= at_least_s


async def test_it_refuses_and_listens_again_and_ends_what_is_open(network: FaultProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", network.port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    await network.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", network.port)
    network.cut_all()
    assert await reader.read() == b""
    writer.close()
    await network.start()
    assert await ask(network) == CONTENT


async def test_only_the_first_connections_have_the_fault(network: FaultProxy) -> None:
    network.first(Fault(cut_after=0), 2)
    assert [await ask(network) for _ in range(3)] == ["ended after 0", "ended after 0", CONTENT]


def test_the_same_seed_gives_the_same_faults() -> None:
    one, two, three = (random.Random(seed) for seed in (5, 5, 6))
    faults = [[any_fault(number, draw) for number in range(100)] for draw in (one, two, three)]
    assert faults[0] == faults[1] != faults[2]
    assert 30 < faults[0].count(Fault()) < 70
