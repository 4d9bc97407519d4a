"""The link to a cluster: one connection to each master, a group sent to all of them at once, in one write for each.

What belongs to a node that is away is not decided, and nothing else: its requests come back as None. A node that is
slow holds up a group for `patience_s` at most; then it is left out until it has answered what it was asked.

A server that answers MOVED or ASK has done nothing, so the question goes to the node that it names, once. The map of
the slots is fetched again in the background whenever something does not fit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.clock import monotonic
from proxy.limits.shared.group import Asked, encode
from proxy.limits.shared.node import Node, address_in, why_not
from proxy.limits.shared.single import Answer, OnAnswer, evaluate, is_unknown_script
from proxy.limits.shared.slots import Part, Split, put_together, settle, settle_late, take_apart
from proxy.limits.shared.topology import ClusterMap
from proxy.store.errors import StoreLost, explain
from proxy.store.url import StoreAddress
from proxy.store.wire import Handler, ReplyError

PATIENCE_S: Final = (
    0.02  # below the default `store_timeout`, so that those who need not wait for a slow node get theirs
)
_GRACE_S: Final = 0.001  # for replies that are here already, unread because this process stood still
_ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"


class _Question:
    """A part of a call, on its way to a node."""

    __slots__ = ("asks", "call", "is_over", "is_redirected", "node", "part", "with_source")

    def __init__(self, call: _Call, part: Part, node: Node | None) -> None:
        self.call = call
        self.part = part
        self.node = node
        self.with_source = False
        self.is_redirected = False
        self.asks = False  # it goes to a node that the slot is moving to
        self.is_over = False


class _Call:
    """A group, taken apart."""

    __slots__ = ("lost", "numbers", "on_answer", "open", "questions", "sent_at", "splits")

    def __init__(self, limits: int, splits: list[Split], on_answer: OnAnswer) -> None:
        self.numbers: list[int | None] = [None] * (3 * limits)
        self.splits = splits
        self.on_answer = on_answer
        self.questions: list[_Question] = []
        self.open = 0  # questions that are not over
        self.sent_at = monotonic()
        self.lost: StoreLost | None = None  # the last failure


class ClusterLink:
    """See link.Link. `patience_s` may be set at any time."""

    __slots__ = ("_calls", "_map", "_timer", "patience_s")

    def __init__(self, address: StoreAddress) -> None:
        self.patience_s = PATIENCE_S
        self._map = ClusterMap(address.endpoints)
        self._calls: deque[_Call] = deque()
        self._timer: asyncio.Handle | None = None

    @property
    def is_open(self) -> bool:
        """At least one node is there."""
        return self._map.is_open

    @property
    def trouble(self) -> str | None:
        return self._map.trouble

    async def open(self) -> None:
        await self.close()
        await self._map.open()

    async def is_quiet(self) -> bool:
        return self.is_open

    async def evaluate(self, group: Sequence[Asked]) -> list[int | None]:
        return await evaluate(self, group)

    async def close(self) -> None:
        self._map.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send(self, group: Sequence[Asked], on_answer: OnAnswer) -> None:
        parts, splits = take_apart(group)
        call = _Call(sum([len(asked.keys) for asked in group]), splits, on_answer)
        call.questions = questions = [_Question(call, part, self._map.slots[part.slot]) for part in parts]
        call.open = len(questions)
        self._calls.append(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.patience_s, self._look)
        by_node: dict[Node, tuple[list[bytes], list[tuple[Handler, Any]]]] = {}
        unsent: list[_Question] = []
        for question in questions:
            node = question.node
            if node is None or node.is_late or not node.is_open:
                unsent.append(question)
                continue
            commands, handlers = by_node.setdefault(node, ([], []))
            assert node.wire is not None
            commands.append(encode(question.part.asked, node.wire.told))
            handlers.append((self._replied, question))
        for node, (commands, handlers) in by_node.items():
            assert node.wire is not None
            node.wire.ask_all(commands, handlers)
        for question in unsent:
            self._fail(question, StoreLost(why_not(question.node)))

    # Replies.

    def _replied(self, reply: Any, question: _Question) -> None:
        node, part = question.node, question.part
        assert node is not None
        if isinstance(reply, StoreLost):
            node.trouble = str(reply)
            self._fail(question, reply)
            return
        node.is_late = False
        if type(reply) is list and len(reply) == 3 * len(part.places):
            node.is_well = True
            self._accept(question, reply)
        elif isinstance(reply, ReplyError):
            self._refused(question, reply)
        else:
            assert node.wire is not None
            node.wire.close()
            self._fail(question, StoreLost("the reply does not fit the question"))

    def _accept(self, question: _Question, reply: list[int]) -> None:
        call = question.call
        if question.is_over:  # too late: the requests that other nodes took part in are charged nowhere
            age_s = monotonic() - call.sent_at
            late = [split for split in call.splits if question.part.slot in split.slots]
            self._give_back([errand for split in late for errand in settle_late(split, question.part, reply, age_s)])
            return
        put_together(call.numbers, question.part, reply)
        self._end(question)

    def _refused(self, question: _Question, error: ReplyError) -> None:
        node = question.node
        assert node is not None
        word, _, rest = str(error).partition(" ")
        if question.is_over and word in ("NOSCRIPT", "MOVED", "ASK"):  # nothing happened, and nothing need
            return
        if is_unknown_script(error) and not question.with_source:
            question.with_source = True
            self._send_again(question)
            return
        if word in ("MOVED", "ASK"):
            self._map.refresh_soon()
            target = self._map.nodes.get(address_in(rest, node.endpoint))
            if target is not None and target.is_open and not target.is_late and not question.is_redirected:
                question.is_redirected = True
                question.node = target
                if word == "MOVED":
                    self._map.slots[question.part.slot] = target
                else:
                    question.asks = True
                self._send_again(question)
            else:
                self._fail(question, StoreLost("the hash slot has moved", word=word))
            return
        lost = explain(str(error))
        node.is_well = False
        node.trouble = str(lost)
        if lost.drops and word != "CLUSTERDOWN" and node.wire is not None:
            node.wire.close()
        self._fail(question, lost)

    def _send_again(self, question: _Question) -> None:
        """Only after an answer that says that nothing happened."""
        node = question.node
        assert node is not None
        assert node.wire is not None
        command = encode(question.part.asked, node.wire.told, with_source=question.with_source)
        if question.asks:
            node.wire.ask_all([_ASKING, command], [(_ignore, None), (self._replied, question)])
        else:
            node.wire.ask(command, self._replied, question)

    def _fail(self, question: _Question, lost: StoreLost) -> None:
        self._map.refresh_soon()
        if not question.is_over:
            question.call.lost = lost
            self._end(question)

    def _end(self, question: _Question) -> None:
        call = question.call
        question.is_over = True
        call.open -= 1
        if call.open:
            return
        calls = self._calls
        while calls and not calls[0].open:
            calls.popleft()
        numbers = call.numbers
        if call.splits:
            age_s = monotonic() - call.sent_at
            errands = [errand for split in call.splits for errand in settle(split, numbers, age_s)]
            self._give_back(errands)
        call.on_answer(self._answer(call))

    def _answer(self, call: _Call) -> Answer:
        """Only a cluster of which nothing works is lost; else what could not be decided is None."""
        if call.lost is not None and call.numbers.count(None) == len(call.numbers):
            if not any(node.is_usable for node in self._map.nodes.values()):
                return call.lost
        return call.numbers

    def _give_back(self, errands: list[Any]) -> None:
        if errands:
            self.send(errands, _ignore_answer)

    # A node that is slow.

    def _look(self) -> None:
        """Is the oldest call waiting for too long?"""
        self._timer = None
        if self._calls:
            left_s = self._calls[0].sent_at + self.patience_s - monotonic()
            then = self._look if left_s > _GRACE_S else self._leave_out
            self._timer = asyncio.get_running_loop().call_later(max(left_s, _GRACE_S), then)

    def _leave_out(self) -> None:
        self._timer = None
        due = monotonic() - self.patience_s
        for call in list(self._calls):
            if call.sent_at > due:
                break
            slow = {question.node for question in call.questions if not question.is_over}
            if not any(node.is_open and not node.is_late and node not in slow for node in self._map.nodes.values()):
                continue  # nobody would gain by it: all of the cluster is slow, or this process was
            for question in call.questions:
                if not question.is_over and question.node is not None:
                    question.node.is_late = True
                    question.node.trouble = f"no answer within {self.patience_s * 1000:.0f} ms"
                    self._fail(question, StoreLost(why_not(question.node)))
        if self._calls and self._timer is None:
            left_s = self._calls[-1].sent_at + self.patience_s - monotonic()
            self._timer = asyncio.get_running_loop().call_later(max(left_s, self.patience_s), self._leave_out)


def _ignore(reply: Any, context: Any) -> None:
    """The answer to ASKING says nothing."""


def _ignore_answer(answer: Answer) -> None:
    """What could not be given back stays charged: that errs on the strict side."""
