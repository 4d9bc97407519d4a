"""Waiting for one's turn: requests that were admitted for a moment that has not come yet."""

from __future__ import annotations

import asyncio


class Turns:
    """A bounded number of waits. Each ends by a timer of its own, at its own moment: nobody is woken in a crowd."""

    __slots__ = ("most", "waiting")

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting = 0

    async def wait(self, seconds: float) -> bool:
        """False at once when too many wait already. A waiter that is cancelled leaves nothing behind."""
        if self.waiting >= self.most:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = turn.get_loop().call_later(seconds, _come, turn)
        self.waiting += 1
        try:
            await turn
        finally:
            self.waiting -= 1
            timer.cancel()
        return True


def _come(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
