"""The link to one server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from proxy.limits.shared.group import Asked, encode
from proxy.store.dial import dial
from proxy.store.errors import StoreLost, explain
from proxy.store.url import Endpoint
from proxy.store.wire import ReplyError, Wire

Answer = list[int | None] | StoreLost
"""The script's flat reply to a group, or why there is none. The numbers of a request are all there or all None: None
when this request alone was not decided, because the part of the store that holds its keys did not answer."""

OnAnswer = Callable[[Answer], None]
"""Called exactly once, by the loop, or within `send` when nothing can be sent. Must not wait or raise. May send the
next group."""


class Sends(Protocol):
    def send(self, group: Sequence[Asked], on_answer: OnAnswer) -> None: ...


class SingleLink:
    """One connection to one server. See link.Link."""

    __slots__ = ("_endpoint", "_wire")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._wire: Wire | None = None

    @property
    def is_open(self) -> bool:
        wire = self._wire
        return wire is not None and wire.is_open

    @property
    def trouble(self) -> str | None:
        return None  # one server is there, or the link is lost

    async def open(self) -> None:
        await self.close()
        self._wire = await self._dial()

    async def is_quiet(self) -> bool:
        return self.is_open  # whatever came unasked, the end included, has closed it already

    def send(self, group: Sequence[Asked], on_answer: OnAnswer) -> None:
        wire = self._wire
        if wire is None:
            on_answer(StoreLost("not connected"))
        else:
            wire.ask(encode(group, wire.told), self._answered, (group, on_answer))

    async def evaluate(self, group: Sequence[Asked]) -> list[int | None]:
        return await evaluate(self, group)

    async def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    async def _dial(self) -> Wire:
        return await dial(self._endpoint)

    def _answered(self, reply: Any, asked: tuple[Sequence[Asked], OnAnswer]) -> None:
        if type(reply) is list:
            group, on_answer = asked
            if len(reply) == 3 * sum([len(each.keys) for each in group]):
                on_answer(reply)
                return
        self._not_answered(reply, asked)

    def _not_answered(self, reply: Any, asked: tuple[Sequence[Asked], OnAnswer], is_second: bool = False) -> None:
        group, on_answer = asked
        wire = self._wire
        assert wire is not None
        if isinstance(reply, StoreLost):
            on_answer(reply)
        elif not isinstance(reply, ReplyError):
            wire.close()
            on_answer(StoreLost("the reply does not fit the question"))
        elif is_unknown_script(reply) and not is_second:
            # restarted or flushed; the script did not run, so this is not a second time
            wire.ask(encode(group, wire.told, with_source=True), self._answered_by_source, asked)
        else:
            lost = explain(str(reply))
            if lost.drops:
                wire.close()
            on_answer(lost)

    def _answered_by_source(self, reply: Any, asked: tuple[Sequence[Asked], OnAnswer]) -> None:
        if type(reply) is list:
            self._answered(reply, asked)
        else:
            self._not_answered(reply, asked, is_second=True)


async def evaluate(link: Sends, group: Sequence[Asked]) -> list[int | None]:
    """`send` for who can wait. Raises StoreLost. Cancelled, the group is still decided."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    link.send(group, lambda answer: None if answered.done() else answered.set_result(answer))
    answer = await answered
    if isinstance(answer, StoreLost):
        raise answer
    return answer


def is_unknown_script(reply: ReplyError) -> bool:
    return str(reply).startswith("NOSCRIPT")
