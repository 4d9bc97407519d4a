"""Runs cases against Weir, each followed by a clean request of another client, and says what was wrong.

bad: ambiguous or dangerous bytes reached the backend or the client, a 500, a hang, a poisoned neighbour, a traceback.
soft: nothing dangerous, but lenient, dirty or stricter than the grammar asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from tests.conformance.backend import Backend, echo
from tests.conformance.client import HAS_ADDRESSES, Client, Neighbour
from tests.conformance.corpus import CLOSED, Case, Form
from tests.conformance.strict import Message

LANES = 24 if HAS_ADDRESSES else 1
_OF_WEIR = frozenset(
    b"host content-length transfer-encoding x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id via".split()
)


@dataclass(frozen=True, slots=True)
class Finding:
    is_bad: bool
    case: str
    text: str

    def __str__(self) -> str:
        return f"{'bad ' if self.is_bad else 'soft'} {self.case}: {self.text}"


async def run_all(
    cases: Iterable[object],
    run: Callable[[object, Neighbour], Awaitable[list[Finding]]],
    port: int,
    backend: Backend,
    lanes: int = LANES,
) -> list[Finding]:
    """Run every case in one of several lanes. Violations that the backend saw are findings too."""
    waiting = iter(cases)
    findings: list[Finding] = []

    async def lane() -> None:
        neighbour = Neighbour(port, backend)
        try:
            for case in waiting:
                findings.extend(await run(case, neighbour))
        finally:
            neighbour.close()

    await asyncio.gather(*[lane() for _ in range(lanes)])
    findings += [Finding(True, "backend", f"{why}: {data[:300]!r}") for why, data in backend.violations]
    backend.violations.clear()
    return findings


class Seen:
    """What the backend saw of one client."""

    def __init__(self, backend: Backend, client: Client) -> None:
        self._backend = backend
        self._peer = client.peer
        self._before = len(backend.by_peer[client.peer])

    def requests(self) -> list[Message]:
        return self._backend.by_peer[self._peer][self._before :]


async def judge_request(case: Case, port: int, backend: Backend, neighbour: Neighbour) -> list[Finding]:
    client = await Client.connect(port)
    try:
        return await _judge(case, client, backend, neighbour)
    finally:
        client.close()


async def _judge(case: Case, client: Client, backend: Backend, neighbour: Neighbour) -> list[Finding]:
    findings: list[Finding] = []

    def bad(text: str) -> None:
        findings.append(Finding(True, case.id, text))

    def soft(text: str) -> None:
        findings.append(Finding(False, case.id, text))

    seen = Seen(backend, client)
    must_refuse = bool(case.refused) and not case.either
    client.says(case.data, *[form.method for form in case.forwarded])
    if case.eof:
        client.shuts_its_side()
    until_over = case.eof or (must_refuse and not case.stays)
    if not await client.answers(len(case.forwarded) + must_refuse, until_over=until_over, stays=case.stays):
        bad(f"a hang; so far {bytes(client.received[:200])!r}")
    if (found := await neighbour.ask()) is not None:
        bad(f"the neighbour got {found}")
    if client.violation is not None:
        bad(f"an unreadable answer, {client.violation}: {bytes(client.received[:300])!r}")
        return findings
    if client.unread:
        bad(f"bytes behind the answer: {client.unread[:120]!r}")
    finals, requests = client.finals, seen.requests()
    answered = [message for message in finals if message.status == case.answer]
    refusals = [message.status for message in finals if message.status != case.answer]
    if any(status in (500, 502, 503, 504) for status in refusals):
        bad(f"answered {refusals}")
    expected = case.forwarded
    if case.either and not requests and refusals:
        expected = ()
    if len(requests) > len(expected):
        bad(f"forwarded {[message.start for message in requests]}, {len(expected)} allowed")
    for form, message in zip(expected, requests, strict=False):
        if (difference := _difference(form, message, client)) is not None:
            bad(f"forwarded otherwise: {difference}")
    for form, message in zip(expected, answered, strict=False):
        if (
            case.answer == 200
            and form.method != b"HEAD"
            and message.body != echo(client.peer, form.method, form.target, form.body)
        ):
            bad(f"answered with {message.body[:100]!r}")
    if len(requests) < len(expected) or len(answered) != len(requests):
        soft(f"forwarded {len(requests)} of {len(expected)}, answered {[message.status for message in finals]}")
    elif must_refuse or not expected:
        if not refusals:
            if CLOSED not in case.refused:
                soft("no answer to the refused message")
        elif refusals[0] not in case.refused or len(refusals) > 1:
            soft(f"refused with {refusals}, not {sorted(case.refused)}")
        if not client.is_over and not case.stays:
            bad("refused, and the connection stays open")
        elif not client.is_over and not finals[-1].closes:
            if (found := await client.get(b"/neighbour/same-connection", backend)) is not None:
                bad(f"out of step: {found}")
    elif refusals:
        soft(f"answered {refusals} beside what is right")
    elif case.answer == 200 and not case.eof and not finals[-1].closes:
        # what this connection says next must be understood as what it is
        if client.is_over:
            soft("closed without saying so")
        elif (found := await client.get(b"/neighbour/same-connection", backend)) is not None:
            bad(f"out of step: {found}")
    return findings


def _difference(form: Form, message: Message, client: Client) -> str | None:
    if (message.method, message.target) != (form.method, form.target):
        return f"{message.method!r} {message.target[:100]!r}"
    if message.body != form.body:
        return f"content of {len(message.body)} bytes, not {len(form.body)}: {message.body[:80]!r}"
    host = message.get(b"host")
    if form.host is not None and host != form.host:
        return f"Host {host!r}"
    fields = tuple((name, value) for name, value in message.fields if name.lower() not in _OF_WEIR)
    if fields != form.fields:
        return f"fields {fields[:12]!r}"
    if message.get(b"x-forwarded-for") != client.peer:
        return f"X-Forwarded-For {message.get(b'x-forwarded-for')!r}"
    return None


def report(findings: list[Finding]) -> str:
    return "\n".join(
        str(finding) for finding in sorted(findings, key=lambda finding: (not finding.is_bad, finding.case))
    )
