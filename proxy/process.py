"""The process: its loop, its signals, its exit code."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from typing import TYPE_CHECKING, Any

from proxy.app import App
from proxy.core.tasks import spawn
from proxy.observe.events import configure_logging
from proxy.observe.line_writer import LineWriter

if TYPE_CHECKING:
    from proxy.config.load import Loaded


def run(loaded: Loaded, *, started: Any = None) -> int:
    """Run until SIGTERM or SIGINT. Gives the exit code. `started(app)` is called once everything is open."""
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: asyncio's own loop is slower and does the same
        return asyncio.run(_run(loaded, started))
    return int(uvloop.run(_run(loaded, started)))


async def _run(loaded: Loaded, started: Any) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    writer = LineWriter("!")  # standard error, through a thread: a stalled terminal stops nothing
    writer.start()
    configure_logging(writer)
    app = App(loaded)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: spawn(app.reload(), name="reload"))
    loop.add_signal_handler(signal.SIGUSR1, app.observe.reopen)
    try:
        await app.start()
    except OSError as error:
        await app.close()
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"weir: cannot start: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    keep_what_is_alive()
    if started is not None:
        started(app)
    await stop.wait()
    await app.stop()
    return 0


def keep_what_is_alive() -> None:
    """What is alive now stays alive: no collection needs to look at it again.

    The second collection finds nothing, and that is what it is for: a full one comes only when a quarter as many
    objects wait for it as the last full one found alive. After the first that would be most of an hour's worth.
    """
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.set_threshold(10_000, 20, 20)
