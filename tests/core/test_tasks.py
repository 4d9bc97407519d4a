"""How an exchange is carried: at once, by what it waits for, and cancelled at any moment."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from proxy.core.tasks import Signal, spawn, start_now


async def test_what_never_waits_is_over_when_start_now_returns() -> None:
    done = []

    async def quick() -> None:
        done.append(1)

    assert start_now(quick()) is None
    assert done == [1]


async def test_a_signal_continues_its_waiter_before_set_result_returns() -> None:
    signal: Signal[str] = Signal()
    got = []

    async def waits() -> None:
        got.append(await signal)

    run = start_now(waits())
    assert run is not None
    signal.set_result("now")
    assert got == ["now"]
    assert run.is_over


async def test_a_signal_that_is_already_set_is_no_wait() -> None:
    signal: Signal[int] = Signal()
    signal.set_result(7)
    got = []

    async def reads() -> None:
        got.append(await signal)

    assert start_now(reads()) is None
    assert got == [7]


async def test_a_task_that_waits_for_a_signal_continues_in_a_turn_of_its_own() -> None:
    signal: Signal[int] = Signal()
    seen: list[int] = []

    async def wait() -> int:
        seen.append(await signal)
        return seen[0]

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    signal.set_result(7)
    assert (seen, signal.value) == ([], 7)
    assert await task == 7


async def test_a_task_that_is_cancelled_at_a_signal_cancels_it() -> None:
    signal: Signal[int] = Signal()

    async def wait() -> None:
        await signal

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert signal.done()
    assert signal.value is None


async def test_a_task_is_cancelled_too_when_its_signal_was_set_just_before() -> None:
    signal: Signal[int] = Signal()

    async def wait() -> None:
        await signal

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    signal.set_result(7)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert signal.value == 7


async def test_a_signals_error_is_raised_where_it_is_awaited() -> None:
    signal: Signal[None] = Signal()
    got: list[str] = []

    async def waits() -> None:
        try:
            await signal
        except ValueError as error:
            got.append(str(error))

    start_now(waits())
    signal.set_exception(ValueError("broken"))
    assert got == ["broken"]


async def test_asyncio_futures_and_bare_yields_carry_a_run_too() -> None:
    future = asyncio.get_running_loop().create_future()
    steps = []

    async def waits() -> None:
        await asyncio.sleep(0)
        steps.append("yielded")
        steps.append(await future)

    start_now(waits())
    await asyncio.sleep(0)
    assert steps == ["yielded"]
    future.set_result("future")
    await asyncio.sleep(0)
    assert steps == ["yielded", "future"]


@pytest.mark.parametrize("kind", ["signal", "future", "bare yield"])
async def test_cancelling_raises_at_the_wait_and_cleanup_runs_at_once(kind: str) -> None:
    waiting: Any = Signal() if kind == "signal" else asyncio.get_running_loop().create_future()
    seen = []

    async def waits() -> None:
        try:
            await (asyncio.sleep(0) if kind == "bare yield" else waiting)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("cleaned")

    run = start_now(waits())
    assert run is not None
    run.cancel()
    assert seen == ["cancelled", "cleaned"]
    assert run.is_over
    run.cancel()
    await asyncio.sleep(0)
    assert seen == ["cancelled", "cleaned"]


async def test_a_future_that_was_done_when_the_run_was_cancelled_continues_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    seen = []

    async def waits() -> None:
        try:
            await first
        except asyncio.CancelledError:
            seen.append(await second)  # cleanup that waits

    run = start_now(waits())
    assert run is not None
    first.set_result("too late")  # its callback is on its way
    run.cancel()
    with caplog.at_level(logging.ERROR, logger="weir.tasks"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert seen == []
    second.set_result("cleaned")
    await asyncio.sleep(0)
    assert seen == ["cleaned"]
    assert run.is_over
    assert not caplog.records


async def test_a_failure_is_logged_and_never_escapes(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("a defect")

    with caplog.at_level(logging.ERROR, logger="weir.tasks"):
        start_now(fails())
        await asyncio.sleep(0)
    assert "an exchange failed" in caplog.text


async def test_a_spawned_task_that_dies_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("a defect")

    with caplog.at_level(logging.ERROR, logger="weir.tasks"):
        task = spawn(fails(), name="the prober")
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert "the prober" in caplog.text
