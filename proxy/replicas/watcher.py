"""Asks one Postgres server where it stands: ten times a second, and sooner when somebody wants to know.

One connection, direct to the server, in a task of its own. Nothing here is waited for by an exchange without a bound,
and nothing here stops plain proxying: a server that does not answer is unknown, and that is an answer too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import random
from typing import Any, Final

import asyncpg

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.replicas.lsn import History, end_of_records, parse_lsn
from proxy.replicas.node import Node, Role, Sample
from proxy.replicas.ring import INTERVAL_S

CONNECT_S: Final = 2.0
ANSWER_S: Final = 1.0
GROUP_S: Final = 0.002  # all who want to know in this time share one question
LONGEST_PAUSE_S: Final = 2.0  # between two attempts to connect

FAILURES: Final = (
    OSError,
    EOFError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# A standby's timeline is that of what it receives; while it receives nothing, that of its last restart point, which may
# be an older one: then it is not used, until it receives again. A primary's is in the name of the file it writes to.
#
# A primary also flushes what is not committed, page by page, so that the end may lie in the middle of a record for a
# quarter of a minute. No standby replays half a record: one that has received the half and waits for the rest has all
# that there is. `received` is read before what it waits for.
_QUERY: Final = """
SELECT standby,
       CASE WHEN standby THEN replayed ELSE pg_current_wal_insert_lsn() END::text,
       CASE WHEN NOT standby THEN pg_current_wal_flush_lsn()
            WHEN received > replayed
             AND EXISTS (SELECT FROM pg_stat_activity
                          WHERE backend_type = 'startup' AND wait_event = 'RecoveryWalStream') THEN received
            ELSE replayed END::text,
       CASE WHEN standby
            THEN COALESCE((SELECT received_tli FROM pg_stat_wal_receiver),
                          (SELECT timeline_id FROM pg_control_checkpoint()))
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,
       (SELECT system_identifier FROM pg_control_system())::text
  FROM (SELECT pg_is_in_recovery() AS standby,
               pg_last_wal_receive_lsn() AS received,
               pg_last_wal_replay_lsn() AS replayed
        OFFSET 0) AS itself
"""


_SIZES: Final = """
SELECT max(setting::bigint) FILTER (WHERE name = 'wal_block_size'),
       max(setting::bigint) FILTER (WHERE name = 'wal_segment_size')
  FROM pg_settings WHERE name IN ('wal_block_size', 'wal_segment_size')
"""


class Watcher:
    """Keeps `node` up to date. `observed` and `lost` are called when it has been asked, and when it cannot be."""

    def __init__(
        self,
        node: Node,
        dsn: str,
        observed: Callable[[Node, Sample], None],
        lost: Callable[[Node, str], None],
    ) -> None:
        self.node = node
        self.asked = 0
        self._dsn = dsn
        self._observed = observed
        self._lost = lost
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: Any = None
        self._sizes: Any = None  # of a page and of a segment of the log, in bytes

    def start(self) -> None:
        self._task = spawn(self._run(), name=f"watch {self.node.label}")

    async def stop(self) -> None:
        """End the task and the connection. Waits for neither longer than a turn or two of the loop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._hang_up()

    def hurry(self) -> None:
        """Somebody waits: ask within GROUP_S."""
        self._wanted.set()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                self._connection = await asyncpg.connect(
                    self._dsn, timeout=CONNECT_S, server_settings={"application_name": "weir"}
                )
                self._sizes = await self._connection.fetchrow(_SIZES, timeout=ANSWER_S)
                while True:
                    await self._ask()
                    failures = 0
                    await self._pause()
            except FAILURES as error:
                self._lost(self.node, _told(error))
            except ValueError as error:  # a DSN that only asyncpg finds fault with, an answer that is none
                self._lost(self.node, _told(error))
            finally:
                self._hang_up()
            failures += 1
            await asyncio.sleep(min(INTERVAL_S * 2.0**failures, LONGEST_PAUSE_S) * (0.5 + 0.5 * random()))

    async def _ask(self) -> None:
        node = self.node
        node.begin()
        asked_at = monotonic()
        row = await self._connection.fetchrow(_QUERY, timeout=ANSWER_S)
        self.asked += 1
        is_standby, lsn, flushed, timeline, system_id = row
        if lsn is None:
            raise ValueError("it has replayed nothing yet")
        sample = Sample(
            asked_at,
            monotonic(),
            Role.STANDBY if is_standby else Role.PRIMARY,
            parse_lsn(lsn) if is_standby else end_of_records(parse_lsn(lsn), *self._sizes),
            parse_lsn(flushed),
            History(int(system_id), timeline),
        )
        self._observed(node, sample)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(INTERVAL_S):
                await self._wanted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GROUP_S)  # those who come meanwhile share the answer
        self._wanted.clear()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _told(error: BaseException) -> str:
    """In the operator's words, without secrets: asyncpg's messages name host, user and database."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
